//! The world of one seed: who is in it, and how everything happens until nothing does any more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_engine::io::{Accepted, Answer, Side, SocketId};
use weft_engine::metrics::Registry;
use weft_engine::time::Instant;
use weft_engine::{Config, Limits, Worker};
use weft_names::{Port, PortSet};
use weft_policy::inbound::DefaultPolicy;

use crate::abuser::Abuser;
use crate::book::{Book, Outcome};
use crate::case::{Case, Fault};
use crate::client::Client;
use crate::control::Control;
use crate::impostor::{IMPOSTORS, Impostor, number};
use crate::net::{Host, Net};
use crate::pki::pki;
use crate::rng::Rng;
use crate::seen::{Seen, Trace};
use crate::server::Server;
use crate::services::{DIRECT, FIXED_PORTS, MESHED, PORTS, SERVICES, UNMESHED, addr};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// More than any run needs; what takes more goes round in circles.
const MOST_STEPS: u64 = 2_000_000;
/// Longer than the longest of a worker's times after the longest that a server holds a connection.
const REST: u64 = 900 * SECOND;

/// Whoever is no worker.
pub(crate) enum Actor {
    Client(Box<Client>),
    Server(Box<Server>),
    Impostor(Box<Impostor>),
    Abuser(Box<Abuser>),
}

impl Actor {
    fn step(&mut self, net: &mut Net, book: &mut Book) -> bool {
        match self {
            Self::Client(c) => c.step(net, book),
            Self::Server(s) => s.step(net, book),
            Self::Impostor(i) => i.step(net, book),
            Self::Abuser(a) => a.step(net),
        }
    }

    /// Whoever begins anything has ended it.
    fn has_left(&self) -> bool {
        match self {
            Self::Client(c) => c.done,
            Self::Abuser(a) => a.gone,
            Self::Server(_) | Self::Impostor(_) => true,
        }
    }

    /// The connection it has made.
    fn sock(&self) -> Option<usize> {
        match self {
            Self::Client(c) => c.sock,
            Self::Abuser(a) => a.sock,
            _ => None,
        }
    }

    fn next_time(&self, net: &Net) -> Option<u64> {
        match self {
            Self::Client(c) => c.next_time(net),
            Self::Server(s) if !s.gone => s.next_time(net),
            Self::Abuser(a) => a.next_time(net.now),
            _ => None,
        }
    }
}

pub(crate) struct World {
    pub(crate) net: Net,
    rng: Rng,
    pub(crate) control: Control,
    pub(crate) workers: Vec<Worker>,
    pub(crate) registries: Vec<Arc<Registry>>,
    pub(crate) limits: Limits,
    actors: Vec<Actor>,
    pub(crate) book: Book,
    faults: VecDeque<(u64, Fault)>,
    /// Sockets of each worker that something may be said of.
    ready: [Vec<usize>; 2],
    due: VecDeque<usize>,
    steps: u64,
    strangers: bool,
    trace: Trace,
    log: bool,
}

impl World {
    /// Runs a case to its end and judges it.
    pub(crate) fn run(case: &Case) -> Result<(), String> {
        let mut world = Self::new(case);
        world.live()?;
        world.judge(case)
    }

    /// What a run looked like from outside, to compare two of them.
    pub(crate) fn trace(case: &Case) -> (Trace, u64, usize, Vec<(u32, Outcome)>) {
        let mut world = Self::new(case);
        let _ = world.live();
        let outcomes = world.book.outcomes.iter().map(|(id, o)| (*id, *o)).collect();
        (world.trace, world.net.now, world.net.socks.len(), outcomes)
    }

