//! Messages that two readers could read in two ways, from end to end: what is refused reaches nobody, and what is passed on
//! has one reading left. The codecs' own corpora are longer; here the far side of a proxy is looked at.

use std::sync::Arc;

use weft_engine::io::Side;
use weft_policy::outbound::{Backend, Endpoint, Hint};

use crate::bench::{Bench, SERVER, addr, meta, to};
use crate::downgrade::carried;
use crate::frames::{data, frame, frames, headers, requests_in, reset_code};

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
/// Behind every attack: the request that must not be seen.
const EVIL: &str = "GET /evil HTTP/1.1\r\nhost: web\r\n\r\n";

/// What reaches the server of what a client sends, once it is connected.
fn passed_on(request: &str) -> String {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, request);
    assert_eq!(b.world.dialed.len(), 1, "{request:?} is answered: {}", b.got(client));
    let server = b.connects(0);
    b.got(server)
}

/// Requests that were failed, as counted.
fn errors(b: &Bench, side: Side) -> u64 {
    b.gauges(|g| {
        let errors = match side {
            Side::Outbound => &g.outbound_http_errors,
            Side::Inbound => &g.inbound_http_errors,
        };
        errors.iter().map(|c| c.get()).sum()
    })
}

// --- HTTP/1 requests

/// Status, and the request that is answered with it.
const REFUSED: &[(u16, &str)] = &[
    // RFC 9112 3: request lines.
    (400, "GET\t/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET /\tHTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET  / HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET / HTTP/1.1 \r\nhost: web\r\n\r\n"),
    (400, "GET /a b HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET /#f HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET /\0 HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET web/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET * HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "G\u{e4}T / HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "GET / HTTP/1.1\nhost: web\n\n"),
    (400, "GET /\r\n\r\n"),
    // RFC 9112 2.3: versions.
    (505, "GET / HTTP/1.2\r\nhost: web\r\n\r\n"),
    (505, "GET / HTTP/2.0\r\nhost: web\r\n\r\n"),
    (505, "GET / HTTP/0.9\r\nhost: web\r\n\r\n"),
    (400, "GET / HTTP/1.11\r\nhost: web\r\n\r\n"),
    // RFC 9112 3.2: hosts.
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nhost: web\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nHost: evil\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web, evil\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web/evil\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web@evil\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web:80:81\r\n\r\n"),
    (400, "GET http://u:p@web/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    // RFC 9110 9.3.6: CONNECT.
    (400, "CONNECT / HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "CONNECT web HTTP/1.1\r\nhost: web\r\n\r\n"),
    (400, "CONNECT web:443 HTTP/1.1\r\nhost: web:443\r\ncontent-length: 33\r\n\r\n"),
    (400, "CONNECT web:443 HTTP/1.1\r\nhost: web:443\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    // RFC 9112 5: field lines.
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx : y\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\n: x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx@y: z\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx\u{a0}: z\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx: y\r\n z\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n host: web\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx: y\0z\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx: y\rz: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nhost: web\r\nx: y\nz: a\r\n\r\n"),
    // RFC 9110 8.6: lengths.
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0x5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5, 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5,6\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5 6\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length:\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 18446744073709551621\r\n\r\nhello"),
    // RFC 9112 6.1, 6.3: transfer codings, and both.
    (400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
    (
        400,
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (501, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    (501, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: identity\r\n\r\nhello"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
];

/// The first request of a connection decides what is spoken, so an honest one comes first; and whatever the split.
#[test]
fn rfc9112_11_2_what_is_refused_reaches_nobody() {
    for (status, request) in REFUSED {
        for pieces in [1, 2, 7] {
            let mut b = Bench::new(|_| {});
            let client = b.forwarded_client();
            b.sends(client, GET);
            let server = b.connects(0);
            b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            assert!(b.got(client).starts_with("HTTP/1.1 200 "));
            b.got(server);
            let before = errors(&b, Side::Outbound);

            let bytes = [request.as_bytes(), EVIL.as_bytes()].concat();
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                b.sends(client, piece);
            }
            let answer = b.got(client);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert!(answer.contains("connection: close\r\n"), "{request:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?}: one answer: {answer}");
            assert_eq!(b.got(server), "", "{request:?} reaches the server");
            assert_eq!(b.world.dialed.len(), 1);
            assert_eq!(errors(&b, Side::Outbound) - before, 1, "{request:?} is counted");
            b.ends(client);
            assert!(b.is_closed(client));
        }
    }
}

/// What a client sends, and what the server gets: every byte of it.
const PASSED_ON: &[(&str, &str)] = &[
    // RFC 9112 3.2.2: the target wins, and the server is told one host.
    ("GET http://a/x HTTP/1.1\r\nhost: b\r\n\r\n", "GET http://a/x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("GET //b/x HTTP/1.1\r\nhost: a\r\n\r\n", "GET //b/x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("GET /http://b/x HTTP/1.1\r\nhost: a\r\n\r\n", "GET /http://b/x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
    // RFC 9110 7.6.1: what is for one hop ends there, and so do the fields that it names.
    (
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-a, keep-alive\r\nx-a: 1\r\nkeep-alive: 5\r\nx-b: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-b: 2\r\n\r\n",
    ),
    (
        "GET / HTTP/1.1\r\nhost: a\r\nproxy-connection: close\r\nte: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    // What decides the framing is not taken out by naming it.
    (
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
    ),
    ("GET / HTTP/1.1\r\nhost: a\r\nconnection: host, close\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    // RFC 9110 7.8: nobody is talked into HTTP/2 behind the proxy's back.
    (
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    // Lengths are written anew.
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:  0002 \r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
    ),
    // RFC 9112 7.1: so are chunks, without their extensions; in trailers no field that means something before the content.
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         0002;x=\"\\\"\r\nhi\r\n00;y\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nx-sum: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
    ),
    // What only this proxy may say.
    (
        "GET / HTTP/1.1\r\nhost: a\r\nl5d-client-id: root\r\nl5d-orig-proto: HTTP/1.1\r\nL5D-Dst-Canonical: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
];

#[test]
fn rfc9112_what_is_passed_on_has_one_reading() {
    for (request, expected) in PASSED_ON {
        assert_eq!(passed_on(request), *expected, "{request:?}");
        // Whatever comes behind it waits for its answer.
        assert_eq!(passed_on(&format!("{request}{EVIL}")), *expected, "{request:?}, pipelined");
    }
}

#[test]
fn rfc9112_9_3_nothing_follows_a_request_that_said_close() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, format!("GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n{EVIL}"));
    let server = b.connects(0);
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(b.got(client).matches("HTTP/1.1 ").count(), 1);
    assert!(!b.got(server).contains("evil"));
    assert_eq!(b.world.dialed.len(), 1);
    b.ends(client);
    assert!(b.is_closed(client));
}

/// Content that is malformed further on: what was passed on of it is cut, never ended.
#[test]
fn rfc9112_7_1_a_malformed_chunk_is_never_the_end() {
    for chunk in [
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "5;\x01\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "ffffffffffffffff\r\nhello\r\n",
        "10000000000000000\r\nhello\r\n",
        "\r\n5\r\nhello\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\r",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\nz: a\r\n\r\n",
        "0\r\nGET /evil HTTP/1.1\r\n\r\n",
        "0\n\n",
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n");
        let server = b.connects(0);
        b.sends(client, format!("{chunk}{EVIL}"));
        let passed = b.got(server);
        assert!(!passed.contains("\r\n0\r\n") && !passed.contains("evil"), "{chunk:?}: {passed}");
        assert!(b.is_reset(server), "{chunk:?}: the server is not to take it for the whole");
        let answer = b.got(client);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
    }
}

// --- HTTP/1 responses

/// A response to GET that is none: the client is told so, nothing of it is passed on, and the connection is not used again.
#[test]
fn rfc9112_11_1_responses_that_mean_two_things_are_not_passed_on() {
    let interim = "HTTP/1.1 103 x\r\n\r\n".repeat(17);
    for response in [
        "HTTP/1.1 200 x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 x\r\ncontent-length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: +2\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\nset-cookie : a\r\n\r\n",
        "HTTP/1.1 200 x\r\nset-cookie: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 x\nset-cookie: a\r\n\r\n",
        "HTTP/1.1 200 x\r\nset-cookie: a\rb\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 20 x\r\n\r\n",
        "HTTP/1.2 200 x\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        // RFC 9110 15.2.2: nobody asked to switch.
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        // `limits::Http1::interim_heads`.
        &interim,
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, GET);
        let server = b.connects(0);
        b.sends(server, response);
        let answer = b.got(client);
        let last = answer.rsplit("HTTP/1.1 103 x\r\n\r\n").next().unwrap();
        assert!(last.starts_with("HTTP/1.1 502 "), "{response:?}: {answer}");
        assert!(b.is_reset(server), "{response:?}");
        assert_eq!(b.world.dialed.len(), 1, "{response:?}: it is not asked for again");
    }
}

/// Bytes behind a response answer nothing that was asked.
#[test]
fn rfc9112_9_2_what_comes_behind_a_response_is_for_nobody() {
    let poison = "HTTP/1.1 200 poison\r\ncontent-length: 0\r\n\r\n";
    for (method, response) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 x\r\ncontent-length: 43\r\n\r\n"),
        ("GET", "HTTP/1.1 304 x\r\ncontent-length: 43\r\n\r\n"),
        ("GET", "HTTP/1.1 304 x\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, format!("{method} / HTTP/1.1\r\nhost: web\r\n\r\n{EVIL}"));
        let server = b.connects(0);
        b.sends(server, format!("{response}{poison}"));
        let answer = b.got(client);
        assert!(!answer.contains("poison"), "{method} {response:?}: {answer}");
        assert!(b.is_closed(server), "{method} {response:?}");
        // The next request is asked of a new connection.
        let next = b.connects(1);
        assert!(b.got(next).starts_with("GET /evil "));
    }
}

/// RFC 9110 7.8: bytes are a tunnel's only after 101, and 101 only after the whole request.
#[test]
fn rfc9110_7_8_what_looks_like_an_upgrade_is_none_until_the_server_switches() {
    let upgrade = "GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, format!("{upgrade}{EVIL}"));
    let server = b.connects(0);
    assert!(!b.got(server).contains("evil"), "it may be a request yet");
    b.sends(server, "HTTP/1.1 426 x\r\ncontent-length: 0\r\n\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 426 "));
    assert_eq!(b.got(server), EVIL, "and that is what it is");
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    b.sends(client, upgrade);
    b.got(server);
    b.sends(server, "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfrom the server");
    assert!(b.got(client).ends_with("\r\n\r\nfrom the server"));
    b.sends(client, EVIL);
    assert_eq!(b.got(server), EVIL, "bytes now, which the server takes for what it likes");

    for content in ["content-length: 4\r\n\r\nhi", "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"] {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        let head = "POST /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
        b.sends(client, format!("{head}{content}"));
        let server = b.connects(0);
        b.sends(server, "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        let answer = b.got(client);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{content:?}: {answer}");
        assert!(b.is_reset(server), "{content:?}");
    }
}

// --- HTTP/2 that is HTTP/1 on the other side

#[test]
fn rfc9113_10_3_what_would_be_another_message_in_http1_reaches_nobody() {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/");
    const HOST: (&str, &str) = (":authority", "web");
    const CARRIED: (&str, &str) = ("l5d-orig-proto", "HTTP/1.1");
    let cases: &[&[(&str, &str)]] = &[
        // 8.3: pseudo-header fields.
        &[(":method", "GET / HTTP/1.1\r\nhost: evil\r\n\r\nGET"), SCHEME, PATH, HOST, CARRIED],
        &[(":method", "GET /evil"), SCHEME, PATH, HOST, CARRIED],
        &[(":method", ""), SCHEME, PATH, HOST, CARRIED],
        &[METHOD, SCHEME, (":path", "/ HTTP/1.1\r\nhost: evil\r\n\r\n"), HOST, CARRIED],
        &[METHOD, SCHEME, (":path", "/a b"), HOST, CARRIED],
        &[METHOD, SCHEME, (":path", ""), HOST, CARRIED],
        &[METHOD, SCHEME, (":path", "evil"), HOST, CARRIED],
        &[METHOD, SCHEME, (":path", "/#f"), HOST, CARRIED],
        &[METHOD, (":scheme", "http://evil/ HTTP/1.1\r\n"), PATH, HOST, CARRIED],
        &[METHOD, SCHEME, PATH, (":authority", "web\r\nx: y"), CARRIED],
        &[METHOD, SCHEME, PATH, (":authority", "u@web"), CARRIED],
        &[METHOD, SCHEME, PATH, (":authority", "web/evil"), CARRIED],
        &[METHOD, SCHEME, PATH, HOST, HOST, CARRIED],
        &[METHOD, SCHEME, HOST, CARRIED],
        &[METHOD, SCHEME, HOST, CARRIED, PATH],
        &[METHOD, SCHEME, PATH, HOST, (":evil", "x"), CARRIED],
        &[METHOD, SCHEME, PATH, HOST, (":status", "200"), CARRIED],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("host", "evil")],
        &[METHOD, SCHEME, PATH, CARRIED, ("host", "web"), ("host", "evil")],
        // 8.2.1: names and values.
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("X-Upper", "y")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("", "y")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x y", "z")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x:y", "z")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("transfer-encoding: chunked\r\nx", "y")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", "y\r\ntransfer-encoding: chunked")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", "y\nz: a")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", "y\rz: a")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", "y\0z")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", " y")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("x", "y\t")],
        // 8.2.2: fields of one connection.
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("transfer-encoding", "identity")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("connection", "x-a")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("upgrade", "websocket")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("proxy-connection", "close")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("keep-alive", "1")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("http2-settings", "AA")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("te", "trailers, chunked")],
        // 8.1.1: lengths.
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("content-length", "5")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("content-length", "+0")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("content-length", "0, 0")],
        &[METHOD, SCHEME, PATH, HOST, CARRIED, ("content-length", "0"), ("content-length", "0")],
    ];
    for fields in cases {
        let (mut b, peer) = carried();
        b.world.socks[peer.0 as usize].tx.clear();
        b.sends(peer, headers(1, true, fields));
        let answer = std::mem::take(&mut b.world.socks[peer.0 as usize].tx);
        assert_eq!(reset_code(&frames(&answer), 1), Some(1), "{fields:?} is PROTOCOL_ERROR: {answer:x?}");
        assert_eq!(b.world.dialed.len(), 0, "{fields:?} reaches the application");
        assert_eq!(errors(&b, Side::Inbound), 1, "{fields:?} is counted");
        assert!(b.world.notes.iter().any(|n| n.contains("RequestFailed")), "{fields:?}: {:?}", b.world.notes);
        assert!(!b.is_closed(peer), "the connection goes on");
    }
}

