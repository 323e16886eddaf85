//! Answers that the proxy makes itself, one of each kind: status, header, connection.

use std::sync::Arc;
use std::time::Duration;

use weft_engine::io::{Answer, DiscoverError, Side};
use weft_policy::inbound::DefaultPolicy;
use weft_policy::outbound::{Backend, Distribution, Endpoint, HttpRoutes, RouteBackend, Rule, Timeouts};

use crate::bench::{Bench, SERVER, TARGET, addr, detect, forward, meta};

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";

fn server() -> Arc<Backend> {
    Arc::new(Backend::forward(meta("server"), Arc::new(Endpoint::plain(addr(SERVER)))))
}

/// What one client is answered, as status and lines that must be there; then whether its connection is kept.
fn check(b: &mut Bench, request: &str, status: u16, lines: &[&str], kept: bool) {
    let client = b.client();
    b.sends(client, request);
    answered(b, client, status, lines, kept);
}

fn answered(b: &mut Bench, client: weft_engine::io::SocketId, status: u16, lines: &[&str], kept: bool) {
    let answer = b.got(client);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for line in lines {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} is not in {answer}");
    }
    assert_eq!(answer.contains("connection: close\r\n"), !kept, "{answer}");
    if !kept {
        b.ends(client);
        assert!(b.is_closed(client));
    }
}

#[test]
fn no_route() {
    let mut b = Bench::new(|_| {});
    let client = b.client();
    b.discovered(detect(HttpRoutes::new(vec![]), server()));
    b.sends(client, GET);
    let lines = ["l5d-proxy-error: no route found for request", "content-length: 0"];
    answered(&mut b, client, 404, &lines, true);
    b.sends(client, GET);
    answered(&mut b, client, 404, &lines, true);
}

#[test]
fn no_backend_is_load_shed() {
    let mut b = Bench::new(|_| {});
    let client = b.client();
    b.discovered(detect(HttpRoutes::from_rule(meta("r"), Rule::new(Distribution::Empty)), server()));
    b.sends(client, GET);
    answered(&mut b, client, 503, &["l5d-proxy-connection: close"], false);
}

#[test]
fn connecting_fails() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    b.refuses(0);
    answered(&mut b, client, 502, &["l5d-proxy-error: connection refused"], false);
    let client = b.client();
    b.sends(client, GET);
    // After the back-off it is tried again, and takes too long.
    b.pass(Duration::from_millis(120));
    b.pass(Duration::from_secs(1));
    answered(&mut b, client, 504, &[], false);
}

#[test]
fn the_server_breaks() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 1\r\n\r\na");
    let server = b.connects(0);
    b.breaks(server);
    answered(&mut b, client, 502, &[], false);
}

#[test]
fn the_server_breaks_in_the_middle() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    let server = b.connects(0);
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    assert!(b.got(client).ends_with("half"));
    b.breaks(server);
    assert!(b.is_reset(client), "the client is not to take it for the whole");
}

#[test]
fn the_server_answers_nonsense() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, GET);
    let server = b.connects(0);
    b.sends(server, "220 mail\r\n\r\n");
    answered(&mut b, client, 502, &[], false);
    assert!(b.is_closed(server));
}

#[test]
fn timeouts_of_the_route() {
    for (timeouts, after, message) in [
        (
            Timeouts { request: Some(Duration::from_secs(2)), ..Timeouts::default() },
            2_000,
            "request timed out",
        ),
        (
            Timeouts { response: Some(Duration::from_secs(1)), ..Timeouts::default() },
            1_000,
            "response timed out",
        ),
        (
            Timeouts { idle: Some(Duration::from_millis(300)), ..Timeouts::default() },
            300,
            "stream timed out idle",
        ),
    ] {
        let mut rule = Rule::new(Distribution::only(RouteBackend::new(server())));
        rule.timeouts = timeouts;
        let mut b = Bench::new(|_| {});
        let client = b.client();
        b.discovered(detect(HttpRoutes::from_rule(meta("timed"), rule), server()));
        b.sends(client, GET);
        b.connects(0);
        b.pass(Duration::from_millis(after - 10));
        assert_eq!(b.got(client), "");
        b.pass(Duration::from_millis(10));
        answered(&mut b, client, 504, &[&format!("l5d-proxy-error: {message}")], true);
    }
}

