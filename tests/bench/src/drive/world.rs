//! The world of a scenario: two workers, two applications, and the answers of a control plane.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};
use weft_engine::{
    Config, Worker,
    io::{Accepted, Answer, Question, Side, SocketId},
    metrics::Registry,
    time::Instant,
};
use weft_names::{IdentityName, Meta, Port, PortSet};
use weft_net::tls::{Identity, Issued, Roots, WallClock};
use weft_policy::{
    inbound::DefaultPolicy,
    outbound::{
        Backend, Distribution, Endpoint, EndpointSet, EndpointTls, Hint, HttpRoutes, Load, OpaqueRoutes,
        Policy, Protocol, RouteBackend, TcpRule,
    },
};

use super::{
    Scenario,
    apps::{Caller, LUMP, Server},
    net::{Host, Net, Seen},
};
use crate::{
    allocations,
    backend::{self, SMALL},
    load::Http1,
    pki,
};

/// The inbound proxy's port.
pub(super) const INBOUND: u16 = 4143;
/// The service's address, which nobody has.
const SERVICE: [u8; 4] = [10, 96, 0, 10];
/// The endpoints behind it.
const ENDPOINTS: u8 = 3;
/// How long a turn takes.
const TURN: Duration = Duration::from_micros(50);
/// Turns in which nothing comes of anything, after which something is wrong.
const STUCK: u32 = 10_000;

/// Everything there is.
pub struct World {
    scenario: Scenario,
    net: Net,
    workers: [Worker; 2],
    callers: HashMap<usize, Caller>,
    servers: HashMap<usize, Server>,
    now: Instant,
    batch: Batch,
    scratch: Vec<u8>,
    out: Vec<u8>,
    again: bool,
}

/// What has happened to a worker since its last turn.
#[derive(Default)]
struct Batch {
    accepted: Vec<Accepted>,
    answers: Vec<Answer>,
    ready: Vec<usize>,
}

