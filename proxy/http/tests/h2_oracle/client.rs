//! Ours as client, the h2 crate as server.

use std::collections::BTreeMap;
use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use weft_http::fields::Leg;
use weft_http::h2::{Cause, Code, Config, Event, OpenError, Role, StreamKey};
use weft_http::head::{Head, Method, Outgoing, Range, Section, Version};
use weft_http::limits;

use crate::drive::{App, Ours};
use crate::exchange::{
    Exchange, Fields, Random, add_fields, assert_same, exchanges, from_head, from_map, scale, to_map,
};
use crate::server::futures_join;
use crate::{run, seeds};

/// Sends the exchanges as streams are to be had and compares the answers.
struct Caller {
    plan: Vec<Exchange>,
    /// The next to open.
    next: usize,
    /// By stream: which exchange, what is sent and received.
    open: BTreeMap<u32, Call>,
    done: usize,
    refused: usize,
    ended: bool,
    /// The peer's limits are known.
    settled: bool,
    pongs: usize,
}

struct Call {
    key: StreamKey,
    exchange: usize,
    sent: usize,
    request_done: bool,
    received: Vec<u8>,
    fields: Fields,
}

impl Caller {
    fn new(plan: Vec<Exchange>) -> Self {
        Caller {
            plan,
            next: 0,
            open: BTreeMap::new(),
            done: 0,
            refused: 0,
            ended: false,
            settled: false,
            pongs: 0,
        }
    }

    fn open(&mut self, ours: &mut Ours) {
        let e = &self.plan[self.next];
        let (mut head, mut bytes) = (Head::default(), Vec::new());
        let mut put = |s: &str| {
            bytes.extend_from_slice(s.as_bytes());
            Range::new(bytes.len() - s.len(), bytes.len())
        };
        head.begin(Section::Request, Version::Http2);
        head.method = Method::Post;
        head.method_name = put("POST");
        head.path = put(&e.path);
        head.scheme = put("http");
        head.authority = put("a.example");
        add_fields(&mut head, &mut bytes, &e.fields);
        if let Some(code) = e.reset {
            add_fields(
                &mut head,
                &mut bytes,
                &vec![("x-reset".to_owned(), code.to_string().into_bytes(), false)],
            );
        }
        let end = e.body.is_empty() && e.trailers.is_empty();
        let request = Outgoing::new(&head, &bytes, Leg::OutboundRequest);
        let key = ours.conn.open(self.next as u32, &request, end, &mut ours.out).unwrap();
        let call = Call {
            key,
            exchange: self.next,
            sent: 0,
            request_done: end,
            received: Vec::new(),
            fields: Vec::new(),
        };
        self.open.insert(key.id(), call);
        self.next += 1;
        self.send(ours, key.id());
    }

    fn send(&mut self, ours: &mut Ours, id: u32) {
        let Some(call) = self.open.get_mut(&id).filter(|c| !c.request_done) else { return };
        let e = &self.plan[call.exchange];
        let most = if e.cancel { e.body.len() / 2 } else { e.body.len() };
        let rest = &e.body[call.sent..most];
        let end = e.trailers.is_empty() && !e.cancel;
        let taken = ours.conn.send_data(call.key, rest, end, &mut ours.out, ours.now).unwrap();
        call.sent += taken;
        if call.sent < most {
            return;
        }
        call.request_done = true;
        if e.cancel {
            ours.conn.reset(call.key, Code::CANCEL, &mut ours.out);
            self.open.remove(&id);
            self.done += 1;
        } else if !e.trailers.is_empty() {
            let (mut head, mut bytes) = (Head::default(), Vec::new());
            head.begin(Section::Trailers, Version::Http2);
            add_fields(&mut head, &mut bytes, &e.trailers);
            let trailers = Outgoing::new(&head, &bytes, Leg::OutboundRequest);
            ours.conn.send_trailers(call.key, &trailers, &mut ours.out).unwrap();
        }
    }

    fn finish(&mut self, id: u32, trailers: &Fields) {
        let call = self.open.remove(&id).unwrap();
        let e = &self.plan[call.exchange];
        assert!(call.received == e.body, "content of {}", e.path);
        assert_same("head", &e.fields, &call.fields);
        assert_same("trailers", &e.trailers, trailers);
        self.done += 1;
    }
}

