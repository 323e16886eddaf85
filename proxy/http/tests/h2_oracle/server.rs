//! The h2 crate as client, ours as server.

use std::collections::HashMap;
use std::future::poll_fn;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use weft_http::fields::Leg;
use weft_http::h2::{Cause, Code, Config, Event, OpenError, Role, StreamKey};
use weft_http::head::{Extra, Head, Outgoing, Section, Version};
use weft_http::limits;

use crate::drive::{App, Ours};
use crate::exchange::{
    Exchange, Fields, Random, SECRET, Scale, add_fields, assert_same, exchanges, from_head, from_map, scale,
    to_map,
};
use crate::{run, seeds};

/// Sends back what it gets: fields, content as it comes, trailers. Credit only for what has gone on.
#[derive(Default)]
struct Echo {
    streams: HashMap<u32, Stream>,
    /// Resets received, by code.
    cancelled: Vec<Code>,
    served: usize,
    /// Begins a graceful end after so many heads.
    shut_down_after: Option<usize>,
}

#[derive(Default)]
struct Stream {
    queue: Vec<u8>,
    ended: bool,
    trailers: Option<Fields>,
}

impl Echo {
    fn forward(&mut self, ours: &mut Ours, stream: StreamKey) {
        let Some(s) = self.streams.get_mut(&stream.id()) else { return };
        let end = s.ended && s.trailers.is_none();
        let taken = ours.conn.send_data(stream, &s.queue, end, &mut ours.out, ours.now).unwrap();
        s.queue.drain(..taken);
        ours.conn.credit(stream, taken, &mut ours.out);
        if !s.ended || !s.queue.is_empty() {
            return;
        }
        if let Some(fields) = &s.trailers {
            let (mut head, mut bytes) = (Head::default(), Vec::new());
            head.begin(Section::Trailers, Version::Http2);
            add_fields(&mut head, &mut bytes, fields);
            let trailers = Outgoing::new(&head, &bytes, Leg::InboundResponse);
            ours.conn.send_trailers(stream, &trailers, &mut ours.out).unwrap();
        }
        self.streams.remove(&stream.id());
    }
}

impl App for Echo {
    fn event(&mut self, ours: &mut Ours, event: Event<'_>) {
        match event {
            Event::Head { stream, end, .. } => {
                self.served += 1;
                assert!(self.streams.insert(stream.id(), Stream::default()).is_none());
                let fields = from_head(&ours.head, &ours.arena);
                for (name, value, never_indexed) in &fields {
                    assert_eq!(*never_indexed, value.starts_with(SECRET), "RFC 7541 6.2.3: {name}");
                }
                let mut head = Head::response(Version::Http2, 200);
                let mut bytes = Vec::new();
                if let Some(reset) = fields.iter().find(|f| f.0 == "x-reset") {
                    let code = std::str::from_utf8(&reset.1).unwrap().parse().unwrap();
                    ours.conn.reset(stream, Code(code), &mut ours.out);
                    self.streams.remove(&stream.id());
                    return;
                }
                add_fields(&mut head, &mut bytes, &fields);
                let mut extra = Extra::default();
                extra.add_named(b"X-Path", ours.head.path.of(&ours.arena));
                let interim = Head::response(Version::Http2, 103);
                let interim = Outgoing::new(&interim, &[], Leg::InboundResponse);
                if ours.random.one_in(4) {
                    ours.conn.send_head(stream, &interim, false, &mut ours.out).unwrap();
                }
                let response = Outgoing::new(&head, &bytes, Leg::InboundResponse).with(&extra);
                ours.conn.send_head(stream, &response, end, &mut ours.out).unwrap();
                if end {
                    self.streams.remove(&stream.id());
                }
                if self.shut_down_after == Some(self.served) {
                    ours.conn.shut_down(&mut ours.out, ours.now);
                }
            }
            Event::Data { stream, data, end, .. } => {
                let s = self.streams.get_mut(&stream.id()).unwrap();
                s.queue.extend_from_slice(data);
                s.ended |= end;
                self.forward(ours, stream);
            }
            Event::Trailers { stream, .. } => {
                let s = self.streams.get_mut(&stream.id()).unwrap();
                s.ended = true;
                s.trailers = Some(from_head(&ours.head, &ours.arena));
                self.forward(ours, stream);
            }
            Event::Writable { stream, .. } => self.forward(ours, stream),
            Event::Reset { stream, code, cause, .. } => {
                assert_eq!(cause, Cause::Peer);
                self.cancelled.push(code);
                self.streams.remove(&stream.id());
            }
            Event::Rejected { error, .. } => {
                assert!(self.shut_down_after.is_some(), "{error}");
            }
            Event::Settings | Event::GoAway { .. } | Event::Pong { .. } => {}
            Event::Oversized { .. } => panic!("{event:?}"),
        }
    }

