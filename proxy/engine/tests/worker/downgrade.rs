//! HTTP/2 that becomes HTTP/1 (RFC 9113 10.3, RFC 9112 11.2): what an application reads of what a client says in frames.

use weft_engine::io::{Side, SocketId};

use crate::bench::{Bench, SERVER, addr};
use crate::frames::{client_preface, data, headers};

/// A client speaks HTTP/2 with the inbound side, which speaks HTTP/1 with its application.
fn carried() -> (Bench, SocketId) {
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
