//! Content, chunked and not (RFC 9112 6, 7).

use super::{Peer, requests, responses};
use crate::h1::{Body, BodyError, Decoder, Event};
use crate::head::{Head, Method};
use crate::limits::Limits;

/// Decodes a chunked body that comes at once.
fn chunked(bytes: &[u8]) -> Result<(String, usize), BodyError> {
    let mut decoder = Decoder::new(Body::Chunked);
    let mut trailers = Head::default();
    let (mut at, mut data) = (0, String::new());
    loop {
        let step = decoder.decode(&bytes[at..], &mut trailers, &Limits::default())?;
        match step.event {
            Event::Data(range) => data.push_str(&String::from_utf8_lossy(range.of(&bytes[at..]))),
            Event::End => {
                for field in &trailers.fields {
                    let part =
                        |r: crate::head::Range| String::from_utf8_lossy(r.of(&bytes[at..])).into_owned();
                    data.push_str(&format!("|{}={}", part(field.name), part(field.value)));
                }
                return Ok((data, at + step.consumed));
            }
            Event::NeedMore => return Err(decoder.closed().unwrap_err()),
        }
        at += step.consumed;
    }
}

#[test]
fn rfc9112_7_1_chunks() {
    for (bytes, expected) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n00\r\n\r\n", "0123456789"),
        ("0a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0000000000000001\r\na\r\n0000000000000000\r\n\r\n", "a"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;a=b\r\nhello\r\n0;last\r\n\r\n", "hello"),
        ("5 ;a\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a=\"b;c \u{e4}\" \t;d\r\nhello\r\n0\r\n\r\n", "hello"),
        ("0\r\na: b\r\nC:d\r\n\r\n", "|a=b|C=d"),
        ("1\r\nx\r\n0\r\na:\r\n\r\n", "x|a="),
    ] {
        assert_eq!(chunked(bytes.as_bytes()), Ok((expected.to_owned(), bytes.len())), "{bytes:?}");
        let more = format!("{bytes}GET / HTTP/1.1");
        assert_eq!(
            chunked(more.as_bytes()),
            Ok((expected.to_owned(), bytes.len())),
            "no byte further: {bytes:?}"
        );
    }
}

#[test]
fn rfc9112_7_1_malformed_chunks() {
    for (bytes, expected) in [
        ("\r\n", BodyError::ChunkSize),
        (" 1\r\na\r\n", BodyError::ChunkSize),
        ("+1\r\na\r\n", BodyError::ChunkSize),
        ("-1\r\n", BodyError::ChunkSize),
        ("0x1\r\na\r\n", BodyError::ChunkSize),
        ("g\r\n", BodyError::ChunkSize),
        ("1_0\r\n", BodyError::ChunkSize),
        (";a\r\n", BodyError::ChunkSize),
        ("1 \r\na\r\n", BodyError::ChunkSize),
        ("1 2\r\n", BodyError::ChunkSize),
        ("1,\r\n", BodyError::ChunkSize),
        ("1\na\r\n", BodyError::ChunkEnd),
        ("1\r\ra\r\n", BodyError::ChunkEnd),
        ("1\rX\na\r\n", BodyError::ChunkEnd),
        ("1\r\na\n0\r\n\r\n", BodyError::ChunkEnd),
        ("1\r\nab\r\n0\r\n\r\n", BodyError::ChunkEnd),
        ("1\r\na\rX", BodyError::ChunkEnd),
        ("2\r\na\r\n0\r\n\r\n", BodyError::ChunkEnd),
        ("1;a\nb\r\n", BodyError::ChunkExtension),
        ("1;a\0\r\n", BodyError::ChunkExtension),
        ("1;a\x7f\r\n", BodyError::ChunkExtension),
        ("1;a\rb\r\n", BodyError::ChunkEnd),
        ("7fffffffffffffff1\r\n", BodyError::ChunkSizeOverflow),
        ("8000000000000000\r\n", BodyError::ChunkSizeOverflow),
        ("ffffffffffffffff\r\n", BodyError::ChunkSizeOverflow),
        ("10000000000000001\r\n", BodyError::ChunkSizeOverflow),
        ("00000000000000001\r\n", BodyError::ChunkSizeOverflow),
        ("1\r\na", BodyError::Truncated),
        ("1\r\na\r\n", BodyError::Truncated),
        ("1\r\na\r\n0\r\n", BodyError::Truncated),
        ("0\r\na: b\r\n", BodyError::Truncated),
    ] {
        assert_eq!(chunked(bytes.as_bytes()), Err(expected), "{bytes:?}");
    }
    for (section, fault) in
        [("a : b\r\n", "SpaceBeforeColon"), (" a: b\r\n", "Folded"), ("a: b\n\r\n", "LineEnding")]
    {
        let bytes = format!("0\r\n{section}\r\n");
        let got = chunked(bytes.as_bytes());
        assert!(
            matches!(got, Err(BodyError::Trailers(f)) if format!("{f:?}") == fault),
            "{section:?}: {got:?}"
        );
    }
}

#[test]
fn a_chunk_of_the_largest_size_is_no_reservation() {
    let mut decoder = Decoder::new(Body::Chunked);
    let bytes = b"7fffffffffffffff\r\nabc";
    let step = decoder.decode(bytes, &mut Head::default(), &Limits::default()).unwrap();
    assert_eq!((step.event, step.consumed), (Event::Data(crate::head::Range::new(18, 21)), 21));
}