    fn turn(&mut self, _: &mut Ours) {}

    fn is_done(&self, ours: &Ours) -> bool {
        self.shut_down_after.is_some() && ours.conn.is_finished()
    }
}

/// One exchange of the h2 crate's client.
async fn exchange(mut send: SendRequest<Bytes>, e: &Exchange) -> Result<(), h2::Error> {
    let mut request = Request::post(format!("http://a.example{}", e.path)).body(()).unwrap();
    *request.headers_mut() = to_map(&e.fields);
    if let Some(code) = e.reset {
        request.headers_mut().insert("x-reset", code.into());
    }
    poll_fn(|cx| send.poll_ready(cx)).await?;
    let end = e.body.is_empty() && e.trailers.is_empty();
    let (response, mut body) = send.send_request(request, end)?;
    drop(send);
    let sending = async {
        let mut rest = if e.cancel { e.body.slice(..e.body.len() / 2) } else { e.body.clone() };
        while !rest.is_empty() {
            body.reserve_capacity(rest.len());
            match poll_fn(|cx| body.poll_capacity(cx)).await {
                Some(n) => {
                    let n = n?.min(rest.len());
                    body.send_data(rest.split_to(n), rest.is_empty() && e.trailers.is_empty() && !e.cancel)?;
                }
                None => return Ok(()),
            }
        }
        if e.cancel {
            body.send_reset(h2::Reason::CANCEL);
        } else if !e.trailers.is_empty() {
            body.send_trailers(to_map(&e.trailers))?;
        }
        Ok::<(), h2::Error>(())
    };
    let receiving = async {
        let response = response.await?;
        let mut fields = from_map(response.headers());
        let path = fields.iter().position(|f| f.0 == "x-path").unwrap();
        assert_eq!(fields.remove(path).1, percent(&e.path).as_bytes());
        assert_same("head", &e.fields, &fields);
        let mut content = response.into_body();
        let mut received = Vec::new();
        while let Some(data) = content.data().await {
            let data = data?;
            content.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
        }
        let trailers = content.trailers().await?.unwrap_or_default();
        assert!(received == e.body, "content of {}", e.path);
        assert_same("trailers", &e.trailers, &from_map(&trailers));
        Ok::<(), h2::Error>(())
    };
    let (sent, received) = tokio::join!(sending, receiving);
    received.and(sent)
}

/// The path as the http crate sends it.
fn percent(path: &str) -> String {
    let uri: http::Uri = format!("http://a.example{path}").parse().unwrap();
    uri.path_and_query().unwrap().to_string()
}

fn config(random: &mut Random, scale: Scale) -> Config {
    Config::new(
        limits::Http2 {
            stream_window_bytes: random.pick(scale.windows),
            connection_window_bytes: random.pick(&[65_535, 100_000, 1 << 20]),
            max_concurrent_streams: random.pick(&[1, 3, 1000]),
            frame_bytes: random.pick(&[16_384, 30_000]),
            hpack_table_bytes: random.pick(&[0, 100, 4096, 8192]),
            window_updates: 1_000_000,
            ..Default::default()
        },
        limits::Head::default(),
    )
}

fn builder(random: &mut Random, scale: Scale) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(random.pick(scale.windows))
        .initial_connection_window_size(random.pick(&[65_535, 1 << 20]))
        .header_table_size(random.pick(&[0, 200, 4096, 65_536]))
        .max_header_list_size(1 << 20)
        .data_frame_budget(1 << 30)
        .initial_max_send_streams(1)
        .max_frame_size(random.pick(&[16_384, 100_000]));
    builder
}

