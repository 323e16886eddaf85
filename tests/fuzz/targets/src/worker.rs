//! A whole worker between peers, a control plane and a clock that the input moves: it keeps to the contract of its sockets,
//! comes to rest after every event, holds its bounds, does the same again for the same input, and when everybody has left
//! nothing is left.
//!
//! Input: a byte of choices, then events, each a byte and what it needs.

mod control;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use weft_engine::{
    Config, Worker,
    io::{Accepted, Answer, Question, Side, SocketId, Subject},
    metrics::Registry,
    time::Instant,
};
use weft_http::h2::PREFACE;
use weft_net::{
    tls::{Offer, TlsConn},
    transport_header::{SessionProtocol, TransportHeader},
};
use weft_policy::inbound::DefaultPolicy;

use self::world::{World, name};
use crate::{
    h2::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, block, frame},
    input::Input,
    pki::{CLIENT, PKI, SERVER},
};

/// The most events of an input.
const EVENTS: usize = 250;
/// The most connections that an input opens.
const CONNECTIONS: usize = 40;
/// The most steps until a worker rests. One event moves at most some megabytes, in pieces of at least a byte.
const STEPS: usize = 200_000;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let choices = data.first().copied().unwrap_or_default();
    let first = live(data);
    // Once in a while: the same again. With TLS it is not, whose keys are random.
    if choices & 0b1110_0000 == 0 && choices & 1 == 0 {
        assert_eq!(live(data), first, "the same events, the same acts");
    }
}

/// Runs a worker through an input and to its end; what it did, as one number.
fn live(data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let mut life = Life::new(input.u8());
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        life.event(&mut input);
        life.settle();
    }
    life.end();
    life.world.trace
}

struct Life {
    worker: Worker,
    world: World,
    registry: Arc<Registry>,
    now: Duration,
    /// TLS peers are among the others.
    meshed: bool,
    buffered_bytes: u64,
    accepted: usize,
}

fn config(choices: u8) -> Config {
    let policy = DefaultPolicy::AllUnauthenticated.server(&[], false, Duration::from_secs(10));
    let mut config = Config::with_default_policy(Arc::new(policy));
    config.outbound.listen = vec![control::OUTBOUND];
    if choices & 2 != 0 {
        let limits = &mut config.limits;
        (limits.accepted_connections, limits.discovering, limits.policies) = (6, 2, 3);
        (limits.exchanges, limits.queue, limits.endpoints) = (4, 2, 2);
        (limits.http2_connections, limits.http1_connections) = (1, 2);
        (limits.endpoint_queue, limits.idle_connections, limits.connect_attempts) = (1, 1, 2);
    }
    if choices & 4 != 0 {
        let limits = &mut config.limits;
        (limits.output_bytes, limits.buffered_bytes, limits.spare_buffers) = (500, 8_000, 1);
        (limits.detect_bytes, limits.discard_bytes, limits.replay_bytes, limits.read_bytes) =
            (40, 100, 50, 64);
        limits.http.http1.head_bytes = 400;
        limits.http.http1.start_line_bytes = 100;
        limits.http.http1.trailer_bytes = 100;
        limits.http.http2.stream_window_bytes = 200;
        limits.http.http2.header_list_bytes = 500;
        limits.http.http2.max_concurrent_streams = 2;
        limits.http.http2.outgoing_streams = 2;
    }
    if choices & 8 != 0 {
        config.keepalive_interval = None;
        config.outbound.informational_headers = false;
        config.inbound.opaque_ports = "9000".parse().unwrap();
        config.inbound.ports = "8080,9000".parse().unwrap();
    }
    config
}

impl Life {
    fn new(choices: u8) -> Self {
        let config = config(choices);
        let buffered_bytes = config.limits.buffered_bytes as u64;
        let (registry, mut world) = (Arc::new(Registry::default()), World::new());
        let worker = Worker::new(config, Arc::clone(&registry), &mut world);
        let meshed = choices & 1 == 1;
        let mut life =
            Self { worker, world, registry, now: Duration::ZERO, meshed, buffered_bytes, accepted: 0 };
        if meshed {
            life.answered(Answer::Identity(Arc::clone(&control::IDENTITY)));
        }
        life
    }

    fn now(&self) -> Instant {
        Instant::START + self.now
    }

