//! HTTP/2 that stays HTTP/2: what a server reads of a client's request, field by field, and that content is never anything else.

use weft_engine::io::Side;

use crate::bench::{Bench, SERVER, addr};
use crate::frames::{DATA, HEADERS, SETTINGS, client_preface, data, frame, frames, headers, requests_in};

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "web")];

/// What the server reads of these frames, which a client sends.
fn read(side: Side, request: &[u8]) -> String {
    let mut b = Bench::new(|_| {});
    let client = match side {
        Side::Outbound => b.forwarded_client(),
        Side::Inbound => b.accept(side, addr(SERVER)),
    };
    b.sends(client, [&client_preface(), request].concat());
    let server = b.connects(0);
    requests_in(&std::mem::take(&mut b.world.socks[server.0 as usize].tx))
}

#[test]
fn rfc9113_8_requests_of_http2_have_one_reading_in_http2() {
    let with = |more: &[(&str, &str)]| headers(1, true, &[&POST[..], more].concat());
    let open = |more: &[(&str, &str)]| headers(1, false, &[&POST[..], more].concat());
    let head = ":method: POST\n:path: /x\n:authority: web\n";
    for (name, request, expected) in [
        ("8.3.1 host and :authority", with(&[("host", "WEB")]), head.to_owned()),
        ("8.2.2 te", with(&[("te", "Trailers")]), format!("{head}te: trailers\n")),
        (
            "10.3 a value that only looks like lines",
            with(&[("x", "y\\r\\nz: a")]),
            format!("{head}x: y\\r\\nz: a\n"),
        ),
        (
            "8.2.3 crumbs stay crumbs",
            with(&[("cookie", "a=b"), ("cookie", "c=d")]),
            format!("{head}cookie: a=b\ncookie: c=d\n"),
        ),
        (
            "what only proxies say",
            with(&[("l5d-client-id", "root"), ("l5d-orig-proto", "HTTP/3"), ("x", "y")]),
            format!("{head}x: y\n"),
        ),
        (
            "8.1 content that looks like frames",
            [open(&[]), data(1, true, &headers(3, true, &POST))].concat(),
            format!("{head}{}\n", String::from_utf8_lossy(&headers(3, true, &POST))),
        ),
        (
            "8.1 content that looks like HTTP/1",
            [open(&[]), data(1, true, b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")].concat(),
            format!("{head}0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n\n"),
        ),
        (
            "6.5.1 of RFC 9110: trailers that mean something before the content",
            [
                open(&[]),
                data(1, false, b"hi"),
                headers(
                    1,
                    true,
                    &[
                        ("content-length", "9"),
                        ("host", "evil"),
                        ("authorization", "x"),
                        ("l5d-client-id", "root"),
                        ("te", "trailers"),
                        ("grpc-status", "0"),
                        ("x-sum", "1"),
                    ],
                ),
            ]
            .concat(),
            format!("{head}hi\ntrailers\ngrpc-status: 0\nx-sum: 1\n"),
        ),
    ] {
        for side in [Side::Outbound, Side::Inbound] {
            assert_eq!(read(side, &request), expected, "{name}, {side:?}");
        }
    }
}

/// A tunnel over HTTP/2 stays in its stream (RFC 9113 8.5), whatever goes through it.
#[test]
fn rfc9113_8_5_bytes_of_a_tunnel_stay_in_their_stream() {
    let connect = headers(1, false, &[(":method", "CONNECT"), (":authority", "web:443")]);
    let evil = b"GET /evil HTTP/1.1\r\nhost: web\r\n\r\n";
    for side in [Side::Outbound, Side::Inbound] {
        let seen = read(side, &[&connect[..], &data(1, false, evil)].concat());
        assert_eq!(
            seen,
            format!(":method: CONNECT\n:path: \n:authority: web:443\n{}\n", String::from_utf8_lossy(evil)),
            "{side:?}"
        );
    }
}

/// RFC 9110 8.6: a 2xx to CONNECT has no length, whatever its server says.
#[test]
fn rfc9110_8_6_a_tunnel_has_no_length() {
    let answered = |request: &[(&str, &str)], response: &[(&str, &str)]| {
        let mut b = Bench::new(|_| {});
        let client = b.forwarded_client();
        b.sends(client, [client_preface(), headers(1, false, request)].concat());
        let server = b.connects(0);
        b.sends(server, [frame(SETTINGS, 0, 0, &[]), headers(1, false, response)].concat());
        b.sends(server, data(1, false, b"through the tunnel"));
        let sent = frames(&std::mem::take(&mut b.world.socks[client.0 as usize].tx));
        let content: Vec<u8> =
            sent.iter().filter(|f| f.kind == DATA).flat_map(|f| f.payload.clone()).collect();
        let head = sent.into_iter().find(|f| f.kind == HEADERS).expect("a response").payload;
        (head, String::from_utf8(content).unwrap())
    };
    let connect = [(":method", "CONNECT"), (":authority", "web:443")];
    let (with, without) = ([(":status", "200"), ("content-length", "5")], [(":status", "200")]);
    let (head, content) = answered(&connect, &with);
    assert_eq!(content, "through the tunnel");
    assert_eq!(head, answered(&connect, &without).0);
    assert_ne!(answered(&POST, &[(":status", "200"), ("content-length", "18")]).0, head);
}
