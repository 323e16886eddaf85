//! The world of one seed: who is in it, what goes wrong, and what must hold in the end.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_engine::io::{Accepted, Answer, Io, Question, Refused, Side, SocketId};
use weft_engine::metrics::Registry;
use weft_engine::time::Instant;
use weft_engine::{Config, Worker};
use weft_names::Meta;
use weft_policy::inbound::DefaultPolicy;
use weft_policy::outbound::{
    Backend, Backoff, Distribution, Endpoint, EndpointSet, EndpointTls, GrpcCodes, Hint, HttpRoutes, Load,
    OpaqueRoutes, Policy, Protocol, Retry, RetryConditions, RouteBackend, Rule, TcpRule,
};

use crate::apps::{Book, Client, Kind, Outcome, Plan, Server};
use crate::http::{
    ABORT, CHUNKED_REQUEST, CHUNKED_RESPONSE, CLOSE, EARLY, FLAKY, GRPC, INTERIM, LEAVE, Spec, TRAILERS,
    UNTIL_CLOSE, UPGRADE,
};
use crate::net::{Host, Net, Read, State};
use crate::pki::pki;
use crate::rng::Rng;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) clients: Vec<Plan>,
    pub(crate) faults: Vec<(u64, Fault)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection between two open sockets is cut; the number chooses which.
    Cut(u64),
    /// Nothing arrives at one socket for a while.
    Stall(u64, u64),
    /// The server's proxy has a new certificate.
    Renew,
    /// An endpoint goes, and comes back.
    Remove,
    Restore,
    /// One worker drains.
    Drain(usize),
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Every other seed is free of faults: then everything has to succeed.
        let rough = if seed.is_multiple_of(2) { 0 } else { rng.between(1, 6) };
        let mut id = 0;
        let clients = (0..rng.between(1, 6)).map(|_| plan(&mut rng, &mut id, rough > 0)).collect();
        let faults = (0..rough)
            .map(|_| {
                let at = rng.below(3_000) as u64 * MS / 4;
                let fault = match rng.below(10) {
                    0..=3 => Fault::Cut(rng.next()),
                    4 | 5 => Fault::Stall(rng.next(), rng.below(3_000) as u64 * MS),
                    6 => Fault::Renew,
                    7 => Fault::Remove,
                    8 => Fault::Restore,
                    _ => Fault::Drain(rng.below(2)),
                };
                (at, fault)
            })
            .collect();
        Self { seed, clients, faults }
    }

    fn is_rough(&self) -> bool {
        self.faults.iter().any(|(_, f)| !matches!(f, Fault::Renew))
    }

    /// Cases with something left out.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for i in 0..self.clients.len() {
            if self.clients.len() > 1 {
                let mut case = self.clone();
                case.clients.remove(i);
                all.push(case);
            }
            let n = self.clients[i].specs.len();
            for k in (0..n).filter(|_| n > 1) {
                let mut case = self.clone();
                case.clients[i].specs.remove(k);
                all.push(case);
            }
        }
        for i in 0..self.faults.len() {
            let mut case = self.clone();
            case.faults.remove(i);
            all.push(case);
        }
        all
    }
}