impl App for Caller {
    fn event(&mut self, ours: &mut Ours, event: Event<'_>) {
        match event {
            Event::Head { stream, owner, end } => {
                if ours.head.status == 103 {
                    return;
                }
                assert_eq!(ours.head.status, 200);
                let call = self.open.get_mut(&stream.id()).unwrap();
                assert_eq!(owner as usize, call.exchange);
                call.fields = from_head(&ours.head, &ours.arena);
                if end {
                    self.finish(stream.id(), &Vec::new());
                }
            }
            Event::Data { stream, data, end, .. } => {
                let call = self.open.get_mut(&stream.id()).unwrap();
                call.received.extend_from_slice(data);
                ours.conn.credit(stream, data.len(), &mut ours.out);
                if end {
                    self.finish(stream.id(), &Vec::new());
                }
            }
            Event::Trailers { stream, .. } => {
                let trailers = from_head(&ours.head, &ours.arena);
                self.finish(stream.id(), &trailers);
            }
            Event::Writable { stream, .. } => self.send(ours, stream.id()),
            Event::Reset { stream, code, cause, .. } => {
                let call = self.open.remove(&stream.id()).unwrap();
                match cause {
                    Cause::Peer => assert_eq!(Some(code.0), self.plan[call.exchange].reset),
                    Cause::GoAway => self.refused += 1,
                    Cause::Error(error) => panic!("{error}"),
                }
                self.done += 1;
            }
            Event::GoAway { code, .. } => {
                assert_eq!(code, Code::NO_ERROR);
                self.ended = true;
            }
            Event::Pong { .. } => self.pongs += 1,
            Event::Settings => self.settled = true,
            Event::Rejected { .. } | Event::Oversized { .. } => panic!("{event:?}"),
        }
    }

    fn turn(&mut self, ours: &mut Ours) {
        while self.settled && self.next < self.plan.len() && !self.ended {
            match ours.conn.can_open() {
                Ok(()) => self.open(ours),
                Err(OpenError::Full) => break,
                Err(OpenError::Ending) => panic!("no GOAWAY was told of"),
            }
        }
    }

    fn is_done(&self, _: &Ours) -> bool {
        (self.done == self.plan.len() || self.ended) && self.open.is_empty()
    }
}

/// The h2 crate's server: an echo, or a reset.
async fn serve(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, interim: bool) {
    let echo = async {
        let (parts, mut content) = request.into_parts();
        assert!(parts.uri.path_and_query().is_some());
        if let Some(code) = parts.headers.get("x-reset") {
            let code: u32 = code.to_str().unwrap().parse().unwrap();
            respond.send_reset(code.into());
            return Ok(());
        }
        if interim {
            respond.send_informational(Response::builder().status(103).body(()).unwrap())?;
        }
        let mut response = Response::new(());
        *response.headers_mut() = to_map(&from_map(&parts.headers));
        let end = content.is_end_stream();
        let mut body = respond.send_response(response, end)?;
        if end {
            return Ok(());
        }
        while let Some(data) = content.data().await {
            let mut data = data?;
            content.flow_control().release_capacity(data.len())?;
            while !data.is_empty() {
                body.reserve_capacity(data.len());
                match poll_fn(|cx| body.poll_capacity(cx)).await {
                    Some(n) => {
                        let n = n?.min(data.len());
                        body.send_data(data.split_to(n), false)?;
                    }
                    None => return Ok(()),
                }
            }
        }
        match content.trailers().await? {
            Some(trailers) => body.send_trailers(trailers)?,
            None => body.send_data(Bytes::new(), true)?,
        }
        Ok::<(), h2::Error>(())
    };
    if let Err(error) = echo.await {
        // The client cancels some, and h2 then says that, or that the stream is in no state for what is sent on it.
        let cancelled =
            error.reason() == Some(h2::Reason::CANCEL) || error.reason().is_none() && !error.is_io();
        assert!(cancelled, "{error}");
    }
}