#[test]
fn rfc9113_10_3_what_reaches_the_application_has_one_reading() {
    let request = |more: &[(&'static str, &'static str)]| {
        let base =
            [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "web"), ("a", "b")];
        [&base, more].concat()
    };
    let http11 = ("l5d-orig-proto", "HTTP/1.1");
    let head = "POST /x HTTP/1.1\r\nhost: web\r\na: b\r\n";
    let data = |end: bool, content: &str| data(1, end, content.as_bytes());
    for (fields, rest, expected) in [
        (request(&[http11]), vec![], format!("{head}transfer-encoding: chunked\r\n\r\n")),
        (
            request(&[http11]),
            vec![data(true, "0\r\n\r\n")],
            format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        ),
        (
            request(&[http11, ("content-length", "005")]),
            vec![data(true, "hello")],
            format!("{head}content-length: 5\r\n\r\nhello"),
        ),
        (
            request(&[
                http11,
                ("cookie", "a=b"),
                ("cookie", "c=d"),
                ("host", "WEB"),
                ("content-length", "0"),
            ]),
            vec![data(true, "")],
            format!("{head}cookie: a=b; c=d\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            request(&[("l5d-orig-proto", "HTTP/1.1; absolute-form"), ("content-length", "0")]),
            vec![data(true, "")],
            "POST http://web/x HTTP/1.1\r\nhost: web\r\na: b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            request(&[http11, ("l5d-client-id", "root"), ("te", "trailers")]),
            vec![headers(1, true, &[("content-length", "9"), ("host", "evil"), ("x-sum", "1")])],
            format!(
                "{head}transfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n\r\n0\r\nx-sum: 1\r\n\r\n"
            ),
        ),
    ] {
        let (mut b, peer) = carried();
        b.sends(peer, headers(1, false, &fields));
        let server = b.connects(0);
        b.sends(peer, rest.concat());
        assert_eq!(b.got(server), expected, "{fields:?}");
    }
}

