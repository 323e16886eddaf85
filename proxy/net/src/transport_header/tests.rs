use proptest::prelude::*;

use super::*;

fn header(port: u16, name: Option<&str>, protocol: Option<SessionProtocol>) -> TransportHeader {
    TransportHeader { port: NonZeroU16::new(port).unwrap(), name: name.map(Box::from), protocol }
}

fn encoded(header: &TransportHeader) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    out
}

/// The preface and length around a message.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// The bytes that prost writes for these messages.
#[test]
fn known_messages() {
    let cases: &[(TransportHeader, &[u8])] = &[
        (header(8080, None, None), b"\x08\x90\x3f"),
        (header(1, None, Some(SessionProtocol::Http1)), b"\x08\x01\x1a\x02\x0a\x00"),
        (header(65535, None, Some(SessionProtocol::Http2)), b"\x08\xff\xff\x03\x1a\x02\x12\x00"),
        (header(80, Some("web.ns.svc.cluster.local"), None), b"\x08\x50\x12\x18web.ns.svc.cluster.local"),
    ];
    for (header, message) in cases {
        let bytes = encoded(header);
        assert_eq!(bytes, framed(message), "{header:?}");
        assert_eq!(decode(&bytes), Ok(Some((header.clone(), bytes.len()))));
    }
}

#[test]
fn only_the_header_is_taken() {
    let header = header(80, None, Some(SessionProtocol::Http1));
    let mut bytes = encoded(&header);
    let len = bytes.len();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(decode(&bytes), Ok(Some((header, len))));
}

/// What other writers may send: any order, unknown fields, repetitions, an empty name.
#[test]
fn lenient_where_protobuf_is() {
    let cases: &[(&[u8], TransportHeader)] = &[
        (b"\x12\x01a\x08\x50", header(80, Some("a"), None)),
        (b"\x08\x50\x12\x00", header(80, None, None)),
        (b"\x08\x01\x08\x50", header(80, None, None)),
        // unknown: varint 4, fixed64 5, bytes 6, fixed32 7
        (
            b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x29\x01\x02\x03\x04\x05\x06\x07\x08\x32\x02zz\x3d\x01\x02\x03\x04\x08\x50",
            header(80, None, None),
        ),
        // the session protocol's kind: unknown is none, the last one wins, two messages merge
        (b"\x08\x50\x1a\x02\x1a\x00", header(80, None, None)),
        (b"\x08\x50\x1a\x04\x0a\x00\x12\x00", header(80, None, Some(SessionProtocol::Http2))),
        (b"\x08\x50\x1a\x02\x0a\x00\x1a\x00", header(80, None, Some(SessionProtocol::Http1))),
        // a field inside the empty messages
        (b"\x08\x50\x1a\x04\x0a\x02\x08\x01", header(80, None, Some(SessionProtocol::Http1))),
    ];
    for (message, expected) in cases {
        let bytes = framed(message);
        assert_eq!(decode(&bytes), Ok(Some((expected.clone(), bytes.len()))), "{message:?}");
    }
}

#[test]
fn refused() {
    use TransportHeaderError::{Malformed, Port, Preface, TooLong};
    let negative = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let long_name = [b"\x08\x50\x12\x80\x02".as_slice(), &[b'a'; 256]].concat();
    let cases: &[(Vec<u8>, TransportHeaderError)] = &[
        (b"GET / HTTP/1.1\r\n".to_vec(), Preface),
        (b"transport.l5d.io/v2".to_vec(), Preface),
        (b"transport.l5d.io/v1\n".to_vec(), Preface),
        ([PREFACE, &[0xff; 4]].concat(), TooLong(0xffff_ffff + 27)),
        ([PREFACE, &[0, 0, 0xff, 0xe6]].concat(), TooLong(64 * 1024 + 1)),
        (framed(b""), Port(0)),
        (framed(b"\x08\x00"), Port(0)),
        (framed(b"\x08\x80\x80\x04"), Port(65536)),
        (framed(negative), Port(-1)),
        (framed(b"\x08"), Malformed("number cut short")),
        (framed(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Malformed("number too long")),
        (framed(b"\x12\x05ab"), Malformed("length passes the end")),
        (framed(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Malformed("length passes the end")),
        (framed(b"\x08\x50\x12\x01\xff"), Malformed("name is not UTF-8")),
        (framed(&long_name), Malformed("name too long")),
        (framed(b"\x0a\x01\x50"), Malformed("wire type of a field")),
        (framed(b"\x08\x50\x1a\x02\x08\x01"), Malformed("wire type of a session protocol")),
        (framed(b"\x00\x01"), Malformed("field number")),
        (framed(b"\x0b\x0c"), Malformed("wire type")),
        (framed(b"\x29\x01"), Malformed("length passes the end")),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(bytes).as_ref(), Err(expected), "{bytes:?}");
    }
}

#[test]
fn the_longest_header_is_taken() {
    // Unknown field 15 fills it.
    let len = MAX_TRANSPORT_HEADER_LEN - PREFACE.len() - 4;
    let mut message = b"\x08\x50".to_vec();
    let filler = len - message.len() - 4;
    wire::put_bytes(&mut message, 15, &vec![0; filler]);
    assert_eq!(message.len(), len);
    let bytes = framed(&message);
    assert_eq!(decode(&bytes), Ok(Some((header(80, None, None), MAX_TRANSPORT_HEADER_LEN))));
}

fn any_header() -> impl Strategy<Value = TransportHeader> {
    let protocol = prop_oneof![Just(SessionProtocol::Http1), Just(SessionProtocol::Http2)];
    (1_u16.., proptest::option::of("[a-z0-9.-]{1,255}"), proptest::option::of(protocol))
        .prop_map(|(port, name, protocol)| header(port, name.as_deref(), protocol))
}

proptest! {
    #[test]
    fn round_trip_from_any_split(header in any_header()) {
        let bytes = encoded(&header);
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len]), Ok(None));
        }
        prop_assert_eq!(decode(&bytes), Ok(Some((header, bytes.len()))));
    }

    /// Whatever a message is made of, reading it ends in a value or an error, and the value survives being written.
    #[test]
    fn any_message_is_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(Some((header, len))) = decode(&framed(&message)) {
            prop_assert_eq!(len, PREFACE.len() + 4 + message.len());
            let again = encoded(&header);
            prop_assert_eq!(decode(&again), Ok(Some((header, again.len()))));
        }
    }

    /// An error is given as early as it is certain, and stays.
    #[test]
    fn errors_stay(header in any_header(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encoded(&header);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let last = decode(&bytes);
        for len in 0..bytes.len() {
            let verdict = decode(&bytes[..len]);
            prop_assert!(verdict == Ok(None) || verdict == last, "{:?} then {:?}", verdict, last);
        }
    }
}
