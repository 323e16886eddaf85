//! Choosing among the endpoints behind a path, and waiting while none is ready.
//!
//! How to choose, who is ready, when to give up waiting: [`weft_balance::Balancer`] says it. Here its endpoints are
//! connected, those who wait are kept in order, and what becomes of their requests is reported back.
//!
//! A balancer belongs to one worker and to one kind of traffic (HTTP, opaque). An endpoint that speaks HTTP/2 is ready
//! once it is connected; any other is taken as ready until connecting to it has failed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use weft_balance::balancer::Failure;
use weft_balance::breaker::Policy as Breaker;
use weft_balance::{Class, EndpointId, Penalty, Rejected, Ticket};
use weft_policy::outbound::{self, Accrual, EndpointSet, Load};
use weft_policy::{FailureKind, Meta};

use crate::config::Backoff;
use crate::conn::Conn;
use crate::exchange::{End, Exchange};
use crate::io::{Io, Side, Subject};
use crate::limits::Bound;
use crate::metrics::{self, BalancerLabels, Response};
use crate::pool::Endpoint;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// The endpoints behind one path.
pub(crate) struct Balancer {
    path: Arc<str>,
    config: BalancerConfig,
    core: weft_balance::Balancer<Member>,
    /// Who waits, and since when.
    queue: VecDeque<(Waiter, Instant)>,
    /// Plans that name it, and exchanges that will come back to it.
    users: u32,
    /// Picks that have not been given back.
    picked: usize,
    block: Arc<metrics::Balancer>,
}

/// What makes two balancers of one path different.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct BalancerConfig {
    pub(crate) http: bool,
    pub(crate) load: Load,
    pub(crate) accrual: Option<Accrual>,
}

/// An endpoint as the core knows it: the same as long as discovery says the same of it.
struct Member {
    policy: Arc<outbound::Endpoint>,
    key: Cell<Option<Key<Endpoint>>>,
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy
    }
}

/// Who waits for an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    Exchange(Key<Exchange>),
    /// A connection whose bytes are opaque.
    Client(Key<Conn>),
}

/// An endpoint that a balancer has chosen for somebody. To be given back, whatever becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    balancer: Key<Balancer>,
    ticket: Ticket,
    /// Its latency has been told.
    responded: bool,
}

impl Balancer {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.core.deadline()
    }

    /// No plan names it, nobody waits for it, and nothing is under way that it may have to place again.
    fn is_done(&self) -> bool {
        self.users == 0 && self.queue.is_empty() && self.picked == 0
    }
}

impl Worker {
    // --- which balancers there are

    /// The balancer for a path, for one more user; asks what is behind the path if it is new.
    pub(crate) fn balancer(
        &mut self,
        io: &mut impl Io,
        path: &Arc<str>,
        config: BalancerConfig,
        meta: &Arc<Meta>,
    ) -> Key<Balancer> {
        let found = self.balancers.iter().find(|(_, b)| b.path == *path && b.config == config);
        if let Some(key) = found.map(|(key, _)| key) {
            if let Some(balancer) = self.balancers.get_mut(key) {
                balancer.users += 1;
            }
            return key;
        }
        let asked = self.balancers.iter().any(|(_, b)| b.path == *path);
        let labels = BalancerLabels { http: config.http, backend: Arc::clone(meta), path: Arc::clone(path) };
        let core = weft_balance::Config {
            default_rtt: config.load.default_rtt,
            decay: config.load.decay,
            penalty: config
                .load
                .penalty
                .map(|p| Penalty { penalty: p.penalty, max_retry_after: p.max_retry_after }),
            breaker: config.accrual.map(breaker),
            connect_backoff: self.config.outbound.backoff.checked(),
            failfast_timeout: self.config.outbound.failfast_timeout,
            max_waiting: self.config.limits.queue,
        };
        let key = self.balancers.insert(Balancer {
            path: Arc::clone(path),
            config,
            core: weft_balance::Balancer::new(core),
            queue: VecDeque::new(),
            users: 1,
            picked: 0,
            block: self.blocks.balancers(&labels),
        });
        if !asked {
            // Until it is answered requests wait, or fail fast.
            self.ask(io, Subject::Path(Arc::clone(path)));
        } else if let Some(set) = self.sets.get(path).map(Arc::clone) {
            self.update_balancer(io, key, &set);
        }
        key
    }

