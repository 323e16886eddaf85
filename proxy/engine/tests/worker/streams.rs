//! HTTP/2 upstream: what becomes of streams when their connection does not end at once.

use std::sync::Arc;
use std::time::Duration;

use weft_engine::Bound;
use weft_engine::io::{Answer, SocketId};
use weft_policy::outbound::{Backend, Endpoint, EndpointSet, Hint, Load};

use crate::bench::{Bench, addr, meta, to};

const POST: &str = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// DATA on stream 0, which ends a connection (RFC 9113 6.1).
const FAULT: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `:status` 200 and no end, on a stream.
fn response(stream: u8) -> [u8; 10] {
    [0, 0, 1, 1, 4, 0, 0, 0, stream, 0x88]
}

/// Content, and the end.
fn content(stream: u8, text: &str) -> Vec<u8> {
    let mut frame = vec![0, 0, text.len() as u8, 0, 1, 0, 0, 0, stream];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Two clients of one endpoint that speaks HTTP/2.
fn two_clients(b: &mut Bench) -> [SocketId; 2] {
    let clients = [b.client(), b.client()];
    b.discovered(balanced("web"));
    endpoints(b, "web", "10.3.0.1:80");
    clients
}

/// A connection that a fault has ended stays until its GOAWAY is sent, and knows its streams by exchanges that are no more. Another
/// exchange in their place has nothing to do with its end.
#[test]
fn the_end_of_a_connection_with_unsent_output_touches_no_other_exchange() {
    let mut b = Bench::new(|_| {});
    let [one, two] = two_clients(&mut b);
    let first = b.connects(0);
    b.sends(first, EMPTY_SETTINGS);
    b.sends(one, POST);
    b.world.socks[first.0 as usize].room = 0;
    b.sends(first, FAULT);
    assert!(b.got(one).starts_with("HTTP/1.1 502 "));
    assert!(!b.is_closed(first), "there is something to be sent");

    b.sends(two, POST);
    let second = b.connects(1);
    b.sends(second, EMPTY_SETTINGS);
    b.sends(second, response(1));
    b.breaks(first);
    assert!(b.is_closed(first));
    b.sends(second, content(1, "whole"));
    let answer = b.got(two);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n5\r\nwhole\r\n0\r\n"), "{answer}");
    assert_eq!((b.gauges(|g| g.exchanges.get()), b.met(Bound::Exchanges)), (0, 0));
}

/// A peer that gives no window, and is well otherwise: after a while the stream is given up, and only it. So it is where the
/// peer is asked whether it is there, and where it is not.
#[test]
fn a_window_that_stays_closed_ends_its_stream() {
    for quiet in [true, false] {
        let mut b = Bench::new(|c| {
            c.stall_timeout = Duration::from_secs(60);
            c.keepalive_interval = c.keepalive_interval.filter(|_| !quiet);
        });
        let client = b.client();
        b.sends(client, weft_http::h2::PREFACE);
        // INITIAL_WINDOW_SIZE 0; the end of our SETTINGS is acknowledged.
        b.sends(client, [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        b.sends(client, [0, 0, 0, 4, 1, 0, 0, 0, 0]);
        b.discovered(crate::bench::forward());
        // GET http://web/, the whole request.
        b.sends(client, [0, 0, 8, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 3, b'w', b'e', b'b']);
        let server = b.connects(0);
        b.sends(server, EMPTY_SETTINGS);
        b.sends(server, response(1));
        b.sends(server, content(1, "hello"));
        let mut seconds = 0;
        while b.gauges(|g| g.slow_clients.get()) == 0 && seconds < 200 {
            b.pass(Duration::from_secs(1));
            b.answer_pings(client);
            seconds += 1;
        }
        assert!((60..=91).contains(&seconds), "{seconds} s, quiet: {quiet}");
        assert_eq!(b.gauges(|g| (g.exchanges.get(), g.buffered_bytes.get())), (0, 0));
        assert!(!b.is_closed(client), "the connection is of use to others");
    }
}

fn balanced(path: &str) -> weft_policy::outbound::Policy {
    to(Arc::new(Backend::balance(meta(path), path, Load::default())))
}

fn endpoints(b: &mut Bench, path: &str, at: &str) {
    let endpoint = Endpoint { hint: Hint::H2, ..Endpoint::plain(addr(at)) };
    let endpoints = Arc::new(EndpointSet::new([Arc::new(endpoint)]));
    b.answer(Answer::Endpoints { path: path.into(), endpoints });
}

/// Policies change while requests wait, for endpoints or for a connection to one: they are served by what they were routed to, and the new
/// policy is for those that come.
#[test]
fn a_change_of_policy_fails_no_request_that_waits() {
    for connecting in [false, true] {
        let mut b = Bench::new(|_| {});
        let client = b.client();
        b.discovered(balanced("old"));
        b.sends(client, POST);
        if connecting {
            endpoints(&mut b, "old", "10.3.0.1:80");
        }
        b.discovered(balanced("new"));
        if !connecting {
            endpoints(&mut b, "old", "10.3.0.1:80");
        }
        endpoints(&mut b, "new", "10.3.0.2:80");
        let dialed: Vec<_> = b.world.dialed.iter().map(|(at, _)| *at).collect();
        assert_eq!(dialed, [addr("10.3.0.1:80"), addr("10.3.0.2:80")]);
        for (i, asks) in [client, b.client()].into_iter().enumerate() {
            if i == 1 {
                b.sends(asks, POST);
            }
            let server = b.connects(i);
            b.sends(server, EMPTY_SETTINGS);
            b.sends(server, response(1));
            b.sends(server, content(1, "whole"));
            let answer = b.got(asks);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{i}, connecting: {connecting}: {answer}");
        }
        assert_eq!(b.gauges(|g| (g.exchanges.get(), g.queued.get())), (0, 0));
    }
}
