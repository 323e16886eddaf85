//! TLS connections that receive what was not sent to them: nothing but what the peer sent comes out, as a prefix; nobody is
//! taken for somebody else; a failed connection stays failed.
//!
//! Input: a byte for the kind of run, one of choices, two for the split; then garbage for one side, or acts on a pair, each a
//! byte and what it needs.

use std::io::IoSlice;

use weft_net::tls::{End, Identity, MAX_PENDING_CIPHERTEXT, Offer, TlsConn};

use crate::{
    input::{Input, pieces},
    pki::{CLIENT, PKI, SERVER},
};

/// The most acts of an input: each costs a record or so.
const ACTS: usize = 60;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(4);
    let choices = input.u8();
    let how = input.u16();
    match kind {
        0 => {
            let (whole, split) = (server(choices), server(choices));
            garbage(whole, split, input.rest(), how);
        }
        1 => garbage(client(&PKI.client), client(&PKI.client), input.rest(), how),
        2 => pair(choices, input, how),
        _ => handshake(choices, input, how),
    }
}

fn offer(choices: u8) -> Offer {
    if choices & 1 == 0 { Offer::Plain } else { Offer::Tagged }
}

fn server(choices: u8) -> TlsConn {
    TlsConn::server(&PKI.server, offer(choices)).expect("a server")
}

fn client(identity: &Identity) -> TlsConn {
    let target = identity.target(SERVER.parse().unwrap(), &SERVER.parse().unwrap(), Offer::Tagged);
    TlsConn::client(&target.expect("a target")).expect("a client")
}

/// One side is sent anything: it fails in the same way whatever the split, and says nothing that anybody sent.
fn garbage(mut whole: TlsConn, mut split: TlsConn, bytes: &[u8], how: u16) {
    let first = receive(&mut whole, &[bytes]);
    let second = receive(&mut split, &pieces(bytes, how));
    assert_eq!(first, second);
}

/// How receiving ends.
fn receive(conn: &mut TlsConn, pieces: &[&[u8]]) -> Option<&'static str> {
    let mut plain = Vec::new();
    let mut failed = None;
    for piece in pieces {
        match conn.receive(piece, &mut plain) {
            Ok(received) => assert!(!received.established, "nobody makes a handshake up"),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = Some(error.failure().as_str());
                assert!(conn.receive(b"\x17\x03\x03\0\x01\0", &mut plain).is_err(), "a failure stays");
                break;
            }
        }
    }
    assert!(plain.is_empty() && conn.peer().is_none() && conn.is_handshaking());
    assert_eq!(conn.send(&[IoSlice::new(b"x")]).unwrap_or(0), 0, "nothing is sent in the handshake");
    assert!(conn.transport_ended().is_err());
    let mut out = Vec::new();
    conn.take_ciphertext(&mut out);
    assert!(out.len() <= MAX_PENDING_CIPHERTEXT && !conn.wants_write());
    failed
}

/// One direction of a pair.
#[derive(Default)]
struct Way {
    /// What was sent, and received.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Ciphertext under way.
    wire: Vec<u8>,
    /// It was changed, or some is missing.
    changed: bool,
    failed: bool,
    /// The sender said that it is done.
    closed: bool,
}

/// Two that have met, with somebody between them.
fn pair(choices: u8, mut input: Input<'_>, how: u16) {
    let (mut client, mut server) = (client(&PKI.client), server(choices));
    let mut ways = [Way::default(), Way::default()];
    for _ in 0..3 {
        for (at, way) in ways.iter_mut().enumerate() {
            let (from, to) = if at == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            from.take_ciphertext(&mut way.wire);
            deliver(way, to, usize::MAX, how);
        }
    }
    assert_eq!(client.peer().map(|p| p.as_str()), Some(SERVER));
    assert_eq!(server.require_peer().expect("a client").as_str(), CLIENT);
    assert_eq!((client.is_tagged(), server.is_tagged()), (choices & 1 == 1, choices & 1 == 1));
    for n in 0..ACTS {
        if input.is_empty() {
            break;
        }
        let (act, value) = (input.u8(), input.u16());
        let at = usize::from(act >> 7);
        let (from, to) = if at == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let way = &mut ways[at];
        let place = usize::from(value).checked_rem(way.wire.len()).unwrap_or(0);
        match act & 15 {
            0..=3 if !way.closed => {
                let bytes = vec![n as u8; usize::from(value) << (act >> 4 & 3)];
                if let Ok(sent) = from.send(&[IoSlice::new(&bytes)]) {
                    way.sent.extend_from_slice(&bytes[..sent]);
                }
                from.take_ciphertext(&mut way.wire);
            }
            4 => {
                from.close();
                way.closed = true;
                from.take_ciphertext(&mut way.wire);
            }
            5 => {
                if let Some(byte) = way.wire.get_mut(place) {
                    *byte ^= 1 << (act >> 4 & 7);
                    // Three bytes of a record are not looked at when it is decrypted.
                    way.changed = true;
                }
            }
            6 => {
                way.changed |= place < way.wire.len();
                way.wire.truncate(place);
            }
            7 => {
                let more = input.short();
                way.changed |= !more.is_empty();
                way.wire.splice(place..place, more.iter().copied());
            }
            8 if way.wire.len() < MAX_PENDING_CIPHERTEXT => {
                // Said twice.
                let again = way.wire.clone();
                way.changed |= !again.is_empty();
                way.wire.extend(again);
            }
            _ => deliver(way, to, usize::from(value), how),
        }
        // Who fails says so, which the other side then fails of.
        let failed = ways[at].failed;
        ways[1 - at].changed |= failed;
    }
    for (at, way) in ways.iter_mut().enumerate() {
        let to = if at == 0 { &mut server } else { &mut client };
        deliver(way, to, usize::MAX, how);
        if !way.changed {
            assert!(!way.failed && way.received == way.sent, "all of it arrives");
            let end = if way.closed { End::Clean } else { End::Truncated };
            assert_eq!(to.transport_ended().ok(), Some(end));
        }
    }
}