    fn new(case: &Case) -> Self {
        let mut rng = Rng::new(case.seed ^ 0xabcd_ef01);
        let mut net = Net::new(rng.next());
        for service in SERVICES {
            let worker = usize::from(service.addr().ip() == ip(DIRECT));
            net.redirected.insert(service.addr(), worker);
        }
        for at in MESHED.iter().chain([&DIRECT]) {
            for port in PORTS.iter().chain([&4143]) {
                net.redirected.insert(SocketAddr::new(ip(at), *port), 1);
            }
        }
        for at in MESHED.iter().chain(UNMESHED).chain([&DIRECT]) {
            net.applications.extend(PORTS.iter().map(|port| SocketAddr::new(ip(at), *port)));
        }
        // The last of them does not even listen.
        for n in 1..IMPOSTORS {
            for port in [4143, 8080, 9000] {
                net.applications.insert(addr(&format!("10.6.0.{n}:{port}")));
            }
        }
        let mut world = Self {
            net,
            control: Control::new(Rng::new(rng.next())),
            workers: Vec::new(),
            registries: Vec::new(),
            limits: limits(case),
            actors: Vec::new(),
            book: Book::default(),
            faults: case.faults.iter().copied().collect(),
            ready: [Vec::new(), Vec::new()],
            due: VecDeque::new(),
            steps: 0,
            strangers: !case.abuses.is_empty(),
            trace: Trace(0xcbf2_9ce4_8422_2325),
            log: std::env::var_os("WEFT_SIM_LOG").is_some(),
            rng,
        };
        for me in 0..2 {
            world.start(me);
        }
        for plan in &case.clients {
            world.due.push_back(world.actors.len());
            let client =
                Client::new(plan.clone(), &mut Rng::new(case.seed ^ u64::from(plan.specs[0].id) << 40));
            world.actors.push(Actor::Client(Box::new(client)));
        }
        for abuse in &case.abuses {
            world.actors.push(Actor::Abuser(Box::new(Abuser::new(*abuse))));
        }
        world
    }

    fn start(&mut self, me: usize) {
        let policy = DefaultPolicy::AllUnauthenticated.server(&[], false, Duration::from_secs(10));
        let mut config = Config::with_default_policy(Arc::new(policy));
        config.worker = me as u32;
        config.limits = self.limits.clone();
        // Known from the start, and for ever: what they forbid is never allowed by the default.
        config.inbound.ports = ports(FIXED_PORTS);
        let opaque = DefaultPolicy::AllUnauthenticated.server(&[], true, Duration::from_secs(10));
        config.inbound.default_opaque_policy = Arc::new(opaque);
        config.inbound.opaque_ports = ports(&[9000, 9001, 9003]);
        let registry = Arc::new(Registry::default());
        let mut io = Seen {
            net: &mut self.net,
            control: &mut self.control,
            rng: &mut self.rng,
            trace: &mut self.trace,
            me,
            log: self.log,
        };
        let mut worker = Worker::new(config, Arc::clone(&registry), &mut io);
        let identity = if me == 0 { &pki().client } else { &pki().server };
        worker.answered(&mut io, Answer::Identity(Arc::clone(identity)), Instant::START);
        self.workers.push(worker);
        self.registries.push(registry);
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        self.actors.iter().filter_map(|a| match a {
            Actor::Client(c) => Some(&**c),
            _ => None,
        })
    }

    /// Lets everything happen until nothing does any more.
    fn live(&mut self) -> Result<(), String> {
        let mut rest_since = None;
        loop {
            self.steps += 1;
            self.net.arrive();
            self.accept();
            self.answer();
            self.strike();
            self.sort_touched();
            let mut moved = false;
            for w in 0..2 {
                moved |= self.turn(w)?;
            }
            moved |= self.act();
            self.sort_touched();
            moved |= !self.due.is_empty()
                || self.ready.iter().any(|r| !r.is_empty())
                || !self.net.incoming.is_empty();
            if moved {
                if self.steps > MOST_STEPS {
                    return Err(self.stuck("no end"));
                }
                continue;
            }
            if rest_since.is_none() && self.actors.iter().all(Actor::has_left) {
                rest_since = Some(self.net.now);
            }
            let Some(next) = self.next_time() else { break };
            // Whatever is still there after the longest of all times is there for ever.
            if next > 7_200 * SECOND || rest_since.is_some_and(|since| next > since + REST) {
                break;
            }
            self.net.now = next.max(self.net.now + 1);
            for i in 0..self.actors.len() {
                if self.actors[i].next_time(&self.net).is_some_and(|at| at <= self.net.now) || self.starts(i)
                {
                    self.due.push_back(i);
                }
            }
        }
        if self.clients().any(|c| !c.done) {
            return Err(self.stuck("a client waits for ever"));
        }
        Ok(())
    }