    /// One more will come back to a balancer.
    pub(crate) fn hold_balancer(&mut self, key: Key<Balancer>) {
        if let Some(balancer) = self.balancers.get_mut(key) {
            balancer.users += 1;
        }
    }

    /// A plan, or an exchange, does not need the balancer any more. Requests that wait for it, or that it may have to place again, still do.
    pub(crate) fn release_balancer(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        if let Some(balancer) = self.balancers.get_mut(key) {
            balancer.users -= 1;
        }
        self.forget_balancer_if_done(io, key);
    }

    fn forget_balancer_if_done(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        if !self.balancers.get(key).is_some_and(Balancer::is_done) {
            return;
        }
        let Some(mut balancer) = self.balancers.remove(key) else { return };
        for (_, member) in balancer.core.update([], self.now) {
            if let Some(endpoint) = member.key.get() {
                self.retire(io, endpoint);
            }
        }
        balancer.block.ready.set(0);
        balancer.block.pending.set(0);
        if !self.balancers.iter().any(|(_, b)| b.path == balancer.path) {
            self.sets.remove(&balancer.path);
            self.forget(io, Subject::Path(balancer.path));
        }
    }

    /// What is behind a path, first or anew.
    pub(crate) fn resolved(&mut self, io: &mut impl Io, path: &Arc<str>, set: &Arc<EndpointSet>) {
        let keys: Vec<_> =
            self.balancers.iter().filter(|(_, b)| b.path == *path).map(|(key, _)| key).collect();
        if !keys.is_empty() {
            self.sets.insert(Arc::clone(path), Arc::clone(set));
        }
        for key in keys {
            self.update_balancer(io, key, set);
        }
    }

    /// Endpoints that are new or have changed are made, those that are gone are retired, the others stay as they are.
    fn update_balancer(&mut self, io: &mut impl Io, key: Key<Balancer>, set: &EndpointSet) {
        let limit = self.config.limits.endpoints;
        if set.endpoints().len() > limit {
            self.met(io, Bound::Endpoints);
        }
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        let own = &self.config.inbound.ips;
        let members = set.endpoints().iter().take(limit).map(|policy| {
            let policy = match own.contains(&policy.addr.ip()) && !policy.local {
                // This workload itself.
                true => Arc::new(policy.as_ref().clone().into_local()),
                false => Arc::clone(policy),
            };
            (policy.addr, Member { policy, key: Cell::new(None) })
        });
        let gone = balancer.core.update(members, self.now);
        for (id, member, _) in balancer.core.endpoints() {
            if member.key.get().is_none() {
                let mut endpoint = Endpoint::new(
                    Side::Outbound,
                    member.policy.addr,
                    Some(Arc::clone(&member.policy)),
                    self.config.outbound.backoff,
                );
                endpoint.balancer = Some((key, id));
                member.key.set(Some(self.endpoints.insert(endpoint)));
                balancer.block.added.count();
            }
        }
        balancer.block.removed.add(gone.len() as u64);
        for (_, member) in gone {
            if let Some(endpoint) = member.key.get() {
                self.retire(io, endpoint);
            }
        }
        self.todo.push_back(Todo::Balance(key));
    }

    // --- readiness

    /// Connects the endpoints that are to be connected; those that need not be are ready.
    fn connect_members(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        while let Some(balancer) = self.balancers.get_mut(key)
            && let Some(id) = balancer.core.next_connect()
        {
            let http = balancer.config.http;
            let Some(endpoint) = balancer.core.get(id).and_then(|m| m.key.get()) else { continue };
            let to_connect = |e: &Endpoint| e.prefers_http2() && !e.has_http2();
            if http && self.endpoints.get(endpoint).is_some_and(to_connect) {
                self.warm(io, endpoint);
            } else {
                balancer.core.ready(id, self.now);
            }
        }
    }

    /// An endpoint of a balancer is connected, and takes requests.
    pub(crate) fn endpoint_ready(&mut self, endpoint: Key<Endpoint>) {
        if let Some((balancer, id)) = self.endpoints.get(endpoint).and_then(|e| e.balancer) {
            if let Some(balancer) = self.balancers.get_mut(balancer) {
                balancer.core.ready(id, self.now);
            }
            self.todo.push_back(Todo::Balance(balancer));
        }
    }

