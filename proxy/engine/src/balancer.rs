//! Choosing among the endpoints behind a path, and waiting while none is ready.
//!
//! A balancer belongs to one worker and to one kind of traffic (HTTP, opaque). Who comes while no endpoint is ready waits
//! in a bounded queue, in order. If that lasts for the failfast time everybody is told so at once, and so is whoever
//! comes next, until an endpoint is ready again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_policy::outbound::{EndpointSet, Load};
use weft_policy::{FailureKind, Meta};

use crate::conn::Conn;
use crate::exchange::Exchange;
use crate::io::{Io, Question, Side, Subject};
use crate::limits::Bound;
use crate::metrics::{self, BalancerLabels};
use crate::pool::Endpoint;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// The endpoints behind one path.
pub(crate) struct Balancer {
    path: Arc<str>,
    http: bool,
    load: Load,
    /// By address, so that a set is compared in one pass.
    members: BTreeMap<SocketAddr, Key<Endpoint>>,
    /// The same, for drawing.
    order: Vec<Key<Endpoint>>,
    /// Who waits, and since when.
    queue: VecDeque<(Waiter, Instant)>,
    /// No endpoint was ready for too long: nobody waits until one is.
    failfast: bool,
    /// When that comes to be.
    deadline: Option<Instant>,
    users: u32,
    block: Arc<metrics::Balancer>,
}

/// Who waits for an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    Exchange(Key<Exchange>),
    /// A connection whose bytes are opaque.
    Client(Key<Conn>),
}

impl Balancer {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Worker {
    // --- which balancers there are

    /// The balancer for a path, for one more user; asks what is behind the path if it is new.
    pub(crate) fn balancer(
        &mut self,
        io: &mut impl Io,
        http: bool,
        path: &Arc<str>,
        load: Load,
        meta: &Arc<Meta>,
    ) -> Key<Balancer> {
        let found = self.balancers.iter().find(|(_, b)| b.http == http && b.path == *path && b.load == load);
        if let Some(key) = found.map(|(key, _)| key) {
            if let Some(balancer) = self.balancers.get_mut(key) {
                balancer.users += 1;
            }
            return key;
        }
        let known = self.balancers.iter().find(|(_, b)| b.path == *path).map(|(key, _)| key);
        let labels = BalancerLabels { http, backend: Arc::clone(meta), path: Arc::clone(path) };
        let key = self.balancers.insert(Balancer {
            path: Arc::clone(path),
            http,
            load,
            members: BTreeMap::new(),
            order: Vec::new(),
            queue: VecDeque::new(),
            failfast: false,
            deadline: None,
            users: 1,
            block: self.registry.balancers.block(&labels),
        });
        match known.and_then(|known| self.sets.get(path).cloned().map(|set| (known, set))) {
            // Asked already, for the other kind of traffic.
            Some((_, set)) => self.update_balancer(io, key, &set),
            None if known.is_some() => {}
            None => {
                // A refused question is asked again by the next plan; until then requests fail fast.
                let _ = io.ask(Question::Resolve { path: Arc::clone(path) });
            }
        }
        key
    }