#[test]
fn malformed_heads_end_the_connection() {
    let mut b = Bench::new(|_| {});
    b.forwarded_client();
    // RFC 9112 6.1: both lengths; 5.1: space before a colon; 2.2: bare LF; 3.2: no host.
    for bad in [
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : web\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: web\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        check(&mut b, bad, 400, &[], false);
    }
    check(
        &mut b,
        &format!("GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n", "a".repeat(70_000)),
        431,
        &[],
        false,
    );
    assert_eq!(b.world.dialed.len(), 0, "none of it reaches a server");
}

#[test]
fn malformed_content_ends_both() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n");
    let server = b.connects(0);
    b.sends(client, "5\r\nhello\r\nxyz\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 400 "));
    assert!(b.is_reset(server), "the server is not to take it for the whole");
}

#[test]
fn slow_heads() {
    let mut b = Bench::new(|_| {});
    let client = b.forwarded_client();
    b.sends(client, "GET / HTTP/1.1\r\nhost: ");
    b.pass(Duration::from_secs(29));
    assert_eq!(b.got(client), "");
    b.pass(Duration::from_secs(1));
    answered(&mut b, client, 408, &[], false);
    assert_eq!(b.gauges(|g| g.slow_clients.get()), 1);
}

#[test]
fn nobody_is_authorized() {
    let mut b = Bench::new(|c| {
        let deny = DefaultPolicy::Deny.server(&[], false, Duration::from_secs(10));
        c.inbound.default_policy = Arc::new(deny);
    });
    let client = b.accept(Side::Inbound, addr("10.2.0.1:8080"));
    b.sends(client, GET);
    let answer = b.got(client);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!answer.contains("l5d-proxy-error"), "strangers are not told why: {answer}");
    assert!(b.world.notes.iter().any(|n| n.contains("unauthorized")), "{:?}", b.world.notes);
    assert_eq!(b.world.dialed.len(), 0);
    let tcp = b.accept(Side::Inbound, addr("10.2.0.1:9000"));
    b.sends(tcp, "\0\0\0\0 not HTTP");
    assert!(b.is_reset(tcp));
}

#[test]
fn connections_that_cannot_be_answered_are_reset() {
    let mut b = Bench::new(|c| c.outbound.listen = vec![addr("10.5.0.1:4140")]);
    let own = b.accept(Side::Outbound, addr("10.5.0.1:4140"));
    let loopback = b.accept(Side::Outbound, addr("127.0.0.1:80"));
    assert!(b.is_reset(own) && b.is_reset(loopback), "the proxy is not carried to itself");
    let unknown = b.client();
    let error = DiscoverError { reason: "no".into() };
    b.answer(Answer::Discovered { target: addr(TARGET), policy: Err(error) });
    assert!(b.is_reset(unknown));
    let late = b.client();
    b.pass(Duration::from_secs(10));
    assert!(b.is_reset(late), "discovery did not come in time");
    let known = b.client();
    b.discovered(forward());
    assert!(!b.is_reset(known));
}

#[test]
fn direct_connections_need_tls() {
    let mut b = Bench::new(|_| {});
    let client = b.accept(Side::Inbound, addr("10.2.0.1:4143"));
    b.sends(client, GET);
    assert!(b.is_reset(client));
    let silent = b.accept(Side::Inbound, addr("10.2.0.1:8080"));
    b.pass(Duration::from_secs(10));
    assert!(b.is_reset(silent), "who says nothing is neither TLS nor plaintext");
}
