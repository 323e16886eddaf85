//! HTTP/2 that becomes HTTP/1 (RFC 9113 10.3, RFC 9112 11.2): what an application reads of what a client says in frames.

use weft_engine::io::{Side, SocketId};

use crate::bench::{Bench, SERVER, addr};
use crate::frames::{client_preface, data, headers};

/// A client speaks HTTP/2 with the inbound side, which speaks HTTP/1 with its application.
pub(crate) fn carried() -> (Bench, SocketId) {
    let mut b = Bench::new(|_| {});
    let peer = b.accept(Side::Inbound, addr(SERVER));
    b.sends(peer, client_preface());
    (b, peer)
}

/// A tunnel takes a connection of its own over HTTP/1, so nobody carries one over HTTP/2 and says that it was HTTP/1: its bytes would
/// be the application's next request, past every rule. What says so stays HTTP/2.
#[test]
fn rfc9110_9_3_6_what_a_connect_over_http2_holds_is_no_request() {
    let (mut b, peer) = carried();
    let head = [(":method", "CONNECT"), (":authority", "web:80"), ("l5d-orig-proto", "HTTP/1.1")];
    b.sends(peer, headers(1, false, &head));
    b.sends(peer, data(1, false, b"GET /evil HTTP/1.1\r\nhost: web\r\n\r\n"));
    let server = b.connects(0);
    let got = b.got(server);
    assert!(got.starts_with("PRI * HTTP/2.0\r\n"), "{got}");
    assert!(!got.contains("CONNECT web:80 HTTP/1.1"), "{got}");
}

/// The second request of a stream's content is content, whatever frames it is cut into and whatever was said of its length.
#[test]
fn rfc9113_8_1_content_is_never_another_request() {
    for (length, content) in [
        (None, "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: web\r\n\r\n"),
        (Some("38"), "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: web\r\n\r\n"),
    ] {
        let (mut b, peer) = carried();
        let mut head = vec![(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "web")];
        head.push(("l5d-orig-proto", "HTTP/1.1"));
        head.extend(length.map(|n| ("content-length", n)));
        b.sends(peer, headers(1, false, &head));
        let server = b.connects(0);
        for (i, piece) in content.as_bytes().chunks(7).enumerate() {
            b.sends(peer, data(1, (i + 1) * 7 >= content.len(), piece));
        }
        let got = b.got(server);
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("evil"), "{got}");
        match length {
            Some(n) => assert!(head.ends_with(&format!("content-length: {n}")) && body == content, "{got}"),
            None => {
                assert!(body.starts_with("7\r\n0\r\n\r\nGE\r\n") && body.ends_with("\r\n0\r\n\r\n"), "{got}")
            }
        }
    }
}

/// What a client of HTTP/2 says, and what an application that speaks HTTP/1 reads of it, every byte of it; and the next request of the same
/// client is the next that it reads.
#[test]
fn rfc9113_10_3_requests_of_http2_have_one_reading_in_http1() {
    const METHOD: (&str, &str) = (":method", "POST");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/x");
    const HOST: (&str, &str) = (":authority", "web");
    const HTTP11: (&str, &str) = ("l5d-orig-proto", "HTTP/1.1");
    const HTTP10: (&str, &str) = ("l5d-orig-proto", "HTTP/1.0");
    let none: &[u8] = b"";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (name, fields, content, expected) in [
        (
            "a length",
            vec![HOST, HTTP11, ("content-length", "2")],
            &b"hi"[..],
            "host: web\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        ),
        ("no length", vec![HOST, HTTP11], b"hi", format!("host: web\r\n{chunked}2\r\nhi\r\n0\r\n\r\n")),
        ("no content", vec![HOST, HTTP11], none, format!("host: web\r\n{chunked}0\r\n\r\n")),
        (
            "a length of nothing",
            vec![HOST, HTTP11, ("content-length", "0")],
            none,
            "host: web\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "host for :authority",
            vec![HTTP11, ("host", "web"), ("content-length", "0")],
            none,
            "host: web\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "both, the same",
            vec![HOST, HTTP11, ("host", "WEB"), ("content-length", "0")],
            none,
            "host: web\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "neither",
            vec![HTTP11, ("content-length", "0")],
            none,
            "host: \r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "crumbs",
            vec![HOST, HTTP11, ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("content-length", "0")],
            none,
            "host: web\r\ncookie: a=b; c=d\r\nx: y\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "fields of the mesh",
            vec![
                HOST,
                HTTP11,
                ("l5d-client-id", "root"),
                ("l5d-orig-proto", "HTTP/1.1"),
                ("content-length", "0"),
            ],
            none,
            "host: web\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a name that only looks like one",
            vec![
                HOST,
                HTTP11,
                ("content_length", "9"),
                ("transfer_encoding", "chunked"),
                ("content-length", "0"),
            ],
            none,
            "host: web\r\ncontent_length: 9\r\ntransfer_encoding: chunked\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
        ),
    ] {
        let (mut b, peer) = carried();
        b.sends(peer, headers(1, false, &[&[METHOD, SCHEME, PATH], &fields[..]].concat()));
        let server = b.connects(0);
        b.sends(peer, data(1, true, content));
        assert_eq!(b.got(server), format!("POST /x HTTP/1.1\r\n{expected}"), "{name}");
        b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        b.sends(peer, headers(3, true, &[METHOD, SCHEME, PATH, HOST, HTTP11]));
        assert!(b.got(server).starts_with("POST /x HTTP/1.1\r\nhost: web\r\n"), "{name}");
    }

    // HTTP/1.0 has no chunks: without a length there is no way to say it, and nothing is said.
    let (mut b, peer) = carried();
    b.sends(peer, headers(1, false, &[METHOD, SCHEME, PATH, HOST, HTTP10]));
    let server = b.connects(0);
    b.sends(peer, data(1, true, b"GET /evil HTTP/1.0\r\n\r\n"));
    assert_eq!(b.got(server), "");
    // What no proxy says is not understood, and the message stays what it is.
    for value in ["HTTP/1.1 ", "HTTP/2.0", "HTTP/1.1; evil", "http/1.1", "HTTP/1.1, HTTP/1.0"] {
        let (mut b, peer) = carried();
        b.sends(peer, headers(1, false, &[METHOD, SCHEME, PATH, HOST, ("l5d-orig-proto", value)]));
        if b.world.dialed.is_empty() {
            // White space at its end is malformed by itself (RFC 9113 8.2.1).
            assert_eq!(value, "HTTP/1.1 ");
            continue;
        }
        let server = b.connects(0);
        assert!(b.got(server).starts_with("PRI * HTTP/2.0\r\n"), "{value}");
    }
}