fn plan(rng: &mut Rng, id: &mut u32, rough: bool) -> Plan {
    let kind = rng.pick(&[
        Kind::Http1,
        Kind::Http1,
        Kind::Http10,
        Kind::Pipelined,
        Kind::Http2,
        Kind::Http2,
        Kind::Raw,
        Kind::RawAfterBanner,
    ]);
    let to = match kind {
        Kind::Raw => addr(rng.pick(&["10.0.0.2:9000", "10.0.0.5:9000"])),
        Kind::RawAfterBanner => addr(rng.pick(&["10.0.0.4:9001", "10.0.0.6:9001"])),
        _ => addr(rng.pick(&["10.0.0.1:80", "10.0.0.1:80", "10.0.0.3:82", "10.0.0.7:84"])),
    };
    let raw = to.port() >= 9000;
    let n = if raw { 1 } else { rng.between(1, 6) };
    let mut specs: Vec<_> = (0..n).map(|_| spec(rng, id, kind, rough)).collect();
    if to.port() == 84 {
        for spec in specs.iter_mut().filter(|s| s.flags & (UPGRADE | ABORT | LEAVE | EARLY) == 0) {
            if rng.one_in(2) {
                // What is small enough to be kept, and without trailers, is asked for until it succeeds.
                *spec =
                    Spec { request: spec.request.min(9_000), flags: spec.flags & !TRAILERS | FLAKY, ..*spec };
                spec.status = if spec.status >= 500 { 200 } else { spec.status };
            }
        }
    }
    Plan { kind, to, start: rng.below(40) as u64 * MS, specs }
}

fn spec(rng: &mut Rng, id: &mut u32, kind: Kind, rough: bool) -> Spec {
    *id += 1;
    let mut spec = Spec {
        id: *id,
        method: rng.pick(&[0, 0, 0, 1, 1, 2, 3, 4]),
        request: 0,
        response: rng.size(200_000),
        status: rng.pick(&[200, 200, 200, 200, 204, 304, 404, 500]),
        delay: rng.pick(&[0, 0, 0, 1, 30, 400]),
        flags: 0,
    };
    if matches!(kind, Kind::Raw | Kind::RawAfterBanner) {
        spec.request = rng.size(200_000);
        spec.flags = rng.pick(&[0, EARLY]);
        return spec;
    }
    if matches!(spec.method, 1 | 2) {
        spec.request = rng.size(150_000);
        if rng.one_in(2) && kind != Kind::Http10 {
            spec.flags |= CHUNKED_REQUEST;
        }
    }
    let mut flag = |flags: &mut u32, flag: u32, n: usize| {
        if rng.one_in(n) {
            *flags |= flag;
        }
    };
    flag(&mut spec.flags, CHUNKED_RESPONSE, 2);
    flag(&mut spec.flags, TRAILERS, 4);
    if spec.flags & CHUNKED_RESPONSE == 0 {
        spec.flags &= !TRAILERS;
        flag(&mut spec.flags, UNTIL_CLOSE, 6);
    }
    flag(&mut spec.flags, INTERIM, 8);
    flag(&mut spec.flags, CLOSE, 8);
    if kind == Kind::Http2 {
        flag(&mut spec.flags, GRPC, 3);
        if spec.flags & GRPC != 0 {
            spec.flags &= !(UNTIL_CLOSE | CHUNKED_RESPONSE);
            spec.status = 200;
            spec.method = 1;
        }
    }
    if kind == Kind::Http1 && spec.method == 0 {
        flag(&mut spec.flags, UPGRADE, 6);
        if spec.flags & UPGRADE != 0 {
            spec = Spec { status: 101, flags: UPGRADE, request: 3_000, ..spec };
        }
    }
    if rough {
        flag(&mut spec.flags, ABORT, 10);
        flag(&mut spec.flags, LEAVE, 10);
        flag(&mut spec.flags, EARLY, 8);
        if spec.has(UPGRADE) || spec.response < 4 {
            spec.flags &= !(ABORT | LEAVE | EARLY);
        }
    }
    if spec.flags & (ABORT | LEAVE) != 0 && spec.expected() == 0 {
        spec.flags &= !(ABORT | LEAVE);
    }
    spec
}

/// The control plane's side: what it answers, and when.
struct Control {
    answers: VecDeque<(u64, usize, Answer)>,
    /// Whether the second endpoint is there.
    whole: bool,
    resolving: bool,
}

