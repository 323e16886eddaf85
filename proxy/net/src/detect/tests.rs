use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use super::*;

fn http(input: &[u8]) -> &'static str {
    match detect_http(input) {
        Http::NeedMore => "more",
        Http::Http1 => "1",
        Http::Http2 => "2",
        Http::NotHttp => "no",
    }
}

#[test]
fn first_bytes_of_protocols() {
    let long = format!("GET /{}", "a".repeat(2000));
    let cases: &[(&[u8], &str)] = &[
        // nothing yet, and every way to be a part of something
        (b"", "more"),
        (b"P", "more"),
        (b"PRI * HTTP/2.", "more"),
        (b"GET", "more"),
        (b"GET ", "more"),
        (b"GET /", "more"),
        (b"GET / ", "more"),
        (b"GET / HTTP/1", "more"),
        (b"\r", "more"),
        (b"\r\n", "more"),
        // HTTP/2
        (b"PRI * HTTP/2.0", "2"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "2"),
        (b"PRI * HTTP/2.1", "more"),
        // HTTP/1
        (b"GET / HTTP/1.", "1"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "1"),
        (b"GET / HTTP/1.0\r\n\r\n", "1"),
        (b"POST http://a:80/x?y=%20#z HTTP/1.1\r\n", "1"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n", "1"),
        (b"OPTIONS * HTTP/1.1\r\n", "1"),
        (b"PRI * HTTP/1.1\r\n", "1"),
        (b"M-SEARCH * HTTP/1.1\r\n", "1"),
        (b"VERSION-CONTROL / HTTP/1.1\r\n", "1"),
        (b"get / HTTP/1.1\r\n", "1"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n", "1"),
        (long.as_bytes(), "1"),
        // what was meant as HTTP, for the codec to refuse
        (b"PRI * HTTP/2.1\r\n", "1"),
        (b"GET / HTTP/2.0\r\n", "1"),
        (b"GET / HTTP/2.0", "more"),
        (b"GET / http/1.1\r\n", "1"),
        (b"GET / HTTP/\n", "1"),
        (b"GET  / HTTP/1.1\r\n", "1"),
        (b"GET /a b HTTP/1.1 \t\r\n", "1"),
        (b"GET /a b HTTP/1.1\r", "more"),
        (b"GET\t/ HTTP/1.1\r\n", "1"),
        (b"GET /\0 HTTP/1.1\r\n", "1"),
        (b"GET /a\rb HTTP/1.1\r\n", "1"),
        // what is nearly HTTP
        (b"SOME /\0 HTTP/1.1\r\n", "no"),
        (b"GET key HTTP\r\n", "no"),
        (b"GET key\tvalue\r\n", "no"),
        (b"0032git-upload-pack /project.git\0host=a\0", "no"),
        (b"INVITE sip:a@b SIP/2.0\r\n", "no"),
        (b"DESCRIBE rtsp://a/b RTSP/1.0\r\n", "no"),
        (b"set key 0 0 5\r\n", "no"),
        (b"GET /\r\n", "no"),
        (b"GET / \r\n", "no"),
        (b" GET / HTTP/1.1\r\n", "no"),
        (b"G\xffT / HTTP/1.1\r\n", "no"),
        (b"HTTP/1.1 200 OK\r\n", "no"),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", "no"),
        // others
        (b"EHLO mail.example.com\r\n", "no"),
        (b"*1\r\n$4\r\nPING\r\n", "no"),
        (b"PING\r\n", "no"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no"),
        (b"USER someone\r\n", "no"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "no"),
        (b"\x10\x10\x00\x04MQTT", "no"),
        (b"\x16\x03\x01\x02\x00\x01", "no"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "no"),
    ];
    for (input, expected) in cases {
        assert_eq!(http(input), *expected, "{:?}", String::from_utf8_lossy(input));
    }
}

/// RFC 9112 section 2.2: a server should ignore at least one empty line before the request line.
#[test]
fn rfc9112_2_2_empty_lines_before_the_request() {
    assert_eq!(http(b"\r\nGET / HTTP/1.1\r\n"), "1");
    assert_eq!(http(b"\n\r\nGET / HTTP/1.1\r\n"), "1");
}

#[test]
fn an_endless_request_line_is_decided_at_the_limit() {
    let line = format!("GET /{}", "a".repeat(MAX_REQUEST_LINE_LEN));
    let line = line.as_bytes();
    assert_eq!(detect_http(&line[..MAX_REQUEST_LINE_LEN - 1]), Http::NeedMore);
    assert_eq!(detect_http(&line[..MAX_REQUEST_LINE_LEN]), Http::Http1);
}

/// A ClientHello as a real client sends it, in one record.
fn client_hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let roots = Arc::new(rustls::RootCertStore::empty());
    let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut out = Vec::new();
    client.write_tls(&mut out).unwrap();
    out
}

/// The same handshake bytes in records of other lengths.
fn in_records(hello: &[u8], len: usize) -> Vec<u8> {
    hello[5..]
        .chunks(len)
        .flat_map(|chunk| {
            let mut record = vec![22, 3, 1];
            record.extend_from_slice(&u16::try_from(chunk.len()).unwrap().to_be_bytes());
            record.extend_from_slice(chunk);
            record
        })
        .collect()
}

fn facts(bytes: &[u8]) -> ClientHelloFacts {
    match detect(bytes) {
        Detected::Tls(facts) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn facts_of_a_client_hello() {
    let hello = client_hello("Web.Default.svc.cluster.local", &[b"transport.l5d.io/v1", b"h2"]);
    let facts = facts(&hello);
    assert_eq!(facts.sni.as_deref(), Some("web.default.svc.cluster.local"));
    assert!(facts.offers(b"transport.l5d.io/v1") && facts.offers(b"h2") && !facts.offers(b"http/1.1"));
    assert!(facts.tls13);
}

/// RFC 6066 section 3: "without a trailing dot", which some clients send nevertheless.
#[test]
fn rfc6066_3_a_trailing_dot_is_no_part_of_the_name() {
    let hello = client_hello("web.default", &[]);
    let at = hello.windows(11).position(|w| w == b"web.default").unwrap();
    let mut dotted = hello;
    dotted[at + 10] = b'.';
    assert_eq!(facts(&dotted).sni.as_deref(), Some("web.defaul"));
}

#[test]
fn a_client_hello_without_names() {
    let facts = facts(&client_hello("10.1.2.3", &[]));
    assert_eq!((facts.sni, facts.alpn), (None, vec![]));
}

#[test]
fn the_record_layer_does_not_matter() {
    let hello = client_hello("a.example", &[b"h2"]);
    for len in [1, 2, 3, 5, 100, 1000] {
        let split = in_records(&hello, len);
        if split.len() <= MAX_CLIENT_HELLO_LEN {
            assert_eq!(facts(&split), facts(&hello), "{len}");
        } else {
            assert_eq!(detect(&split), Detected::Opaque, "{len}");
        }
    }
}

#[test]
fn every_prefix_of_a_client_hello_needs_more() {
    let hello = client_hello("a.example", &[]);
    for len in 0..hello.len() {
        assert_eq!(detect(&hello[..len]), Detected::NeedMore, "{len}");
    }
}

#[test]
fn what_looks_like_tls_but_is_not() {
    let hello = client_hello("a.example", &[b"h2"]);
    let with = |at: usize, byte: u8| {
        let mut bytes = hello.clone();
        bytes[at] = byte;
        bytes
    };
    let too_long = {
        let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0];
        bytes.resize(MAX_CLIENT_HELLO_LEN, 0);
        bytes
    };
    let cases: &[(&str, Vec<u8>)] = &[
        ("another record type", with(0, 23)),
        ("another major version", with(1, 2)),
        ("a minor version that never was", with(2, 5)),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("a record that is too long", vec![22, 3, 1, 0x40, 1]),
        ("another handshake message", with(5, 2)),
        ("a session id that passes the end", with(43, 255)),
        ("extensions that end too early", {
            let mut bytes = hello.clone();
            let len = bytes.len();
            bytes.truncate(len - 1);
            let record = u16::try_from(len - 6).unwrap().to_be_bytes();
            bytes[3..5].copy_from_slice(&record);
            let body = u32::try_from(len - 10).unwrap().to_be_bytes();
            bytes[6..9].copy_from_slice(&body[1..]);
            bytes
        }),
        ("longer than the limit", too_long),
    ];
    for (case, bytes) in cases {
        assert_eq!(detect_tls(bytes), Tls::NotTls, "{case}");
    }
}

#[test]
fn an_unfinished_client_hello_is_decided_at_the_limit() {
    // Records of one byte each: 6 bytes for one of the message.
    let hello = client_hello("a.example", &[]);
    let bytes = in_records(&hello, 1);
    assert!(bytes.len() > MAX_CLIENT_HELLO_LEN);
    assert_eq!(detect(&bytes[..MAX_CLIENT_HELLO_LEN - 1]), Detected::NeedMore);
    assert_eq!(detect(&bytes[..MAX_CLIENT_HELLO_LEN]), Detected::Opaque);
}

/// Bytes that get far: real beginnings, changed here and there.
fn nearly_protocol() -> impl Strategy<Value = Vec<u8>> {
    let line = "[A-Za-z]{1,35}[ \t]{0,2}[/a-z*:.]{0,20}[ ]{0,2}(HTTP|http)?/?[0-3]?[.]?[0-2]?\r?\n?";
    let hello = (1_usize..300, proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4)).prop_map(
        |(record, changes)| {
            let mut bytes = in_records(&client_hello("a.example", &[b"h2"]), record);
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes
        },
    );
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        line.prop_map(String::into_bytes),
        hello,
        Just(HTTP2_PREFACE_START.to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_verdict_stays_whatever_follows(mut bytes in nearly_protocol(), tail in proptest::collection::vec(any::<u8>(), 0..64)) {
        bytes.extend_from_slice(&tail);
        let last = detect(&bytes);
        let last_http = detect_http(&bytes);
        for len in 0..bytes.len() {
            let verdict = detect(&bytes[..len]);
            prop_assert!(verdict == Detected::NeedMore || verdict == last, "{len}: {verdict:?} then {last:?}");
            let verdict = detect_http(&bytes[..len]);
            prop_assert!(verdict == Http::NeedMore || verdict == last_http, "{len}: {verdict:?} then {last_http:?}");
        }
    }

    #[test]
    fn enough_bytes_are_always_enough(mut bytes in nearly_protocol(), filler in any::<u8>()) {
        bytes.resize(MAX_CLIENT_HELLO_LEN, filler);
        prop_assert_ne!(detect(&bytes), Detected::NeedMore);
        prop_assert_ne!(detect_http(&bytes[..MAX_REQUEST_LINE_LEN]), Http::NeedMore);
    }

    #[test]
    fn request_lines_are_http1(method in "[A-Z]{1,17}", target in "/[!-~]{0,200}", minor in 0_u8..10) {
        let line = format!("{method} {target} HTTP/1.{minor}\r\n");
        prop_assert_eq!(detect(line.as_bytes()), Detected::Http1);
    }
}