    fn event(&mut self, input: &mut Input<'_>) {
        let (op, n) = (input.u8(), input.u8());
        let socks = self.world.socks.len();
        let at = usize::from(n & 0x3f).checked_rem(socks);
        match op % 20 {
            0 => self.accept_outbound(n),
            1 => self.accept_inbound(n),
            2 if n & 0x80 != 0 => self.with(at, |sock| sock.send_raw(input.short())),
            2 => self.send(at, input.short()),
            3 => self.send(at, control::fragment(input.u8())),
            4 => {
                let (kind, flags, stream) = (input.u8() % 11, input.u8(), u32::from(input.u8() % 16));
                self.send(at, &frame(kind, flags, stream, input.short()));
            }
            5 => self.with(at, |sock| sock.end()),
            6 => {
                self.with(at, |sock| sock.break_off());
                self.tell(at);
            }
            7 => {
                let room = usize::from(input.u16());
                self.with(at, |sock| sock.set_room(if room == 0xffff { usize::MAX } else { room }));
                self.tell(at);
            }
            8 | 9 => self.connect(n, input.u8()),
            10 | 11 => self.answer(n, input.u8()),
            12 => {
                let ms = u64::from(input.u16());
                self.pass(Duration::from_millis(ms * [1, 1, 10, 100][usize::from(n & 3)]));
            }
            13 => match n % 8 {
                0 => self.worker.drain(&mut self.world, Instant::START + self.now),
                1 => self.world.refuse = !self.world.refuse,
                2 => self.answered(Answer::Drain),
                3 if self.meshed => self.answered(Answer::Identity(Arc::clone(&control::IDENTITY))),
                _ => {}
            },
            14 | 15 => self.reply(at, input.u8()),
            16 | 17 => self.request(at, input.u8()),
            18 => self.with(at, |sock| sock.set_piece(usize::from(input.u8()))),
            _ => {
                let bytes = vec![b'x'; usize::from(input.u16())];
                self.send(at, &bytes);
            }
        }
    }

    fn with(&mut self, at: Option<usize>, act: impl FnOnce(&mut world::Sock)) {
        if let Some(sock) = at.and_then(|at| self.world.socks.get_mut(at)).filter(|sock| !sock.is_closed()) {
            act(sock);
        }
    }

    /// What a shell reports of a socket whatever the interest: errors, hang-ups.
    fn tell(&mut self, at: Option<usize>) {
        let Some(at) =
            at.filter(|at| self.world.socks.get(*at).is_some_and(|s| !s.is_closed() && !s.is_connecting()))
        else {
            return;
        };
        let (id, now) = (SocketId(at as u32), self.now());
        self.worker.writable(&mut self.world, id, now);
        if !self.world.socks[at].is_closed() {
            self.worker.readable(&mut self.world, id, now);
        }
    }

    fn send(&mut self, at: Option<usize>, bytes: &[u8]) {
        self.with(at, |sock| sock.send(bytes));
    }

    fn accept_outbound(&mut self, n: u8) {
        let target = control::TARGETS[usize::from(n) % control::TARGETS.len()];
        self.accept(Side::Outbound, target, None);
    }

    fn accept_inbound(&mut self, n: u8) {
        let port = [4143, 8080, 9000][usize::from(n) % 3];
        let tls = (self.meshed && n & 0x80 != 0).then(|| {
            let identity = if n & 0x40 == 0 { &PKI.client } else { &PKI.stranger };
            let offer = if port == 4143 || n & 0x20 != 0 { Offer::Tagged } else { Offer::Plain };
            let target = identity.target(SERVER.parse().unwrap(), &SERVER.parse().unwrap(), offer).unwrap();
            TlsConn::client(&target).unwrap()
        });
        self.accept(Side::Inbound, SocketAddr::new([10, 5, 0, 1].into(), port), tls);
    }

    fn accept(&mut self, side: Side, original_destination: SocketAddr, tls: Option<TlsConn>) {
        if self.accepted == CONNECTIONS {
            return;
        }
        self.accepted += 1;
        let socket = self.world.open(None, tls);
        let peer = SocketAddr::new([10, 9, 0, 1].into(), 40_000);
        let (accepted, now) = (Accepted { socket, side, peer, original_destination }, self.now());
        self.worker.accepted(&mut self.world, accepted, now);
    }