    /// Its time has just come: [`Actor::next_time`] no longer tells.
    fn starts(&self, actor: usize) -> bool {
        match &self.actors[actor] {
            Actor::Client(c) => !c.done,
            Actor::Server(s) => !s.gone,
            Actor::Abuser(a) => !a.gone,
            Actor::Impostor(_) => false,
        }
    }

    fn stuck(&self, why: &str) -> String {
        let clients: Vec<_> = self.clients().filter(|c| !c.done).map(Client::stuck).collect();
        let (at, steps) = (self.net.now / MS, self.steps);
        format!(
            "{why}, after {steps} steps at {at} ms: {clients:#?}\n{:?}\n{:?}",
            self.workers[0], self.workers[1]
        )
    }

    fn next_time(&self) -> Option<u64> {
        let actors = self.actors.iter().filter_map(|a| a.next_time(&self.net));
        let workers = self.workers.iter().filter_map(|w| w.next_deadline().map(Instant::as_nanos));
        let faults = self.faults.front().map(|f| f.0);
        let others = [self.control.next_time(), faults, self.net.next_arrival()].into_iter().flatten();
        actors.chain(workers).chain(others).min()
    }

    fn sort_touched(&mut self) {
        while let Some(sock) = self.net.touched() {
            let s = &self.net.socks[sock];
            match s.host {
                Host::Worker(w) => self.ready[w].push(sock),
                Host::App if s.actor < self.actors.len() => self.due.push_back(s.actor),
                // Of a client that is in the middle of connecting, or nobody's yet.
                Host::App => {
                    let owner = self.actors.iter().position(|a| a.sock() == Some(sock));
                    if let Some(owner) = owner {
                        self.net.socks[sock].actor = owner;
                        self.due.push_back(owner);
                    }
                }
            }
        }
    }

    fn act(&mut self) -> bool {
        let mut any = false;
        for i in std::mem::take(&mut self.due) {
            if self.actors[i].step(&mut self.net, &mut self.book) {
                any = true;
                self.due.push_back(i);
            }
        }
        any
    }

