//! What happens at each bound of [`weft_engine::Limits`]: the answer, and that it is counted.

use std::sync::Arc;
use std::time::Duration;

use weft_engine::Bound;
use weft_engine::io::Answer;
use weft_policy::outbound::{
    Backend, Distribution, Endpoint, EndpointSet, Hint, HttpRoutes, Load, Retry, RetryConditions,
    RouteBackend, Rule,
};

use crate::bench::{Bench, SERVER, addr, detect, forward, meta, to};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, client_preface, frame, frames};

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";

fn balanced() -> Arc<Backend> {
    Arc::new(Backend::balance(meta("web"), "web", Load::default()))
}

fn endpoints(n: u8, hint: Hint) -> Answer {
    let all = (1..=n).map(|i| {
        let endpoint = Endpoint { hint, ..Endpoint::plain(addr(&format!("10.3.0.{i}:80"))) };
        Arc::new(endpoint)
    });
    Answer::Endpoints { path: "web".into(), endpoints: Arc::new(EndpointSet::new(all)) }
}

#[test]
fn accepted_connections() {
    let mut b = Bench::new(|c| c.limits.accepted_connections = 2);
    let (one, two, three) = (b.client(), b.client(), b.client());
    assert!(!b.is_reset(one) && !b.is_reset(two) && b.is_reset(three));
    assert_eq!(b.met(Bound::AcceptedConnections), 1);
    b.breaks(one);
    b.pass(Duration::from_secs(11));
    let four = b.client();
    assert!(!b.is_reset(four));
}

#[test]
fn discovering() {
    let mut b = Bench::new(|c| c.limits.discovering = 1);
    let (one, two) = (b.client(), b.client());
    assert!(!b.is_reset(one) && b.is_reset(two));
    assert_eq!((b.met(Bound::DiscoveringConnections), b.gauges(|g| g.discovering.get())), (1, 1));
    b.discovered(forward());
    assert_eq!(b.gauges(|g| g.discovering.get()), 0);
    let three = b.client();
    assert!(!b.is_reset(three), "what is known needs not be waited for");
}

#[test]
fn policies() {
    let mut b = Bench::new(|c| c.limits.policies = 1);
    b.forwarded_client();
    let other = b.accept(weft_engine::io::Side::Outbound, addr("10.0.0.2:80"));
    assert!(b.is_reset(other));
    assert_eq!(b.met(Bound::Policies), 1);
}

#[test]
fn questions_are_refused() {
    let mut b = Bench::new(|_| {});
    b.world.refuse_questions = true;
    let client = b.client();
    assert!(b.is_reset(client));
}

#[test]
fn exchanges() {
    let mut b = Bench::new(|c| c.limits.exchanges = 1);
    let (one, two) = (b.forwarded_client(), b.client());
    b.sends(one, GET);
    b.sends(two, GET);
    let answer = b.got(two);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("l5d-proxy-error: service unavailable: load shed\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("content-length: 0\r\n"), "{answer}");
    assert_eq!((b.met(Bound::Exchanges), b.got(one)), (1, String::new()));
}

#[test]
fn queue() {
    let mut b = Bench::new(|c| c.limits.queue = 1);
    let (one, two) = (b.client(), b.client());
    b.discovered(to(balanced()));
    b.sends(one, GET);
    b.sends(two, GET);
    assert!(b.got(two).starts_with("HTTP/1.1 503 "));
    assert_eq!((b.met(Bound::Queue), b.gauges(|g| g.queued.get())), (1, 1));
    b.pass(Duration::from_secs(3));
    let answer = b.got(one);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("l5d-proxy-error: service in fail-fast\r\n"), "{answer}");
    assert_eq!(b.gauges(|g| g.queued.get()), 0);
}

#[test]
fn endpoints_of_a_balancer() {
    let mut b = Bench::new(|c| c.limits.endpoints = 2);
    b.client();
    b.discovered(to(balanced()));
    b.answer(endpoints(5, Hint::H2));
    // One balancer for HTTP, one for what is not.
    assert_eq!((b.world.dialed.len(), b.met(Bound::Endpoints)), (2, 2));
}