    /// An endpoint of a balancer could not be connected to.
    pub(crate) fn endpoint_unreachable(&mut self, io: &mut impl Io, balancer: Key<Balancer>, id: EndpointId) {
        let random = io.random();
        if let Some(balancer) = self.balancers.get_mut(balancer) {
            balancer.core.failed(id, self.now, random);
        }
        self.watch(balancer);
    }

    /// An endpoint of a balancer has lost its last connection: another is to be made.
    pub(crate) fn endpoint_lost(&mut self, balancer: Key<Balancer>, id: EndpointId) {
        if let Some(balancer) = self.balancers.get_mut(balancer) {
            balancer.core.lost(id, self.now);
        }
        self.todo.push_back(Todo::Balance(balancer));
    }

    /// Keeps gauges and deadline true.
    fn watch(&mut self, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get(key) else { return };
        let (ready, all) = (balancer.core.available(), balancer.core.len());
        balancer.block.ready.set(ready as u64);
        balancer.block.pending.set((all - ready) as u64);
        if let Some(at) = balancer.core.deadline() {
            self.balancer_timers.arm(key.index(), at);
        }
    }

    /// True if a request would not have to wait.
    pub(crate) fn balancer_is_ready(&self, key: Key<Balancer>) -> bool {
        self.balancers.get(key).is_some_and(|b| b.core.available() > 0)
    }

    // --- who gets which endpoint

    /// An endpoint for who just came, unless others were there before.
    pub(crate) fn pick_now(&mut self, io: &mut impl Io, key: Key<Balancer>) -> Option<(Key<Endpoint>, Pick)> {
        self.balancers.get(key).filter(|b| b.queue.is_empty())?;
        self.pick(io, key)
    }

    fn pick(&mut self, io: &mut impl Io, key: Key<Balancer>) -> Option<(Key<Endpoint>, Pick)> {
        let balancer = self.balancers.get_mut(key)?;
        let ticket = balancer.core.pick(self.now, io.random())?;
        let endpoint = balancer.core.get(ticket.endpoint())?.key.get()?;
        balancer.picked += 1;
        Some((endpoint, Pick { balancer: key, ticket, responded: false }))
    }

    /// Finds an endpoint for somebody, or lets them wait.
    pub(crate) fn balance(&mut self, io: &mut impl Io, waiter: Waiter, key: Key<Balancer>) {
        if let Some((endpoint, pick)) = self.pick_now(io, key) {
            return self.assign(io, waiter, endpoint, pick);
        }
        let now = self.now;
        let Some(balancer) = self.balancers.get_mut(key) else {
            return self.fail_waiter(io, waiter, FailureKind::LoadShed);
        };
        match balancer.core.wait(now) {
            Ok(()) => {
                balancer.queue.push_back((waiter, now));
                balancer.block.queue.up();
                balancer.block.queued.count();
                self.gauges.queued.up();
                self.watch(key);
            }
            Err(Rejected::FailFast) => self.fail_waiter(io, waiter, FailureKind::FailFast),
            Err(Rejected::Full) => {
                self.met(io, Bound::Queue);
                self.fail_waiter(io, waiter, FailureKind::LoadShed);
            }
        }
    }

    fn assign(&mut self, io: &mut impl Io, waiter: Waiter, endpoint: Key<Endpoint>, pick: Pick) {
        match waiter {
            Waiter::Exchange(ex) => self.assign_exchange(io, ex, endpoint, pick),
            Waiter::Client(client) => self.assign_client(io, client, endpoint, Some(pick)),
        }
    }

    fn fail_waiter(&mut self, io: &mut impl Io, waiter: Waiter, kind: FailureKind) {
        match waiter {
            Waiter::Exchange(ex) => self.fail(io, ex, kind, None),
            Waiter::Client(client) => self.opaque_failed(io, client, kind),
        }
    }

