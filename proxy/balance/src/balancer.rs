//! A balancer: the endpoints of one destination as one worker sees them.
//!
//! The caller says what becomes of endpoints and requests; the balancer says which endpoint is next.
//!
//! ```text
//!               next_connect             ready
//!   Wanted ───────────────▶ Connecting ─────────▶ Ready ◀──┐
//!     ▲                         │ failed           │ │      │ breaker admits
//!     │   backoff passes        ▼                  │ └──────┘
//!     └───────────────────── Failed ◀──────────────┘ lost (connects at once, backs off if that fails)
//! ```
//!
//! 1. `pick` chooses among the endpoints that are ready and whose [`Breaker`] admits a request, and only those: two
//!    are drawn, the one with less load is taken, the first of equals; a single one is taken.
//! 2. An update keeps endpoints whose address and value are the same, with all their state. A changed value is a new
//!    endpoint.
//! 3. A [`Ticket`] stands for one request. Each is given back: to [`Balancer::responded`] once, when its latency is known,
//!    and to [`Balancer::classified`] once, when its outcome is, which may be never (`None`). Tickets of endpoints that are
//!    gone mean nothing.
//! 4. Those who wait are counted here, so that their number and time are bounded; the queue itself is the caller's.

mod slots;

pub use self::slots::EndpointId;

use self::slots::Slots;
use crate::{
    Backoff, Breaker, Class, FailFast, Instant, PeakEwma, Penalty, backoff::Retries, breaker::Policy,
};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

/// How a balancer works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The latency assumed of new endpoints. Default 30 ms.
    pub default_rtt: Duration,
    /// Time constant of the latency average. Default 10 s.
    pub decay: Duration,
    /// What failures cost; none is nothing special.
    pub penalty: Option<Penalty>,
    /// When endpoints that fail are left alone; none is never.
    pub breaker: Option<Policy>,
    /// How connecting is tried again. Default 100 ms to 60 s, jitter 0.1.
    pub connect_backoff: Backoff,
    /// How long requests wait while no endpoint is ready. Default 3 s.
    pub failfast_timeout: Duration,
    /// How many may wait. Default 10,000.
    pub max_waiting: usize,
}

/// The endpoints of one destination. `T` is what the caller knows about an endpoint.
#[derive(Debug)]
pub struct Balancer<T> {
    config: Config,
    slots: Slots<T>,
    /// Slots that can be picked, in no particular order.
    available: Vec<u32>,
    /// Endpoints that are to be connected, in order; may name some that are gone.
    wanted: VecDeque<EndpointId>,
    failfast: FailFast,
    waiting: usize,
    /// No endpoint has a deadline before this.
    deadline: Option<Instant>,
}

/// One endpoint.
#[derive(Debug)]
struct Member<T> {
    addr: SocketAddr,
    value: T,
    load: PeakEwma,
    breaker: Option<Breaker>,
    link: Link,
    retries: Retries,
    /// Where it is in the list of available ones.
    available_at: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Wanted,
    Connecting,
    Ready,
    Failed { until: Instant },
}

/// A request that got an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not given back counts as a request in flight"]
pub struct Ticket {
    endpoint: EndpointId,
    probe: bool,
    sent: Instant,
}

/// A request that may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No endpoint has been ready for too long.
    #[error("service in fail-fast")]
    FailFast,
    /// [`Config::max_waiting`] wait already.
    #[error("too many requests wait for an endpoint")]
    Full,
}

/// A failure, for the penalty it may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// What became due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Endpoints are to be connected: [`Balancer::next_connect`].
    pub connect: bool,
    /// An endpoint can be picked again.
    pub available: bool,
    /// All who wait are to fail, and so is whoever comes until an endpoint is ready.
    pub failfast: bool,
}

