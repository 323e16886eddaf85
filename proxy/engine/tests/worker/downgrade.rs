//! HTTP/2 that becomes HTTP/1 (RFC 9113 10.3, RFC 9112 11.2): what an application reads of what a client says in frames.

use weft_engine::io::{Side, SocketId};
use weft_http::h2::PREFACE;

use crate::bench::{Bench, SERVER, addr};

/// A client speaks HTTP/2 with the inbound side, which speaks HTTP/1 with its application.
fn carried() -> (Bench, SocketId) {
    let mut b = Bench::new(|_| {});
    let peer = b.accept(Side::Inbound, addr(SERVER));
    b.sends(peer, [&PREFACE[..], &frame(4, 0, 0, &[])].concat());
    (b, peer)
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let n = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&n[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|n| *n < 127).unwrap();
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend_from_slice(&[0, short(name)]);
        block.extend_from_slice(name.as_bytes());
        block.push(short(value));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// A tunnel takes a connection of its own over HTTP/1, so nobody carries one over HTTP/2 and says that it was HTTP/1: its bytes would
/// be the application's next request, past every rule. What says so stays HTTP/2.
#[test]
fn rfc9110_9_3_6_what_a_connect_over_http2_holds_is_no_request() {
    let (mut b, peer) = carried();
    let head = [(":method", "CONNECT"), (":authority", "web:80"), ("l5d-orig-proto", "HTTP/1.1")];
    b.sends(peer, frame(1, 4, 1, &literals(&head)));
    b.sends(peer, frame(0, 0, 1, b"GET /evil HTTP/1.1\r\nhost: web\r\n\r\n"));
    let server = b.connects(0);
    let got = b.got(server);
    assert!(got.starts_with("PRI * HTTP/2.0\r\n"), "{got}");
    assert!(!got.contains("CONNECT web:80 HTTP/1.1"), "{got}");
}