    /// A connection that the worker has begun succeeds, or does not.
    fn connect(&mut self, n: u8, how: u8) {
        let begun: Vec<usize> =
            (0..self.world.socks.len()).filter(|i| self.world.socks[*i].is_connecting()).collect();
        let Some(at) = usize::from(n).checked_rem(begun.len()).map(|n| begun[n]) else { return };
        if how % 4 == 3 {
            self.world.socks[at].break_off();
        } else {
            let meshed = self.world.socks[at].target.is_some_and(control::is_meshed);
            let tls = (meshed && how % 4 != 2).then(|| {
                let identity = if how & 0x40 == 0 { &PKI.client } else { &PKI.stranger };
                TlsConn::server(identity, if how & 0x80 == 0 { Offer::Tagged } else { Offer::Plain }).unwrap()
            });
            self.world.socks[at].connected(tls);
        }
        let now = self.now();
        self.worker.writable(&mut self.world, SocketId(at as u32), now);
    }

    /// The control plane answers a question, or answers again.
    fn answer(&mut self, n: u8, how: u8) {
        let Some(at) = usize::from(n).checked_rem(self.world.questions.len()) else { return };
        let question = self.world.questions[at].clone();
        self.answer_to(&question, how);
    }

    fn answer_to(&mut self, question: &Question, how: u8) {
        let (subject, answer) = match question {
            Question::Discover { target } => (
                Subject::Target(*target),
                Answer::Discovered { target: *target, policy: control::outbound(*target, how) },
            ),
            Question::Resolve { path } => {
                let endpoints = control::endpoints(how, self.meshed);
                (Subject::Path(path.clone()), Answer::Endpoints { path: path.clone(), endpoints })
            }
            Question::Port { port } => {
                (Subject::Port(*port), Answer::Port { port: *port, policy: control::inbound(how) })
            }
            Question::Forget(_) => return,
        };
        let name = name(&subject);
        let refusal = matches!(&answer, Answer::Discovered { policy: Err(_), .. });
        match self.world.subjects.get_mut(&name) {
            // Nobody wants to know any more; an answer may have been on its way, which is let through now and then.
            None if how & 0x80 == 0 => return,
            None => {}
            // A policy that was found is not taken back.
            Some(true) if refusal => return,
            Some(answered) => *answered = true,
        }
        if refusal {
            self.world.subjects.remove(&name);
        }
        self.answered(answer);
    }

    fn answered(&mut self, answer: Answer) {
        let now = self.now();
        self.worker.answered(&mut self.world, answer, now);
    }

    /// A client asks for something, in the protocol of its connection.
    fn request(&mut self, at: Option<usize>, how: u8) {
        let bytes = |sock: &mut world::Sock| {
            let mut bytes = Vec::new();
            if how & 0x80 == 0 {
                return control::request(how).to_vec();
            }
            if !std::mem::replace(&mut sock.started, true) {
                bytes.extend_from_slice(PREFACE);
                bytes.extend(frame(SETTINGS, 0, 0, &[]));
                sock.stream = 1;
            }
            let end = how & 1 == 1;
            let fields: &[_] = match how >> 1 & 7 {
                0 => &[(":method", "POST"), ("content-type", "application/grpc"), ("te", "trailers")],
                1 => &[(":method", "GET"), ("l5d-orig-proto", "HTTP/1.1"), ("x-a", "b")],
                2 => &[(":method", "HEAD"), ("cookie", "a"), ("cookie", "b")],
                3 => &[(":method", "PUT"), ("content-length", "5"), ("l5d-timeout", "5s")],
                _ => &[(":method", "GET")],
            };
            let (method, rest) = fields.split_at(1);
            let common = [(":scheme", "http"), (":path", "/v1/x"), (":authority", "web.example")];
            let fields = block(&[method, &common, rest].concat());
            bytes.extend(frame(
                HEADERS,
                END_HEADERS | if end { END_STREAM } else { 0 },
                sock.stream,
                &fields,
            ));
            if !end && how & 0x40 != 0 {
                bytes.extend(frame(0, END_STREAM, sock.stream, b"hello"));
            }
            sock.stream += 2;
            bytes
        };
        self.with(at, |sock| {
            let bytes = bytes(sock);
            sock.send(&bytes);
        });
    }

