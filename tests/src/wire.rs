//! What is on the wire between places, byte by byte: packet(7), seen from the network's bridge.
//!
//! An observer that knows nothing of the proxies: it puts TCP connections together and says of each whether it is TLS 1.3 from its
//! first byte to its last (RFC 8446 5.1, 4.1.3).

use crate::place::Network;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Every protocol (ETH_P_ALL).
const ALL: u16 = 3;
/// Bytes kept of each direction of a connection. What comes after is counted, not looked at.
const KEPT: usize = 4 << 20;

/// A capture. Ends when dropped.
pub struct Wire {
    flows: Arc<Mutex<HashMap<(SocketAddr, SocketAddr), Half>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One direction of one connection.
#[derive(Default)]
struct Half {
    /// The number of the first byte.
    first: Option<u32>,
    /// What came, by its distance from the first byte.
    pieces: BTreeMap<u32, Vec<u8>>,
    kept: usize,
}

/// One connection that carried something.
#[derive(Debug)]
pub struct Flow {
    /// Who opened it.
    pub client: SocketAddr,
    /// Who accepted it.
    pub server: SocketAddr,
    /// What the client sent, as far as it is kept.
    pub sent: Vec<u8>,
    /// What the server sent, as far as it is kept.
    pub answered: Vec<u8>,
}

impl Wire {
    /// Captures all that crosses the network.
    ///
    /// # Panics
    /// Without root.
    pub fn of(network: &Network) -> Self {
        let open = || Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL.to_be()))));
        let mut socket = network.bridge().enter(open).expect("a packet socket");
        // As much as there is.
        let _ = socket.set_recv_buffer_size(16 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
        let (flows, end) = (Arc::<Mutex<HashMap<_, Half>>>::default(), Arc::<AtomicBool>::default());
        let (theirs, ended) = (Arc::clone(&flows), Arc::clone(&end));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 128 << 10];
            while !ended.load(Ordering::Relaxed) {
                // The time-out is how the end is noticed.
                let Ok(length) = socket.read(&mut buffer) else { continue };
                if let Some(segment) = buffer.get(..length).and_then(parse) {
                    let mut flows = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    flows.entry((segment.from, segment.to)).or_default().add(&segment);
                }
            }
        });
        Self { flows, end, thread: Some(thread) }
    }

    /// The connections between these addresses that carried something. Who has the lower port is the server.
    pub fn between(&self, addresses: &[IpAddr]) -> Vec<Flow> {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = |address: &SocketAddr| addresses.contains(&address.ip());
        let mut found = Vec::new();
        for ((client, server), half) in flows.iter() {
            if client.port() <= server.port() || !inside(client) || !inside(server) {
                continue;
            }
            let (sent, back) = (half.bytes(), flows.get(&(*server, *client)));
            let answered = back.map(Half::bytes).unwrap_or_default();
            if !(sent.is_empty() && answered.is_empty()) {
                found.push(Flow { client: *client, server: *server, sent, answered });
            }
        }
        found
    }

    /// How many connections between these addresses carried `text` as it is.
    pub fn plaintext(&self, addresses: &[IpAddr], text: &[u8]) -> usize {
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        self.between(addresses).iter().filter(|flow| has(&flow.sent) || has(&flow.answered)).count()
    }

    /// Fails unless there are connections between these addresses, and all of them are TLS 1.3 and nothing else.
    ///
    /// # Panics
    /// When one is not.
    pub fn assert_tls13(&self, addresses: &[IpAddr]) {
        let flows = self.between(addresses);
        assert!(!flows.is_empty(), "no connection between {addresses:?} carried anything");
        for flow in flows {
            if let Err(wrong) = flow.is_tls13() {
                panic!(
                    "{} → {}: {wrong}; it begins with {:?}",
                    flow.client,
                    flow.server,
                    String::from_utf8_lossy(flow.sent.get(..flow.sent.len().min(80)).unwrap_or_default())
                );
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing that could be lost.
            let _ = thread.join();
        }
    }
}

impl Half {
    fn add(&mut self, segment: &Segment<'_>) {
        if segment.syn {
            // A port that is used again begins anew.
            let first = segment.number.wrapping_add(1);
            if self.first != Some(first) {
                *self = Self { first: Some(first), ..Self::default() };
            }
        }
        let first = *self.first.get_or_insert(segment.number);
        if segment.payload.is_empty() || self.kept >= KEPT {
            return;
        }
        let piece = self.pieces.entry(segment.number.wrapping_sub(first)).or_default();
        if piece.len() < segment.payload.len() {
            self.kept += segment.payload.len() - piece.len();
            *piece = segment.payload.to_vec();
        }
    }

    /// From the first byte on, without gaps.
    fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (at, piece) in &self.pieces {
            let at = *at as usize;
            if at > all.len() {
                break;
            }
            all.extend_from_slice(piece.get(all.len() - at..).unwrap_or_default());
        }
        all
    }
}

