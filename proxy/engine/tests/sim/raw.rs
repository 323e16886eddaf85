//! Either end of a raw connection: after a line that says how much, patterned bytes both ways. And how fast somebody reads.

use crate::book::Book;
use crate::pki::pki;
use crate::rng::{Rng, is_patterned};

/// What servers that speak first say.
pub(crate) const BANNER: &[u8] = b"220 speaks first\n";
/// Content of servers is of another id than that of clients.
pub(crate) const OF_SERVER: u32 = 0x8000_0000;

#[derive(Default)]
pub(crate) struct Raw {
    /// A ClientHello comes before the line.
    pub(crate) expects_hello: bool,
    pub(crate) hello: Vec<u8>,
    pub(crate) line: Vec<u8>,
    pub(crate) id: u32,
    pub(crate) to_come: usize,
    pub(crate) to_send: usize,
    pub(crate) received: usize,
    pub(crate) sent: usize,
    pub(crate) known: bool,
    pub(crate) ended: bool,
    pub(crate) finished: bool,
    /// The server waits for the client's end before it sends.
    pub(crate) polite: bool,
}

impl Raw {
    /// The line first, at a server; then content.
    pub(crate) fn receive(&mut self, bytes: &[u8], book: &mut Book, server: bool) {
        let mut rest = bytes;
        if self.expects_hello {
            // A record says how long it is.
            while !rest.is_empty() && (self.hello.len() < 5 || self.hello.len() < self.hello_len()) {
                self.hello.push(rest[0]);
                rest = &rest[1..];
            }
            if self.hello.len() < 5 || self.hello.len() < self.hello_len() {
                return;
            }
            self.expects_hello = false;
            if !pki().hellos.contains(&self.hello) {
                book.wrong("a server got another ClientHello".to_owned());
            }
        }
        if server && !self.known {
            let end = rest.iter().position(|b| *b == b'\n');
            self.line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else { return };
            rest = &rest[end + 1..];
            let text = String::from_utf8_lossy(&self.line).into_owned();
            let n: Vec<usize> = text.split(' ').skip(1).filter_map(|p| p.parse().ok()).collect();
            let [id, up, down, polite] = n[..] else {
                return book.wrong(format!("a raw server got {text:?}"));
            };
            *book.seen.entry(id as u32).or_default() += 1;
            (self.id, self.to_come, self.to_send, self.polite, self.known) =
                (id as u32, up, down, polite == 1, true);
        }
        let id = if server { self.id } else { self.id ^ OF_SERVER };
        if !is_patterned(id, self.received, rest) {
            book.wrong(format!("raw {}: content differs", self.id));
        }
        self.received += rest.len();
        if self.received > self.to_come {
            book.wrong(format!("raw {}: {} bytes of {}", self.id, self.received, self.to_come));
        }
    }

    fn hello_len(&self) -> usize {
        5 + usize::from(u16::from_be_bytes([self.hello[3], self.hello[4]]))
    }

    pub(crate) fn introduction(&self) -> String {
        format!("RAW {} {} {} {}\n", self.id, self.to_send, self.to_come, u8::from(self.polite))
    }
}

/// So many bytes, then a pause.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    bytes: usize,
    nanos: u64,
    pub(crate) next: u64,
}

impl Pace {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        match rng.below(5) {
            0 => Self { bytes: rng.between(200, 5_000), nanos: 1_000_000, next: 0 },
            1 => Self { bytes: 65_536, nanos: rng.below(4_000_000) as u64, next: 0 },
            _ => Self { bytes: 1 << 20, nanos: 0, next: 0 },
        }
    }

    /// How much may be read now.
    pub(crate) fn turn(&mut self, now: u64) -> usize {
        if now < self.next {
            return 0;
        }
        self.next = now + self.nanos;
        self.bytes.min(65_536)
    }
}