/// Content that is shorter or longer than was said: the application gets no byte too many, and no end.
#[test]
fn rfc9113_8_1_1_content_of_another_length_is_cut() {
    let fields = |length| {
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "web"),
            ("content-length", length),
            ("l5d-orig-proto", "HTTP/1.1"),
        ]
    };
    for (length, first, second) in [("5", "he", "l"), ("3", "he", "llo"), ("2", "he", "l"), ("9", "he", "")] {
        let (mut b, peer) = carried();
        b.sends(peer, headers(1, false, &fields(length)));
        let server = b.connects(0);
        b.sends(peer, frame(0, 0, 1, first.as_bytes()));
        b.world.socks[peer.0 as usize].tx.clear();
        b.sends(peer, frame(0, 1, 1, second.as_bytes()));
        let answer = std::mem::take(&mut b.world.socks[peer.0 as usize].tx);
        assert_eq!(reset_code(&frames(&answer), 1), Some(1), "{length} {second:?}");
        assert_eq!(errors(&b, Side::Inbound), 1, "{length} {second:?} is counted");
        let got = b.got(server);
        let content = got.split_once("\r\n\r\n").map(|(_, content)| content);
        assert!(content.is_some_and(|c| c == first), "{length} {second:?}: {got}");
        assert!(b.is_reset(server), "{length} {second:?}: the application is not to wait for the rest");
    }
}