impl Flow {
    /// Whether it is TLS 1.3 from the first byte on.
    ///
    /// # Errors
    /// What it is instead.
    pub fn is_tls13(&self) -> Result<(), String> {
        let sent = records(&self.sent)?;
        let answered = records(&self.answered)?;
        let mut said = sent.iter();
        match said.next() {
            Some((22, hello)) if hello.first() == Some(&1) => {}
            other => return Err(format!("no ClientHello but {other:?}")),
        }
        let mut heard = answered.iter();
        match heard.next() {
            // A client that went away while it was being answered has heard nothing.
            None => return Ok(()),
            Some((22, hello)) if hello.first() == Some(&2) => {
                if !has_tls13(hello) {
                    return Err("a ServerHello of an older version".into());
                }
            }
            other => return Err(format!("no ServerHello but {other:?}")),
        }
        // ChangeCipherSpec for compatibility, and protected records (RFC 8446 5, D.4).
        match said.chain(heard).find(|(kind, _)| ![20, 23].contains(kind)) {
            None => Ok(()),
            Some((kind, _)) => Err(format!("a record of type {kind} in the open")),
        }
    }
}

/// The records of a stream: type and content. The last one may be cut off.
fn records(mut bytes: &[u8]) -> Result<Vec<(u8, &[u8])>, String> {
    let mut found = Vec::new();
    while let Some(([kind, major, _, high, low], rest)) = bytes.split_first_chunk() {
        if !(20..=23).contains(kind) || *major != 3 {
            return Err("bytes that are no TLS".into());
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((content, rest)) = rest.split_at_checked(length) else {
            found.push((*kind, rest));
            break;
        };
        found.push((*kind, content));
        bytes = rest;
    }
    Ok(found)
}

/// Whether a ServerHello selects TLS 1.3: extension 43 with 0x0304 (RFC 8446 4.2.1).
fn has_tls13(hello: &[u8]) -> bool {
    hello.windows(6).any(|part| part == [0, 43, 0, 2, 3, 4])
}

/// A TCP segment.
struct Segment<'a> {
    from: SocketAddr,
    to: SocketAddr,
    number: u32,
    syn: bool,
    payload: &'a [u8],
}

/// Reads an Ethernet frame; none if it is no TCP, or a fragment.
fn parse(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(14..)?;
    let (from, to, tcp): (IpAddr, IpAddr, &[u8]) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 15) * 4;
            let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
            let address = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
            (*packet.get(9)? == 6).then_some(())?;
            (address(12)?, address(16)?, packet.get(header..length.min(packet.len()))?)
        }
        [0x86, 0xdd] => {
            let length = usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
            let address = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
            (*packet.get(6)? == 6).then_some(())?;
            (address(8)?, address(24)?, packet.get(40..(40 + length).min(packet.len()))?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    Some(Segment {
        from: (from, port(0)?).into(),
        to: (to, port(2)?).into(),
        number: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
        syn: tcp.get(13)? & 2 != 0,
        payload: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(sent: &[u8], answered: &[u8]) -> Flow {
        let at = |port| ([10, 0, 0, 1], port).into();
        Flow { client: at(40_000), server: at(80), sent: sent.to_vec(), answered: answered.to_vec() }
    }

    #[test]
    fn what_is_no_tls13_is_told() {
        let client = [22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 2, 9, 9];
        let server = [22, 3, 3, 0, 7, 2, 0, 43, 0, 2, 3, 4, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 7];
        assert_eq!(flow(&client, &server).is_tls13(), Ok(()));
        assert_eq!(flow(&client, b"").is_tls13(), Ok(()));
        for (sent, answered, wrong) in [
            (&b"GET / HTTP/1.1\r\n"[..], &b""[..], "no TLS"),
            (&client[..], &b"220 hello"[..], "no TLS"),
            (&client[..], &[22, 3, 3, 0, 2, 2, 0][..], "an older version"),
            (&[23, 3, 3, 0, 1, 1][..], &server[..], "no ClientHello"),
            (&[&client[..], &[21, 3, 3, 0, 2, 1, 0]].concat()[..], &server[..], "type 21"),
        ] {
            let told = flow(sent, answered).is_tls13();
            assert!(told.as_ref().is_err_and(|told| told.contains(wrong)), "{told:?}");
        }
    }

    #[test]
    fn a_direction_is_put_together_in_any_order() {
        let mut half = Half::default();
        let mut add = |number: u32, syn, payload: &[u8]| {
            let at = ([10, 0, 0, 1], 1).into();
            half.add(&Segment { from: at, to: at, number, syn, payload });
        };
        add(u32::MAX, true, b"");
        add(3, false, b"de");
        add(0, false, b"abc");
        add(0, false, b"abc");
        add(2, false, b"cdef");
        assert_eq!(half.bytes(), b"abcdef");
    }
}