/// Delivers some of what is under way.
fn deliver(way: &mut Way, to: &mut TlsConn, most: usize, how: u16) {
    let bytes: Vec<u8> = way.wire.drain(..most.min(way.wire.len())).collect();
    for piece in pieces(&bytes, how | 1) {
        let result = to.receive(piece, &mut way.received);
        if way.failed {
            assert!(result.is_err(), "a failure stays");
        }
        way.failed |= result.is_err();
        if let Ok(received) = result
            && received.closed
        {
            assert!(way.closed, "only the peer says that it is done");
        }
    }
    assert!(way.failed <= way.changed, "what was not changed is understood");
    assert!(way.sent.starts_with(&way.received), "nothing but what was sent comes out");
}

/// A handshake with somebody between, or with a stranger: whoever is met is who it should be.
fn handshake(choices: u8, mut input: Input<'_>, how: u16) {
    let stranger = choices & 2 != 0;
    let mut client = client(if stranger { &PKI.stranger } else { &PKI.client });
    let mut server = server(choices);
    let (mut plain, mut failed) = ([Vec::new(), Vec::new()], [false; 2]);
    for flight in 0..4 {
        let at = flight % 2;
        let (from, to) = if at == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let mut wire = Vec::new();
        from.take_ciphertext(&mut wire);
        for _ in 0..input.below(3) {
            let place = usize::from(input.u16()).checked_rem(wire.len()).unwrap_or(0);
            let (act, value) = (input.u8(), input.u8());
            match act & 3 {
                0 => wire.truncate(place),
                1 => drop(wire.splice(place..place, input.short().iter().copied())),
                _ => {
                    if let Some(byte) = wire.get_mut(place) {
                        *byte ^= value;
                    }
                }
            }
        }
        for piece in pieces(&wire, how | 1) {
            failed[at] |= to.receive(piece, &mut plain[at]).is_err();
        }
    }
    assert!(plain.iter().all(Vec::is_empty), "nobody has said anything");
    if let Some(peer) = client.peer() {
        assert_eq!(peer.as_str(), SERVER);
    }
    if let Some(peer) = server.peer() {
        assert!(!stranger, "a stranger is nobody");
        assert_eq!(peer.as_str(), CLIENT);
    }
    assert!(!stranger || server.is_handshaking() || server.peer().is_none());
}

/// Beginnings of handshakes, and acts.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut hello = Vec::new();
    client(&PKI.client).take_ciphertext(&mut hello);
    let alert = b"\x15\x03\x03\x00\x02\x02\x28";
    let mut seeds = vec![
        [&[0, 0, 3, 0], &hello[..]].concat(),
        [&[0, 1, 0, 0], &hello[..], b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x05hello"].concat(),
        [&[0, 0, 3, 0], &alert[..]].concat(),
        [&[1, 0, 3, 0], &alert[..]].concat(),
        [&[0, 0, 1, 0], &b"GET / HTTP/1.1\r\n\r\n"[..]].concat(),
        [
            &[1, 0, 1, 0],
            &b"\x16\x03\x03\x00\x2e\x02\x00\x00\x2a\x03\x03"[..],
            &[7; 32],
            &[0, 0x13, 1, 0, 0, 0],
        ]
        .concat(),
    ];
    // Both ways, much of it, in pieces, and a clean end.
    seeds.push(vec![
        2, 1, 1, 0, 0, 100, 0, 15, 50, 0, 0x80, 0, 200, 0xb1, 0, 255, 0x8f, 255, 255, 4, 0, 0, 15, 255, 255,
        0x84, 0, 0,
    ]);
    // A bit changed, bytes put in, the end cut, something twice.
    seeds.push(vec![2, 0, 5, 0, 1, 0, 1, 5, 40, 0, 15, 255, 255]);
    seeds.push(vec![2, 0, 5, 0, 1, 0, 1, 7, 0, 0, 4, b'a', b'b', b'c', b'd', 15, 255, 255]);
    seeds.push(vec![2, 0, 5, 0, 1, 0, 1, 6, 9, 0, 15, 255, 255, 1, 1, 1]);
    seeds.push(vec![2, 0, 5, 0, 1, 0, 1, 8, 9, 0, 15, 255, 255, 1, 1, 1]);
    seeds.push(vec![3, 0, 1, 0]);
    seeds.push(vec![3, 3, 1, 0]);
    seeds.push(vec![3, 1, 1, 0, 1, 60, 0, 2, 1, 1, 200, 0, 2, 255, 1, 4, 0, 0, 9]);
    seeds
}
