//! One worker between sockets that a test holds in its hands.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_engine::io::{Accepted, Answer, Io, Note, Question, Refused, Side, SocketId};
use weft_engine::metrics::{Registry, WorkerGauges};
use weft_engine::time::Instant;
use weft_engine::{Bound, Config, Worker};
use weft_names::Meta;
use weft_policy::inbound::DefaultPolicy;
use weft_policy::outbound::{
    Backend, Distribution, Endpoint, HttpRoutes, OpaqueRoutes, Policy, Protocol, RouteBackend, TcpRule,
};

/// A socket as the test sees it.
#[derive(Default)]
pub(crate) struct Sock {
    /// What the peer has sent and the worker has not read.
    rx: Vec<u8>,
    rx_end: bool,
    broken: bool,
    /// What the worker has written and the test has not looked at.
    pub(crate) tx: Vec<u8>,
    /// How much more the worker may write.
    pub(crate) room: usize,
    pub(crate) shut: bool,
    pub(crate) closed: bool,
    pub(crate) reset: bool,
    pub(crate) interest: (bool, bool),
    refused: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) socks: Vec<Sock>,
    /// What the worker has connected to.
    pub(crate) dialed: Vec<(SocketAddr, SocketId)>,
    pub(crate) questions: Vec<Question>,
    pub(crate) refuse_questions: bool,
    pub(crate) notes: Vec<String>,
    random: u64,
}

impl World {
    fn sock(&mut self, id: SocketId) -> &mut Sock {
        &mut self.socks[id.0 as usize]
    }

    fn open(&mut self) -> SocketId {
        self.socks.push(Sock { room: usize::MAX, ..Sock::default() });
        SocketId(self.socks.len() as u32 - 1)
    }
}

impl Io for World {
    fn read(&mut self, id: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        let s = self.sock(id);
        if s.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if s.rx.is_empty() {
            return if s.rx_end { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = s.rx.len().min(buf.len());
        buf[..n].copy_from_slice(&s.rx[..n]);
        s.rx.drain(..n);
        Ok(n)
    }

    fn write(&mut self, id: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let s = self.sock(id);
        assert!(!s.closed, "nothing is written to a closed socket");
        if s.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let n = all.len().min(s.room);
        s.room = s.room.saturating_sub(n);
        s.tx.extend_from_slice(&all[..n]);
        if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn connect(&mut self, target: SocketAddr, _: Side) -> io::Result<SocketId> {
        let id = self.open();
        self.dialed.push((target, id));
        Ok(id)
    }

    fn connect_result(&mut self, id: SocketId) -> io::Result<()> {
        if self.sock(id).refused { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }

    fn interest(&mut self, id: SocketId, read: bool, write: bool) {
        self.sock(id).interest = (read, write);
    }

    fn shutdown_write(&mut self, id: SocketId) {
        self.sock(id).shut = true;
    }

    fn close(&mut self, id: SocketId) {
        assert!(!self.sock(id).closed, "closed once");
        self.sock(id).closed = true;
    }

    fn reset(&mut self, id: SocketId) {
        assert!(!self.sock(id).closed, "closed once");
        let s = self.sock(id);
        (s.closed, s.reset) = (true, true);
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        if self.refuse_questions {
            return Err(Refused);
        }
        self.questions.push(question);
        Ok(())
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(784_111_777)
    }

    fn note(&mut self, note: &Note<'_>) {
        self.notes.push(format!("{note:?}"));
    }
}

pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) world: World,
    pub(crate) registry: Arc<Registry>,
    now: Duration,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Where clients of the tests want to go.
pub(crate) const TARGET: &str = "10.0.0.1:80";
/// Where that leads.
pub(crate) const SERVER: &str = "10.2.0.1:8080";

pub(crate) fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::default_named(name.to_owned()))
}

/// HTTP is detected and forwarded to one endpoint without TLS; so is everything else.
pub(crate) fn forward() -> Policy {
    to(Arc::new(Backend::forward(meta("server"), Arc::new(Endpoint::plain(addr(SERVER))))))
}

/// The same to any backend.
pub(crate) fn to(backend: Arc<Backend>) -> Policy {
    let routes = HttpRoutes::to_backend(meta("route"), Arc::clone(&backend));
    detect(routes, backend)
}

pub(crate) fn detect(routes: HttpRoutes, backend: Arc<Backend>) -> Policy {
    let rule = TcpRule::new(Distribution::only(RouteBackend::new(backend)));
    let protocol = Protocol::Detect {
        timeout: Duration::from_secs(10),
        http1: routes.clone(),
        http2: routes,
        opaque: OpaqueRoutes::from_rule(meta("opaque"), rule),
    };
    Policy::new(meta("service"), protocol)
}

impl Bench {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let policy = DefaultPolicy::AllUnauthenticated.server(&[], false, Duration::from_secs(10));
        let mut config = Config::with_default_policy(Arc::new(policy));
        change(&mut config);
        let registry = Arc::new(Registry::default());
        let mut world = World::default();
        let worker = Worker::new(config, Arc::clone(&registry), &mut world);
        Self { worker, world, registry, now: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        Instant::START + self.now
    }

