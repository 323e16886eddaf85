//! Peers that say anything: pieces of good messages in the wrong places, halves of them, and bytes that mean nothing. Nothing
//! may panic, no bound may be passed, and nothing may be left when they are gone.

use std::time::Duration;

use weft_engine::io::{Side, SocketId};

use crate::bench::{Bench, addr};

const PIECES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nhost: web\r\n\r\n",
    b"HEAD /x HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nx-trailer: 1\r\n\r\n",
    b"hello",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x01",
    // HEADERS: GET / by static entries, with and without END_STREAM; :status 200.
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86",
    b"\0\0\x03\x01\x04\0\0\0\x03\x83\x84\x86",
    b"\0\0\x01\x01\x05\0\0\0\x01\x88",
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",
    b"\0\0\x05\0\0\0\0\0\x01hello",
    b"\0\0\x05\0\x01\0\0\0\x03hello",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x04\x08\0\0\0\0\0\0\x01\0\0",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x08\x06\0\0\0\0\0weftlive",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"transport.l5d.io/v1\r\n\r\n",
    b"\xff\0\xfe\n\r\n",
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn open(b: &Bench, dice: &mut Dice) -> Option<SocketId> {
    let open: Vec<_> = (0..b.world.socks.len()).filter(|i| !b.world.socks[*i].closed).collect();
    open.get(dice.below(open.len())).map(|i| SocketId(*i as u32))
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut b = Bench::new(|c| {
        c.limits.exchanges = 4;
        c.limits.output_bytes = 2_000;
        c.limits.discard_bytes = 500;
        c.limits.detect_bytes = 300;
    });
    b.forwarded_client();
    for _ in 0..60 {
        match dice.below(12) {
            0 => {
                b.client();
            }
            1 => {
                b.accept(Side::Inbound, addr("10.2.0.1:8080"));
            }
            2 | 3 => {
                if let Some(n) = (0..b.world.dialed.len()).rev().nth(dice.below(2)) {
                    let id = b.world.dialed[n].1;
                    let sock = &b.world.socks[id.0 as usize];
                    if !sock.closed && sock.interest.1 {
                        if dice.below(5) == 0 {
                            b.refuses(n);
                        } else {
                            b.connects(n);
                        }
                    }
                }
            }
            4 => {
                if let Some(id) = open(&b, &mut dice) {
                    match dice.below(3) {
                        0 => b.breaks(id),
                        1 => b.ends(id),
                        _ => b.world.socks[id.0 as usize].room = dice.below(3_000),
                    }
                }
            }
            5 => b.pass(Duration::from_millis(dice.below(6_000) as u64)),
            _ => {
                if let Some(id) = open(&b, &mut dice) {
                    let piece = PIECES[dice.below(PIECES.len())];
                    let cut = if dice.below(4) == 0 { dice.below(piece.len()) } else { piece.len() };
                    b.sends(id, &piece[..cut]);
                }
            }
        }
        assert!(b.gauges(|g| g.exchanges.get()) <= 5, "one over the bound is being refused");
        assert!(b.gauges(|g| g.buffered_bytes.get()) < 200_000);
    }
    // Everybody goes, and after a while it is as if nobody had been there.
    for n in 0..b.world.socks.len() {
        if !b.world.socks[n].closed {
            b.world.socks[n].room = usize::MAX;
            b.breaks(SocketId(n as u32));
        }
    }
    b.pass(Duration::from_secs(200));
    let left = format!("{:?}", b.worker);
    let gauges = b.gauges(|g| {
        let all = [
            &g.accepted,
            &g.dialed,
            &g.exchanges,
            &g.queued,
            &g.idle_pooled,
            &g.endpoints,
            &g.buffered_bytes,
        ];
        all.map(weft_engine::metrics::Gauge::get)
    });
    assert_eq!(gauges, [0; 7], "{left}");
}

#[test]
fn whatever_is_said_nothing_is_left() {
    let seeds = std::env::var("WEFT_NOISE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for seed in 0..seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
