//! Start lines, field lines and what the whole of a head says.

use super::{one, request, requests, response, responses};
use crate::fields::Kind;
use crate::h1::{Body, Parser, is_persistent, is_reusable};
use crate::head::{Malformed, Method, Section, Target, Version};
use crate::limits::Limits;

/// A request with this start line, a host, and these lines.
fn with(start: &str, lines: &str) -> String {
    format!("{start}\r\nhost: h\r\n{lines}\r\n")
}

#[test]
fn rfc9112_3_request_lines() {
    for (line, expected) in [
        ("GET / HTTP/1.1", None),
        ("get / HTTP/1.1", None),
        ("M-SEARCH /x HTTP/1.1", None),
        ("GET /a?b=c&d=%20 HTTP/1.0", None),
        ("GET /{\"|\\^`} HTTP/1.1", None),
        ("GET /\u{e4}\u{f6} HTTP/1.1", None),
        ("GET //x HTTP/1.1", None),
        ("GET /", Some("StartLine")),
        ("GET", Some("StartLine")),
        ("GET  / HTTP/1.1", Some("StartLine")),
        ("GET /  HTTP/1.1", Some("StartLine")),
        ("GET / HTTP/1.1 ", Some("StartLine")),
        (" GET / HTTP/1.1", Some("Method")),
        ("GET\t/ HTTP/1.1", Some("Method")),
        ("G(T / HTTP/1.1", Some("Method")),
        ("G\0T / HTTP/1.1", Some("Method")),
        ("GET /\tx HTTP/1.1", Some("Target")),
        ("GET /\0 HTTP/1.1", Some("Target")),
        ("GET /\u{7f} HTTP/1.1", Some("Target")),
        ("GET /#f HTTP/1.1", Some("Target")),
        ("GET / x HTTP/1.1", Some("StartLine")),
        ("GET / http/1.1", Some("StartLine")),
        ("GET / HTTP/11", Some("StartLine")),
        ("GET / HTTP/1", Some("StartLine")),
        ("GET / HTTP/1.1x", Some("StartLine")),
        ("GET / HTTP/1.2", Some("Version")),
        ("GET / HTTP/2.0", Some("Version")),
        ("GET / HTTP/0.9", Some("Version")),
        ("GET / HTTP/1.10", Some("StartLine")),
        ("GET / HTTPS/1.1", Some("StartLine")),
    ] {
        let got = request(with(line, "").as_bytes());
        assert_eq!(got.err().as_deref(), expected, "{line:?}");
    }
}