fn meshed(ip: &str, port: u16, hint: Hint) -> Arc<Endpoint> {
    let server: weft_names::IdentityName = crate::SERVER.parse().unwrap();
    Arc::new(Endpoint {
        tls: Some(EndpointTls { server_id: server, server_name: crate::SERVER.parse().unwrap() }),
        hint,
        opaque_transport_port: Some(4143),
        ..Endpoint::plain(SocketAddr::new(ip.parse().unwrap(), port))
    })
}

fn endpoints(path: &str, whole: bool) -> Arc<EndpointSet> {
    let (port, hint) = match path {
        "web" => (8080, Hint::H2),
        "raw" => (9000, Hint::Opaque),
        _ => (9001, Hint::Opaque),
    };
    let mut all = vec![meshed("10.1.0.1", port, hint)];
    if whole {
        all.push(meshed("10.1.0.2", port, hint));
    }
    Arc::new(EndpointSet::new(all))
}

fn policy(target: SocketAddr) -> Arc<Policy> {
    let meta = |name: &str| Arc::new(Meta::default_named(name));
    let balance = |path: &str| Arc::new(Backend::balance(meta(path), path, Load::default()));
    let plain = Arc::new(Backend::forward(meta("plain"), Arc::new(Endpoint::plain(addr("10.2.0.1:8080")))));
    let detect = |backend: Arc<Backend>| Protocol::Detect {
        timeout: Duration::from_secs(10),
        http1: HttpRoutes::to_backend(meta("route"), Arc::clone(&backend)),
        http2: HttpRoutes::to_backend(meta("route"), Arc::clone(&backend)),
        opaque: opaque(meta("opaque"), backend),
    };
    let protocol = match target.to_string().as_str() {
        "10.0.0.1:80" => detect(balance("web")),
        "10.0.0.3:82" => detect(plain),
        "10.0.0.7:84" => {
            let mut rule = Rule::new(Distribution::only(RouteBackend::new(balance("web"))));
            rule.retry = Some(Retry {
                max_retries: 2,
                max_request_bytes: 10_000,
                conditions: RetryConditions { statuses: vec![(502, 599)], grpc: GrpcCodes::default() },
                timeout: None,
                backoff: Some(
                    Backoff::new(Duration::from_millis(5), Duration::from_millis(50), 0.5).unwrap(),
                ),
            });
            let routes = HttpRoutes::from_rule(meta("retried"), rule);
            Protocol::Detect {
                timeout: Duration::from_secs(10),
                http1: routes.clone(),
                http2: routes,
                opaque: opaque(meta("opaque"), balance("web")),
            }
        }
        "10.0.0.2:9000" => Protocol::Opaque(opaque(meta("raw"), balance("raw"))),
        "10.0.0.5:9000" => detect(balance("raw")),
        "10.0.0.4:9001" => Protocol::Opaque(opaque(meta("first"), balance("first"))),
        _ => detect(balance("first")),
    };
    Arc::new(Policy::new(meta("service"), protocol))
}

fn opaque(meta: Arc<Meta>, backend: Arc<Backend>) -> OpaqueRoutes {
    OpaqueRoutes::from_rule(meta, TcpRule::new(Distribution::only(RouteBackend::new(backend))))
}

/// What a worker sees of the world.
struct Seen<'a> {
    net: &'a mut Net,
    control: &'a mut Control,
    rng: &'a mut Rng,
    me: usize,
}

