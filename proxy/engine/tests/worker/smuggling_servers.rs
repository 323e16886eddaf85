//! HTTP/2 servers that break the protocol, or bend it, towards a client that speaks HTTP/1: the client gets a whole response, or learns that it
//! has none, and never a part of one as the whole.

use std::sync::Arc;

use weft_engine::io::{Side, SocketId};
use weft_policy::outbound::{Backend, Endpoint, Hint};

use crate::bench::{Bench, SERVER, addr, meta, to};
use crate::frames::*;

/// A client that has asked `method /x`, with content, of a server that speaks HTTP/2 and has got it on stream 1.
fn asked(method: &str) -> (Bench, SocketId, SocketId) {
    let mut b = Bench::new(|_| {});
    let client = b.client();
    let endpoint = Endpoint { hint: Hint::H2, ..Endpoint::plain(addr(SERVER)) };
    b.discovered(to(Arc::new(Backend::forward(meta("server"), Arc::new(endpoint)))));
    b.sends(client, format!("{method} /x HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\n\r\nhi"));
    let server = b.connects(0);
    b.sends(server, [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat());
    let sent = frames(&std::mem::take(&mut b.world.socks[server.0 as usize].tx));
    assert!(sent.iter().any(|f| (f.kind, f.stream) == (HEADERS, 1)), "{sent:x?}");
    (b, client, server)
}

const OK: (&str, &str) = (":status", "200");

/// The stream, or the connection, is ended with this code by us.
enum By {
    Stream(u32),
    Connection(u32),
}
use By::{Connection, Stream};

fn head(end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, end, fields)
}

