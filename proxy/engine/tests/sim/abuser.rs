//! Clients that mean harm, or know no better: whatever they do, others are served, and nothing of them is left.

use std::net::SocketAddr;

use crate::net::{Host, Net, Read, State};
use crate::rng::Rng;
use crate::services::addr;

const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Streams that are reset as soon as they are opened.
    RapidReset,
    /// A head that never ends, a byte at a time.
    SlowHead,
    Pings,
    Settings,
    /// A head in ever more frames.
    Continuation,
    /// Asks for much and opens no window.
    NoWindow,
    /// Requests upon requests, and no answer is read.
    Pipelining,
    /// Two lengths (RFC 9112 6.3).
    TwoLengths,
    /// Connects, and says nothing.
    Silence,
    Noise,
    /// A TLS record that never comes to its end.
    HalfRecord,
    /// Asks for much, takes nothing of it, and breaks HTTP/2.
    Fault,
    /// Asks for much by many streams, and reads nothing.
    Unread,
}

const ALL: [Harm; 13] = [
    Harm::RapidReset,
    Harm::SlowHead,
    Harm::Pings,
    Harm::Settings,
    Harm::Continuation,
    Harm::NoWindow,
    Harm::Pipelining,
    Harm::TwoLengths,
    Harm::Silence,
    Harm::Noise,
    Harm::HalfRecord,
    Harm::Fault,
    Harm::Unread,
];

/// What one of them does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abuse {
    pub(crate) harm: Harm,
    to: &'static str,
    id: u32,
    start: u64,
    /// When it goes, if it is still there.
    leaves: u64,
    seed: u64,
}

impl Abuse {
    pub(crate) fn new(rng: &mut Rng, id: u32) -> Self {
        let start = rng.below(400) as u64 * MS;
        Self {
            harm: rng.pick(&ALL),
            // A service, a workload without the mesh between, and the proxy's own port.
            to: rng.pick(&["10.0.0.1:80", "10.0.0.2:80", "10.3.0.1:8080", "10.1.0.1:4143"]),
            id,
            start,
            leaves: start + rng.pick(&[50, 5_000, 40_000, 700_000]) * MS,
            seed: rng.next(),
        }
    }
}

pub(crate) struct Abuser {
    abuse: Abuse,
    pub(crate) sock: Option<usize>,
    output: Vec<u8>,
    next: u64,
    begun: bool,
    rng: Rng,
    pub(crate) gone: bool,
}

impl Abuser {
    pub(crate) fn new(abuse: Abuse) -> Self {
        let rng = Rng::new(abuse.seed);
        Self { abuse, sock: None, output: Vec::new(), next: 0, begun: false, rng, gone: false }
    }

    pub(crate) fn next_time(&self, now: u64) -> Option<u64> {
        let all = [self.abuse.start, self.abuse.leaves, self.next];
        all.into_iter().filter(|at| !self.gone && *at > now).min()
    }

    pub(crate) fn step(&mut self, net: &mut Net) -> bool {
        if self.gone || net.now < self.abuse.start {
            return false;
        }
        let Some(sock) = self.sock else {
            let to: SocketAddr = addr(self.abuse.to);
            self.sock = Some(net.connect(Host::App, to));
            return true;
        };
        match net.socks[sock].state {
            State::Connecting => return false,
            State::Refused => return self.leave(net, sock),
            State::Open if net.now >= self.abuse.leaves => return self.leave(net, sock),
            State::Open => {}
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.begin();
        }
        let mut moved = false;
        if self.abuse.harm == Harm::SlowHead && net.now >= self.next {
            self.next = net.now + 3_000 * MS;
            self.output.push(b'a');
        }
        if !matches!(self.abuse.harm, Harm::Pipelining | Harm::Fault | Harm::Unread) && net.readable(sock) {
            let mut buf = [0; 4_000];
            match net.read(sock, &mut buf) {
                Read::Data(_) => moved = true,
                Read::End | Read::Reset => return self.leave(net, sock),
                Read::Nothing => {}
            }
        } else if net.is_reset(sock) {
            return self.leave(net, sock);
        }
        while !self.output.is_empty() {
            match net.write(sock, &self.output) {
                None => return self.leave(net, sock),
                Some(0) => return moved,
                Some(n) => {
                    self.output.drain(..n);
                    moved = true;
                }
            }
        }
        moved
    }

    fn leave(&mut self, net: &mut Net, sock: usize) -> bool {
        self.gone = true;
        if self.rng.one_in(2) {
            net.close(sock)
        } else {
            net.reset(sock)
        }
        true
    }

    fn spec(&self, response: usize) -> String {
        format!("{}/0/0/0/{response}/200/0/0", self.abuse.id)
    }