impl Io for Seen<'_> {
    fn read(&mut self, socket: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        match self.net.read(socket.0 as usize, buf.len()) {
            Read::Data(bytes) => {
                buf[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Read::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Read::End => Ok(0),
            Read::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn write(&mut self, socket: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        match self.net.write(socket.0 as usize, &bytes) {
            Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(n) => Ok(n),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn connect(&mut self, target: SocketAddr, _: Side) -> io::Result<SocketId> {
        Ok(SocketId(self.net.connect(Host::Worker(self.me), target) as u32))
    }

    fn connect_result(&mut self, socket: SocketId) -> io::Result<()> {
        match self.net.socks[socket.0 as usize].state {
            State::Open => Ok(()),
            State::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            State::Connecting => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn interest(&mut self, socket: SocketId, read: bool, write: bool) {
        self.net.socks[socket.0 as usize].interest = (read, write);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.net.shutdown(socket.0 as usize);
    }

    fn close(&mut self, socket: SocketId) {
        self.net.close(socket.0 as usize);
    }

    fn reset(&mut self, socket: SocketId) {
        self.net.reset(socket.0 as usize);
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        let at = self.net.now + self.rng.below(20) as u64 * MS;
        let answer = match question {
            Question::Discover { target } => Answer::Discovered { target, policy: Ok(policy(target)) },
            Question::Resolve { path } => {
                self.control.resolving = true;
                let endpoints = endpoints(&path, self.control.whole);
                Answer::Endpoints { path, endpoints }
            }
            Question::Port { .. } | Question::Forget(_) => return Ok(()),
        };
        self.control.answers.push_back((at, self.me, answer));
        Ok(())
    }

    fn random(&mut self) -> u64 {
        self.rng.next()
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_893_456_000) + Duration::from_nanos(self.net.now)
    }
}

pub(crate) struct World {
    net: Net,
    rng: Rng,
    control: Control,
    workers: Vec<Worker>,
    registries: Vec<Arc<Registry>>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    book: Book,
    faults: VecDeque<(u64, Fault)>,
    steps: u64,
    log: bool,
}

impl World {
    /// Runs a case to its end and judges it.
    pub(crate) fn run(case: &Case) -> Result<(), String> {
        let mut world = Self::new(case);
        world.live(case)?;
        world.judge(case)
    }

    /// What a run looked like from outside, to compare two of them.
    pub(crate) fn trace(case: &Case) -> (u64, u64, usize, Vec<(u32, Outcome)>) {
        let mut world = Self::new(case);
        let _ = world.live(case);
        let outcomes = world.book.outcomes.iter().map(|(id, o)| (*id, *o)).collect();
        (world.steps, world.net.now, world.net.socks.len(), outcomes)
    }

    fn new(case: &Case) -> Self {
        let mut rng = Rng::new(case.seed ^ 0xabcd_ef01);
        let mut net = Net::new(Rng::new(rng.next()));
        for service in [
            "10.0.0.1:80",
            "10.0.0.3:82",
            "10.0.0.2:9000",
            "10.0.0.5:9000",
            "10.0.0.4:9001",
            "10.0.0.6:9001",
            "10.0.0.7:84",
        ] {
            net.listeners.insert(addr(service), Host::Worker(0));
        }
        for ip in ["10.1.0.1", "10.1.0.2", "10.2.0.1"] {
            for port in [8080, 9000, 9001] {
                net.listeners.insert(SocketAddr::new(ip.parse().unwrap(), port), Host::App);
            }
            if ip != "10.2.0.1" {
                net.listeners.insert(SocketAddr::new(ip.parse().unwrap(), 4143), Host::Worker(1));
            }
        }
        let mut control = Control { answers: VecDeque::new(), whole: true, resolving: false };
        let (mut workers, mut registries) = (Vec::new(), Vec::new());
        for me in 0..2 {
            let policy = DefaultPolicy::AllUnauthenticated.server(&[], false, Duration::from_secs(10));
            let mut config = Config::with_default_policy(Arc::new(policy));
            config.worker = me as u32;
            // Small, so that they are met.
            config.limits.output_bytes = 32 * 1024;
            config.limits.read_bytes = 16 * 1024;
            let registry = Arc::new(Registry::default());
            let mut io = Seen { net: &mut net, control: &mut control, rng: &mut rng, me };
            let mut worker = Worker::new(config, Arc::clone(&registry), &mut io);
            let identity = if me == 0 { &pki().client } else { &pki().server };
            worker.answered(&mut io, Answer::Identity(Arc::clone(identity)), Instant::START);
            workers.push(worker);
            registries.push(registry);
        }
        let clients = case.clients.iter().map(|p| Client::new(p.clone(), &mut rng)).collect();
        let mut faults = case.faults.clone();
        faults.sort_by_key(|f| f.0);
        Self {
            net,
            rng,
            control,
            workers,
            registries,
            clients,
            servers: Vec::new(),
            book: Book::default(),
            faults: faults.into(),
            steps: 0,
            log: std::env::var_os("WEFT_SIM_LOG").is_some(),
        }
    }

    /// Lets everything happen until nothing does any more.
    fn live(&mut self, case: &Case) -> Result<(), String> {
        let mut quiet_since = None;
        loop {
            self.steps += 1;
            let mut moved = self.net.arrive();
            moved |= self.accept();
            moved |= self.answer();
            moved |= self.strike();
            for w in 0..2 {
                moved |= self.turn(w);
            }
            for server in &mut self.servers {
                moved |= server.step(&mut self.net, &mut self.book);
            }
            for client in &mut self.clients {
                moved |= client.step(&mut self.net, &mut self.book);
            }
            if moved {
                if self.steps > 400_000 {
                    let clients: Vec<_> =
                        self.clients.iter().filter(|c| !c.done).map(Client::stuck).collect();
                    let (at, steps) = (self.net.now / MS, self.steps);
                    let workers = format!("{:?}\n{:?}", self.workers[0], self.workers[1]);
                    return Err(format!("no end after {steps} steps at {at} ms: {clients:#?}\n{workers}"));
                }
                continue;
            }
            let done = self.clients.iter().all(|c| c.done);
            if done && quiet_since.is_none() {
                quiet_since = Some(self.net.now);
            }
            let Some(next) = self.next_time() else { break };
            if next > 3_600 * SECOND {
                break;
            }
            // Whatever is still there six minutes after the last client has gone, the longest of all times being over, is there for ever.
            if quiet_since.is_some_and(|since| next > since + 400 * SECOND) {
                break;
            }
            self.net.now = next.max(self.net.now + 1);
        }
        if let Some(stuck) = self.clients.iter().find(|c| !c.done) {
            let workers = format!("{:?}\n{:?}", self.workers[0], self.workers[1]);
            return Err(format!(
                "at {} ms a client waits for ever: {}\n{workers}",
                self.net.now / MS,
                stuck.stuck()
            ));
        }
        let _ = case;
        Ok(())
    }

    fn next_time(&self) -> Option<u64> {
        let apps = self.clients.iter().filter_map(|c| c.next_time(&self.net));
        let servers = self.servers.iter().filter(|s| !s.gone).filter_map(|s| s.next_time(&self.net));
        let workers = self.workers.iter().filter_map(|w| w.next_deadline().map(Instant::as_nanos));
        let answers = self.control.answers.iter().map(|a| a.0);
        let faults = self.faults.front().map(|f| f.0);
        apps.chain(servers).chain(workers).chain(answers).chain(faults).chain(self.net.next_arrival()).min()
    }

    fn accept(&mut self) -> bool {
        let mut any = false;
        while let Some((host, incoming)) = self.net.incoming.pop_front() {
            any = true;
            match host {
                Host::App => self.servers.push(Server::new(incoming.sock, incoming.to, &mut self.rng)),
                Host::Worker(w) => {
                    let accepted = Accepted {
                        socket: SocketId(incoming.sock as u32),
                        side: if w == 0 { Side::Outbound } else { Side::Inbound },
                        peer: incoming.peer,
                        original_destination: incoming.to,
                    };
                    self.with(w, |worker, io, now| worker.accepted(io, accepted, now));
                }
            }
        }
        any
    }

    fn with<T>(&mut self, w: usize, act: impl FnOnce(&mut Worker, &mut Seen<'_>, Instant) -> T) -> T {
        let now = Instant::from_nanos(self.net.now);
        let mut io = Seen { net: &mut self.net, control: &mut self.control, rng: &mut self.rng, me: w };
        act(&mut self.workers[w], &mut io, now)
    }

    /// One batch of one worker.
    fn turn(&mut self, w: usize) -> bool {
        let mut ready = Vec::new();
        for sock in self.net.open_of(Host::Worker(w)) {
            let (read, write) = self.net.socks[sock].interest;
            if read && self.net.readable(sock) {
                ready.push((sock, true));
            }
            if write && self.net.writable(sock) {
                ready.push((sock, false));
            }
        }
        for i in (1..ready.len()).rev() {
            ready.swap(i, self.rng.below(i + 1));
        }
        // The kernel does not tell of everything at once.
        ready.truncate(self.rng.between(1, 20));
        let any = !ready.is_empty();
        for (sock, read) in ready {
            if self.net.is_closed(sock) {
                continue;
            }
            let id = SocketId(sock as u32);
            self.with(
                w,
                |worker, io, now| {
                    if read { worker.readable(io, id, now) } else { worker.writable(io, id, now) }
                },
            );
        }
        let due = self.workers[w].next_deadline().is_some_and(|at| at.as_nanos() <= self.net.now);
        self.with(w, |worker, io, now| {
            worker.expired(io, now);
            worker.flush(io, now);
        });
        any || due
    }

    fn answer(&mut self) -> bool {
        let now = self.net.now;
        let (due, later): (Vec<_>, Vec<_>) = self.control.answers.drain(..).partition(|a| a.0 <= now);
        self.control.answers = later.into();
        let any = !due.is_empty();
        for (_, w, answer) in due {
            self.with(w, |worker, io, now| worker.answered(io, answer, now));
        }
        any
    }

    fn strike(&mut self) -> bool {
        let Some((_, fault)) = self.faults.front().copied().filter(|f| f.0 <= self.net.now) else {
            return false;
        };
        self.faults.pop_front();
        if self.log {
            eprintln!("{} ms: {fault:?}", self.net.now / MS);
        }
        let open: Vec<_> = (0..self.net.socks.len()).filter(|s| !self.net.is_closed(*s)).collect();
        let pick = |n: u64| open.get((n % open.len().max(1) as u64) as usize).copied();
        match fault {
            Fault::Cut(n) => {
                if let Some(sock) = pick(n) {
                    self.net.cut(sock);
                }
            }
            Fault::Stall(n, nanos) => {
                if let Some(sock) = pick(n) {
                    self.net.stall(sock, nanos);
                }
            }
            Fault::Renew => {
                let renewed = Answer::Identity(Arc::clone(&pki().renewed));
                self.with(1, |worker, io, now| worker.answered(io, renewed, now));
            }
            Fault::Remove | Fault::Restore => {
                self.control.whole = fault == Fault::Restore;
                if self.control.resolving {
                    for path in ["web", "raw", "first"] {
                        let endpoints = endpoints(path, self.control.whole);
                        let answer = Answer::Endpoints { path: path.into(), endpoints };
                        self.with(0, |worker, io, now| worker.answered(io, answer, now));
                    }
                }
            }
            Fault::Drain(w) => {
                // As a shell does: nothing new is accepted.
                self.net.listeners.retain(|_, host| *host != Host::Worker(w));
                self.with(w, |worker, io, now| worker.drain(io, now));
            }
        }
        true
    }

    // --- the properties

    fn judge(&mut self, case: &Case) -> Result<(), String> {
        let mut wrong = std::mem::take(&mut self.book.wrong);
        let rough = case.is_rough();
        for plan in &case.clients {
            for spec in &plan.specs {
                self.judge_request(plan, spec, rough, &mut wrong);
            }
        }
        for w in 0..2 {
            self.judge_rest(w, &mut wrong);
        }
        self.judge_counters(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn judge_request(&self, plan: &Plan, spec: &Spec, rough: bool, wrong: &mut Vec<String>) {
        let id = spec.id;
        let Some(outcome) = self.book.outcomes.get(&id) else {
            return wrong.push(format!("request {id} never ended"));
        };
        let seen = self.book.seen.get(&id).copied().unwrap_or(0);
        // Unanswered requests are repeated where that is safe.
        let repeatable =
            (rough || spec.has(ABORT)) && matches!(spec.method(), "GET" | "HEAD" | "PUT" | "DELETE");
        let most = if plan.to.port() == 84 { 3 } else { 1 };
        if seen > most && !repeatable {
            wrong.push(format!("request {id} was delivered {seen} times"));
        }
        match outcome {
            Outcome::Whole { by_proxy: false, failed: false, status } => {
                if seen == 0 {
                    wrong.push(format!("request {id} was answered by nobody"));
                }
                if spec.has(FLAKY) && !rough && *status != spec.status {
                    wrong.push(format!("request {id} was not tried again"));
                }
                if spec.has(ABORT) && !rough {
                    wrong.push(format!("response {id} was cut and looks whole"));
                }
            }
            _ if rough || spec.has(ABORT | LEAVE) => {}
            Outcome::Left => {}
            // The server answers and closes while the request is still coming: its end is a matter of luck.
            _ if spec.has(EARLY) && spec.request > 0 => {}
            other => wrong.push(format!(
                "request {id} of {:?} failed without a reason: {other:?}, {spec:?}",
                plan.kind
            )),
        }
    }

    /// Nothing is left: no connection, exchange, stream, buffer, timer, policy, endpoint.
    fn judge_rest(&mut self, w: usize, wrong: &mut Vec<String>) {
        self.with(w, |worker, io, now| {
            worker.expired(io, now);
            worker.flush(io, now);
        });
        self.registries[w].workers.visit(|_, blocks, _| {
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
                    ("policies", &g.policies),
                    ("timers", &g.timers),
                ];
                for (name, gauge) in gauges {
                    if gauge.get() != 0 {
                        wrong.push(format!("worker {w}: {} {name} left", gauge.get()));
                    }
                }
                if g.spare_buffers.get() > 64 {
                    wrong.push(format!("worker {w}: {} spare buffers", g.spare_buffers.get()));
                }
            }
        });
        let open = self.net.open_of(Host::Worker(w)).len();
        if open > 0 {
            wrong.push(format!("worker {w}: {open} sockets left"));
        }
        self.registries[w].transports.visit(|labels, blocks, _| {
            for b in blocks {
                if b.open.get() != 0 || b.opened.get() != b.closed.total() {
                    let (opened, closed) = (b.opened.get(), b.closed.total());
                    wrong.push(format!("worker {w}: {labels:?} opened {opened} closed {closed}"));
                }
            }
        });
    }

    /// What both workers count agrees with itself and with what was seen.
    fn judge_counters(&self, wrong: &mut Vec<String>) {
        let (mut out_requests, mut out_responses) = (0, 0);
        self.registries[0].endpoints.visit(|_, blocks, _| {
            out_requests += blocks.iter().map(|b| b.requests.get()).sum::<u64>();
            out_responses += blocks.iter().map(|b| b.responses.total()).sum::<u64>();
        });
        if out_requests != out_responses {
            wrong.push(format!("outbound: {out_requests} requests, {out_responses} responses"));
        }
        let (mut in_requests, mut in_responses) = (0, 0);
        self.registries[1].permits.visit(|_, blocks, _| {
            in_requests += blocks.iter().map(|b| b.http.requests.get()).sum::<u64>();
            in_responses += blocks.iter().map(|b| b.http.responses.total()).sum::<u64>();
        });
        if in_requests != in_responses {
            wrong.push(format!("inbound: {in_requests} requests, {in_responses} responses"));
        }
    }
}