    /// Something about a balancer has changed: its endpoints are connected, and those who wait are served, in order.
    pub(crate) fn serve_balancer(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        let was_failing = self.balancers.get(key).is_some_and(|b| b.core.is_failing());
        if self.balancers.get(key).is_some_and(|b| b.users > 0 || !b.queue.is_empty()) {
            self.connect_members(io, key);
        }
        while self.balancers.get(key).is_some_and(|b| b.core.available() > 0) {
            let Some(waiter) = self.next_waiter(key) else { break };
            match self.pick(io, key) {
                Some((endpoint, pick)) => self.assign(io, waiter, endpoint, pick),
                None => self.balance(io, waiter, key),
            }
        }
        if let Some(balancer) = self.balancers.get(key)
            && was_failing
            && !balancer.core.is_failing()
        {
            balancer.block.gate_opened.count();
        }
        self.watch(key);
        self.forget_balancer_if_done(io, key);
    }

    /// The first of those who wait, if it still does.
    fn next_waiter(&mut self, key: Key<Balancer>) -> Option<Waiter> {
        loop {
            let balancer = self.balancers.get_mut(key)?;
            let (waiter, since) = balancer.queue.pop_front()?;
            balancer.core.unwait();
            balancer.block.queue.down();
            balancer.block.queue_latency.record_duration(self.now - since);
            self.gauges.queued.down();
            let waits = match waiter {
                Waiter::Exchange(ex) => self.exchanges.get(ex).is_some(),
                Waiter::Client(client) => self.conns.get(client).is_some(),
            };
            if waits {
                return Some(waiter);
            }
        }
    }

    /// A back-off is over, a breaker admits a probe, or nobody became ready in time: then all who wait are told.
    pub(crate) fn balancer_timed_out(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        let due = balancer.core.expired(self.now);
        if due.failfast {
            balancer.block.gate_shut.count();
            while let Some(waiter) = self.next_waiter(key) {
                self.fail_waiter(io, waiter, FailureKind::FailFast);
            }
        }
        self.todo.push_back(Todo::Balance(key));
    }

    // --- what became of it

    /// An answer begins (or, of an opaque connection, the connection is there): its latency is known.
    pub(crate) fn pick_responded(&mut self, pick: &mut Pick, failed: bool) {
        if !std::mem::replace(&mut pick.responded, true)
            && let Some(balancer) = self.balancers.get_mut(pick.balancer)
        {
            balancer.core.responded(&pick.ticket, self.now, failed.then(Failure::default));
        }
    }

    /// The endpoint was not used after all.
    pub(crate) fn pick_unused(&mut self, pick: Pick) {
        let Some(balancer) = self.balancers.get_mut(pick.balancer) else { return };
        balancer.picked -= 1;
        if balancer.core.unsent(&pick.ticket, self.now) || balancer.users == 0 {
            self.todo.push_back(Todo::Balance(pick.balancer));
        }
    }

    /// How it ended; `None`: that says nothing about the endpoint.
    pub(crate) fn pick_ended(&mut self, io: &mut impl Io, mut pick: Pick, class: Option<Class>) {
        self.pick_responded(&mut pick, class == Some(Class::Failure));
        let random = io.random();
        if let Some(balancer) = self.balancers.get_mut(pick.balancer) {
            balancer.picked -= 1;
            if balancer.core.classified(&pick.ticket, class, self.now, random) || balancer.users == 0 {
                self.todo.push_back(Todo::Balance(pick.balancer));
            }
        }
        self.watch(pick.balancer);
    }
}

/// What an end says about the endpoint.
pub(crate) fn class(end: End, outcome: Response) -> Option<Class> {
    match end {
        End::Cancelled => None,
        End::Whole if outcome.status == 429 || outcome.grpc_status == Some(8) => Some(Class::RateLimited),
        End::Whole if outcome.success => Some(Class::Success),
        _ => Some(Class::Failure),
    }
}

fn breaker(accrual: Accrual) -> Breaker {
    let backoff = |b: outbound::Backoff| {
        Backoff { min: b.min(), max: b.max(), jitter: f64::from(b.jitter()) }.checked()
    };
    match accrual {
        Accrual::Consecutive { max_failures, backoff: b } => {
            Breaker::Consecutive { max_failures, backoff: backoff(b) }
        }
        Accrual::Unified {
            success_rate_threshold,
            window,
            min_requests,
            max_consecutive_failures,
            backoff: b,
        } => Breaker::Unified {
            success_rate_threshold,
            window,
            min_requests,
            max_consecutive_failures,
            backoff: backoff(b),
        },
    }
}