#[test]
fn rfc9113_8_1_1_malformed_responses_are_none() {
    let many: Vec<_> = [OK].into_iter().chain((0..129).map(|_| ("x", "y"))).collect();
    let long = "a".repeat(60_000);
    let too_large =
        continued(&block(&[OK, ("x", &long[..30_000]), ("y", &long[..30_000]), ("z", &long[..30_000])]));
    let early_hints = head(false, &[(":status", "103")]);
    let cases: &[(&str, &str, Vec<u8>, By)] = &[
        ("POST", "8.3.2 no :status", head(true, &[("x", "y")]), Stream(1)),
        ("POST", "8.3.2 two", head(true, &[OK, OK]), Stream(1)),
        ("POST", "8.3.2 of two digits", head(true, &[(":status", "20")]), Stream(1)),
        ("POST", "8.3.2 of four digits", head(true, &[(":status", "2000")]), Stream(1)),
        ("POST", "8.3.2 with a sign", head(true, &[(":status", "+20")]), Stream(1)),
        ("POST", "8.3.2 below 100", head(true, &[(":status", "099")]), Stream(1)),
        ("POST", "8.3.2 with a reason", head(true, &[(":status", "200 OK")]), Stream(1)),
        ("POST", "8.6 101", head(false, &[(":status", "101")]), Stream(1)),
        ("POST", "8.3 a pseudo-header field of requests", head(true, &[OK, (":path", "/")]), Stream(1)),
        ("POST", "8.3 behind a field", head(true, &[("x", "y"), OK]), Stream(1)),
        ("POST", "8.2.1 upper case", head(true, &[OK, ("X", "y")]), Stream(1)),
        (
            "POST",
            "8.2.1 a name that would be two lines",
            head(true, &[OK, ("x: y\r\nset-cookie", "z")]),
            Stream(1),
        ),
        (
            "POST",
            "8.2.1 a value that would be two lines",
            head(true, &[OK, ("x", "y\r\nset-cookie: z")]),
            Stream(1),
        ),
        (
            "POST",
            "8.2.1 a value that would be two responses",
            head(true, &[OK, ("x", "y\r\n\r\nHTTP/1.1 200 OK")]),
            Stream(1),
        ),
        ("POST", "8.2.1 NUL", head(true, &[OK, ("x", "\0")]), Stream(1)),
        ("POST", "8.2.2 connection", head(true, &[OK, ("connection", "close")]), Stream(1)),
        ("POST", "8.2.2 transfer-encoding", head(false, &[OK, ("transfer-encoding", "chunked")]), Stream(1)),
        ("POST", "8.2.2 upgrade", head(false, &[OK, ("upgrade", "websocket")]), Stream(1)),
        ("POST", "8.1.1 a length and no content", head(true, &[OK, ("content-length", "5")]), Stream(1)),
        (
            "POST",
            "8.1.1 two lengths",
            head(false, &[OK, ("content-length", "5"), ("content-length", "5")]),
            Stream(1),
        ),
        ("POST", "8.1.1 a length that is none", head(false, &[OK, ("content-length", "5, 5")]), Stream(1)),
        ("POST", "8.1 103 and the end", head(true, &[(":status", "103")]), Stream(1)),
        ("POST", "8.1 content before a head", data(1, true, b"hello"), Stream(1)),
        ("POST", "8.1 content after 103", [early_hints.clone(), data(1, true, b"hello")].concat(), Stream(1)),
        ("POST", "interim_heads", early_hints.repeat(17), Stream(0xb)),
        ("POST", "fields", head(true, &many), Stream(0xb)),
        ("POST", "header_list_bytes", too_large, Stream(0xb)),
        ("POST", "6.9 a window by nothing", frame(WINDOW_UPDATE, 0, 1, &[0; 4]), Stream(1)),
        ("POST", "8.4 a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), Connection(1)),
        ("POST", "5.1.1 a stream of its own", headers(2, true, &[OK]), Connection(1)),
        ("POST", "5.1 a stream that nobody opened", headers(7, true, &[OK]), Connection(1)),
        ("POST", "6.5.2 ENABLE_PUSH of a server", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]), Connection(1)),
        (
            "POST",
            "6.10 CONTINUATION without end",
            [frame(HEADERS, 0, 1, &[0x88]), frame(CONTINUATION, 0, 1, &[]).repeat(17)].concat(),
            Connection(0xb),
        ),
        ("POST", "RFC 7541 6.1 index 0", frame(HEADERS, END_HEADERS, 1, &[0x88, 0x80]), Connection(9)),
        ("POST", "6.7 1001 PINGs", frame(PING, 0, 0, &[0; 8]).repeat(1001), Connection(0xb)),
    ];
    for (method, name, bytes, by) in cases {
        let (mut b, client, server) = asked(method);
        b.sends(server, bytes);
        let answer = b.got(client);
        let last = answer.rsplit("HTTP/1.1 103 Early Hints\r\n\r\n").next().unwrap();
        assert!(last.starts_with("HTTP/1.1 502 ") || last.starts_with("HTTP/1.1 503 "), "{name}: {answer}");
        assert_eq!(last.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
        assert!(!last.contains("set-cookie"), "{name}: {answer}");
        let sent = frames(&std::mem::take(&mut b.world.socks[server.0 as usize].tx));
        match by {
            Stream(code) => assert_eq!(reset_code(&sent, 1), Some(*code), "{name}: {sent:x?}"),
            Connection(code) => assert_eq!(goaway_code(&sent), Some(*code), "{name}: {sent:x?}"),
        }
        assert_eq!(b.is_closed(server), matches!(by, Connection(_)), "{name}");
        assert_eq!(b.world.dialed.len(), 1, "{name}: it is not asked for again");
        assert_eq!(
            b.gauges(|g| (g.exchanges.get(), g.buffered_bytes.get())),
            (0, 0),
            "{name}: nothing is left"
        );
    }
}

/// What goes wrong behind a good head: the client's connection is cut, so that it cannot take what it has for the whole.
#[test]
fn rfc9113_8_1_1_content_that_goes_wrong_is_cut() {
    let length = head(false, &[OK, ("content-length", "5")]);
    let open = head(false, &[OK]);
    for (name, first, then) in [
        ("less than was said", &length, data(1, true, b"")),
        ("more than was said", &length, data(1, false, b"world!")),
        ("less than was said, and trailers", &length, head(true, &[("x", "y")])),
        ("another head", &open, head(false, &[OK])),
        ("another head, and the end", &open, head(true, &[OK])),
        ("transfer-encoding in trailers", &open, head(true, &[("transfer-encoding", "chunked")])),
        ("two lines in a trailer", &open, head(true, &[("x", "y\r\nz: a")])),
        ("RST_STREAM", &open, frame(RST_STREAM, 0, 1, &[0; 4])),
        ("RST_STREAM with a length", &length, frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("a window above 2^31-1", &open, frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255])),
        ("a fault of the connection", &open, frame(PING, 0, 1, &[0; 8])),
        ("more than the window", &open, data(1, false, &[b'.'; 16_384]).repeat(70)),
    ] {
        let (mut b, client, server) = asked("POST");
        b.sends(server, [first, &data(1, false, b"hel")[..]].concat());
        assert!(b.got(client).ends_with("hel") || *first == open, "{name}");
        b.world.socks[client.0 as usize].room = 0;
        b.sends(server, then);
        b.world.socks[client.0 as usize].room = usize::MAX;
        let answer = b.got(client);
        assert!(!answer.contains("\r\n0\r\n") && !answer.contains("world!"), "{name}: {answer}");
        assert!(b.is_reset(client), "{name}: {answer}");
        assert_eq!(
            b.gauges(|g| (g.exchanges.get(), g.buffered_bytes.get())),
            (0, 0),
            "{name}: nothing is left"
        );
    }
}