#[test]
fn rfc9112_3_2_forms_of_targets() {
    use Target::{Absolute, Asterisk, Authority, Origin};
    type Parts<'a> = (Target, &'a str, &'a str, &'a str);
    let table: [(&str, Result<Parts<'_>, &str>); 27] = [
        ("GET /p?q", Ok((Origin, "", "h", "/p?q"))),
        ("GET http://a/p", Ok((Absolute, "http", "a", "/p"))),
        ("GET HTTPS://a:8443/", Ok((Absolute, "HTTPS", "a:8443", "/"))),
        ("GET http://a", Ok((Absolute, "http", "a", ""))),
        ("GET http://[::1]:80/x", Ok((Absolute, "http", "[::1]:80", "/x"))),
        ("GET http://a/http://b/", Ok((Absolute, "http", "a", "/http://b/"))),
        ("GET /http://b/", Ok((Origin, "", "h", "/http://b/"))),
        ("OPTIONS *", Ok((Asterisk, "", "h", "*"))),
        ("OPTIONS /x", Ok((Origin, "", "h", "/x"))),
        ("OPTIONS http://a", Ok((Absolute, "http", "a", ""))),
        ("CONNECT a:443", Ok((Authority, "", "a:443", ""))),
        ("CONNECT [::1]:443", Ok((Authority, "", "[::1]:443", ""))),
        ("GET *", Err("TargetForm")),
        ("OPTIONS **", Err("TargetForm")),
        ("GET a:80", Err("TargetForm")),
        ("GET a", Err("TargetForm")),
        ("CONNECT /", Err("TargetForm")),
        ("CONNECT *", Err("TargetForm")),
        ("CONNECT a", Err("TargetForm")),
        ("CONNECT a:", Err("TargetForm")),
        ("CONNECT http://a:80/", Err("TargetForm")),
        ("CONNECT u@a:443", Err("TargetForm")),
        ("GET http:///p", Err("Target")),
        ("GET http://u:p@a/", Err("Target")),
        ("GET ://a/", Err("Target")),
        ("GET 1http://a/", Err("Target")),
        ("GET http://a?q", Err("Target")),
    ];
    for (start, expected) in table {
        let bytes = with(&format!("{start} HTTP/1.1"), "");
        let got = request(bytes.as_bytes());
        match (&got, expected) {
            (Ok(head), Ok((target, scheme, authority, path))) => {
                let text =
                    |r: crate::head::Range| String::from_utf8_lossy(r.of(bytes.as_bytes())).into_owned();
                assert_eq!(head.target, target, "{start}");
                assert_eq!(text(head.scheme), scheme, "{start}");
                assert_eq!(text(head.authority), authority, "{start}");
                assert_eq!(text(head.path), path, "{start}");
            }
            (Err(fault), Err(expected)) => assert_eq!(fault, expected, "{start}"),
            _ => panic!("{start}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn rfc9112_3_2_host() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", Some("HostMissing")),
        ("GET / HTTP/1.0\r\n\r\n", None),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", None),
        ("GET / HTTP/1.1\r\nHOST: a:80\r\n\r\n", None),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Some("HostRepeated")),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost:\r\n\r\n", Some("HostRepeated")),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", Some("HostRepeated")),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Some("HostMissing")),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", None),
        ("GET http://a/ HTTP/1.1\r\nhost: b b\r\n\r\n", Some("Authority")),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", Some("HostMissing")),
        ("CONNECT a:1 HTTP/1.0\r\n\r\n", None),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Some("Authority")),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Some("Authority")),
        ("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", Some("Authority")),
        ("GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", Some("Authority")),
        ("GET / HTTP/1.1\r\nhost: http://a\r\n\r\n", Some("Authority")),
    ] {
        assert_eq!(request(head.as_bytes()).err().as_deref(), expected, "{head:?}");
    }
}

#[test]
fn rfc9112_3_2_2_the_absolute_target_wins_over_host() {
    let bytes = b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n";
    assert_eq!(request(bytes).unwrap().authority.of(bytes), b"a");
    let bytes = b"GET / HTTP/1.1\r\nhost: b\r\n\r\n";
    assert_eq!(request(bytes).unwrap().authority.of(bytes), b"b");
}