    /// A plan does not need the balancer any more.
    pub(crate) fn release_balancer(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        balancer.users -= 1;
        if balancer.users > 0 {
            return;
        }
        let Some(balancer) = self.balancers.remove(key) else { return };
        for (waiter, _) in &balancer.queue {
            self.gauges.queued.down();
            balancer.block.queue.down();
            self.fail_waiter(io, *waiter, FailureKind::LoadShed);
        }
        for (_, endpoint) in balancer.members {
            self.retire(io, endpoint);
        }
        balancer.block.ready.set(0);
        balancer.block.pending.set(0);
        if !self.balancers.iter().any(|(_, b)| b.path == balancer.path) {
            self.sets.remove(&balancer.path);
            let _ = io.ask(Question::Forget(Subject::Path(balancer.path)));
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
        let (http, load, block) = (balancer.http, balancer.load, Arc::clone(&balancer.block));
        let mut old = std::mem::take(&mut balancer.members);
        let mut members = BTreeMap::new();
        let mut fresh = Vec::new();
        for policy in set.endpoints().iter().take(limit) {
            let kept = old.remove(&policy.addr);
            let same = kept.filter(|k| {
                self.endpoints.get(*k).is_some_and(|e| e.policy.as_deref() == Some(policy.as_ref()))
            });
            let member = same.unwrap_or_else(|| {
                let policy = match self.config.inbound.ips.contains(&policy.addr.ip()) && !policy.local {
                    // This pod itself.
                    true => Arc::new(policy.as_ref().clone().into_local()),
                    false => Arc::clone(policy),
                };
                let mut endpoint = Endpoint::new(Side::Outbound, policy.addr, Some(policy));
                endpoint.balancer = Some(key);
                endpoint.load = crate::load::PeakEwma::new(load.default_rtt, load.decay, self.now);
                let member = self.endpoints.insert(endpoint);
                fresh.push(member);
                block.added.count();
                member
            });
            if same.is_none()
                && let Some(changed) = kept
            {
                old.insert(policy.addr, changed);
            }
            members.insert(policy.addr, member);
        }
        if let Some(balancer) = self.balancers.get_mut(key) {
            balancer.order = members.values().copied().collect();
            balancer.members = members;
        }
        for (_, gone) in old {
            block.removed.count();
            self.retire(io, gone);
        }
        if http {
            for endpoint in fresh {
                self.warm(io, endpoint);
            }
        }
        self.todo.push_back(Todo::Balance(key));
    }

    // --- who gets which endpoint

    /// True if a request would not have to wait.
    pub(crate) fn balancer_is_ready(&self, key: Key<Balancer>) -> bool {
        self.balancers.get(key).is_some_and(|b| {
            !b.failfast && b.order.iter().any(|e| self.endpoints.get(*e).is_some_and(|e| e.is_ready(b.http)))
        })
    }

    /// Finds an endpoint for an exchange, or lets it wait.
    pub(crate) fn balance(&mut self, io: &mut impl Io, ex: Key<Exchange>, key: Key<Balancer>) {
        self.balance_waiter(io, Waiter::Exchange(ex), key);
    }

    /// The same for either kind of waiter.
    pub(crate) fn balance_waiter(&mut self, io: &mut impl Io, waiter: Waiter, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get(key) else {
            return self.fail_waiter(io, waiter, FailureKind::LoadShed);
        };
        if balancer.queue.is_empty()
            && let Some(endpoint) = self.pick(io, key)
        {
            return self.assign(io, waiter, endpoint);
        }
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        if balancer.failfast {
            return self.fail_waiter(io, waiter, FailureKind::FailFast);
        }
        if balancer.queue.len() >= self.config.limits.queue {
            self.met(io, Bound::Queue);
            return self.fail_waiter(io, waiter, FailureKind::LoadShed);
        }
        balancer.queue.push_back((waiter, self.now));
        balancer.block.queue.up();
        balancer.block.queued.count();
        self.gauges.queued.up();
        self.balance_changed(key);
    }

    /// An endpoint for who just came, unless others were there before.
    pub(crate) fn pick_now(&mut self, io: &mut impl Io, key: Key<Balancer>) -> Option<Key<Endpoint>> {
        self.balancers.get(key).filter(|b| b.queue.is_empty())?;
        self.pick(io, key)
    }

    /// Power of two choices: of two ready endpoints drawn at random, the one with less load.
    fn pick(&mut self, io: &mut impl Io, key: Key<Balancer>) -> Option<Key<Endpoint>> {
        let balancer = self.balancers.get(key)?;
        let (order, http) = (&balancer.order, balancer.http);
        let ready = |key: Key<Endpoint>| self.endpoints.get(key).is_some_and(|e| e.is_ready(http));
        let nth = |n: u64| order.get(usize::try_from(n % order.len().max(1) as u64).unwrap_or(0)).copied();
        let random = io.random();
        let (a, mut b) = (nth(random >> 32)?, nth(random & 0xffff_ffff)?);
        if a == b {
            b = nth((random & 0xffff_ffff) + 1)?;
        }
        let (a, b) = match (ready(a), ready(b)) {
            (true, true) => (a, b),
            // Some are not ready: draw among those that are.
            _ => {
                let count = order.iter().filter(|e| ready(**e)).count() as u64;
                let nth_ready = |n: u64| {
                    order
                        .iter()
                        .copied()
                        .filter(|e| ready(*e))
                        .nth(usize::try_from(n % count.max(1)).unwrap_or(0))
                };
                let first = (random >> 32) % count.max(1);
                (
                    nth_ready(first)?,
                    nth_ready(first + 1 + (random & 0xffff_ffff) % count.saturating_sub(1).max(1))?,
                )
            }
        };
        let load = |key: Key<Endpoint>| self.endpoints.get(key).map_or(f64::MAX, |e| e.load.cost(self.now));
        Some(if load(b) < load(a) { b } else { a })
    }

    fn assign(&mut self, io: &mut impl Io, waiter: Waiter, endpoint: Key<Endpoint>) {
        match waiter {
            Waiter::Exchange(ex) => self.assign_exchange(io, ex, endpoint),
            Waiter::Client(client) => self.assign_client(io, client, endpoint),
        }
    }

    fn fail_waiter(&mut self, io: &mut impl Io, waiter: Waiter, kind: FailureKind) {
        match waiter {
            Waiter::Exchange(ex) => self.fail(io, ex, kind, None),
            Waiter::Client(client) => self.opaque_failed(io, client, kind),
        }
    }

    /// Endpoints may have become ready: those who wait are served in order.
    pub(crate) fn serve_balancer(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        while self.balancers.get(key).is_some_and(|b| !b.queue.is_empty())
            && let Some(endpoint) = self.pick(io, key)
        {
            let Some(balancer) = self.balancers.get_mut(key) else { return };
            let Some((waiter, since)) = balancer.queue.pop_front() else { return };
            balancer.block.queue.down();
            balancer.block.queue_latency.record_duration(self.now - since);
            self.gauges.queued.down();
            if self.still_waits(waiter) {
                self.assign(io, waiter, endpoint);
            }
        }
        self.balance_changed(key);
    }

    fn still_waits(&self, waiter: Waiter) -> bool {
        match waiter {
            Waiter::Exchange(ex) => self.exchanges.get(ex).is_some(),
            Waiter::Client(client) => self.conns.get(client).is_some(),
        }
    }

    /// Keeps gauges, failfast and its deadline true after endpoints or the queue changed.
    pub(crate) fn balance_changed(&mut self, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get(key) else { return };
        let ready = balancer
            .order
            .iter()
            .filter(|e| self.endpoints.get(**e).is_some_and(|e| e.is_ready(balancer.http)))
            .count();
        let wait = self.config.outbound.failfast_timeout;
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        balancer.block.ready.set(ready as u64);
        balancer.block.pending.set((balancer.order.len() - ready) as u64);
        if ready > 0 {
            balancer.deadline = None;
            if std::mem::take(&mut balancer.failfast) {
                balancer.block.gate_opened.count();
            }
        } else if !balancer.queue.is_empty() && balancer.deadline.is_none() && !balancer.failfast {
            let at = self.now + wait;
            balancer.deadline = Some(at);
            self.balancer_timers.arm(key.index(), at);
        }
    }

    /// Nobody became ready in time: all who wait are told.
    pub(crate) fn balancer_timed_out(&mut self, io: &mut impl Io, key: Key<Balancer>) {
        let Some(balancer) = self.balancers.get_mut(key) else { return };
        balancer.deadline = None;
        balancer.failfast = true;
        balancer.block.gate_shut.count();
        for (waiter, since) in std::mem::take(&mut balancer.queue) {
            if let Some(balancer) = self.balancers.get_mut(key) {
                balancer.block.queue.down();
                balancer.block.queue_latency.record_duration(self.now - since);
            }
            self.gauges.queued.down();
            if self.still_waits(waiter) {
                self.fail_waiter(io, waiter, FailureKind::FailFast);
            }
        }
    }

    // --- load

    /// A connection to an endpoint of opaque traffic was made, in this time.
    pub(crate) fn observe_connect(&mut self, endpoint: Key<Endpoint>, took: Duration) {
        let now = self.now;
        if let Some(e) = self.endpoints.get_mut(endpoint) {
            e.load.finish();
            e.load.observe(now, took);
        }
    }
}