    /// A server answers what it was asked, in the protocol it was asked in.
    fn reply(&mut self, at: Option<usize>, how: u8) {
        self.with(at, |sock| {
            if sock.target.is_none() {
                // The transport header of a tagged connection.
                let protocol =
                    [None, Some(SessionProtocol::Http1), Some(SessionProtocol::Http2)][usize::from(how) % 3];
                let port = [8080, 9000, 4143, 1][usize::from(how >> 2) % 4].try_into().unwrap();
                let name = (how & 0x40 != 0).then(|| CLIENT.into());
                let mut bytes = Vec::new();
                TransportHeader { port, name, protocol }.encode(&mut bytes);
                return sock.send(&bytes);
            }
            let header = sock
                .got
                .starts_with(b"transport.l5d.io/v1")
                .then(|| weft_net::transport_header::decode(&sock.got));
            let got = match header {
                Some(Ok(Some((_, used)))) => &sock.got[used..],
                _ => &sock.got[..],
            };
            let Some(frames) = got.strip_prefix(&PREFACE[..]) else {
                let bytes = control::response(how);
                return sock.send(bytes);
            };
            let asked = control::streams(frames).into_iter().find(|stream| *stream > sock.stream);
            let mut bytes = Vec::new();
            if !std::mem::replace(&mut sock.started, true) {
                bytes.extend(frame(SETTINGS, 0, 0, &[]));
            }
            if let Some(stream) = asked {
                sock.stream = stream;
                bytes.extend(control::h2_response(stream, how));
            }
            sock.send(&bytes);
        });
    }

