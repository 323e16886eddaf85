//! What is written, byte for byte, and what cannot be.

use super::{request, response};
use crate::fields::{Kind, Leg};
use crate::h1::{
    Connection, Framing, Options, request_framing, response_framing, write_chunk, write_last_chunk,
    write_request, write_response,
};
use crate::head::{Extra, Field, Head, Malformed, Method, Outgoing, Range, Section, Target, Version};
use crate::limits;

fn text(out: &[u8]) -> String {
    String::from_utf8_lossy(out).into_owned()
}

/// Parses a request and writes it with these options.
fn rewritten(bytes: &str, change: impl FnOnce(&mut Options<'_>)) -> String {
    let head = request(bytes.as_bytes()).unwrap();
    let mut options = Options::new(request_framing(&head, true));
    change(&mut options);
    let mut out = Vec::new();
    write_request(&mut out, &Outgoing::new(&head, bytes.as_bytes(), Leg::OutboundRequest), &options).unwrap();
    text(&out)
}

#[test]
fn rfc9110_7_6_1_hop_by_hop_fields_do_not_go_on() {
    let bytes = "GET /p HTTP/1.1\r\nHost: h\r\nConnection: close, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
        Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nTE: gzip\r\nX-End: 2\r\n\
        l5d-orig-proto: HTTP/1.1\r\nl5d-client-id: evil\r\nl5d-require-id: x\r\nAccept: */*\r\n\r\n";
    assert_eq!(rewritten(bytes, |_| {}), "GET /p HTTP/1.1\r\nhost: h\r\nX-End: 2\r\nAccept: */*\r\n\r\n");
}

#[test]
fn rfc9110_10_1_4_a_server_learns_that_trailers_are_welcome() {
    for (said, expected) in [
        ("TE: trailers", "te: trailers\r\nconnection: te\r\n"),
        ("Connection: TE\r\nTE: gzip, trailers", "te: trailers\r\nconnection: te\r\n"),
        ("TE: gzip", ""),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nhost: h\r\n{said}\r\n\r\n");
        assert_eq!(
            rewritten(&bytes, |_| {}),
            format!("GET / HTTP/1.1\r\nhost: h\r\n{expected}\r\n"),
            "{said}"
        );
        // Where the connection is to be used otherwise, or by a version without trailers, they are not asked for.
        assert!(!rewritten(&bytes, |o| o.connection = Connection::Close).contains("te:"), "{said}");
        assert!(!rewritten(&bytes, |o| o.version = Version::Http10).contains("te:"), "{said}");
    }
}

#[test]
fn rfc9110_7_8_an_upgrade_goes_on_when_asked_for() {
    let bytes = "GET /ws HTTP/1.1\r\nhost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: k\r\n\r\n";
    assert_eq!(
        rewritten(bytes, |o| o.connection = Connection::Upgrade),
        "GET /ws HTTP/1.1\r\nhost: h\r\nSec-WebSocket-Key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    assert_eq!(rewritten(bytes, |_| {}), "GET /ws HTTP/1.1\r\nhost: h\r\nSec-WebSocket-Key: k\r\n\r\n");
}

#[test]
fn rfc9112_3_2_targets_are_written_in_their_form() {
    for (start, absolute_form, expected) in [
        ("GET /p?q HTTP/1.1\r\nhost: h", false, "GET /p?q HTTP/1.1\r\nhost: h"),
        ("GET /p HTTP/1.1\r\nhost: h", true, "GET http://h/p HTTP/1.1\r\nhost: h"),
        ("GET https://a:1/p HTTP/1.1\r\nhost: b", true, "GET https://a:1/p HTTP/1.1\r\nhost: a:1"),
        ("GET http://a/p HTTP/1.1\r\nhost: b", false, "GET /p HTTP/1.1\r\nhost: a"),
        ("GET http://a HTTP/1.1\r\nhost: a", false, "GET / HTTP/1.1\r\nhost: a"),
        ("GET http://a HTTP/1.1\r\nhost: a", true, "GET http://a/ HTTP/1.1\r\nhost: a"),
        ("OPTIONS * HTTP/1.1\r\nhost: h", false, "OPTIONS * HTTP/1.1\r\nhost: h"),
        ("OPTIONS * HTTP/1.1\r\nhost: h", true, "OPTIONS http://h HTTP/1.1\r\nhost: h"),
        ("OPTIONS http://a HTTP/1.1\r\nhost: a", false, "OPTIONS * HTTP/1.1\r\nhost: a"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: b", false, "CONNECT a:443 HTTP/1.1\r\nhost: a:443"),
        ("GET / HTTP/1.0", false, "GET / HTTP/1.1\r\nhost: "),
    ] {
        let got = rewritten(&format!("{start}\r\n\r\n"), |o| o.absolute_form = absolute_form);
        assert_eq!(got, format!("{expected}\r\n\r\n"), "{start:?} {absolute_form}");
    }
    let old = rewritten("GET / HTTP/1.0\r\n\r\n", |o| o.version = Version::Http10);
    assert_eq!(old, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 needs no host");
}

#[test]
fn rfc9112_6_framing_of_requests() {
    for (version, start, length, ended, expected) in [
        (Version::Http11, "GET", "", true, Framing::None),
        (Version::Http11, "POST", "", true, Framing::None),
        (Version::Http11, "POST", "0", true, Framing::Length(0)),
        (Version::Http11, "POST", "5", false, Framing::Length(5)),
        (Version::Http11, "POST", "", false, Framing::Chunked),
        (Version::Http2, "GET", "", true, Framing::None),
        (Version::Http2, "GET", "", false, Framing::Chunked),
        (Version::Http2, "POST", "", true, Framing::Length(0)),
        (Version::Http2, "PATCH", "", true, Framing::Length(0)),
        (Version::Http2, "DELETE", "", true, Framing::None),
    ] {
        let mut head = Head { version, method: Method::of(start.as_bytes()), ..Head::default() };
        head.facts.content_length = length.parse().ok();
        assert_eq!(request_framing(&head, ended), expected, "{version:?} {start} {length:?} {ended}");
    }
}

#[test]
fn rfc9112_6_framing_of_responses() {
    use Method::{Connect, Get, Head as HeadMethod};
    use Version::{Http10, Http11};
    for (status, asked, client, length, ended, expected) in [
        (200, Get, Http11, Some(5), false, Framing::Length(5)),
        (200, Get, Http11, None, false, Framing::Chunked),
        (200, Get, Http10, None, false, Framing::UntilClose),
        (200, Get, Http10, None, true, Framing::Length(0)),
        (200, Get, Http11, None, true, Framing::Length(0)),
        (200, HeadMethod, Http11, Some(5), true, Framing::Length(5)),
        (200, HeadMethod, Http11, None, true, Framing::None),
        (204, Get, Http11, Some(0), true, Framing::None),
        (304, Get, Http11, Some(5), true, Framing::Length(5)),
        (304, Get, Http11, None, true, Framing::None),
        (100, Get, Http11, Some(5), true, Framing::None),
        (101, Get, Http11, None, false, Framing::None),
        (200, Connect, Http11, Some(5), false, Framing::None),
        (407, Connect, Http11, Some(5), false, Framing::Length(5)),
    ] {
        let mut head = Head::response(Version::Http2, status);
        head.facts.content_length = length;
        assert_eq!(
            response_framing(&head, asked, client, ended),
            expected,
            "{status} {asked:?} {client:?} {length:?}"
        );
    }
}

#[test]
fn rfc9112_4_responses() {
    let write = |bytes: &str, options: &Options<'_>| {
        let head = response(bytes.as_bytes()).unwrap();
        let mut out = Vec::new();
        let message = Outgoing::new(&head, bytes.as_bytes(), Leg::InboundResponse);
        write_response(&mut out, &message, options).unwrap();
        text(&out)
    };
    let bytes = "HTTP/1.1 299 Fine by me\r\nServer: x\r\nContent-Length: 3\r\nconnection: close\r\n\
        L5d-Proxy-Error: no\r\n\r\n";
    let mut options = Options { date: Some(b"today"), ..Options::new(Framing::Length(3)) };
    assert_eq!(
        write(bytes, &options),
        "HTTP/1.1 299 Fine by me\r\ndate: today\r\nServer: x\r\ncontent-length: 3\r\n\r\n"
    );
    options.version = Version::Http10;
    options.connection = Connection::KeepAlive;
    assert_eq!(
        write("HTTP/1.1 404\r\nDate: then\r\n\r\n", &options),
        "HTTP/1.0 404 Not Found\r\nDate: then\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n"
    );
    let close = Options { connection: Connection::Close, ..Options::new(Framing::Chunked) };
    assert_eq!(
        write("HTTP/1.1 799\r\n\r\n", &close),
        "HTTP/1.1 799 \r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
}

#[test]
fn answers_of_our_own() {
    let head = Head::response(Version::Http11, 503);
    let mut extra = Extra::default();
    extra.add(Kind::ProxyError, b"no backend");
    extra.add_named(b"X-Custom", b"1");
    let mut out = b"before".to_vec();
    let message = Outgoing::new(&head, &[], Leg::OutboundResponse).with(&extra);
    write_response(&mut out, &message, &Options::new(Framing::Length(0))).unwrap();
    assert_eq!(
        text(&out),
        "beforeHTTP/1.1 503 Service Unavailable\r\nl5d-proxy-error: no backend\r\nx-custom: 1\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn rfc9112_7_1_chunks_and_trailers() {
    let mut out = Vec::new();
    write_chunk(&mut out, b"");
    write_chunk(&mut out, b"hello");
    write_chunk(&mut out, &[b'x'; 26]);
    write_last_chunk(&mut out, None).unwrap();
    assert_eq!(text(&out), format!("5\r\nhello\r\n1a\r\n{}\r\n0\r\n\r\n", "x".repeat(26)));

    let mut head = Head::default();
    head.begin(Section::Trailers, Version::Http2);
    let bytes = b"grpc-status0content-length5hostx";
    for (n, nv, v) in [(0, 11, 12), (12, 26, 27), (27, 31, 32)] {
        let name = Range::new(n, nv);
        let field =
            Field { name, value: Range::new(nv, v), kind: Kind::of(name.of(bytes)), never_indexed: false };
        head.add(bytes, field, &limits::Head::default());
    }
    let mut extra = Extra::default();
    extra.add_named(b"x-sum", b"1");
    extra.add(Kind::ContentLength, b"7");
    let mut out = Vec::new();
    let message = Outgoing::new(&head, bytes, Leg::InboundResponse).with(&extra);
    write_last_chunk(&mut out, Some(&message)).unwrap();
    assert_eq!(text(&out), "0\r\ngrpc-status: 0\r\nx-sum: 1\r\n\r\n");
}

#[test]
fn rfc9113_8_2_3_cookies_are_put_together_again() {
    let bytes = "GET / HTTP/1.1\r\nhost: h\r\ncookie: a=1\r\nx: y\r\nCookie: b=2\r\ncookie: c=3\r\n\r\n";
    assert_eq!(
        rewritten(bytes, |_| {}),
        "GET / HTTP/1.1\r\nhost: h\r\ncookie: a=1; b=2; c=3\r\nx: y\r\n\r\n"
    );
}

// --- the door to smuggling by downgrade: heads that no codec of ours would have let in

/// A head as a faulty decoder might have filled it, and what to expect of writing it.
fn unwritable(parts: [&str; 4], field: (&str, &str)) -> Malformed {
    let [method, path, scheme, authority] = parts;
    let bytes = [method, path, scheme, authority, field.0, field.1].concat().into_bytes();
    let mut at = 0;
    let mut next = |part: &str| {
        at += part.len();
        Range::new(at - part.len(), at)
    };
    let mut head = Head { version: Version::Http2, method: Method::of(method.as_bytes()), ..Head::default() };
    head.method_name = next(method);
    head.path = next(path);
    head.scheme = next(scheme);
    head.authority = next(authority);
    let (name, value) = (next(field.0), next(field.1));
    head.fields.push(Field { name, value, kind: Kind::of(name.of(&bytes)), never_indexed: false });
    let mut out = b"kept".to_vec();
    let options = Options { absolute_form: true, ..Options::new(Framing::Chunked) };
    let result = write_request(&mut out, &Outgoing::new(&head, &bytes, Leg::InboundRequest), &options);
    assert_eq!(text(&out), "kept", "nothing of it is written");
    result.unwrap_err()
}

#[test]
fn rfc9113_10_3_requests_that_cannot_be_written() {
    let good = ["GET", "/", "http", "h"];
    let table: &[([&str; 4], (&str, &str), Malformed)] = &[
        (["GET / HTTP/1.1\r\nx: y\r\n\r\nGET", "/", "http", "h"], ("a", "b"), Malformed::Method),
        (["G T", "/", "http", "h"], ("a", "b"), Malformed::Method),
        (["", "/", "http", "h"], ("a", "b"), Malformed::Method),
        (["GET", "/ HTTP/1.1\r\nx: y\r\n\r\n", "http", "h"], ("a", "b"), Malformed::Target),
        (["GET", "/a b", "http", "h"], ("a", "b"), Malformed::Target),
        (["GET", "/a\0", "http", "h"], ("a", "b"), Malformed::Target),
        (["GET", "a", "http", "h"], ("a", "b"), Malformed::Target),
        (["GET", "*", "http", "h"], ("a", "b"), Malformed::Target),
        (["GET", "/", "http://evil/ HTTP/1.1\r\n", "h"], ("a", "b"), Malformed::Scheme),
        (["GET", "/", "http", "h\r\nx: y"], ("a", "b"), Malformed::Authority),
        (["GET", "/", "http", "h/evil"], ("a", "b"), Malformed::Authority),
        (["GET", "/", "http", "h evil"], ("a", "b"), Malformed::Authority),
        (["CONNECT", "/", "http", "h"], ("a", "b"), Malformed::TargetForm),
        (good, ("a\r\nb", "c"), Malformed::FieldName),
        (good, ("a: b\r\nc", "d"), Malformed::FieldName),
        (good, ("a b", "c"), Malformed::FieldName),
        (good, ("a:", "c"), Malformed::FieldName),
        (good, ("", "c"), Malformed::FieldName),
        (good, ("a", "b\r\nc: d"), Malformed::FieldValue),
        (good, ("a", "b\r\n\r\nGET /evil HTTP/1.1"), Malformed::FieldValue),
        (good, ("a", "b\nc: d"), Malformed::FieldValue),
        (good, ("a", "b\rc"), Malformed::FieldValue),
        (good, ("a", "b\0"), Malformed::FieldValue),
        (good, ("cookie", "b\r\nc: d"), Malformed::FieldValue),
    ];
    for (parts, field, fault) in table {
        assert_eq!(unwritable(*parts, *field), *fault, "{parts:?} {field:?}");
    }
}

#[test]
fn what_configuration_adds_is_checked_too() {
    let head = Head::response(Version::Http11, 200);
    let options = Options::new(Framing::Length(0));
    for (name, value, fault) in [
        ("x y", "z", Malformed::FieldName),
        ("x", "y\r\nz: a", Malformed::FieldValue),
        ("l5d-proxy-error", "a\nb", Malformed::FieldValue),
    ] {
        let mut extra = Extra::default();
        extra.add_named(name.as_bytes(), value.as_bytes());
        let message = Outgoing::new(&head, &[], Leg::InboundResponse).with(&extra);
        let mut out = Vec::new();
        assert_eq!(write_response(&mut out, &message, &options), Err(fault), "{name:?}: {value:?}");
        assert!(out.is_empty());
    }
    let old = Options { version: Version::Http10, ..Options::new(Framing::Chunked) };
    let message = Outgoing::new(&head, &[], Leg::InboundResponse);
    let fault = Err(Malformed::TransferEncodingVersion);
    assert_eq!(write_response(&mut Vec::new(), &message, &old), fault, "RFC 9112 6.1");
    let none = Head::response(Version::Http11, 0);
    let message = Outgoing::new(&none, &[], Leg::InboundResponse);
    assert_eq!(write_response(&mut Vec::new(), &message, &options), Err(Malformed::Status));
}

#[test]
fn path_and_authority_can_be_replaced() {
    let bytes = b"GET http://a/p HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = request(bytes).unwrap();
    let message = Outgoing {
        path: Some(b"/q"),
        authority: Some(b"b:80"),
        ..Outgoing::new(&head, bytes, Leg::OutboundRequest)
    };
    let mut out = Vec::new();
    write_request(&mut out, &message, &Options::new(Framing::None)).unwrap();
    assert_eq!(text(&out), "GET /q HTTP/1.1\r\nhost: b:80\r\n\r\n");
    assert_eq!(head.target, Target::Absolute);
}