/// The other way: chunks and lengths of HTTP/1 are frames, and their fields do not go along.
#[test]
fn rfc9113_8_2_2_framing_of_http1_does_not_enter_http2() {
    let endpoint = Endpoint { hint: Hint::H2, ..Endpoint::plain(addr(SERVER)) };
    for (request, forbidden) in [
        (
            "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\nconnection: x-a\r\nx-a: 1\r\n\r\n0\r\n\r\n",
            &["transfer-encoding", "connection", "x-a", "host"][..],
        ),
        (
            "GET / HTTP/1.1\r\nhost: web\r\nte: gzip, trailers\r\nkeep-alive: 5\r\nproxy-connection: x\r\n\r\n",
            &["keep-alive", "proxy-connection", "gzip"],
        ),
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.client();
        b.discovered(to(Arc::new(Backend::forward(meta("server"), Arc::new(endpoint.clone())))));
        b.sends(client, request);
        let server = b.connects(0);
        b.sends(server, frame(4, 0, 0, &[]));
        let sent = std::mem::take(&mut b.world.socks[server.0 as usize].tx);
        let names = requests_in(&sent);
        assert!(
            names.contains(":authority: web") && names.contains("l5d-orig-proto"),
            "{request:?}: {names}"
        );
        for name in forbidden {
            assert!(!names.lines().any(|line| line.contains(name)), "{request:?}: {name} in {names}");
        }
    }
}