/// SETTINGS with MAX_CONCURRENT_STREAMS 1.
const ONE_STREAM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];

#[test]
fn http2_connections_and_the_queue_behind_them() {
    let mut b = Bench::new(|c| (c.limits.http2_connections, c.limits.endpoint_queue) = (1, 1));
    let clients = [b.client(), b.client(), b.client()];
    b.discovered(to(balanced()));
    b.answer(endpoints(1, Hint::H2));
    let server = b.connects(0);
    b.sends(server, ONE_STREAM);
    for client in clients {
        b.sends(client, GET);
    }
    assert_eq!((b.got(clients[0]), b.got(clients[1])), (String::new(), String::new()));
    assert!(b.got(clients[2]).starts_with("HTTP/1.1 503 "));
    assert!(b.met(Bound::Http2Connections) > 0);
    assert_eq!((b.met(Bound::EndpointQueue), b.world.dialed.len()), (1, 1));
    // The first is answered (:status 204, END_STREAM), and the second takes its place.
    b.sends(server, [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89]);
    assert!(b.got(clients[0]).starts_with("HTTP/1.1 204 "));
    b.sends(server, [0, 0, 1, 1, 5, 0, 0, 0, 3, 0x89]);
    assert!(b.got(clients[1]).starts_with("HTTP/1.1 204 "));
}

#[test]
fn http1_connections() {
    let mut b = Bench::new(|c| c.limits.http1_connections = 1);
    let (one, two) = (b.forwarded_client(), b.client());
    b.sends(one, GET);
    b.sends(two, GET);
    assert_eq!((b.world.dialed.len(), b.met(Bound::Http1Connections)), (1, 0));
    let server = b.connects(0);
    assert_eq!(b.got(server).matches("GET / ").count(), 1);
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na");
    assert!(b.got(one).ends_with("\r\n\r\na"));
    assert_eq!(b.got(server).matches("GET / ").count(), 1, "the second goes over the same connection");
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb");
    assert!(b.got(two).ends_with("\r\n\r\nb"));
    assert_eq!((b.world.dialed.len(), b.met(Bound::Http1Connections)), (1, 1));
}

#[test]
fn idle_connections() {
    let mut b = Bench::new(|c| c.limits.idle_connections = 0);
    let client = b.forwarded_client();
    b.sends(client, GET);
    let server = b.connects(0);
    assert!(b.is_closed(server), "with no room for idle ones a connection cannot even wait for its request");
    assert_eq!(b.met(Bound::IdleConnections), 1);
}

#[test]
fn connect_attempts() {
    let mut b = Bench::new(|c| c.limits.connect_attempts = 2);
    let client = b.client();
    b.discovered(to(balanced()));
    b.answer(endpoints(5, Hint::Unknown));
    b.sends(client, GET);
    b.refuses(0);
    assert_eq!(b.got(client), "", "another endpoint is tried");
    b.refuses(1);
    let answer = b.got(client);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("connection refused"), "{answer}");
    assert_eq!(b.world.dialed.len(), 2);
}

#[test]
fn output_bytes() {
    let mut b = Bench::new(|c| (c.limits.output_bytes, c.limits.read_bytes) = (10_000, 1_000));
    let client = b.forwarded_client();
    b.world.socks[client.0 as usize].room = 500;
    b.sends(client, GET);
    let server = b.connects(0);
    b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    b.sends(server, vec![b'x'; 100_000]);
    assert!(!b.world.socks[server.0 as usize].interest.0, "the server is held");
    assert!(b.gauges(|g| g.buffered_bytes.get()) <= 12_000);
    let mut seen = b.got(client).len();
    for _ in 0..60 {
        b.takes(client, 3_000);
        seen += b.got(client).len();
        assert!(b.gauges(|g| g.buffered_bytes.get()) <= 12_000);
    }
    assert!(seen > 100_000);
    assert_eq!(b.gauges(|g| g.buffered_bytes.get()), 0);
}

