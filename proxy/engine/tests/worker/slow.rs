//! Peers that keep something waiting, and what ends the wait: every state of a connection or exchange in which a peer could hold
//! memory for ever by doing almost nothing.

use std::time::Duration;

use weft_engine::Bound;
use weft_engine::io::{Side, SocketId};

use crate::bench::{Bench, SERVER, addr};
use crate::frames::{
    HEADERS, PING, WINDOW_UPDATE, client_preface, data, frame, frames, goaway_code, headers,
};

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web")];

fn sent(b: &mut Bench, id: SocketId) -> Vec<u8> {
    std::mem::take(&mut b.world.socks[id.0 as usize].tx)
}

fn http2_client(b: &mut Bench) -> SocketId {
    let client = b.accept(Side::Inbound, addr(SERVER));
    b.sends(client, client_preface());
    sent(b, client);
    client
}

/// Answers that no window holds, to a client that asks and asks and reads nothing: at a bound it is not heard any more.
#[test]
fn output_bytes_of_answers_that_nobody_reads() {
    let mut b = Bench::new(|c| (c.limits.output_bytes, c.limits.exchanges) = (4_000, 0));
    let client = http2_client(&mut b);
    b.world.socks[client.0 as usize].room = 0;
    // Each is refused at once (503), which leaves nothing but output.
    for n in 0..2_000u32 {
        b.sends(client, headers(2 * n + 1, true, &GET));
        assert!(b.gauges(|g| g.buffered_bytes.get()) < 4 * 4_000 + 40_000);
    }
    assert!(b.met(Bound::OutputBytes) > 0);
    assert!(!b.world.socks[client.0 as usize].interest.0, "it is not read from");
    // It reads after all: everything is answered.
    for _ in 0..200 {
        b.takes(client, 4_000);
    }
    b.takes(client, usize::MAX);
    let answers = frames(&sent(&mut b, client));
    assert_eq!(answers.iter().filter(|f| f.kind == HEADERS).count(), 2_000);
    assert!(b.world.socks[client.0 as usize].interest.0);
}

/// A client that sends what asks for no answer, and takes nothing: it looks alive and never is.
#[test]
fn stall_timeout_of_a_full_socket_with_streams() {
    let mut b = Bench::new(|c| c.stall_timeout = Duration::from_secs(60));
    let client = http2_client(&mut b);
    b.sends(client, headers(1, true, &[&GET[..], &[("l5d-orig-proto", "HTTP/1.1")]].concat()));
    let server = b.connects(0);
    b.world.socks[client.0 as usize].room = 0;
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n");
    b.sends(server, vec![b'x'; 60_000]);
    let mut seconds = 0;
    while !b.is_closed(client) && seconds < 200 {
        b.pass(Duration::from_secs(1));
        if !b.is_closed(client) {
            b.sends(client, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
        }
        seconds += 1;
    }
    assert!((60..=91).contains(&seconds), "{seconds}");
    assert!(b.is_closed(server), "and the application with it");
    assert_eq!(b.gauges(|g| (g.exchanges.get(), g.slow_clients.get(), g.buffered_bytes.get())), (0, 1, 0));
}

/// Windows that stay closed under many streams of a client that never is silent: all of them are given up in time, not one by one.
#[test]
fn stall_timeout_of_many_streams_of_a_lively_client() {
    let mut b = Bench::new(|c| c.stall_timeout = Duration::from_secs(60));
    let client = http2_client(&mut b);
    // INITIAL_WINDOW_SIZE 0.
    b.sends(client, frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for n in 0..50u32 {
        b.sends(client, headers(2 * n + 1, true, &[&GET[..], &[("l5d-orig-proto", "HTTP/1.1")]].concat()));
        let server = b.connects(n as usize);
        b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    }
    assert_eq!(b.gauges(|g| g.exchanges.get()), 50);
    let mut seconds = 0;
    while b.gauges(|g| g.exchanges.get()) > 0 && seconds < 200 {
        b.pass(Duration::from_secs(1));
        b.sends(client, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
        seconds += 1;
    }
    assert!((60..=91).contains(&seconds), "{seconds}");
    assert_eq!(b.gauges(|g| (g.slow_clients.get(), g.buffered_bytes.get())), (50, 0));
    assert!(!b.is_closed(client));
}

/// `frame_ms`: half a field block, held by a client that shows life byte by byte.
#[test]
fn frame_ms_of_a_field_block_that_never_ends() {
    let mut b = Bench::new(|_| {});
    let client = http2_client(&mut b);
    b.sends(client, frame(HEADERS, 0, 1, &[0x82; 16_000]));
    assert_eq!(b.gauges(|g| g.buffered_bytes.get()), 16_000, "it counts");
    let next = frame(9, 0, 1, &[0x82; 16_000]);
    let mut seconds = 0;
    while !b.is_closed(client) && seconds < 200 {
        b.sends(client, &next[seconds..seconds + 1]);
        b.pass(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((30..=36).contains(&seconds), "{seconds}");
    assert_eq!(goaway_code(&frames(&sent(&mut b, client))), Some(0xb));
    assert_eq!(b.gauges(|g| (g.exchanges.get(), g.slow_clients.get(), g.buffered_bytes.get())), (0, 1, 0));
}

/// A connection that is over for a fault waits for its GOAWAY to be taken, but not for ever, whatever else comes meanwhile.
#[test]
fn discard_timeout_of_a_connection_that_is_over() {
    let mut b = Bench::new(|c| c.discard_timeout = Duration::from_secs(5));
    let client = http2_client(&mut b);
    b.world.socks[client.0 as usize].room = 0;
    b.sends(client, data(0, true, b""));
    let noted = b.world.notes.len();
    for _ in 0..5 {
        assert!(!b.is_closed(client));
        b.sends(client, frame(PING, 0, 0, &[0; 8]));
        b.pass(Duration::from_millis(1_010));
    }
    assert!(b.is_closed(client));
    assert_eq!(b.world.notes.len(), noted, "told once");
}

/// `head_timeout`: the rest of a request that is answered already. A client that sends it in time has its connection still, and all the time
/// it wants for its next request.
#[test]
fn head_timeout_of_the_rest_of_an_answered_request() {
    for in_time in [true, false] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\nhello");
        let server = b.connects(0);
        b.sends(server, "HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n");
        assert!(b.got(client).starts_with("HTTP/1.1 413 "));
        assert!(b.is_closed(server), "it did not get all of its request");
        for _ in 0..4 {
            b.pass(Duration::from_secs(5));
            b.sends(client, "w");
        }
        if in_time {
            b.sends(client, "!");
        }
        b.pass(Duration::from_secs(11));
        assert_eq!(b.is_reset(client), !in_time);
        if in_time {
            b.pass(Duration::from_secs(100));
            b.sends(client, "GET /next HTTP/1.1\r\nhost: web\r\n\r\n");
            let next = b.connects(1);
            assert!(b.got(next).starts_with("GET /next "));
        }
    }
}