async fn all(seed: u64, resets: bool, resettings: bool) {
    let mut random = Random::new(seed);
    let scale = scale(&mut random);
    let n = 1 + random.below(20);
    let plan = exchanges(&mut random, scale, n, resets);
    let (a, b) = tokio::io::duplex(random.pick(scale.pipes));
    let mut ours = Ours::new(Role::Server, config(&mut random, scale), Random::new(seed ^ 1));
    let mut echo = Echo::default();
    let builder = builder(&mut random, scale);
    // Growing only: what h2 owes of a window when it shrinks it never announces, and the stream is stuck.
    let sizes: Vec<u32> = (1..10).map(|n| (1 << 20) + 65_535 * n).collect();
    let client = async {
        let (send, mut connection) = builder.handshake::<_, Bytes>(b).await.unwrap();
        let streams = async {
            let one = async |e: &Exchange| {
                let result = exchange(send.clone(), e).await;
                match (e.reset, e.cancel, result) {
                    (Some(code), _, Err(error)) => assert_eq!(error.reason(), Some(code.into()), "{error}"),
                    (None, true, _) | (None, false, Ok(())) => {}
                    (None, false, Err(error)) => panic!("seed {seed}, {}: {error}", e.path),
                    (Some(_), _, Ok(())) => panic!("seed {seed}, {}: not reset", e.path),
                }
            };
            futures_join(plan.iter().map(one)).await;
            drop(send);
        };
        let mut sizes = sizes.into_iter();
        let mut turns = 0u32;
        let driving = poll_fn(|cx| {
            turns += 1;
            if resettings && turns.is_multiple_of(20) {
                // Refused while the last one is not acknowledged, which is fine.
                let _ = sizes.next().map(|size| connection.set_initial_window_size(size));
            }
            Future::poll(std::pin::Pin::new(&mut connection), cx)
        });
        let (driven, ()) = tokio::join!(driving, streams);
        driven.unwrap();
    };
    let (result, ()) = tokio::join!(ours.run(a, &mut echo), client);
    assert_eq!(result, Ok(()), "seed {seed}");
    assert_eq!(ours.conn.open_streams(), 0, "seed {seed}");
    assert!(echo.streams.is_empty());
    assert_eq!(ours.conn.can_open(), Err(OpenError::Ending), "servers open none");
}

/// Polls all, as futures-util would; that is not a dependency here.
pub(crate) async fn futures_join<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut all: Vec<_> = futures.map(|f| Some(Box::pin(f))).collect();
    poll_fn(|cx| {
        for slot in &mut all {
            if let Some(f) = slot
                && f.as_mut().poll(cx).is_ready()
            {
                *slot = None;
            }
        }
        if all.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn everything_is_echoed() {
    seeds().for_each(|seed| run(all(seed, false, false)));
}

#[test]
fn resets_from_both_sides() {
    seeds().for_each(|seed| run(all(seed + 1_000_000, true, false)));
}

#[test]
fn windows_change_on_the_way() {
    seeds().for_each(|seed| run(all(seed + 2_000_000, false, true)));
}

#[test]
fn rfc9113_6_8_graceful_end_loses_nothing_that_was_taken() {
    for seed in seeds() {
        run(async {
            let mut random = Random::new(seed);
            let scale = scale(&mut random);
            let plan = exchanges(&mut random, scale, 10, false);
            let after = 1 + random.below(9);
            let (a, b) = tokio::io::duplex(random.pick(scale.pipes));
            let mut ours = Ours::new(Role::Server, config(&mut random, scale), Random::new(seed ^ 1));
            let mut echo = Echo { shut_down_after: Some(after), ..Echo::default() };
            let client = async {
                let (send, connection) = builder(&mut random, scale).handshake::<_, Bytes>(b).await.unwrap();
                let done = std::cell::Cell::new(0);
                let streams = async {
                    futures_join(plan.iter().map(|e| {
                        let (send, done) = (send.clone(), &done);
                        async move {
                            match exchange(send, e).await {
                                Ok(()) => done.set(done.get() + 1),
                                Err(error) => assert!(
                                    error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM),
                                    "seed {seed}: {error}"
                                ),
                            }
                        }
                    }))
                    .await;
                };
                let (driven, ()) = tokio::join!(connection, streams);
                driven.unwrap();
                done.get()
            };
            let (result, done) = tokio::join!(ours.run(a, &mut echo), client);
            assert_eq!(result, Ok(()), "seed {seed}");
            assert_eq!(done, echo.served, "seed {seed}: what was taken was answered");
            assert!(done >= after);
        });
    }
}

#[test]
fn pings_are_answered() {
    run(async {
        let (a, b) = tokio::io::duplex(1000);
        let mut ours = Ours::new(Role::Server, Config::default(), Random::new(1));
        let mut echo = Echo::default();
        let client = async {
            let (send, mut connection) = h2::client::handshake(b).await.unwrap();
            let _typed: &SendRequest<Bytes> = &send;
            let mut pings = connection.ping_pong().unwrap();
            let pinging = async {
                for _ in 0..3 {
                    pings.ping(h2::Ping::opaque()).await.unwrap();
                }
                drop(send);
            };
            let (driven, ()) = tokio::join!(connection, pinging);
            driven.unwrap();
        };
        let (result, ()) = tokio::join!(ours.run(a, &mut echo), client);
        assert_eq!(result, Ok(()));
    });
}