#[test]
fn buffered_bytes() {
    let mut b = Bench::new(|c| c.limits.buffered_bytes = 5_000);
    let (one, two) = (b.forwarded_client(), b.client());
    // A head without an end, in pieces.
    b.sends(one, "GET / HTTP/1.1\r\nx: ");
    b.sends(one, vec![b'a'; 6_000]);
    assert!(b.gauges(|g| g.buffered_bytes.get()) > 5_000);
    b.sends(two, GET);
    assert_eq!(b.world.dialed.len(), 0, "nothing is read while so much is held");
    assert!(b.met(Bound::BufferedBytes) > 0);
    // The slow one is given up in time, and the other goes on.
    b.pass(Duration::from_secs(31));
    assert!(b.got(one).starts_with("HTTP/1.1 408 "));
    assert_eq!(b.world.dialed.len(), 1);
}

/// What is pipelined waits for a response: that is read however much is held.
#[test]
fn buffered_bytes_of_pipelined_requests_do_not_hold_up_their_answers() {
    let mut b = Bench::new(|c| c.limits.buffered_bytes = 5_000);
    let client = b.forwarded_client();
    b.sends(client, format!("{GET}{}", GET.repeat(300)));
    assert!(b.gauges(|g| g.buffered_bytes.get()) > 5_000);
    let server = b.connects(0);
    for _ in 0..300 {
        b.sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
    assert_eq!(b.got(client).matches("HTTP/1.1 200 ").count(), 300);
}

/// Two proxies that are full of what the other is to take must not wait for each other: opaque bytes go on where their
/// other side takes them, and stop where it does not.
#[test]
fn buffered_bytes_do_not_hold_up_opaque_ones_that_are_taken() {
    let mut b = Bench::new(|c| c.limits.buffered_bytes = 5_000);
    let (one, two) = (b.forwarded_client(), b.client());
    b.sends(one, "HELO one\r\n");
    b.sends(two, "HELO two\r\n");
    let (stuck, taking) = (b.connects(0), b.connects(1));
    assert_eq!(b.got(taking), "HELO two\r\n");
    b.world.socks[stuck.0 as usize].room = 0;
    b.sends(one, vec![b'a'; 6_000]);
    assert!(b.gauges(|g| g.buffered_bytes.get()) > 5_000);
    b.sends(two, "still here");
    assert_eq!(b.got(taking), "still here");
    for _ in 0..10 {
        b.sends(one, vec![b'a'; 6_000]);
    }
    assert!(b.gauges(|g| g.buffered_bytes.get()) < 16_000, "what is not taken is not read");
}

/// RFC 7541 7.3: a few bytes that stand for many. What they make is counted as it is made, and the rest of a read waits.
#[test]
fn buffered_bytes_of_heads_that_hpack_makes_large() {
    let mut b = Bench::new(|c| c.limits.buffered_bytes = 1_000_000);
    let client = b.forwarded_client();
    // `x: a...` enters the table with the first request, and is one byte in each of the others.
    let mut first = vec![0x82, 0x86, 0x84, 0x01, 3, b'w', b'e', b'b', 0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    first.extend_from_slice(&[b'a'; 4_000]);
    let again = [&[0x82, 0x86, 0x84, 0x01, 3, b'w', b'e', b'b'][..], &[0xbe; 15]].concat();
    let mut bytes = [client_preface(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &first)].concat();
    for n in 1..200 {
        bytes.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &again));
    }
    b.sends(client, &bytes);
    assert_eq!(b.met(Bound::BufferedBytes), 1);
    let held = b.gauges(|g| g.buffered_bytes.get());
    assert!((1_500_000..1_700_000).contains(&held), "{held}");
    // A server takes them, and by and by all of them.
    let server = b.connects(0);
    b.sends(server, frame(4, 0, 0, &[]));
    let mut asked = 0;
    for round in 0..200 {
        let got = frames(&std::mem::take(&mut b.world.socks[server.0 as usize].tx));
        let streams: Vec<_> = got.iter().filter(|f| f.kind == HEADERS).map(|f| f.stream).collect();
        asked += streams.len();
        if asked == 200 {
            break;
        }
        assert!(!streams.is_empty(), "{asked} in round {round}");
        for stream in streams {
            b.sends(server, frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]));
        }
    }
    assert_eq!(asked, 200);
}