#[test]
fn rfc9112_5_field_lines() {
    for (line, expected) in [
        ("a: b", Ok(("a", "b"))),
        ("a:b", Ok(("a", "b"))),
        ("a:", Ok(("a", ""))),
        ("a: ", Ok(("a", ""))),
        ("a: \t b\tc \t", Ok(("a", "b\tc"))),
        ("A-b_C!#$%&'*+.^`|~1: x", Ok(("A-b_C!#$%&'*+.^`|~1", "x"))),
        ("a: \u{e4} \"q\" (c)", Ok(("a", "\u{e4} \"q\" (c)"))),
        ("a:: b", Ok(("a", ": b"))),
        ("a : b", Err("SpaceBeforeColon")),
        ("a\t: b", Err("SpaceBeforeColon")),
        ("a b: c", Err("FieldName")),
        ("a", Err("FieldName")),
        (": b", Err("FieldName")),
        (":path: /", Err("FieldName")),
        (" a: b", Err("Folded")),
        ("\ta: b", Err("Folded")),
        ("a\0: b", Err("FieldName")),
        ("\u{e4}: b", Err("FieldName")),
        ("a(b): c", Err("FieldName")),
        ("\"a\": c", Err("FieldName")),
        ("a: b\0c", Err("FieldValue")),
        ("a: b\x01", Err("FieldValue")),
        ("a: b\x7f", Err("FieldValue")),
        ("a: b\x0bc", Err("FieldValue")),
        ("a: b\rc", Err("LineEnding")),
        ("a: b\r", Err("LineEnding")),
        ("a: b\nc: d", Err("LineEnding")),
        ("a\n", Err("FieldName")),
        ("\n", Err("LineEnding")),
        ("\r", Err("LineEnding")),
        ("a: b\r\n c", Err("Folded")),
        ("a: b\r\n\tc", Err("Folded")),
    ] {
        for section in [Section::Request, Section::Response, Section::Trailers] {
            let start = match section {
                Section::Request => "GET / HTTP/1.1\r\nhost: h\r\n",
                Section::Response => "HTTP/1.1 200 OK\r\nx: h\r\n",
                Section::Trailers => "x: h\r\n",
            };
            let bytes = format!("{start}{line}\r\n\r\n");
            let got = one(section, bytes.as_bytes());
            match (&got, expected) {
                (Ok(head), Ok((name, value))) => {
                    let field = head.fields.get(1).unwrap();
                    assert_eq!(field.name.of(bytes.as_bytes()), name.as_bytes(), "{line:?}");
                    assert_eq!(field.value.of(bytes.as_bytes()), value.as_bytes(), "{line:?}");
                }
                (Err(fault), Err(expected)) => assert_eq!(fault, expected, "{section:?} {line:?}"),
                _ => panic!("{section:?} {line:?}: {got:?}, not {expected:?}"),
            }
        }
    }
}

#[test]
fn rfc9112_5_2_a_folded_first_line_is_refused() {
    assert_eq!(requests(b"GET / HTTP/1.1\r\n x: y\r\nhost: h\r\n\r\n"), "Folded 400\n");
}

#[test]
fn rfc9112_2_2_one_empty_line_before_a_request_is_skipped() {
    assert_eq!(
        requests(b"\r\nGET /a HTTP/1.1\r\nhost: h\r\n\r\n\r\nGET /b HTTP/1.1\r\nhost: h\r\n\r\n"),
        "Http11 GET Origin h/a [] None <>\nHttp11 GET Origin h/b [] None <>\n"
    );
    assert_eq!(requests(b"\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n"), "StartLine 400\n");
    assert_eq!(requests(b"\nGET / HTTP/1.1\r\nhost: h\r\n\r\n"), "StartLine 400\n");
    assert_eq!(responses(&[], b"\r\nHTTP/1.1 204 x\r\n\r\n"), "StartLine 400\n");
}