    fn begin(&mut self) {
        let many = self.rng.between(1, 3_000);
        let (id, to) = (self.abuse.id, self.abuse.to);
        let get = |response: usize| {
            format!("GET /sim/{id} HTTP/1.1\r\nhost: {to}\r\nx-spec: {}\r\n", self.spec(response))
        };
        let mut out = Vec::new();
        match self.abuse.harm {
            Harm::RapidReset => {
                preface(&mut out, &[]);
                for n in 0..many as u32 {
                    frame(&mut out, 1, 5, 1 + 2 * n, &self.head(100));
                    frame(&mut out, 3, 0, 1 + 2 * n, &[0, 0, 0, 8]);
                }
            }
            Harm::Pings => {
                preface(&mut out, &[]);
                (0..many).for_each(|_| frame(&mut out, 6, 0, 0, b"sim-ping"));
            }
            Harm::Settings => {
                preface(&mut out, &[]);
                (0..many).for_each(|_| frame(&mut out, 4, 0, 0, &[0, 4, 0, 0, 0, 9]));
            }
            Harm::Continuation => {
                preface(&mut out, &[]);
                frame(&mut out, 1, 0, 1, &self.head(0));
                (0..many).for_each(|n| frame(&mut out, 9, 0, 1, &[0, 1, b'a' + (n % 20) as u8, 1, b'b']));
            }
            Harm::NoWindow => {
                preface(&mut out, &[0, 4, 0, 0, 0, 0]);
                for n in 0..(many as u32).min(40) {
                    frame(&mut out, 1, 5, 1 + 2 * n, &self.head(50_000));
                }
            }
            Harm::Fault | Harm::Unread => {
                preface(&mut out, &[0, 4, 0, 1, 0, 0]);
                for n in 0..(many as u32).min(40) {
                    frame(&mut out, 1, 5, 1 + 2 * n, &self.head(5_000));
                }
                if self.abuse.harm == Harm::Fault {
                    out.extend(fault(many as u32, 1));
                }
            }
            Harm::Pipelining => {
                let get = get(1_000) + "\r\n";
                (0..many.min(400)).for_each(|_| out.extend_from_slice(get.as_bytes()));
            }
            Harm::TwoLengths => {
                let get =
                    get(10) + "content-length: 3\r\ncontent-length: 30\r\n\r\nabcGET /other HTTP/1.1\r\n";
                out.extend_from_slice(get.as_bytes());
            }
            Harm::SlowHead => out.extend_from_slice((get(10) + "x-slow: ").as_bytes()),
            Harm::Silence => {}
            Harm::Noise => (0..many).for_each(|_| out.push(self.rng.next() as u8)),
            Harm::HalfRecord => out.extend_from_slice(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        }
        self.output = out;
    }

    /// A request's field block, by literals without indexing (RFC 7541 6.2.2).
    fn head(&self, response: usize) -> Vec<u8> {
        let mut block = vec![0x82, 0x86];
        let mut literal = |first: u8, name: &str, value: &str| {
            block.push(first);
            for text in [name, value].into_iter().filter(|t| !t.is_empty()) {
                block.push(text.len() as u8);
                block.extend_from_slice(text.as_bytes());
            }
        };
        literal(4, "", &format!("/sim/{}", self.abuse.id));
        literal(1, "", self.abuse.to);
        literal(0, "x-spec", &self.spec(response));
        block
    }
}

fn preface(out: &mut Vec<u8>, settings: &[u8]) {
    out.extend_from_slice(weft_http::h2::PREFACE);
    frame(out, 4, 0, 0, settings);
}

/// What no peer may send on a connection that has seen `stream`, in one of many ways (sections of RFC 9113).
pub(crate) fn fault(which: u32, stream: u32) -> Vec<u8> {
    let mut out = Vec::new();
    match which % 10 {
        // 6.1: content of no stream.
        0 => frame(&mut out, 0, 0, 0, b"sim"),
        // 5.1: a stream that nobody has opened.
        1 => frame(&mut out, 3, 0, 0x7fff_fffe, &[0; 4]),
        // 6.9: a window that is opened by nothing, and one by too much.
        2 => frame(&mut out, 8, 0, 0, &[0; 4]),
        3 => frame(&mut out, 8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        // 6.5: settings of half a length, and of a stream; a window of more than there can be.
        4 => frame(&mut out, 4, 0, 0, &[0, 4, 0]),
        5 => frame(&mut out, 4, 0, stream, &[]),
        6 => frame(&mut out, 4, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        // 4.3: a field block that cannot be read.
        7 => frame(&mut out, 1, 4, stream, &[0xff; 12]),
        // 4.2: a frame larger than allowed.
        8 => out.extend_from_slice(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, stream as u8]),
        // 6.10: the end of a block that has not begun.
        _ => frame(&mut out, 9, 4, stream, &[0x88]),
    }
    out
}

pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