#[test]
fn rfc9110_6_5_1_what_may_not_be_a_trailer_is_left_out() {
    let bytes = "0\r\ncontent-length: 5\r\nHost: x\r\nx-sum: 1\r\nTransfer-Encoding: chunked\r\ncontent-type: a\r\n\
        authorization: b\r\ngrpc-status: 0\r\nset-cookie: c\r\nl5d-client-id: d\r\n\r\n";
    assert_eq!(chunked(bytes.as_bytes()), Ok(("|x-sum=1|grpc-status=0".to_owned(), bytes.len())));
}

#[test]
fn chunk_extensions_are_bounded_over_the_whole_message() {
    let limit = Limits::default().http1.chunk_extension_bytes as usize;
    let one = |n: usize| format!("1;{}\r\na\r\n", "x".repeat(n - 1));
    let two = |n: usize| format!("{}{}0\r\n\r\n", one(n / 2), one(n - n / 2));
    assert!(chunked(two(limit).as_bytes()).is_ok());
    assert_eq!(chunked(two(limit + 1).as_bytes()), Err(BodyError::ChunkExtensionsTooLong));
    let many = "1;\r\na\r\n".repeat(limit + 1);
    assert_eq!(chunked(many.as_bytes()), Err(BodyError::ChunkExtensionsTooLong));
}

#[test]
fn trailers_are_bounded() {
    let limits = Limits::default();
    let section = |n: usize| format!("0\r\na: {}\r\n\r\n", "b".repeat(n - 7));
    let limit = limits.http1.trailer_bytes as usize;
    assert!(chunked(section(limit).as_bytes()).is_ok());
    let too_long = Err(BodyError::Trailers(crate::head::Malformed::HeadTooLong));
    assert_eq!(chunked(section(limit + 1).as_bytes()), too_long);
    let many = |n: u32| format!("0\r\n{}\r\n", "a: b\r\n".repeat(n as usize));
    assert!(chunked(many(limits.head.fields).as_bytes()).is_ok());
    let too_many = Err(BodyError::Trailers(crate::head::Malformed::TooManyFields));
    assert_eq!(chunked(many(limits.head.fields + 1).as_bytes()), too_many);
}

#[test]
fn rfc9112_6_2_lengths() {
    let mut decoder = Decoder::new(Body::Length(5));
    let (mut head, limits) = (Head::default(), Limits::default());
    assert_eq!(decoder.remaining(), Some(5));
    let step = decoder.decode(b"abc", &mut head, &limits).unwrap();
    assert_eq!((step.event, step.consumed), (Event::Data(crate::head::Range::new(0, 3)), 3));
    assert_eq!(decoder.decode(b"", &mut head, &limits).unwrap().event, Event::NeedMore);
    assert_eq!(decoder.clone().closed(), Err(BodyError::Truncated));
    let step = decoder.decode(b"deGET", &mut head, &limits).unwrap();
    assert_eq!((step.event, step.consumed), (Event::Data(crate::head::Range::new(0, 2)), 2));
    assert!(decoder.is_end());
    let step = decoder.decode(b"GET", &mut head, &limits).unwrap();
    assert_eq!((step.event, step.consumed), (Event::End, 0));
    assert_eq!(decoder.closed(), Ok(()));
}

#[test]
fn rfc9112_8_what_the_end_of_a_connection_means() {
    let get = [Method::Get];
    for (bytes, expected) in [
        ("HTTP/1.1 200 x\r\n\r\nabc", "Http11 200 [] UntilClose <abc>\n"),
        ("HTTP/1.1 200 x\r\n\r\n", "Http11 200 [] UntilClose <>\n"),
        (
            "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\nabc",
            "Http11 200 [content-length:4] Length(4) <abc> Truncated\n",
        ),
        (
            "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "Http11 200 [transfer-encoding:chunked] Chunked <abc> Truncated\n",
        ),
        ("HTTP/1.1 200 x\r\n", "partial\n"),
        ("H", "partial\n"),
        ("", ""),
    ] {
        assert_eq!(responses(&get, bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn rfc9112_9_3_2_pipelined_messages_are_read_one_at_a_time() {
    let bytes = "POST /1 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: h\r\n\r\n\
        POST /3 HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n\
        GET /4 HTTP/1.0\r\n\r\n";
    assert_eq!(
        requests(bytes.as_bytes()),
        "Http11 POST Origin h/1 [content-length:3] Length(3) <abc>\n\
         Http11 GET Origin h/2 [] None <>\n\
         Http11 POST Origin h/3 [transfer-encoding:chunked] Chunked <de> t:u\n\
         Http10 GET Origin /4 [] None <>\n"
    );
}

#[test]
fn rfc9110_15_2_interim_responses_come_before_the_final_one() {
    let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 204 x\r\n\r\n";
    assert_eq!(
        responses(&[Method::Head, Method::Get], bytes.as_bytes()),
        "Http11 100 [] None <>\nHttp11 103 [link:x] None <>\nHttp11 200 [content-length:9] None <>\n\
         Http11 204 [] None <>\n"
    );
}

#[test]
fn after_an_upgrade_everything_is_content() {
    let mut peer = Peer::client(&[Method::Get]);
    peer.feed(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n\x81\x05HTTP/1.1 200 OK\r\n\r\n");
    let seen = peer.closed();
    assert_eq!(
        seen, "Http11 101 [connection:upgrade upgrade:y] Tunnel <\\x81\\x05HTTP/1.1 200 OK\\r\\n\\r\\n>\n",
        "one message"
    );
}
