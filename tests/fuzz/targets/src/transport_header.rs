//! The transport header, beside prost: read as prost reads it, decided as early as can be, written so that it is read back.
//!
//! Input: a byte that says whether the preface and length are put in front, two for the split, then bytes.

use prost::Message;
use weft_net::transport_header::{
    MAX_NAME_LEN, MAX_TRANSPORT_HEADER_LEN, SessionProtocol, TransportHeader, TransportHeaderError, decode,
};

use crate::input::{Input, pieces};

const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";

/// The message, as the proxy API defines it.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int32, tag = "1")]
    port: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    protocol: Option<Protocol>,
}

#[derive(Clone, PartialEq, Message)]
struct Protocol {
    #[prost(oneof = "Kind", tags = "1, 2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Http1(Empty),
    #[prost(message, tag = "2")]
    Http2(Empty),
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (framed, how) = (input.u8() & 1 == 0, input.u16());
    if framed {
        let message = input.rest();
        let bytes = [PREFACE, &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        compare(message, &decode(&bytes));
        check(&bytes, how);
    } else {
        check(input.rest(), how);
    }
}

fn check(bytes: &[u8], how: u16) {
    let result = decode(bytes);
    let mut len = 0;
    for piece in pieces(bytes, how) {
        match decode(&bytes[..len]) {
            Ok(None) => assert!(len < MAX_TRANSPORT_HEADER_LEN, "waits beyond the bound"),
            early => {
                assert_eq!(early, result, "after {len} bytes");
                break;
            }
        }
        len += piece.len();
    }
    let Ok(Some((header, used))) = result else { return };
    assert!(used <= bytes.len().min(MAX_TRANSPORT_HEADER_LEN));
    assert_eq!(decode(&bytes[..used - 1]), Ok(None), "nothing more was looked at");
    assert!(header.name.as_ref().is_none_or(|name| (1..=MAX_NAME_LEN).contains(&name.len())));
    let mut written = Vec::new();
    header.encode(&mut written);
    assert_eq!(decode(&written), Ok(Some((header, written.len()))));
}

/// What prost makes of the same message.
fn compare(message: &[u8], ours: &Result<Option<(TransportHeader, usize)>, TransportHeaderError>) {
    let theirs = Header::decode(message);
    match (ours, theirs) {
        (Ok(Some((ours, _))), Ok(theirs)) => {
            assert_eq!(i32::from(ours.port.get()), theirs.port);
            assert_eq!(ours.name.as_deref().unwrap_or_default(), theirs.name);
            let kind = theirs.protocol.and_then(|p| p.kind).map(|kind| match kind {
                Kind::Http1(_) => SessionProtocol::Http1,
                Kind::Http2(_) => SessionProtocol::Http2,
            });
            assert_eq!(ours.protocol, kind);
        }
        (Err(TransportHeaderError::Port(port)), Ok(theirs)) => assert_eq!(*port, theirs.port),
        // Deprecated groups are skipped by prost; names have a bound of ours; what is in the empty messages is not looked at.
        (Err(TransportHeaderError::Malformed("wire type" | "name too long")), Ok(_)) => {}
        (Ok(Some(_)), Err(_)) | (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?}, but prost: {theirs:?}"),
    }
}

/// Headers, whole and not.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let protocol = |kind| Some(Protocol { kind: Some(kind) });
    let messages = [
        Header { port: 8080, name: String::new(), protocol: None },
        Header {
            port: 80,
            name: "web.default.svc.cluster.local".into(),
            protocol: protocol(Kind::Http2(Empty {})),
        },
        Header { port: 65_535, name: String::new(), protocol: protocol(Kind::Http1(Empty {})) },
        Header { port: -1, name: "a".repeat(256), protocol: None },
        Header { port: 65_536, name: String::new(), protocol: Some(Protocol { kind: None }) },
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        let message = message.encode_to_vec();
        seeds.push([&[0, 3, 0], &message[..]].concat());
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        seeds.push([&[1, 0, 0], PREFACE, &length, &message, b"GET / HTTP/1.1"].concat());
    }
    // Unknown fields of every wire type, and fields in another order.
    seeds.push(
        b"\x00\x01\x00\x20\x01\x29\0\0\0\0\0\0\0\0\x32\x02ab\x3d\0\0\0\0\x12\x01x\x08\x50\x08\x51".to_vec(),
    );
    seeds.push(b"\x00\x01\x00\x08\x50\x1a\x02\x0a\x00\x1a\x02\x12\x00\x1a\x00".to_vec());
    seeds.push([&[1, 2, 0], PREFACE, &[0, 1, 0, 0]].concat());
    seeds
}