impl World {
    /// Everything at its beginning, and all clients connected.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut world = Self::idle(scenario);
        world.again = true;
        let (connections, _) = shape(scenario);
        (0..connections).for_each(|_| world.connect());
        world
    }

    /// Without clients.
    ///
    /// # Panics
    /// When the certificates are not to the workers' liking.
    #[must_use]
    pub fn idle(scenario: Scenario) -> Self {
        let pki = pki::Pki::new();
        let mut net = Net::default();
        let mut worker = |me: usize, name: &str, leaf: &pki::Leaf| {
            let policy = DefaultPolicy::AllUnauthenticated.server(&[], false, Duration::from_secs(10));
            let opaque = DefaultPolicy::AllUnauthenticated.server(&[], true, Duration::from_secs(10));
            let mut config = Config::with_default_policy(Arc::new(policy));
            config.worker = me as u32;
            config.inbound.default_opaque_policy = Arc::new(opaque);
            config.inbound.opaque_ports = PortSet::from_iter(Port::new(backend::TCP));
            let mut io = Seen { net: &mut net, me };
            let mut worker = Worker::new(config, Arc::new(Registry::default()), &mut io);
            let issued = Issued {
                chain: leaf.chain.iter().map(|c| c.der().to_vec()).collect(),
                key: leaf.key.clone(),
            };
            let roots = Roots::from_der([pki.root.der().to_vec()]).expect("a root");
            let identity = Identity::new(
                name.parse().expect("a name"),
                name.parse().expect("a name"),
                issued,
                roots,
                WallClock::System,
            );
            let identity = Answer::Identity(Arc::new(identity.expect("an identity")));
            worker.answered(&mut io, identity, Instant::START);
            worker
        };
        let workers = [worker(0, pki::CLIENT, &pki.client), worker(1, pki::SERVER, &pki.server)];
        Self {
            scenario,
            net,
            workers,
            callers: HashMap::new(),
            servers: HashMap::new(),
            now: Instant::START + TURN,
            batch: Batch::default(),
            scratch: Vec::new(),
            out: Vec::new(),
            again: false,
        }
    }

    /// Goes on until that many more units are done; how many that were.
    ///
    /// # Panics
    /// When nothing happens any more.
    pub fn run(&mut self, units: u64) -> u64 {
        let (mut done, mut still) = (0, 0);
        while done < units {
            let more = self.turn();
            still = if more > 0 { 0 } else { still + 1 };
            assert!(still < STUCK, "{} hangs after {done} of {units}", self.scenario.name());
            done += more;
        }
        done
    }

    /// Opens one more connection, does one exchange on it, and leaves it.
    pub fn open(&mut self) {
        self.connect();
        self.run(1);
        // Whatever comes after the answer comes.
        (0..20).for_each(|_| {
            self.turn();
        });
    }

    fn connect(&mut self) {
        let port = self.scenario.port();
        let (streams, mut caller) =
            (if self.again { shape(self.scenario).1 } else { 1 }, caller(self.scenario));
        let target = SocketAddr::from((SERVICE, port));
        let (id, _) = self.net.connect(Host::Client, Host::Worker(0), target);
        let mut out = Vec::new();
        caller.start(streams, &mut out);
        self.net.write(id, &out);
        self.callers.insert(id, caller);
    }

    /// Everybody's turn once: how many units were done.
    fn turn(&mut self) -> u64 {
        for me in 0..2 {
            self.gather(me);
            worker_turn(
                &mut self.workers[me],
                &mut Seen { net: &mut self.net, me },
                &mut self.batch,
                self.now,
            );
            self.now = self.now + TURN;
        }
        for (id, target) in std::mem::take(&mut self.net.arrived) {
            if self.net.sockets[id].host == Host::Server {
                self.out.clear();
                let server = Server::on(target.port(), &mut self.out);
                self.net.write(id, &self.out);
                self.servers.insert(id, server);
            } else {
                self.net.arrived.push((id, target));
            }
        }
        self.applications()
    }

    /// Everything that has happened to a worker.
    fn gather(&mut self, me: usize) {
        let Self { net, batch, .. } = self;
        let mut arrived = std::mem::take(&mut net.arrived);
        arrived.retain(|(id, target)| {
            let is_mine = net.sockets[*id].host == Host::Worker(me);
            if is_mine {
                batch.accepted.push(Accepted {
                    socket: SocketId(*id as u32),
                    side: if me == 0 { Side::Outbound } else { Side::Inbound },
                    peer: SocketAddr::from(([10, 1, 0, 200], 40_000)),
                    original_destination: *target,
                });
            }
            !is_mine
        });
        net.arrived = arrived;
        let (mine, others) = std::mem::take(&mut net.answers).into_iter().partition(|(to, _)| *to == me);
        net.answers = others;
        let mine: Vec<(usize, Answer)> = mine;
        batch.answers.extend(mine.into_iter().map(|(_, answer)| answer));
        batch.ready.append(&mut net.ready[me]);
    }

    fn applications(&mut self) -> u64 {
        let mut units = 0;
        let mut ready = std::mem::take(&mut self.net.applications);
        for id in ready.drain(..) {
            let (readable, _) = self.net.woken(id);
            if !readable {
                continue;
            }
            self.scratch.clear();
            self.out.clear();
            let end = self.net.take(id, &mut self.scratch);
            let mut close = end;
            if let Some(server) = self.servers.get_mut(&id) {
                server.receive(&self.scratch, &mut self.out);
            } else if let Some(caller) = self.callers.get_mut(&id) {
                let done = caller.receive(&self.scratch, &mut self.out);
                units += done as u64;
                if self.again {
                    (0..done).for_each(|_| caller.request(&mut self.out));
                    close |= done > 0 && self.scenario == Scenario::Connect;
                }
            }
            if !self.out.is_empty() {
                self.net.write(id, &self.out);
            }
            if close {
                let was_caller = self.callers.remove(&id).is_some();
                self.servers.remove(&id);
                self.net.close(id);
                if was_caller && self.again {
                    self.connect();
                }
            }
        }
        ready.append(&mut self.net.applications);
        self.net.applications = ready;
        // Those that send without being asked.
        let sending: Vec<usize> = if self.scenario == Scenario::Bytes {
            self.servers.iter().filter(|(_, s)| s.sends()).map(|(id, _)| *id).collect()
        } else {
            Vec::new()
        };
        for id in sending {
            if self.net.unread(self.net.sockets[id].peer) < LUMP {
                self.out.clear();
                self.out.resize(LUMP, b'x');
                self.net.write(id, &self.out);
            }
        }
        units
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("scenario", &self.scenario)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What is counted: a batch of events as the epoll loop gives it. Not inlined, so that a profiler can begin and end with it.
#[inline(never)]
fn worker_turn(worker: &mut Worker, io: &mut Seen<'_>, batch: &mut Batch, now: Instant) {
    allocations::count(true);
    for accepted in batch.accepted.drain(..) {
        worker.accepted(io, accepted, now);
    }
    for answer in batch.answers.drain(..) {
        worker.answered(io, answer, now);
    }
    for id in batch.ready.drain(..) {
        let (readable, writable) = io.net.woken(id);
        let socket = SocketId(id as u32);
        if readable {
            worker.readable(io, socket, now);
        }
        if writable && !io.net.sockets[id].closed {
            worker.writable(io, socket, now);
        }
        if !io.net.sockets[id].closed {
            io.net.wake(id);
        }
    }
    worker.expired(io, now);
    worker.flush(io, now);
    allocations::count(false);
}

fn shape(scenario: Scenario) -> (usize, usize) {
    match scenario {
        Scenario::Http1 | Scenario::GrpcStream => (16, 1),
        Scenario::Http1Alone | Scenario::Bytes | Scenario::Connect => (1, 1),
        Scenario::Grpc => (8, 16),
    }
}

fn caller(scenario: Scenario) -> Caller {
    match scenario {
        Scenario::Http1 | Scenario::Http1Alone => Caller::Http1(Http1::new(backend::HTTP1, SMALL)),
        Scenario::Grpc => Caller::Grpc(Box::default()),
        Scenario::GrpcStream => Caller::GrpcStream(Box::default()),
        Scenario::Bytes => Caller::Taker { taken: 0 },
        Scenario::Connect => Caller::Echo,
    }
}

/// What the control plane says.
pub(super) fn answer(question: Question) -> Option<Answer> {
    match question {
        Question::Discover { target } => {
            Some(Answer::Discovered { target, policy: Ok(policy(target.port())) })
        }
        Question::Resolve { path } => {
            let endpoints = endpoints(path.parse().expect("a port"));
            Some(Answer::Endpoints { path, endpoints })
        }
        // The defaults do.
        Question::Port { .. } | Question::Forget(_) => None,
    }
}

fn policy(port: u16) -> Arc<Policy> {
    let meta = |name: &str| Arc::new(Meta::default_named(name.to_owned()));
    let path = port.to_string();
    let backend = Arc::new(Backend::balance(meta("server"), path, Load::default()));
    let rule = TcpRule::new(Distribution::only(RouteBackend::new(Arc::clone(&backend))));
    let opaque = OpaqueRoutes::from_rule(meta("opaque"), rule);
    let protocol = if port == backend::TCP {
        Protocol::Opaque(opaque)
    } else {
        let routes = HttpRoutes::to_backend(meta("http"), backend);
        Protocol::Detect { timeout: Duration::from_secs(10), http1: routes.clone(), http2: routes, opaque }
    };
    Arc::new(Policy::new(meta("server"), protocol))
}

fn endpoints(port: u16) -> Arc<EndpointSet> {
    let server: IdentityName = pki::SERVER.parse().expect("a name");
    let endpoint = |n: u8| {
        Arc::new(Endpoint {
            tls: Some(EndpointTls {
                server_id: server.clone(),
                server_name: pki::SERVER.parse().expect("a name"),
            }),
            hint: if port == backend::TCP { Hint::Opaque } else { Hint::H2 },
            opaque_transport_port: Some(INBOUND),
            ..Endpoint::plain(SocketAddr::from(([10, 1, 0, n], port)))
        })
    };
    Arc::new(EndpointSet::new((1..=ENDPOINTS).map(endpoint)))
}
