//! A corpus of request and response smuggling: bytes, and the one reading that is allowed.
//!
//! The reading is what [`brief`] makes of it: `METHOD authority/path <content> trailers` for each message, joined by
//! `|`, and the fault that ends the connection. A case that is not refused shows that nothing is left of the trick:
//! the messages are those that every conforming recipient sees.

use super::{brief, requests, responses};
use crate::head::Method;

/// In a request with content that would be read in different ways.
const BOTH: &str = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
/// Content for those: as chunks it is empty and a second request follows.
const TAIL: &str = "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: h\r\n\r\n";

fn post(lines: &str, content: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: h\r\n{lines}\r\n{content}")
}

#[test]
fn lengths_and_transfer_encodings_that_contradict() {
    let cases: &[(&str, &str)] = &[
        ("content-length: 4\r\ntransfer-encoding: chunked\r\n", "LengthAndTransferEncoding"),
        ("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "LengthAndTransferEncoding"),
        ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", "LengthAndTransferEncoding"),
        ("Transfer-Encoding: Chunked\r\nContent-Length: 4\r\n", "LengthAndTransferEncoding"),
        (
            "connection: content-length\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
            "LengthAndTransferEncoding",
        ),
        (
            "connection: transfer-encoding\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
            "LengthAndTransferEncoding",
        ),
        ("content-length: 4\r\ncontent-length: 4\r\n", "ContentLengthRepeated"),
        ("content-length: 4\r\ncontent-length: 5\r\n", "ContentLengthRepeated"),
        ("content-length: 4\r\nx: y\r\nContent-Length: 0\r\n", "ContentLengthRepeated"),
        ("content-length: 4, 4\r\n", "ContentLength"),
        ("content-length: 4,5\r\n", "ContentLength"),
        ("content-length: 4,\r\n", "ContentLength"),
        ("content-length:\r\n", "ContentLength"),
        ("content-length: +4\r\n", "ContentLength"),
        ("content-length: -4\r\n", "ContentLength"),
        ("content-length: 0x4\r\n", "ContentLength"),
        ("content-length: 4.0\r\n", "ContentLength"),
        ("content-length: 4e1\r\n", "ContentLength"),
        ("content-length: 1 2\r\n", "ContentLength"),
        ("content-length: \"4\"\r\n", "ContentLength"),
        ("content-length: 4;\r\n", "ContentLength"),
        ("content-length: \u{661}\r\n", "ContentLength"),
        ("content-length: 18446744073709551620\r\n", "ContentLength"),
        ("content-length: 9223372036854775808\r\n", "ContentLength"),
        ("content-length: 99999999999999999999999999999\r\n", "ContentLength"),
        ("content-length : 4\r\n", "SpaceBeforeColon"),
        ("content-length\t: 4\r\n", "SpaceBeforeColon"),
        ("content-length: 4\0\r\n", "FieldValue"),
        ("content-length: 4\x0b\r\n", "FieldValue"),
        ("content-length: \x0c4\r\n", "FieldValue"),
        ("\u{a0}content-length: 4\r\n", "FieldName"),
        ("content-length\0: 4\r\n", "FieldName"),
    ];
    for (lines, expected) in cases {
        assert_eq!(brief(&requests(post(lines, TAIL).as_bytes())), *expected, "{lines:?}");
    }
}

#[test]
fn transfer_encodings_dressed_up() {
    let cases: &[(&str, &str)] = &[
        ("transfer-encoding: xchunked\r\n", "TransferEncoding"),
        ("transfer-encoding: chunkedx\r\n", "TransferEncoding"),
        ("transfer-encoding: chunk\r\n", "TransferEncoding"),
        ("transfer-encoding: identity\r\n", "TransferEncoding"),
        ("transfer-encoding:\r\n", "TransferEncoding"),
        ("transfer-encoding: ,chunked\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked,\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked, identity\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked, gzip\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked, chunked\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked chunked\r\n", "TransferEncoding"),
        ("transfer-encoding: chunked;q=1\r\n", "TransferEncoding"),
        ("transfer-encoding: 'chunked'\r\n", "TransferEncoding"),
        ("transfer-encoding: \"chunked\"\r\n", "TransferEncoding"),
        ("transfer-encoding: (x) chunked\r\n", "TransferEncoding"),
        ("transfer-encoding: ch\u{fc}nked\r\n", "TransferEncoding"),
        ("transfer-encoding: chun\u{212a}ed\r\n", "TransferEncoding"),
        ("transfer-encoding: gzip\r\n", "TransferEncoding"),
        ("transfer-encoding: gzip, chunked\r\n", "TransferCoding"),
        ("transfer-encoding: identity, chunked\r\n", "TransferCoding"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "TransferEncodingRepeated"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "TransferEncodingRepeated"),
        ("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", "TransferEncoding"),
        ("transfer-encoding: \x0bchunked\r\n", "FieldValue"),
        ("transfer-encoding: chunked\x0c\r\n", "FieldValue"),
        ("transfer-encoding: chunked\0\r\n", "FieldValue"),
        ("transfer-encoding: \x00chunked\r\n", "FieldValue"),
        ("transfer-encoding: chunked\x7f\r\n", "FieldValue"),
        ("transfer-encoding : chunked\r\n", "SpaceBeforeColon"),
        ("transfer-encoding\t: chunked\r\n", "SpaceBeforeColon"),
        ("transfer-encoding\r\n: chunked\r\n", "FieldName"),
        ("transfer-encoding\n : chunked\r\n", "FieldName"),
        ("transfer-encoding:\n chunked\r\n", "LineEnding"),
        ("transfer-encoding:\r\n chunked\r\n", "Folded"),
        ("transfer-encoding:\r chunked\r\n", "LineEnding"),
        ("x: y\r\n transfer-encoding: chunked\r\n", "Folded"),
        ("x: y\r\n\ttransfer-encoding: chunked\r\n", "Folded"),
        ("x: y\ntransfer-encoding: chunked\r\n", "LineEnding"),
        ("x: y\rtransfer-encoding: chunked\r\n", "LineEnding"),
        ("x: y\r\rtransfer-encoding: chunked\r\n", "LineEnding"),
        ("x: y\n\rtransfer-encoding: chunked\r\n", "LineEnding"),
        ("x: y\r\n\rtransfer-encoding: chunked\r\n", "LineEnding"),
        ("x:y\r\n\0transfer-encoding: chunked\r\n", "FieldName"),
        ("\u{feff}transfer-encoding: chunked\r\n", "FieldName"),
        ("(transfer-encoding): chunked\r\n", "FieldName"),
        ("transfer encoding: chunked\r\n", "FieldName"),
        ("@transfer-encoding: chunked\r\n", "FieldName"),
    ];
    for (lines, expected) in cases {
        assert_eq!(brief(&requests(post(lines, TAIL).as_bytes())), *expected, "{lines:?}");
        let with_length = format!("{lines}content-length: 4\r\n");
        let seen = brief(&requests(post(&with_length, TAIL).as_bytes()));
        assert!(!seen.contains('<'), "refused beside a length too: {lines:?}: {seen}");
    }
}

#[test]
fn what_is_not_a_framing_field_does_not_frame() {
    let evil = "POST h/ <> | GET h/evil <>";
    let cases: &[(&str, &str, &str)] = &[
        // Names that some servers take for one another.
        ("transfer_encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n", "POST h/ <0\\r\\n\\r\\n>"),
        ("content_length: 40\r\ncontent-length: 5\r\n", "0\r\n\r\n", "POST h/ <0\\r\\n\\r\\n>"),
        ("x-transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n", "POST h/ <0\\r\\n\\r\\n>"),
        ("te: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n", "POST h/ <0\\r\\n\\r\\n>"),
        ("content-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n", "POST h/ <0\\r\\n\\r\\n>"),
        (
            "upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 5\r\n",
            "0\r\n\r\n",
            "POST h/ <0\\r\\n\\r\\n>",
        ),
        // Spellings that are right.
        ("transfer-encoding:chunked\r\n", TAIL, evil),
        ("transfer-encoding: \t chunked \t\r\n", TAIL, evil),
        ("TRANSFER-ENCODING: CHUNKED\r\n", TAIL, evil),
        ("content-length:5\r\n", TAIL, "POST h/ <0\\r\\n\\r\\n> | GET h/evil <>"),
        ("content-length: 0005 \r\n", TAIL, "POST h/ <0\\r\\n\\r\\n> | GET h/evil <>"),
        // Nothing said: no content, what follows is the next request.
        ("", TAIL, "POST h/ <> | StartLine"),
        ("content-length: 0\r\n", "GET /b HTTP/1.1\r\nhost: h\r\n\r\n", "POST h/ <> | GET h/b <>"),
        ("expect: 100-continue\r\ncontent-length: 5\r\n", TAIL, "POST h/ <0\\r\\n\\r\\n> | GET h/evil <>"),
    ];
    for (lines, content, expected) in cases {
        assert_eq!(brief(&requests(post(lines, content).as_bytes())), *expected, "{lines:?}");
    }
}

#[test]
fn chunks_dressed_up() {
    let chunked = "transfer-encoding: chunked\r\n";
    let cases: &[(&str, &str)] = &[
        ("0\r\n\r\n", "POST h/ <>"),
        ("5\r\nhello\r\n0\r\n\r\nGET /x HTTP/1.1\r\nhost: h\r\n\r\n", "POST h/ <hello> | GET h/x <>"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("+5\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("-1\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        (" 5\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("5 \r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("5\t\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("\r\n5\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("5\0\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("5,\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("\u{ff15}\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSize"),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSizeOverflow"),
        ("100000005\r\nhello", "POST h/ <hello> Truncated"),
        ("fffffffffffffffb\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkSizeOverflow"),
        ("5\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkEnd"),
        ("5\rXhello\r\n0\r\n\r\n", "POST h/ <> ChunkEnd"),
        ("5\r\rhello\r\n0\r\n\r\n", "POST h/ <> ChunkEnd"),
        ("5;x\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkExtension"),
        ("5;x\ry\r\nhello\r\n0\r\n\r\n", "POST h/ <> ChunkEnd"),
        (
            "5;\"x\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\"\r\nhello\r\n0\r\n\r\n",
            "POST h/ <0\\r\\n\\r\\n> ChunkEnd",
        ),
        ("5\r\nhelloX\r\n0\r\n\r\n", "POST h/ <hello> ChunkEnd"),
        ("5\r\nhello\n0\r\n\r\n", "POST h/ <hello> ChunkEnd"),
        ("5\r\nhello\rX0\r\n\r\n", "POST h/ <hello> ChunkEnd"),
        ("5\r\nhello0\r\n\r\n", "POST h/ <hello> ChunkEnd"),
        ("5\r\nhell\r\n0\r\n\r\n", "POST h/ <hell\\r> ChunkEnd"),
        ("5\r\nhello\r\n0\n\r\n", "POST h/ <hello> ChunkEnd"),
        ("5\r\nhello\r\n0\r\n\n", "POST h/ <hello> Trailers(LineEnding)"),
        ("5\r\nhello\r\n0\r\n\rX", "POST h/ <hello> Truncated"),
        ("5\r\nhello\r\n0\r\nx y: z\r\n\r\n", "POST h/ <hello> Trailers(FieldName)"),
        ("0\r\nGET /evil HTTP/1.1\r\nhost: h\r\n\r\n", "POST h/ <> Trailers(FieldName)"),
        ("0\r\n x: y\r\n\r\n", "POST h/ <> Trailers(Folded)"),
        ("0\r\nx: y\nz: a\r\n\r\n", "POST h/ <> Trailers(LineEnding)"),
        (
            "0\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\nx: y\r\n\r\nhello",
            "POST h/ <> x:y | partial",
        ),
        ("0\r\nhost: evil\r\n\r\nGET /b HTTP/1.1\r\nhost: h\r\n\r\n", "POST h/ <> | GET h/b <>"),
    ];
    for (content, expected) in cases {
        assert_eq!(brief(&requests(post(chunked, content).as_bytes())), *expected, "{content:?}");
    }
}

#[test]
fn request_lines_targets_and_hosts_dressed_up() {
    let cases: &[(&str, &str)] = &[
        ("GET /a HTTP/1.1\r\nhost: h\r\n\r\n\r\n", "GET h/a <> | partial"),
        ("GET /a HTTP/1.1\nhost: h\n\n", "LineEnding"),
        ("GET /a HTTP/1.1\r\nhost: h\n\r\n", "LineEnding"),
        ("GET /a HTTP/1.1\r\nhost: h\r\n\n", "LineEnding"),
        ("GET /a HTTP/1.1\rhost: h\r\n\r\n", "LineEnding"),
        ("GET /a HTTP/1.1\r\n\rhost: h\r\n\r\n", "LineEnding"),
        ("GET /a\r\nhost: h\r\n\r\n", "StartLine"),
        ("GET /a HTTP/1.1 x\r\nhost: h\r\n\r\n", "StartLine"),
        ("GET /a HTTP/1.1\thost: h\r\n\r\n", "StartLine"),
        ("GET /a\u{b}HTTP/1.1\r\nhost: h\r\n\r\n", "Target"),
        ("GET /a b HTTP/1.1\r\nhost: h\r\n\r\n", "StartLine"),
        ("GET /a HTTP/1.1 HTTP/1.0\r\nhost: h\r\n\r\n", "StartLine"),
        ("GET\u{a0}/a HTTP/1.1\r\nhost: h\r\n\r\n", "Method"),
        ("GET /a\0 HTTP/1.1\r\nhost: h\r\n\r\n", "Target"),
        ("GET /a# HTTP/1.1\r\nhost: h\r\n\r\n", "Target"),
        ("GET /a HTTP/1.1\r\nhost: h\r\nhost: evil\r\n\r\n", "HostRepeated"),
        ("GET /a HTTP/1.1\r\nhost : h\r\n\r\n", "SpaceBeforeColon"),
        ("GET /a HTTP/1.1\r\nhost: h\r\n host: evil\r\n\r\n", "Folded"),
        ("GET /a HTTP/1.1\r\nhost: h@evil\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: h/evil\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: h:80@evil\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: h evil\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: h?x\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: h\\evil\r\n\r\n", "Authority"),
        ("GET /a HTTP/1.1\r\nhost: [::1\r\n\r\n", "Authority"),
        ("GET http://h/a HTTP/1.1\r\nhost: evil\r\n\r\n", "GET Absolute h/a <>"),
        ("GET http://h@evil/a HTTP/1.1\r\nhost: h\r\n\r\n", "Target"),
        ("GET http://h\\@evil/a HTTP/1.1\r\nhost: h\r\n\r\n", "Target"),
        ("GET h:80 HTTP/1.1\r\nhost: h\r\n\r\n", "TargetForm"),
        ("GET @evil/ HTTP/1.1\r\nhost: h\r\n\r\n", "TargetForm"),
        ("GET * HTTP/1.1\r\nhost: h\r\n\r\n", "TargetForm"),
        ("CONNECT /a HTTP/1.1\r\nhost: h\r\n\r\n", "TargetForm"),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nabcd", "ConnectContent"),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "ConnectContent"),
        ("GET /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "TransferEncodingVersion"),
        (
            "GET /a HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n",
            "TransferEncodingVersion",
        ),
        ("GET /a HTTP/1.10\r\nhost: h\r\n\r\n", "StartLine"),
        ("GET /a HTTP/2.0\r\nhost: h\r\n\r\n", "Version"),
        ("GET /a HTTP/0.9\r\nhost: h\r\n\r\n", "Version"),
        ("GET /a hTTP/1.1\r\nhost: h\r\n\r\n", "StartLine"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Version"),
        ("{\"x\": 1}\r\n\r\n", "Method"),
        ("\x16\x03\x01\x02\x00\x01\n", "Method"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(brief(&requests(bytes.as_bytes())), *expected, "{bytes:?}");
    }
}

#[test]
fn content_where_there_is_none() {
    let cases: &[(&str, &str)] = &[
        // GET with content: read as content, not as the next request.
        (
            "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 25\r\n\r\nGET /evil HTTP/1.1\r\nx: y\n",
            "GET h/ <GET /evil HTTP/1.1\\r\\nx: y\\n>",
        ),
        (
            "HEAD / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "HEAD h/ <x>",
        ),
        ("TRACE / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx", "TRACE h/ <x>"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(brief(&requests(bytes.as_bytes())), *expected, "{bytes:?}");
    }
}

#[test]
fn responses_dressed_up() {
    use Method::{Get, Head};
    let cases: &[(&[Method], &str, &str)] = &[
        (
            &[Get],
            "200 x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            "LengthAndTransferEncoding",
        ),
        (&[Get], "200 x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n", "ContentLengthRepeated"),
        (&[Get], "200 x\r\ncontent-length: 4, 5\r\n\r\n", "ContentLength"),
        (&[Get], "200 x\r\ncontent-length: -1\r\n\r\n", "ContentLength"),
        (&[Get], "200 x\r\ntransfer-encoding: gzip\r\n\r\n", "TransferEncoding"),
        (&[Get], "200 x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "TransferCoding"),
        (&[Get], "200 x\r\ntransfer-encoding: chunked, chunked\r\n\r\n", "TransferEncoding"),
        (
            &[Get],
            "200 x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "TransferEncodingRepeated",
        ),
        (&[Get], "200 x\r\nset-cookie: a\r\n b\r\n\r\n", "Folded"),
        (&[Get], "200 x\r\nset-cookie : a\r\n\r\n", "SpaceBeforeColon"),
        (&[Get], "200 x\r\nset-cookie: a\nb: c\r\n\r\n", "LineEnding"),
        (&[Get], "200 x\r\nset-cookie: a\rb\r\n\r\n", "LineEnding"),
        (&[Get], "200 x\r\nset-cookie: a\0b\r\n\r\n", "FieldValue"),
        (&[Get], "200 x\rset-cookie: a\r\n\r\n", "LineEnding"),
        (&[Get], "200 x\nset-cookie: a\r\n\r\n", "LineEnding"),
        (&[Get], "200 x\r\nno colon\r\n\r\n", "FieldName"),
        (&[Get], "2000 x\r\n\r\n", "Status"),
        // A response to HEAD has no content whatever it says; what follows is the next response.
        (
            &[Head, Get],
            "200 x\r\ncontent-length: 30\r\n\r\nHTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\ny",
            "200 <> | 200 <y>",
        ),
        (&[Get], "204 x\r\ncontent-length: 9\r\n\r\n", "204 <>"),
        (&[Get], "304 x\r\ncontent-length: 9\r\n\r\n", "304 <>"),
        // Without a length everything is content, even what looks like a response.
        (&[Get], "200 x\r\n\r\nHTTP/1.1 200 x\r\n\r\n", "200 <HTTP/1.1 200 x\\r\\n\\r\\n>"),
    ];
    for (asked, rest, expected) in cases {
        assert_eq!(brief(&responses(asked, format!("HTTP/1.1 {rest}").as_bytes())), *expected, "{rest:?}");
    }
    let old = "HTTP/1.0 200 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(brief(&responses(&[Get], old.as_bytes())), "TransferEncodingVersion");
}

#[test]
fn whatever_is_refused_is_refused_before_anything_after_it_is_seen() {
    let seen = requests(post(BOTH, TAIL).as_bytes());
    assert_eq!(seen, "LengthAndTransferEncoding 400\n");
    assert!(!seen.contains("evil"));
}