impl<T: PartialEq> Balancer<T> {
    /// A balancer without endpoints.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            slots: Slots::new(),
            available: Vec::new(),
            wanted: VecDeque::new(),
            failfast: FailFast::new(config.failfast_timeout),
            waiting: 0,
            deadline: None,
        }
    }

    // --- endpoints

    /// The endpoints are these now. Those that are the same keep their state; the others are gone and returned, for the
    /// caller to close. New ones are to be connected: [`Self::next_connect`]. Of several with one address the last
    /// counts.
    pub fn update(
        &mut self,
        endpoints: impl IntoIterator<Item = (SocketAddr, T)>,
        now: Instant,
    ) -> Vec<(EndpointId, T)> {
        let mut new: Vec<(SocketAddr, T)> = endpoints.into_iter().collect();
        new.reverse();
        new.sort_by_key(|(addr, _)| *addr);
        new.dedup_by_key(|(addr, _)| *addr);
        let mut gone = Vec::new();
        for id in self.slots.ids() {
            let Some(member) = self.slots.get(id) else { continue };
            let same = new
                .binary_search_by_key(&member.addr, |(addr, _)| *addr)
                .is_ok_and(|i| new.get(i).is_some_and(|(_, value)| *value == member.value));
            if !same {
                gone.extend(self.remove(id).map(|value| (id, value)));
            }
        }
        let mut kept: Vec<SocketAddr> = self.slots.iter().map(|(_, m)| m.addr).collect();
        kept.sort_unstable();
        for (addr, value) in new {
            if kept.binary_search(&addr).is_err() {
                let id = self.slots.insert(Member::new(addr, value, &self.config, now));
                self.wanted.push_back(id);
            }
        }
        self.wanted.retain(|id| self.slots.get(*id).is_some());
        self.watch(now);
        gone
    }

    /// The next endpoint that is to be connected; it counts as connecting from now on.
    pub fn next_connect(&mut self) -> Option<EndpointId> {
        while let Some(id) = self.wanted.pop_front() {
            if let Some(member) = self.slots.get_mut(id)
                && member.link == Link::Wanted
            {
                member.link = Link::Connecting;
                return Some(id);
            }
        }
        None
    }

    /// The endpoint is connected, or takes requests without being so. True if those who wait can be served now.
    pub fn ready(&mut self, id: EndpointId, now: Instant) -> bool {
        let Some(member) = self.slots.get_mut(id) else { return false };
        member.link = Link::Ready;
        member.retries.succeeded();
        self.refresh(id, now)
    }

    /// Connecting to the endpoint failed. It is tried again after the backoff, when it is `Due`.
    pub fn failed(&mut self, id: EndpointId, now: Instant, random: u64) {
        let Some(member) = self.slots.get_mut(id) else { return };
        let until = now + member.retries.failed(random);
        member.link = Link::Failed { until };
        self.at_latest(until);
        self.refresh(id, now);
    }

    /// The endpoint's connection is lost. It is to be connected again at once: [`Self::next_connect`].
    pub fn lost(&mut self, id: EndpointId, now: Instant) {
        let Some(member) = self.slots.get_mut(id) else { return };
        if member.link != Link::Wanted {
            member.link = Link::Wanted;
            self.wanted.push_back(id);
        }
        self.refresh(id, now);
    }

    /// What the caller knows about an endpoint; nothing if it is gone.
    pub fn get(&self, id: EndpointId) -> Option<&T> {
        self.slots.get(id).map(|m| &m.value)
    }

    /// The load of an endpoint; nothing if it is gone.
    pub fn load(&self, id: EndpointId) -> Option<&PeakEwma> {
        self.slots.get(id).map(|m| &m.load)
    }

    /// Every endpoint, and whether it can be picked.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &T, bool)> {
        self.slots.iter().map(|(id, m)| (id, &m.value, m.available_at.is_some()))
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no endpoints.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many endpoints can be picked.
    pub fn available(&self) -> usize {
        self.available.len()
    }

    // --- requests

    /// The endpoint for a request sent now, by power of two choices with a uniformly random number; none if none is
    /// available.
    pub fn pick(&mut self, now: Instant, random: u64) -> Option<Ticket> {
        self.pick_but(now, random, |_| false)
    }

    /// [`Self::pick`], but endpoints that are to be avoided are taken only where both that were drawn are: for another
    /// attempt elsewhere.
    pub fn pick_but(
        &mut self,
        now: Instant,
        random: u64,
        avoid: impl Fn(EndpointId) -> bool,
    ) -> Option<Ticket> {
        let (first, second) = draw_two(self.available.len(), random)?;
        let slot = |i: usize| self.available.get(i).copied();
        let (first, second) = (slot(first)?, second.and_then(slot));
        let taken = match second {
            Some(second) if self.rank(second, now, &avoid) < self.rank(first, now, &avoid) => second,
            _ => first,
        };
        let id = self.slots.id(taken)?;
        let member = self.slots.get_mut(id)?;
        member.load.start();
        let probe = member.breaker.as_mut().is_some_and(Breaker::admitted);
        if probe {
            self.refresh(id, now);
        }
        Some(Ticket { endpoint: id, probe, sent: now })
    }

    /// The latency of a request is known: it was answered, or will not be. To be told once per ticket.
    pub fn responded(&mut self, ticket: &Ticket, now: Instant, failure: Option<Failure>) {
        let penalty = self.config.penalty;
        let Some(member) = self.slots.get_mut(ticket.endpoint) else { return };
        let took = now - ticket.sent;
        let sample = match (failure, penalty) {
            (Some(failure), Some(penalty)) => penalty.sample(took, failure.retry_after),
            _ => took,
        };
        member.load.finish();
        member.load.observe(now, sample);
    }

    /// A request was not sent after all: nothing is learnt from it. Stands for both [`Self::responded`] and
    /// [`Self::classified`].
    pub fn unsent(&mut self, ticket: &Ticket, now: Instant) -> bool {
        if let Some(member) = self.slots.get_mut(ticket.endpoint) {
            member.load.finish();
        }
        self.classified(ticket, None, now, 0)
    }

    /// The outcome of a request is known, or will never be. To be told once per ticket. True if those who wait can be
    /// served now.
    pub fn classified(&mut self, ticket: &Ticket, class: Option<Class>, now: Instant, random: u64) -> bool {
        let Some(breaker) = self.slots.get_mut(ticket.endpoint).and_then(|m| m.breaker.as_mut()) else {
            return false;
        };
        match class {
            Some(class) => breaker.record(class, ticket.probe, now, random),
            None => breaker.abandoned(ticket.probe),
        };
        if let Some(until) = breaker.deadline() {
            self.at_latest(until);
        }
        self.refresh(ticket.endpoint, now)
    }

    // --- waiting

    /// A request has to wait, as no endpoint is available.
    ///
    /// # Errors
    /// It must not: it fails at once.
    pub fn wait(&mut self, now: Instant) -> Result<(), Rejected> {
        if self.failfast.is_failing() {
            return Err(Rejected::FailFast);
        }
        if self.waiting >= self.config.max_waiting {
            return Err(Rejected::Full);
        }
        self.waiting += 1;
        self.watch(now);
        Ok(())
    }

    /// A request does not wait any more: it was sent, or given up.
    pub fn unwait(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.failfast.idle();
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether requests fail at once.
    pub fn is_failing(&self) -> bool {
        self.failfast.is_failing()
    }

    // --- time

    /// When [`Self::expired`] is to be called next, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        [self.deadline, self.failfast.deadline()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn expired(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.deadline.is_some_and(|d| d <= now) {
            self.deadline = None;
            for slot in 0..self.slots.places() {
                let Some(id) = self.slots.id(slot) else { continue };
                let Some(member) = self.slots.get_mut(id) else { continue };
                if let Link::Failed { until } = member.link {
                    if until <= now {
                        member.link = Link::Wanted;
                        self.wanted.push_back(id);
                        due.connect = true;
                    } else {
                        self.at_latest(until);
                    }
                }
                let Some(breaker) = self.slots.get_mut(id).and_then(|m| m.breaker.as_mut()) else { continue };
                let admits = breaker.expired(now);
                if let Some(until) = breaker.deadline() {
                    self.at_latest(until);
                }
                if admits {
                    due.available |= self.refresh(id, now);
                }
            }
        }
        due.failfast = self.failfast.expired(now);
        due
    }

    // --- inside

    fn rank(&self, slot: u32, now: Instant, avoid: &impl Fn(EndpointId) -> bool) -> (bool, f64) {
        match self.slots.id(slot).and_then(|id| self.slots.get(id).map(|m| (id, m))) {
            Some((id, member)) => (avoid(id), member.load.load(now)),
            None => (true, f64::INFINITY),
        }
    }

    fn at_latest(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |d| d.min(deadline)));
    }

    fn remove(&mut self, id: EndpointId) -> Option<T> {
        self.set_available(id, false);
        self.slots.remove(id).map(|m| m.value)
    }

    /// Puts the endpoint on the list of available ones, or takes it off. True if it was put there.
    fn refresh(&mut self, id: EndpointId, now: Instant) -> bool {
        let Some(member) = self.slots.get(id) else { return false };
        let is = member.link == Link::Ready && member.breaker.as_ref().is_none_or(Breaker::admits);
        let was = member.available_at.is_some();
        self.set_available(id, is);
        self.watch(now);
        is && !was
    }

    /// Waiting has a point while something is available; else its time runs.
    fn watch(&mut self, now: Instant) {
        if !self.available.is_empty() {
            self.failfast.ready();
        } else if self.waiting > 0 {
            self.failfast.wait(now);
        }
    }

    fn set_available(&mut self, id: EndpointId, is: bool) {
        let end = self.available.len();
        let Some(member) = self.slots.get_mut(id) else { return };
        match (member.available_at, is) {
            (None, true) => {
                member.available_at = u32::try_from(end).ok();
                self.available.push(id.slot());
            }
            (Some(at), false) => {
                member.available_at = None;
                self.available.swap_remove(at as usize);
                if let Some(moved) = self.available.get(at as usize).and_then(|slot| self.slots.id(*slot))
                    && let Some(moved) = self.slots.get_mut(moved)
                {
                    moved.available_at = Some(at);
                }
            }
            _ => {}
        }
    }
}