#[test]
fn rfc9112_4_status_lines() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Ok((200, "OK"))),
        ("HTTP/1.0 404 Not Found", Ok((404, "Not Found"))),
        ("HTTP/1.1 200 ", Ok((200, ""))),
        ("HTTP/1.1 200", Ok((200, ""))),
        ("HTTP/1.1 999 \u{e4}\tx", Ok((999, "\u{e4}\tx"))),
        ("HTTP/1.1 100 Continue", Ok((100, "Continue"))),
        ("HTTP/1.1 099 x", Err("Status")),
        ("HTTP/1.1 20 x", Err("Status")),
        ("HTTP/1.1 2000 x", Err("Status")),
        ("HTTP/1.1 2x0 x", Err("Status")),
        ("HTTP/1.1 +20 x", Err("Status")),
        ("HTTP/1.1  200 x", Err("Status")),
        ("HTTP/1.1 200OK", Err("Status")),
        ("HTTP/1.1 200 a\0b", Err("StartLine")),
        ("HTTP/1.1 200 a\rb", Err("LineEnding")),
        ("HTTP/1.2 200 OK", Err("Version")),
        ("HTTP/2 200 OK", Err("StartLine")),
        ("HTTP/1.1", Err("StartLine")),
        ("200 OK", Err("StartLine")),
        ("ICY 200 OK", Err("StartLine")),
        ("", Err("StartLine")),
    ] {
        let bytes = format!("{line}\r\ncontent-length: 0\r\n\r\n");
        let got = response(bytes.as_bytes());
        match (&got, expected) {
            (Ok(head), Ok((status, reason))) => {
                assert_eq!(head.status, status, "{line:?}");
                assert_eq!(head.reason.of(bytes.as_bytes()), reason.as_bytes(), "{line:?}");
            }
            (Err(fault), Err(expected)) => assert_eq!(fault, expected, "{line:?}"),
            _ => panic!("{line:?}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn rfc9112_9_3_persistence() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "connection: close\r\n", false),
        ("1.1", "connection: Close\r\n", false),
        ("1.1", "connection: x, close ,y\r\n", false),
        ("1.1", "connection: keep-alive\r\nconnection: close\r\n", false),
        ("1.1", "connection: closed\r\n", true),
        ("1.1", "proxy-connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "connection: keep-alive\r\n", true),
        ("1.0", "connection: Keep-Alive, foo\r\n", true),
        ("1.0", "connection: keep-alive, close\r\n", false),
        ("1.0", "proxy-connection: keep-alive\r\n", false),
    ] {
        let head = request(with(&format!("GET / HTTP/{version}"), connection).as_bytes()).unwrap();
        assert_eq!(is_persistent(&head), expected, "{version} {connection}");
    }
}

#[test]
fn rfc9112_9_3_a_connection_is_reused_only_if_the_response_ended_by_itself() {
    use Method::{Connect, Get, Head};
    for (asked, rest, expected) in [
        (Get, "200 x\r\ncontent-length: 3\r\n", true),
        (Get, "200 x\r\ntransfer-encoding: chunked\r\n", true),
        (Get, "200 x\r\n", false),
        (Get, "200 x\r\ncontent-length: 3\r\nconnection: close\r\n", false),
        (Head, "200 x\r\n", true),
        (Head, "200 x\r\ncontent-length: 3\r\n", true),
        (Head, "200 x\r\ntransfer-encoding: chunked\r\n", true),
        (Get, "204 x\r\n", true),
        (Get, "204 x\r\ncontent-length: 0\r\n", true),
        (Get, "204 x\r\ncontent-length: 3\r\n", false),
        (Get, "204 x\r\ntransfer-encoding: chunked\r\n", false),
        (Get, "304 x\r\ncontent-length: 3\r\n", true),
        (Get, "304 x\r\ntransfer-encoding: chunked\r\n", false),
        (Get, "101 x\r\nconnection: upgrade\r\nupgrade: x\r\n", false),
        (Connect, "200 x\r\n", false),
        (Connect, "403 x\r\ncontent-length: 0\r\n", true),
    ] {
        let head = response(format!("HTTP/1.1 {rest}\r\n").as_bytes()).unwrap();
        assert_eq!(is_reusable(&head, asked), expected, "{asked:?} {rest}");
    }
}

#[test]
fn rfc9112_6_3_bodies_of_responses() {
    use Method::{Connect, Get, Head};
    for (asked, rest, expected) in [
        (Get, "200 x\r\n", Body::UntilClose),
        (Get, "200 x\r\ncontent-length: 3\r\n", Body::Length(3)),
        (Get, "200 x\r\ncontent-length: 0\r\n", Body::None),
        (Get, "200 x\r\ntransfer-encoding: Chunked\r\n", Body::Chunked),
        (Head, "200 x\r\ncontent-length: 3\r\n", Body::None),
        (Head, "200 x\r\ntransfer-encoding: chunked\r\n", Body::None),
        (Get, "204 x\r\ncontent-length: 3\r\n", Body::None),
        (Get, "304 x\r\ncontent-length: 3\r\n", Body::None),
        (Get, "205 x\r\ncontent-length: 0\r\n", Body::None),
        (Get, "100 x\r\n", Body::None),
        (Get, "103 x\r\ncontent-length: 3\r\n", Body::None),
        (Get, "101 x\r\n", Body::Tunnel),
        (Connect, "200 x\r\ncontent-length: 3\r\n", Body::Tunnel),
        (Connect, "299 x\r\ntransfer-encoding: chunked\r\n", Body::Tunnel),
        (Connect, "403 x\r\ncontent-length: 3\r\n", Body::Length(3)),
    ] {
        let head = response(format!("HTTP/1.1 {rest}\r\n").as_bytes()).unwrap();
        assert_eq!(Body::of_response(&head, asked), expected, "{asked:?} {rest}");
    }
}

#[test]
fn rfc9110_7_6_1_connection_takes_the_fields_it_lists() {
    let bytes = b"GET / HTTP/1.1\r\nX-Keep: 1\r\nX-Drop: 2\r\nhost: h\r\nConnection: x-drop, close, Cookie\r\n\
        cookie: a\r\nconnection: X-OTHER, content-length, connection\r\nx-other: 3\r\nx-drop: 4\r\ncontent-length: 0\r\n\r\n";
    let head = request(bytes).unwrap();
    let names: Vec<_> = head.fields.iter().map(|f| String::from_utf8_lossy(f.name.of(bytes))).collect();
    assert_eq!(names, ["X-Keep", "host", "Connection", "connection"]);
    assert_eq!(head.facts.content_length, Some(0), "what decides the framing has been read");
    assert_eq!(head.authority.of(bytes), b"h");
}

#[test]
fn connection_options_are_bounded() {
    let list = |n: usize| with("GET / HTTP/1.1", &format!("connection: {}\r\n", vec!["x"; n].join(",")));
    let limit = Limits::default().head.connection_options as usize;
    assert_eq!(request(list(limit).as_bytes()).err(), None);
    assert_eq!(request(list(limit + 1).as_bytes()).err().as_deref(), Some("TooManyConnectionOptions"));
}

#[test]
fn rfc9110_7_8_upgrade() {
    for (start, lines, expected) in [
        ("GET / HTTP/1.1", "connection: upgrade\r\nupgrade: websocket\r\n", Some("websocket")),
        ("GET / HTTP/1.1", "upgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n", Some("websocket")),
        ("GET / HTTP/1.1", "connection: upgrade\r\nupgrade: foo/2, bar\r\n", Some("foo/2, bar")),
        ("GET / HTTP/1.1", "upgrade: websocket\r\n", None),
        ("GET / HTTP/1.1", "connection: upgrade\r\n", None),
        ("GET / HTTP/1.1", "connection: upgrade\r\nupgrade:\r\n", None),
        ("GET / HTTP/1.0", "connection: upgrade\r\nupgrade: websocket\r\n", None),
        (
            "GET / HTTP/1.1",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n",
            None,
        ),
        ("GET / HTTP/1.1", "connection: upgrade\r\nupgrade: websocket, H2C\r\n", None),
    ] {
        let bytes = with(start, lines);
        let head = request(bytes.as_bytes()).unwrap();
        let got = head.facts.upgrade.map(|r| String::from_utf8_lossy(r.of(bytes.as_bytes())).into_owned());
        assert_eq!(got.as_deref(), expected, "{lines}");
    }
}

#[test]
fn facts_of_fields() {
    let bytes = with(
        "POST / HTTP/1.1",
        "expect: 100-Continue\r\nTE: deflate;q=0.5, Trailers\r\ncontent-type: application/grpc+proto\r\n\
         l5d-orig-proto: HTTP/1.0\r\nl5d-proxy-connection: close\r\ncookie: a\r\ncookie: b\r\ndate: x\r\n",
    );
    let facts = request(bytes.as_bytes()).unwrap().facts;
    assert!(facts.expect_continue && facts.te_trailers && facts.grpc && facts.l5d_close && facts.date);
    assert_eq!(facts.cookies, 2);
    assert_eq!(facts.orig_proto.map(|o| o.version), Some(Version::Http10));
    let bytes = with("POST / HTTP/1.0", "expect: 100-continue\r\n");
    assert!(!request(bytes.as_bytes()).unwrap().facts.expect_continue, "RFC 9110 10.1.1: not in HTTP/1.0");
}

#[test]
fn fields_are_found_and_removed_by_kind_and_name() {
    let bytes = with("GET / HTTP/1.1", "X-A: 1\r\naccept: 2\r\nx-a: 3\r\nAccept: 4\r\n");
    let bytes = bytes.as_bytes();
    let mut head = request(bytes).unwrap();
    assert_eq!(head.values_named(bytes, b"x-A").collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!(head.values_named(bytes, b"ACCEPT").collect::<Vec<_>>(), [b"2", b"4"]);
    assert_eq!(head.value(bytes, Kind::Accept), Some(&b"2"[..]));
    assert_eq!(head.value(bytes, Kind::Cookie), None);
    head.remove_named(bytes, b"X-a");
    assert_eq!(head.values_named(bytes, b"x-a").count(), 0);
    head.remove_named(bytes, b"accept");
    assert_eq!(head.fields.len(), 1);
    head.remove(Kind::Host);
    assert!(head.fields.is_empty());
}

// --- bounds

#[test]
fn a_start_line_has_a_bound() {
    let limit = Limits::default().http1.start_line_bytes as usize;
    let line = |n: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(n - 16));
    assert_eq!(line(limit).len(), limit);
    assert_eq!(request(format!("{}host: h\r\n\r\n", line(limit)).as_bytes()).err(), None);
    let fault = Some(Malformed::StartLineTooLong);
    assert_eq!(Malformed::StartLineTooLong.status(), 414);
    assert_eq!(first_fault(Section::Request, line(limit + 1).as_bytes()), (fault, limit + 1));
    assert_eq!(first_fault(Section::Request, "x".repeat(limit * 2).as_bytes()), (fault, limit + 1));
    assert_eq!(first_fault(Section::Response, "x".repeat(limit * 2).as_bytes()), (fault, limit + 1));
}

#[test]
fn a_head_has_a_bound() {
    let limit = Limits::default().http1.head_bytes as usize;
    let filler = "x: y\r\n".repeat(100);
    let start = "GET / HTTP/1.1\r\nhost: h\r\n";
    let head = |n: usize| {
        let rest = n - start.len() - filler.len() - 2;
        let half = rest / 2;
        let long = |n: usize| format!("a: {}\r\n", "b".repeat(n - 5));
        format!("{start}{filler}{}{}\r\n", long(half), long(rest - half))
    };
    assert_eq!(head(limit).len(), limit);
    assert!(request(head(limit - 600).as_bytes()).is_ok());
    let fault = Some(Malformed::HeadTooLong);
    assert_eq!(Malformed::HeadTooLong.status(), 431);
    assert_eq!(first_fault(Section::Request, head(limit + 1).as_bytes()), (fault, limit + 1));
    let endless = format!("{start}a: {}", "b".repeat(limit));
    assert_eq!(first_fault(Section::Request, endless.as_bytes()), (fault, limit + 1));
}

#[test]
fn a_field_has_a_bound() {
    let limit = Limits::default().head.field_bytes as usize;
    let head = |n: usize| with("GET / HTTP/1.1", &format!("abc: {}\r\n", "d".repeat(n - 3)));
    assert_eq!(request(head(limit).as_bytes()).err(), None);
    assert_eq!(request(head(limit + 1).as_bytes()).err().as_deref(), Some("FieldTooLong"));
    assert_eq!(Malformed::FieldTooLong.status(), 431);
}

#[test]
fn fields_have_a_bound_in_number() {
    let limit = Limits::default().head.fields as usize;
    let head = |n: usize| with("GET / HTTP/1.1", &"a: b\r\n".repeat(n - 1));
    assert_eq!(request(head(limit).as_bytes()).unwrap().fields.len(), limit);
    assert_eq!(request(head(limit + 1).as_bytes()).err().as_deref(), Some("TooManyFields"));
    assert_eq!(Malformed::TooManyFields.status(), 431);
}

/// The fault and after how many bytes it is told when they come one by one.
fn first_fault(section: Section, bytes: &[u8]) -> (Option<Malformed>, usize) {
    let mut parser = Parser::new(section);
    let mut head = crate::head::Head::default();
    for n in 1..=bytes.len() {
        if let Err(fault) = parser.parse(&bytes[..n], &mut head, &Limits::default()) {
            return (Some(fault), n);
        }
    }
    (None, bytes.len())
}