    fn accept(&mut self) {
        while let Some(incoming) = self.net.incoming.pop_front() {
            match incoming.host {
                Host::App => {
                    let actor = match number(incoming.to) {
                        Some(n) => Actor::Impostor(Box::new(Impostor::new(incoming.sock, n))),
                        None => {
                            let mut rng = Rng::new(self.rng.next());
                            Actor::Server(Box::new(Server::new(
                                incoming.sock,
                                incoming.to,
                                self.strangers,
                                &mut rng,
                            )))
                        }
                    };
                    self.net.socks[incoming.sock].actor = self.actors.len();
                    self.due.push_back(self.actors.len());
                    self.actors.push(actor);
                }
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
    }

    pub(crate) fn with<T>(
        &mut self,
        w: usize,
        act: impl FnOnce(&mut Worker, &mut Seen<'_>, Instant) -> T,
    ) -> T {
        let now = Instant::from_nanos(self.net.now);
        let mut io = Seen {
            net: &mut self.net,
            control: &mut self.control,
            rng: &mut self.rng,
            trace: &mut self.trace,
            me: w,
            log: self.log,
        };
        act(&mut self.workers[w], &mut io, now)
    }

    /// One batch of one worker.
    fn turn(&mut self, w: usize) -> Result<bool, String> {
        let mut ready = Vec::new();
        for sock in std::mem::take(&mut self.ready[w]) {
            let s = &self.net.socks[sock];
            if !s.closed && s.interest.0 && self.net.readable(sock) {
                ready.push((sock, true));
            }
            if !s.closed && s.interest.1 && self.net.writable(sock) {
                ready.push((sock, false));
            }
        }
        for i in (1..ready.len()).rev() {
            ready.swap(i, self.rng.below(i + 1));
        }
        // The kernel does not tell of everything at once.
        let now = self.rng.between(1, 20).min(ready.len());
        for (sock, _) in ready.split_off(now) {
            self.net.touch(sock);
        }
        let any = !ready.is_empty();
        for (sock, read) in ready {
            let s = &self.net.socks[sock];
            if s.closed || !(if read { s.interest.0 } else { s.interest.1 }) {
                continue;
            }
            let id = SocketId(sock as u32);
            self.with(
                w,
                |worker, io, now| {
                    if read { worker.readable(io, id, now) } else { worker.writable(io, id, now) }
                },
            );
            self.net.touch(sock);
        }
        let due = self.workers[w].next_deadline().is_some_and(|at| at.as_nanos() <= self.net.now);
        self.with(w, |worker, io, now| {
            worker.expired(io, now);
            worker.flush(io, now);
        });
        if any || due {
            self.bounds_hold(w)?;
        }
        Ok(any || due)
    }

    fn bounds_hold(&self, w: usize) -> Result<(), String> {
        let l = &self.limits;
        let mut over = None;
        self.registries[w].workers.visit(|_, blocks, _| {
            for g in blocks {
                // One read may go over the bound on bytes, and what is under way between two of them.
                let bounds = [
                    ("accepted connections", g.accepted.get(), l.accepted_connections),
                    ("exchanges", g.exchanges.get(), l.exchanges + 1),
                    ("policies", g.policies.get(), l.policies),
                    ("queued", g.queued.get(), l.queue),
                    ("discovering", g.discovering.get(), l.discovering),
                    ("spare buffers", g.spare_buffers.get(), l.spare_buffers),
                    (
                        "buffered bytes",
                        g.buffered_bytes.get(),
                        2 * l.buffered_bytes.min(1 << 40) + 512 * 1024,
                    ),
                ];
                over = over.or_else(|| bounds.into_iter().find(|(_, value, most)| *value > *most as u64));
            }
        });
        match over {
            Some((name, value, most)) => Err(format!("worker {w}: {value} {name}, more than {most}")),
            None => Ok(()),
        }
    }

    fn answer(&mut self) {
        while let Some((w, answer)) = self.control.due(self.net.now) {
            self.with(w, |worker, io, now| worker.answered(io, answer, now));
        }
    }

    fn strike(&mut self) {
        while let Some((_, fault)) = self.faults.front().copied().filter(|f| f.0 <= self.net.now) {
            self.faults.pop_front();
            if self.log {
                eprintln!("{:>12} {fault:?}", self.net.now);
            }
            self.strikes(fault);
        }
    }

    fn strikes(&mut self, fault: Fault) {
        let open = self.net.open();
        let pick = |n: u64| open.get((n % open.len().max(1) as u64) as usize).copied();
        let between = |net: &Net, n: u64| {
            let all: Vec<_> = open.iter().filter(|s| net.is_between_workers(**s)).collect();
            all.get((n % all.len().max(1) as u64) as usize).copied().copied()
        };
        let now = self.net.now;
        match fault {
            Fault::Cut(n) => pick(n).into_iter().for_each(|s| self.net.cut(s)),
            Fault::Stall(n, nanos) => pick(n).into_iter().for_each(|s| self.net.stall(s, nanos)),
            Fault::Vanish(n, nanos) => pick(n).into_iter().for_each(|s| self.net.vanish(s, nanos)),
            Fault::CutShort(n) => between(&self.net, n).into_iter().for_each(|s| self.net.cut_short(s)),
            Fault::Renew(w) => {
                let renewed = if w == 0 { &pki().client } else { &pki().renewed };
                let renewed = Answer::Identity(Arc::clone(renewed));
                self.with(w, |worker, io, now| worker.answered(io, renewed, now));
            }
            Fault::Endpoints(mask) => self.control.endpoints_change(mask, now),
            Fault::Policies => self.control.policies_change(now),
            Fault::Deny(denied) => self.control.deny(denied, now),
            Fault::Silence(nanos) => self.control.silent_until = now + nanos,
            Fault::Unknown(nanos) => self.control.fails_until = now + nanos,
            Fault::Drain(w) => {
                // As a shell does: nothing new is accepted.
                self.net.closed[w] = true;
                self.with(w, |worker, io, now| worker.drain(io, now));
            }
        }
    }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

/// Small, so that they are met.
fn limits(case: &Case) -> Limits {
    let mut limits = Limits { output_bytes: 32 * 1024, read_bytes: 16 * 1024, ..Limits::default() };
    if case.tight {
        limits.output_bytes = 4 * 1024;
        limits.read_bytes = 2 * 1024;
        limits.buffered_bytes = 96 * 1024;
        limits.spare_buffers = 2;
    }
    limits
}

fn ports(all: &[u16]) -> PortSet {
    all.iter().filter_map(|port| Port::new(*port)).collect()
}
