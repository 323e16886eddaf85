//! An HTTP/2 connection that receives any bytes: the same events, the same answers and the same error whatever the split.
//!
//! Input: a byte of choices, two for the split, then what the peer sends.

use std::{sync::Arc, time::Duration};

use weft_http::{
    fields::Leg,
    h2::{Config, Connection, Event, PREFACE, Role},
    head::Head,
    limits,
};

use crate::{
    h2::{self, Frame, frame, frames},
    input::{Input, pieces},
};

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.u8();
    let how = input.u16();
    let bytes = input.rest();
    let whole = receive(choices, &[bytes]);
    let split = receive(choices, &pieces(bytes, how));
    assert_eq!(split, whole);
}

/// What was seen of the peer, what was answered, and how it ended.
fn receive(choices: u8, pieces: &[&[u8]]) -> (Vec<String>, Vec<Frame>, Option<String>) {
    let role = if choices & 1 == 0 { Role::Server } else { Role::Client };
    let mut limits = limits::Http2::default();
    if choices & 4 != 0 {
        limits = limits::Http2 { header_list_bytes: 200, max_concurrent_streams: 2, pings: 3, ..limits };
    }
    let config = Config::new(limits, limits::Head::default()).with_connect_protocol(choices & 8 == 0);
    let now = Duration::from_secs(1);
    let (mut out, mut arena, mut head) = (Vec::new(), Vec::new(), Head::default());
    let mut conn = Connection::new(role, Arc::new(config), &mut out, now);
    let mut pending = Vec::new();
    if choices & 2 == 0 {
        // The beginning is as it should be.
        if role == Role::Server {
            pending.extend_from_slice(PREFACE);
        }
        pending.extend(frame(h2::SETTINGS, 0, 0, &[]));
        pending.extend(frame(h2::SETTINGS, h2::ACK, 0, &[]));
    }
    if role == Role::Client {
        let (request, bytes) = h2::request(b"POST", b"/");
        for owner in 0..4 {
            let message = weft_http::head::Outgoing::new(&request, &bytes, Leg::OutboundRequest);
            conn.open(owner, &message, owner == 3, &mut out).expect("nothing is in the way");
        }
    }
    let (mut seen, mut ended): (Vec<(String, bool)>, _) = (Vec::new(), None);
    // What is there before anything else comes is looked at too.
    'pieces: for piece in [&[][..]].iter().chain(pieces) {
        pending.extend_from_slice(piece);
        let mut input = &pending[..];
        loop {
            let before = input.len();
            match conn.next(&mut input, &mut head, &mut arena, &mut out, now) {
                Ok(Some(event)) => note(&mut seen, event, &head, &arena),
                Ok(None) => break,
                Err(error) => {
                    let again = conn.next(&mut &b""[..], &mut head, &mut arena, &mut Vec::new(), now);
                    assert_eq!(again.err(), Some(error), "an error stays");
                    assert!(conn.is_finished() && conn.next_deadline().is_none());
                    ended = Some(format!("{error:?}"));
                    break 'pieces;
                }
            }
            assert!(input.len() <= before);
        }
        let left = input.len();
        assert!(left < 9 + limits.frame_bytes as usize, "less than a frame is left, not {left}");
        pending.drain(..pending.len() - left);
    }
    assert!(conn.open_streams() <= limits.max_concurrent_streams.max(4));
    let answers = out.strip_prefix(&PREFACE[..]).unwrap_or(&out);
    (seen.into_iter().map(|(text, _)| text).collect(), frames(answers), ended)
}

/// Writes down an event; content that follows content is one.
fn note(seen: &mut Vec<(String, bool)>, event: Event<'_>, head: &Head, arena: &[u8]) {
    let text = match event {
        Event::Data { stream, data, end, .. } => {
            let name = format!("data of {}: ", stream.id());
            let (content, ends) = (data.escape_ascii().to_string(), if end { "." } else { "" });
            if let Some((last, true)) = seen.last_mut()
                && last.starts_with(&name)
            {
                last.push_str(&content);
                last.push_str(ends);
                return;
            }
            seen.push((format!("{name}{content}{ends}"), true));
            return;
        }
        Event::Head { stream, end, .. } => {
            format!("head of {} {end} {}", stream.id(), h2::describe(head, arena))
        }
        Event::Trailers { stream, .. } => {
            format!("trailers of {} {}", stream.id(), h2::describe(head, arena))
        }
        Event::Oversized { stream, end, fault } => format!("oversized {} {end} {fault:?}", stream.id()),
        other => format!("{other:?}"),
    };
    seen.push((text, false));
}

/// Frames of each type.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let get = h2::block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
    let post = h2::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/p"),
        (":authority", "a"),
        ("content-length", "5"),
    ]);
    let connect = h2::block(&[
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        (":protocol", "websocket"),
    ]);
    let ok = h2::block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let interim = h2::block(&[(":status", "103")]);
    let trailers = h2::block(&[("grpc-status", "0")]);
    let (end, end_headers, padded, priority) = (1, 4, 8, 0x20);
    let servers: Vec<Vec<Vec<u8>>> = vec![
        vec![frame(1, end | end_headers, 1, &get), frame(1, end | end_headers, 3, &get)],
        vec![frame(1, end_headers, 1, &post), frame(0, 0, 1, b"he"), frame(0, end, 1, b"llo")],
        vec![
            frame(1, end_headers, 1, &connect),
            frame(0, padded, 1, b"\x02ab\0\0"),
            frame(3, 0, 1, &[0, 0, 0, 8]),
        ],
        vec![
            frame(1, 0, 1, &get[..3]),
            frame(9, end_headers, 1, &get[3..]),
            frame(1, end | end_headers, 1, &trailers),
        ],
        vec![
            frame(1, end | end_headers | priority, 1, &[&[0, 0, 0, 3, 9], &get[..]].concat()),
            frame(2, 0, 5, &[0; 5]),
        ],
        vec![
            frame(4, 0, 0, &[0, 4, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0]),
            frame(6, 0, 0, b"12345678"),
            frame(8, 0, 0, &[0, 0, 1, 0]),
        ],
        vec![
            frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]),
            frame(0xfa, 7, 9, b"unknown"),
            frame(5, 4, 1, &[0, 0, 0, 2]),
        ],
    ];
    let clients: Vec<Vec<Vec<u8>>> = vec![
        vec![
            frame(1, end_headers, 1, &interim),
            frame(1, end_headers, 1, &ok),
            frame(0, 0, 1, b"abc"),
            frame(1, end | end_headers, 1, &trailers),
        ],
        vec![
            frame(1, end | end_headers, 7, &ok),
            frame(3, 0, 3, &[0, 0, 0, 7]),
            frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
        ],
        vec![frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 5, &[0, 0, 0, 0])],
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    seeds.extend(
        servers
            .into_iter()
            .enumerate()
            .map(|(n, f)| [vec![(n as u8 & 1) << 2, n as u8, 0], f.concat()].concat()),
    );
    seeds.extend(clients.into_iter().map(|f| [vec![1, 7, 0], f.concat()].concat()));
    seeds.push(
        [&[2, 1, 0], &PREFACE[..], &frame(4, 0, 0, &[]), &frame(1, end | end_headers, 1, &get)].concat(),
    );
    seeds.push([&[3, 1, 0], &frame(4, 0, 0, &[0, 3, 0, 0, 0, 1])[..]].concat());
    seeds
}