/// Content where there is none (RFC 9110 6.4.1): not a byte of it reaches the client.
#[test]
fn rfc9110_6_4_1_content_that_cannot_be_is_dropped() {
    for (method, status) in [("HEAD", "200"), ("POST", "204"), ("POST", "304")] {
        let (mut b, client, server) = asked(method);
        b.sends(server, head(false, &[(":status", status), ("content-length", "6"), ("te", "trailers")]));
        b.sends(server, data(1, true, b"poison"));
        let answer = b.got(client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {status}: {answer}");
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("\r\nte:"), "{method} {status}: {answer}");
        assert_eq!(answer.contains("content-length: 6\r\n"), status != "204", "{method} {status}: {answer}");
    }
}

/// RFC 8441 3: an extended CONNECT is for servers that have said that they take it.
#[test]
fn rfc8441_3_extended_connect_is_not_sent_to_servers_that_do_not_take_it() {
    for allowed in [false, true] {
        let mut b = Bench::new(|_| {});
        let client = b.client();
        b.discovered(to(Arc::new(Backend::forward(meta("server"), Arc::new(Endpoint::plain(addr(SERVER)))))));
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web")];
        b.sends(client, [client_preface(), headers(1, true, &get)].concat());
        let server = b.connects(0);
        let settings: &[u8] = if allowed { &[0, 8, 0, 0, 0, 1] } else { &[] };
        b.sends(server, [frame(SETTINGS, 0, 0, settings), headers(1, true, &[OK])].concat());
        for id in [server, client] {
            b.world.socks[id.0 as usize].tx.clear();
        }
        let connect = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "web"),
        ];
        b.sends(client, headers(3, false, &connect));
        let asked = frames(&std::mem::take(&mut b.world.socks[server.0 as usize].tx));
        assert_eq!(asked.iter().any(|f| f.kind == HEADERS), allowed, "{asked:x?}");
        let answer = frames(&std::mem::take(&mut b.world.socks[client.0 as usize].tx));
        assert_eq!(answer.iter().any(|f| (f.kind, f.stream) == (HEADERS, 3)), !allowed, "{answer:x?}");
        assert!(!b.is_closed(client));
    }
}

/// RFC 9110 8.6, RFC 9113 8.2.2: an application's response over HTTP/2, without what it cannot hold there.
#[test]
fn rfc9113_8_2_2_responses_of_http1_servers_to_http2_clients() {
    let mut b = Bench::new(|_| {});
    let client = b.accept(Side::Inbound, addr(SERVER));
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "web"),
        ("l5d-orig-proto", "HTTP/1.1"),
    ];
    b.sends(client, [client_preface(), headers(1, true, &get)].concat());
    let server = b.connects(0);
    b.world.socks[client.0 as usize].tx.clear();
    b.sends(
        server,
        "HTTP/1.1 103 x\r\ncontent-length: 77\r\n\r\n\
         HTTP/1.1 204 x\r\ncontent-length: 0\r\nte: trailers\r\nconnection: x-a\r\nx-a: 1\r\nkeep-alive: 5\r\nupgrade: h2c\r\nx-b: 2\r\n\r\n",
    );
    let answer = frames(&std::mem::take(&mut b.world.socks[client.0 as usize].tx));
    let heads: Vec<_> = answer.iter().filter(|f| f.kind == HEADERS).collect();
    assert_eq!(heads.len(), 2, "{answer:x?}");
    let text = heads.iter().map(|f| String::from_utf8_lossy(&f.payload).into_owned()).collect::<String>();
    for name in ["77", "trailers", "x-a", "keep-alive", "h2c"] {
        assert!(!text.contains(name), "{name}: {text:?}");
    }
    assert!(text.contains("x-b"), "{text:?}");
    // `content-length` has an index of its own: 28, with four bits for it.
    assert!(!heads.iter().any(|f| f.payload.windows(2).any(|w| w == [0x0f, 28 - 15])), "{heads:x?}");
}