    /// Time goes on, deadline by deadline, as a shell has it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut deadlines = 0;
        while let Some(next) =
            self.worker.next_deadline().map(|at| at.since(Instant::START)).filter(|at| *at <= end)
        {
            deadlines += 1;
            assert!(deadlines < 100_000, "a deadline follows the other");
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Everything that can be read is read, what can be written is written, what is due is done.
    fn settle(&mut self) {
        let now = self.now();
        let (mut from, mut steps) = (0, 0);
        loop {
            while let Some((id, reads)) = self.world.ready(from) {
                steps += 1;
                assert!(steps < STEPS, "the worker does not come to rest: {id:?} {reads}");
                from = id.0 as usize + 1;
                if reads {
                    self.worker.readable(&mut self.world, id, now);
                } else {
                    self.worker.writable(&mut self.world, id, now);
                }
                if steps % 3 == 0 {
                    self.worker.flush(&mut self.world, now);
                }
                from %= self.world.socks.len();
            }
            self.worker.expired(&mut self.world, now);
            self.worker.flush(&mut self.world, now);
            // What came due may bring about that something else is due at once.
            let next = self.worker.next_deadline();
            if self.world.ready(0).is_none() && next.is_none_or(|at| at > now) {
                break;
            }
            // A round moves at least a piece of opaque bytes while much is held.
            steps += 50;
            assert!(steps < STEPS, "what is due at {next:?} is not done at {now:?}");
        }
        self.bounds();
    }

    fn bounds(&self) {
        let most = self.buffered_bytes + 300 * 1024;
        self.registry.workers.visit(|_, blocks, _| {
            for g in blocks {
                assert!(g.buffered_bytes.get() <= most, "{} bytes are buffered", g.buffered_bytes.get());
            }
        });
    }

    /// Everybody leaves, time passes, and then nothing is left.
    fn end(&mut self) {
        self.world.refuse = false;
        for _ in 0..8 {
            for at in 0..self.world.socks.len() {
                if !self.world.socks[at].is_closed() {
                    self.world.socks[at].break_off();
                    self.tell(Some(at));
                }
            }
            for question in self.world.questions.clone() {
                // No policy, no endpoints, nobody allowed.
                self.answer_to(&question, 0);
            }
            self.settle();
            self.pass(Duration::from_secs(100));
        }
        let open: Vec<_> =
            self.world.socks.iter().enumerate().filter(|(_, sock)| !sock.is_closed()).collect();
        assert!(open.is_empty(), "sockets are left: {open:?}, {:?}", self.worker);
        let mut left = Vec::new();
        self.registry.workers.visit(|_, blocks, _| {
            for g in blocks {
                let gauges = [
                    ("accepted", &g.accepted),
                    ("dialed", &g.dialed),
                    ("exchanges", &g.exchanges),
                    ("discovering", &g.discovering),
                    ("queued", &g.queued),
                    ("idle pooled", &g.idle_pooled),
                    ("endpoints", &g.endpoints),
                    ("buffered bytes", &g.buffered_bytes),
                    ("timers", &g.timers),
                ];
                left.extend(
                    gauges.into_iter().filter(|(_, g)| g.get() != 0).map(|(name, g)| (name, g.get())),
                );
            }
        });
        assert!(left.is_empty(), "{left:?} are left");
        assert!(self.worker.is_idle());
        self.registry.transports.visit(|labels, blocks, _| {
            for b in blocks {
                assert_eq!((b.open.get(), b.opened.get()), (0, b.closed.total()), "{labels:?}");
            }
        });
        // What is known from the start stays known.
        let kept: Vec<_> =
            self.world.subjects.keys().filter(|subject| !subject.starts_with("Port(")).collect();
        assert!(kept.is_empty(), "{kept:?} were never forgotten");
        self.counters();
    }

    /// What is counted agrees with itself.
    fn counters(&self) {
        self.registry.endpoints.visit(|labels, blocks, _| {
            for b in blocks {
                assert_eq!(b.requests.get(), b.responses.total(), "{labels:?}");
            }
        });
        self.registry.permits.visit(|labels, blocks, _| {
            for b in blocks {
                assert_eq!(b.http.requests.get(), b.http.responses.total(), "{labels:?}");
            }
        });
    }
}

/// Connections of each kind, from their beginning to an answer.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    // Event, argument, and the rest of it.
    let (accept, inbound, raw, fragment, end, cut, room, connect) = (0, 1, 2, 3, 5, 6, 7, 8);
    let (answer, pass, reply, request, bulk) = (10, 12, 14, 16, 19);
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for target in 0..control::TARGETS.len() as u8 {
        for policy in [1, 2, 3, 5] {
            // A client, its policy, a request, endpoints, a connection, an answer.
            seeds.push(vec![
                32, accept, target, answer, 0, policy, request, 0, 0, answer, 1, 2, connect, 0, 0, reply, 1,
                0, request, 0, 1, reply, 1, 4, end, 0,
            ]);
        }
        // HTTP/2 on both sides, several requests, one endpoint after the other.
        seeds.push(vec![
            32, accept, target, answer, 0, 1, request, 0, 0x81, request, 0, 0xc0, answer, 1, 3, connect, 0,
            0, connect, 0, 0, reply, 1, 1, reply, 1, 2, reply, 2, 9, pass, 0, 0, 16, request, 0, 0x87,
        ]);
        // Bytes, slowly read, then cut.
        seeds.push(vec![
            38, accept, target, answer, 0, 1, raw, 0, 4, b'H', b'E', b'L', b'O', pass, 2, 0, 16, answer, 1,
            1, connect, 0, 0, room, 0, 5, 0, bulk, 1, 255, 3, room, 0, 255, 255, bulk, 0, 9, 9, cut, 1,
        ]);
    }
    for port in 0..3 {
        seeds.push(vec![
            40, inbound, port, answer, 0, 1, request, 0, 0, connect, 0, 0, reply, 1, 0, fragment, 0, 3, end,
            0,
        ]);
        seeds.push(vec![
            40, inbound, port, answer, 0, 2, request, 0, 0x81, connect, 0, 0, reply, 1, 0, answer, 0, 4,
            request, 0, 3,
        ]);
        // Meshed: a transport header, then HTTP/1 or HTTP/2.
        for header in [0, 1, 2, 5] {
            seeds.push(vec![
                33,
                inbound,
                0x80 | port,
                reply,
                0,
                header,
                answer,
                0,
                1,
                request,
                0,
                if header == 2 { 0x83 } else { 1 },
                connect,
                0,
                0,
                reply,
                1,
                0,
                request,
                0,
                0x81,
                end,
                0,
            ]);
        }
    }
    // Outbound to meshed endpoints, and to one that is somebody else.
    for how in [0, 0x40, 0x80, 2] {
        seeds.push(vec![
            33, accept, 0, answer, 0, 1, request, 0, 0, answer, 1, 4, connect, 0, how, connect, 0, how,
            reply, 1, 0, reply, 2, 0, request, 0, 0x81, reply, 1, 1,
        ]);
    }
    // Drained, refused, detected by time.
    seeds.push(vec![
        34, accept, 2, answer, 0, 1, request, 0, 0, connect, 0, 0, 13, 0, reply, 1, 0, pass, 3, 255, 255,
    ]);
    seeds.push(vec![34, 13, 1, accept, 2, 13, 1, accept, 2, pass, 2, 255, 255, answer, 0, 1]);
    seeds
}