    /// A client connects to the outbound side.
    pub(crate) fn client(&mut self) -> SocketId {
        self.accept(Side::Outbound, addr(TARGET))
    }

    pub(crate) fn accept(&mut self, side: Side, original_destination: SocketAddr) -> SocketId {
        let (socket, now) = (self.world.open(), self.now());
        let accepted = Accepted { socket, side, peer: addr("10.9.0.1:40000"), original_destination };
        self.worker.accepted(&mut self.world, accepted, now);
        self.settle();
        socket
    }

    /// The policy of the outbound target is this.
    pub(crate) fn discovered(&mut self, policy: Policy) {
        self.answer(Answer::Discovered { target: addr(TARGET), policy: Ok(Arc::new(policy)) });
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        let now = self.now();
        self.worker.answered(&mut self.world, answer, now);
        self.settle();
    }

    /// A client that is known to be where [`forward`] leads.
    pub(crate) fn forwarded_client(&mut self) -> SocketId {
        let client = self.client();
        self.discovered(forward());
        client
    }

    /// The peer of a socket sends this.
    pub(crate) fn sends(&mut self, id: SocketId, bytes: impl AsRef<[u8]>) {
        self.world.sock(id).rx.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// The peer of a socket ends its stream.
    pub(crate) fn ends(&mut self, id: SocketId) {
        self.world.sock(id).rx_end = true;
        self.settle();
    }

    /// The connection of a socket breaks.
    pub(crate) fn breaks(&mut self, id: SocketId) {
        let now = self.now();
        self.world.sock(id).broken = true;
        self.worker.readable(&mut self.world, id, now);
        if !self.is_closed(id) && self.world.sock(id).interest.1 {
            self.worker.writable(&mut self.world, id, now);
        }
        self.settle();
    }

    /// The n-th connection that the worker began succeeds.
    pub(crate) fn connects(&mut self, n: usize) -> SocketId {
        let (id, now) = (self.world.dialed[n].1, self.now());
        self.worker.writable(&mut self.world, id, now);
        self.settle();
        id
    }

    /// Or it does not.
    pub(crate) fn refuses(&mut self, n: usize) {
        let (id, now) = (self.world.dialed[n].1, self.now());
        self.world.sock(id).refused = true;
        self.worker.writable(&mut self.world, id, now);
        self.settle();
    }

    /// The peer of a socket takes this much more.
    pub(crate) fn takes(&mut self, id: SocketId, room: usize) {
        let now = self.now();
        self.world.sock(id).room = room;
        self.worker.writable(&mut self.world, id, now);
        self.settle();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // Deadline by deadline, as a shell does.
        while let Some(next) =
            self.worker.next_deadline().map(|d| d.since(Instant::START)).filter(|n| *n <= end)
        {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Everything that can be read is read, and everything written is sent.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            let ready = self
                .world
                .socks
                .iter()
                .position(|s| s.interest.0 && !s.closed && (!s.rx.is_empty() || s.rx_end || s.broken));
            match ready {
                Some(n) => self.worker.readable(&mut self.world, SocketId(n as u32), now),
                None => {
                    self.worker.expired(&mut self.world, now);
                    self.worker.flush(&mut self.world, now);
                    let more = self
                        .world
                        .socks
                        .iter()
                        .any(|s| s.interest.0 && !s.closed && (!s.rx.is_empty() || s.rx_end || s.broken));
                    if !more {
                        return;
                    }
                }
            }
        }
    }

    /// What the worker has written to a socket since the last look.
    pub(crate) fn got(&mut self, id: SocketId) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.world.sock(id).tx)).into_owned()
    }

    /// The HTTP/2 peer of a socket acknowledges the PINGs that it has got (RFC 9113 6.7). What the worker has written is looked
    /// through frame by frame, and gone.
    pub(crate) fn answer_pings(&mut self, id: SocketId) {
        let written = std::mem::take(&mut self.world.sock(id).tx);
        let mut rest = written.strip_prefix(&weft_http::h2::PREFACE[..]).unwrap_or(&written);
        while let [a, b, c, kind, flags, _, _, _, _, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (payload, next) = after.split_at(length);
            if (*kind, *flags) == (6, 0) {
                let mut pong = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
                pong.extend_from_slice(payload);
                self.sends(id, pong);
            }
            rest = next;
        }
    }

    pub(crate) fn is_reset(&self, id: SocketId) -> bool {
        self.world.socks[id.0 as usize].reset
    }

    pub(crate) fn is_closed(&self, id: SocketId) -> bool {
        self.world.socks[id.0 as usize].closed
    }

    pub(crate) fn gauges<T>(&self, look: impl Fn(&WorkerGauges) -> T) -> T {
        let mut seen = None;
        self.registry.workers.visit(|_, blocks, _| seen = blocks.first().map(|b| look(b)));
        seen.unwrap()
    }

    /// How often a bound was met.
    pub(crate) fn met(&self, bound: Bound) -> u64 {
        self.gauges(|g| g.bounds_met[bound as usize].get())
    }
}