async fn all(seed: u64, resets: bool, resettings: bool, goaway: Option<usize>) {
    let mut random = Random::new(seed);
    let scale = scale(&mut random);
    let n = 1 + random.below(20);
    let plan = exchanges(&mut random, scale, n, resets);
    let n = plan.len();
    let (a, b) = tokio::io::duplex(random.pick(scale.pipes));
    let limits = limits::Http2 {
        stream_window_bytes: random.pick(scale.windows),
        connection_window_bytes: random.pick(&[65_535, 100_000, 1 << 20]),
        frame_bytes: random.pick(&[16_384, 30_000]),
        hpack_table_bytes: random.pick(&[0, 100, 4096, 8192]),
        window_updates: 1_000_000,
        ..Default::default()
    };
    let mut ours =
        Ours::new(Role::Client, Config::new(limits, limits::Head::default()), Random::new(seed ^ 1));
    let mut caller = Caller::new(plan);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(random.pick(scale.windows))
        .initial_connection_window_size(random.pick(&[65_535, 1 << 20]))
        .header_table_size(random.pick(&[0, 200, 4096, 65_536]))
        .max_concurrent_streams(random.pick(&[1, 3, 1000]))
        .max_header_list_size(1 << 20)
        .data_frame_budget(1 << 30)
        .max_pending_accept_reset_streams(1000)
        .max_frame_size(random.pick(&[16_384, 100_000]));
    let server = async {
        let mut connection = builder.handshake::<_, Bytes>(b).await.unwrap();
        let mut serving: Vec<Option<std::pin::Pin<Box<dyn Future<Output = ()>>>>> = Vec::new();
        let (mut turns, mut accepted) = (0usize, 0);
        let mut sizes = (1..10u32).map(|n| (1 << 20) + 65_535 * n);
        poll_fn(|cx| {
            turns += 1;
            if resettings && turns.is_multiple_of(20) {
                // Growing only, see the tests of the server.
                let _ = sizes.next().map(|size| connection.set_initial_window_size(size));
            }
            loop {
                match connection.poll_accept(cx) {
                    std::task::Poll::Ready(Some(Ok((request, respond)))) => {
                        accepted += 1;
                        if goaway == Some(accepted) {
                            connection.graceful_shutdown();
                        }
                        serving.push(Some(Box::pin(serve(request, respond, random.one_in(4)))));
                        cx.waker().wake_by_ref();
                    }
                    std::task::Poll::Ready(Some(Err(error))) => panic!("seed {seed}: {error}"),
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => break,
                }
            }
            for slot in &mut serving {
                if let Some(f) = slot
                    && f.as_mut().poll(cx).is_ready()
                {
                    *slot = None;
                }
            }
            std::task::Poll::Pending
        })
        .await;
    };
    let client = async {
        let result = ours.run(a, &mut caller).await;
        assert_eq!(result, Ok(()), "seed {seed}");
        assert_eq!(ours.conn.open_streams(), 0, "seed {seed}");
    };
    tokio::join!(client, server);
    if goaway.is_none() {
        assert_eq!(caller.done, n, "seed {seed}");
    }
}

#[test]
fn everything_is_echoed() {
    seeds().for_each(|seed| run(all(seed, false, false, None)));
}

#[test]
fn resets_from_both_sides() {
    seeds().for_each(|seed| run(all(seed + 1_000_000, true, false, None)));
}

#[test]
fn windows_change_on_the_way() {
    seeds().for_each(|seed| run(all(seed + 2_000_000, false, true, None)));
}

#[test]
fn rfc9113_6_8_told_to_go_away() {
    seeds().for_each(|seed| run(all(seed + 3_000_000, false, false, Some(1 + seed as usize % 7))));
}

#[test]
fn pings_are_answered() {
    run(async {
        struct Pinger(Caller);
        impl App for Pinger {
            fn event(&mut self, ours: &mut Ours, event: Event<'_>) {
                if let Event::Pong { payload } = event {
                    assert_eq!(payload, *b"12345678");
                }
                self.0.event(ours, event);
            }
            fn turn(&mut self, ours: &mut Ours) {
                if self.0.pongs < 3 && ours.out.is_empty() {
                    ours.conn.send_ping(*b"12345678", &mut ours.out);
                }
            }
            fn is_done(&self, _: &Ours) -> bool {
                self.0.pongs >= 3
            }
        }
        let (a, b) = tokio::io::duplex(1000);
        let mut ours = Ours::new(Role::Client, Config::default(), Random::new(1));
        let mut pinger = Pinger(Caller::new(Vec::new()));
        let server = async {
            let mut connection = h2::server::handshake(b).await.unwrap();
            assert!(connection.accept().await.is_none());
        };
        let client = async {
            ours.run(a, &mut pinger).await.unwrap();
        };
        futures_join(
            [Box::pin(client) as std::pin::Pin<Box<dyn Future<Output = ()>>>, Box::pin(server)].into_iter(),
        )
        .await;
    });
}