#[test]
fn detect_bytes() {
    let mut b = Bench::new(|c| c.limits.detect_bytes = 100);
    let client = b.forwarded_client();
    b.sends(client, format!("GET /{}", "a".repeat(50)));
    assert_eq!(b.world.dialed.len(), 0);
    b.sends(client, "a".repeat(50));
    let server = b.connects(0);
    assert_eq!(b.got(server), format!("GET /{}", "a".repeat(100)), "carried as it is");
}

#[test]
fn discard_bytes() {
    let mut b = Bench::new(|c| c.limits.discard_bytes = 1_000);
    let client = b.client();
    b.discovered(detect(HttpRoutes::new(vec![]), balanced()));
    b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3000\r\n\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 404 "));
    b.sends(client, vec![0; 1_000]);
    assert!(!b.is_closed(client));
    b.sends(client, vec![0; 1_000]);
    assert!(b.is_reset(client));
    assert_eq!(b.met(Bound::DiscardBytes), 1);
}

#[test]
fn replay_bytes() {
    let mut rule = Rule::new(Distribution::only(RouteBackend::new(Arc::new(Backend::forward(
        meta("server"),
        Arc::new(Endpoint::plain(addr(SERVER))),
    )))));
    rule.retry = Some(Retry {
        max_retries: 1,
        max_request_bytes: 1_000_000,
        conditions: RetryConditions { statuses: vec![(500, 599)], ..RetryConditions::default() },
        timeout: None,
        backoff: None,
    });
    let mut b = Bench::new(|c| c.limits.replay_bytes = 3);
    let client = b.client();
    b.discovered(detect(HttpRoutes::from_rule(meta("retried"), rule), balanced()));
    b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\n\r\nabc");
    let server = b.connects(0);
    b.sends(server, "HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(b.got(client), "", "tried again");
    let again = b.connects(1);
    assert!(b.got(again).ends_with("\r\n\r\nabc"), "with its content");
    b.sends(again, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 200 "));
    b.sends(client, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\nabcd");
    b.sends(again, "HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n");
    assert!(b.got(client).starts_with("HTTP/1.1 500 "), "too large to be kept");
    assert_eq!(b.met(Bound::ReplayBytes), 1);
}

/// Requests that wait for an answer: a small head is sent again when its server is lost, a large one is not kept. What is kept counts.
#[test]
fn replay_head_bytes() {
    let mut b = Bench::new(|c| c.limits.replay_head_bytes = 200);
    let client = b.forwarded_client();
    b.sends(client, GET);
    let first = b.connects(0);
    assert_eq!(b.gauges(|g| g.buffered_bytes.get()), GET.len() as u64);
    b.breaks(first);
    let second = b.connects(1);
    assert_eq!(b.got(second), GET, "sent again");
    b.sends(second, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(b.gauges(|g| g.buffered_bytes.get()), 0);
    assert!(b.got(client).starts_with("HTTP/1.1 200 "));
    b.sends(client, format!("GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n", "a".repeat(200)));
    assert_eq!((b.met(Bound::ReplayHeadBytes), b.gauges(|g| g.buffered_bytes.get())), (1, 0));
    b.breaks(second);
    assert!(b.got(client).starts_with("HTTP/1.1 502 "));
    assert_eq!(b.world.dialed.len(), 2);
}

#[test]
fn spare_buffers_and_read_bytes() {
    let mut b = Bench::new(|c| (c.limits.spare_buffers, c.limits.read_bytes) = (2, 100));
    let clients: Vec<_> = (0..5).map(|_| b.client()).collect();
    b.discovered(forward());
    for (i, client) in clients.iter().enumerate() {
        b.sends(*client, format!("POST /{i} HTTP/1.1\r\nhost: web\r\ncontent-length: 1000\r\n\r\n"));
        let server = b.connects(i);
        b.sends(*client, vec![b'x'; 1_000]);
        assert!(b.got(server).len() > 1_000);
    }
    assert!(b.gauges(|g| g.spare_buffers.get()) <= 2);
    assert!(b.gauges(|g| g.reads.get()) > 50);
}