/// Two different ones of `len`, or the only one.
fn draw_two(len: usize, random: u64) -> Option<(usize, Option<usize>)> {
    // Of the upper and of the lower half of `random`: there are far fewer endpoints than 2^32.
    let below = |n: usize, half: u64| ((half * n as u64) >> 32) as usize;
    match len {
        0 => None,
        1 => Some((0, None)),
        _ => {
            let first = below(len, random >> 32);
            let second = below(len - 1, random & u64::from(u32::MAX));
            Some((first, Some(if second >= first { second + 1 } else { second })))
        }
    }
}

impl<T> Member<T> {
    fn new(addr: SocketAddr, value: T, config: &Config, now: Instant) -> Self {
        Self {
            addr,
            value,
            load: PeakEwma::new(config.default_rtt, config.decay, now),
            breaker: config.breaker.map(|policy| Breaker::new(policy, now)),
            link: Link::Wanted,
            retries: Retries::new(config.connect_backoff),
            available_at: None,
        }
    }
}

impl Ticket {
    /// Which endpoint.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Whether the endpoint's circuit breaker waits for this very request.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// When it was picked.
    pub fn sent(&self) -> Instant {
        self.sent
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_rtt: Duration::from_millis(30),
            decay: Duration::from_secs(10),
            penalty: None,
            breaker: None,
            connect_backoff: Backoff::connect(),
            failfast_timeout: FailFast::DEFAULT_TIMEOUT,
            max_waiting: 10_000,
        }
    }
}

#[cfg(test)]
mod tests;
