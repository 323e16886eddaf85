//! Upstream connections: made, shared, kept idle, counted, given up; one pool for each endpoint.
//!
//! ```text
//! exchange ─▶ place() ─┬─ HTTP/2: any connection with a free stream ──────▶ send
//!                      ├─ HTTP/1: the one that became idle last ──────────▶ send
//!                      └─ none: dial another (within bounds) and wait ─▶ dialed() ─▶ serve_endpoint() ─▶ send
//! ```
//!
//! Whoever waited for an endpoint that cannot be connected to goes back to its balancer, which leaves the endpoint alone for
//! a while. One that stands alone is left alone for a while too, and who comes meanwhile waits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use weft_balance::EndpointId;
use weft_balance::backoff::Retries;
use weft_net::tls::Target as TlsTarget;
use weft_policy::FailureKind;
use weft_policy::outbound::{self, Hint};

use crate::balancer::Balancer;
use crate::config::Backoff;
use crate::conn::{Closing, Conn, Stage, Timeout};
use crate::dial::Purpose;
use crate::exchange::Exchange;
use crate::io::{Io, Side};
use crate::limits::Bound;
use crate::metrics::labels::LOOPBACK;
use crate::metrics::{self, Tls};
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// Somewhere to connect to, and the connections there are.
pub(crate) struct Endpoint {
    pub(crate) side: Side,
    /// What the application calls it.
    pub(crate) target: SocketAddr,
    /// What discovery says of it; none for the application itself.
    pub(crate) policy: Option<Arc<outbound::Endpoint>>,
    /// The balancer it belongs to, and its name there; none if it stands alone.
    pub(crate) balancer: Option<(Key<Balancer>, EndpointId)>,
    /// How many plans, and exchanges that will come back to it, refer to it, besides its balancer.
    pub(crate) users: u32,
    /// It is no longer in its set: connections end as they fall idle.
    pub(crate) retired: bool,
    /// HTTP/2 connections, usable ones only.
    pub(crate) http2: Vec<Key<Conn>>,
    /// Idle HTTP/1 connections; the last one is used first, so that the others can expire.
    idle: Vec<Key<Conn>>,
    /// HTTP/1 connections, busy ones included.
    pub(crate) http1: usize,
    dialing_http1: usize,
    dialing_http2: usize,
    /// All connections, of any kind and state.
    pub(crate) connections: usize,
    /// Exchanges that wait for a connection.
    pub(crate) waiting: Waiting,
    /// One that stands alone could not be connected to so often in a row, and is left alone until then.
    pub(crate) failures: Retries,
    pub(crate) backoff: Option<Instant>,
    /// Nothing refers to it any more; forgotten at this time.
    pub(crate) unused: Option<Instant>,
    /// Made anew when our certificate is.
    pub(crate) tls: Option<(u64, TlsTarget)>,
    pub(crate) http: Option<Arc<metrics::Http>>,
    pub(crate) transport: Option<Arc<metrics::Transport>>,
}

/// What an exchange needs of an upstream connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    Http1,
    Http2,
}

/// Exchanges that wait for a connection: who wants one of one kind does not hold up who wants one of the other.
#[derive(Default)]
pub(crate) struct Waiting {
    http1: VecDeque<Key<Exchange>>,
    http2: VecDeque<Key<Exchange>>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.http1.len() + self.http2.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of(&mut self, wire: Wire) -> &mut VecDeque<Key<Exchange>> {
        match wire {
            Wire::Http1 => &mut self.http1,
            Wire::Http2 => &mut self.http2,
        }
    }

    /// All of them, who came first of each kind first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Key<Exchange>> + use<> {
        std::mem::take(&mut self.http1).into_iter().chain(std::mem::take(&mut self.http2))
    }
}

impl Endpoint {
    pub(crate) fn new(
        side: Side,
        target: SocketAddr,
        policy: Option<Arc<outbound::Endpoint>>,
        backoff: Backoff,
    ) -> Self {
        let failures = Retries::new(backoff.checked());
        Self {
            side,
            target,
            policy,
            balancer: None,
            users: 0,
            retired: false,
            http2: Vec::new(),
            idle: Vec::new(),
            http1: 0,
            dialing_http1: 0,
            dialing_http2: 0,
            connections: 0,
            waiting: Waiting::default(),
            failures,
            backoff: None,
            unused: None,
            tls: None,
            http: None,
            transport: None,
        }
    }

    /// When something is to be done about it.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.backoff, self.unused].into_iter().flatten().min()
    }

    /// Retired, and nobody is or comes to it any more.
    fn is_done(&self) -> bool {
        self.retired && self.connections == 0 && self.waiting.is_empty() && self.users == 0
    }

    /// True if HTTP of any version is carried to it over HTTP/2.
    pub(crate) fn prefers_http2(&self) -> bool {
        self.policy.as_ref().is_some_and(|p| p.hint == Hint::H2)
    }

    /// True if an HTTP/2 connection to it can be used.
    pub(crate) fn has_http2(&self) -> bool {
        !self.http2.is_empty()
    }

    /// Where connections go: the other proxy's port if there is one, and it is told the target's in a header.
    pub(crate) fn address(&self) -> SocketAddr {
        match self.tagged_port() {
            Some(port) => SocketAddr::new(self.target.ip(), port.get()),
            None => self.target,
        }
    }

    pub(crate) fn tagged_port(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.policy.as_ref()?.opaque_transport_port?)
    }

    pub(crate) fn dialing(&self) -> usize {
        self.dialing_http1 + self.dialing_http2
    }

    pub(crate) fn dialing_for(&mut self, purpose: Purpose) -> Option<&mut usize> {
        match purpose {
            Purpose::Http1 => Some(&mut self.dialing_http1),
            Purpose::Http2 => Some(&mut self.dialing_http2),
            Purpose::Opaque(_) => None,
        }
    }

    pub(crate) fn tls_label(&self) -> Tls {
        match &self.policy {
            Some(policy) => match &policy.tls {
                Some(tls) => Tls::Mutual(Arc::from(tls.server_id.as_str())),
                None => Tls::None(policy.no_tls_reason().unwrap_or_default()),
            },
            None => Tls::None(LOOPBACK),
        }
    }
}

impl Worker {
    // --- pick a connection

    /// Finds a connection to `endpoint` for an exchange whose request is ready to be sent, or lets it wait for one.
    pub(crate) fn place(&mut self, io: &mut impl Io, ex: Key<Exchange>, endpoint: Key<Endpoint>) {
        let Some(wire) = self.exchanges.get(ex).map(|x| x.wire) else { return };
        if let Some(conn) = self.free_connection(endpoint, wire) {
            return self.send_parked(io, ex, conn);
        }
        let limit = self.config.limits.endpoint_queue;
        let Some(e) = self.endpoints.get_mut(endpoint) else {
            return self.fail(io, ex, FailureKind::Unexpected, None);
        };
        if e.waiting.len() >= limit {
            self.met(io, Bound::EndpointQueue);
            return self.fail(io, ex, FailureKind::LoadShed, None);
        }
        e.waiting.of(wire).push_back(ex);
        self.wait_until(ex, self.now + self.config.outbound.failfast_timeout);
        self.dial_more(io, endpoint);
    }

    /// A connection that can take a request now.
    pub(crate) fn free_connection(&mut self, endpoint: Key<Endpoint>, wire: Wire) -> Option<Key<Conn>> {
        let e = self.endpoints.get_mut(endpoint)?;
        match wire {
            Wire::Http2 => {
                let conns = &self.conns;
                e.http2.iter().copied().find(|id| match conns.get(*id).map(|c| &c.stage) {
                    Some(Stage::Http2(http2)) => http2.has_room(),
                    _ => false,
                })
            }
            Wire::Http1 => {
                let id = e.idle.pop()?;
                self.gauges.idle_pooled.down();
                self.set_deadline(id, None);
                Some(id)
            }
        }
    }

    /// Makes as many connections as those who wait need and bounds allow.
    fn dial_more(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let limits = &self.config.limits;
        let (most_http1, most_http2) = (limits.http1_connections, limits.http2_connections);
        let Some(e) = self.endpoints.get(endpoint) else { return };
        if e.backoff.is_some() {
            return;
        }
        let (http1, http2) = (e.waiting.http1.len(), e.waiting.http2.len());
        // One HTTP/2 connection takes many; only when it is there and full is another of use.
        let want_http2 = http2 > 0 && e.dialing_http2 == 0 && e.http2.len() < most_http2;
        let room = most_http1.saturating_sub(e.http1 + e.dialing_http1);
        let want_http1 = (http1 - http1.min(e.dialing_http1)).min(room);
        if http1 > 0 && room == 0 && e.dialing_http1 == 0 {
            self.met(io, Bound::Http1Connections);
        }
        if http2 > 0 && e.dialing_http2 == 0 && !want_http2 {
            self.met(io, Bound::Http2Connections);
        }
        if want_http2 {
            self.dial(io, endpoint, Purpose::Http2);
        }
        for _ in 0..want_http1 {
            if !self.dial(io, endpoint, Purpose::Http1) {
                break;
            }
        }
    }

    /// Connects ahead of requests, so that a balancer knows who is there.
    pub(crate) fn warm(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get(endpoint) else { return };
        if e.prefers_http2() && e.http2.is_empty() && e.dialing_http2 == 0 && !e.retired {
            self.dial(io, endpoint, Purpose::Http2);
        }
    }

    /// Lets those who wait for a connection have what there is now.
    pub(crate) fn serve_endpoint(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        for wire in [Wire::Http1, Wire::Http2] {
            while let Some(e) = self.endpoints.get_mut(endpoint)
                && let Some(ex) = e.waiting.of(wire).front().copied()
            {
                if self.exchanges.get(ex).is_some() {
                    let Some(conn) = self.free_connection(endpoint, wire) else { break };
                    self.leave_queue(endpoint, wire);
                    self.send_parked(io, ex, conn);
                } else {
                    self.leave_queue(endpoint, wire);
                }
            }
        }
        if self.endpoints.get(endpoint).is_some_and(|e| !e.waiting.is_empty()) {
            self.dial_more(io, endpoint);
        }
        self.forget_endpoint_if_done(endpoint);
    }

    fn leave_queue(&mut self, endpoint: Key<Endpoint>, wire: Wire) {
        if let Some(e) = self.endpoints.get_mut(endpoint) {
            e.waiting.of(wire).pop_front();
        }
    }

    // --- give a connection back

    /// An HTTP/1 connection is free: for who waits, or for the pool.
    pub(crate) fn released(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(endpoint) = self.conns.get(id).and_then(|c| c.endpoint) else { return };
        let limit = self.config.limits.idle_connections;
        let idle_time = |w: &Self, side| match side {
            Side::Outbound => w.config.outbound.pool_idle,
            Side::Inbound => w.config.inbound.pool_idle,
        };
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        let wanted = !e.waiting.is_empty();
        if !wanted && (e.retired || self.draining.is_some()) {
            return self.todo.push_back(Todo::Close(id, Closing::Clean));
        }
        if e.idle.len() >= limit {
            self.met(io, Bound::IdleConnections);
            return self.todo.push_back(Todo::Close(id, Closing::Clean));
        }
        e.idle.push(id);
        let side = e.side;
        // It may have been held while the end of the response waited for the client.
        self.resume(io, id);
        self.gauges.idle_pooled.up();
        self.set_deadline(id, Some((self.now + idle_time(self, side), Timeout::Idle)));
        if wanted {
            self.todo.push_back(Todo::Serve(endpoint));
        }
    }

    /// An HTTP/2 connection takes no more requests: the peer said so, or it is gone. Those it has go on.
    pub(crate) fn unpool_http2(&mut self, id: Key<Conn>) {
        let Some(endpoint) = self.conns.get(id).and_then(|c| c.endpoint) else { return };
        self.unpool_http2_of(endpoint, id);
    }

    fn unpool_http2_of(&mut self, endpoint: Key<Endpoint>, id: Key<Conn>) {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        let before = e.http2.len();
        e.http2.retain(|c| *c != id);
        if e.http2.len() == before {
            return;
        }
        if let Some((balancer, member)) = e.balancer
            && e.http2.is_empty()
        {
            self.endpoint_lost(balancer, member);
        }
        self.todo.push_back(Todo::Serve(endpoint));
    }

    /// A connection is gone.
    pub(crate) fn left_endpoint(&mut self, endpoint: Key<Endpoint>, id: Key<Conn>, stage: &Stage) {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        e.connections -= 1;
        match stage {
            Stage::Dial(dial) => {
                if let Some(dialing) = e.dialing_for(dial.purpose) {
                    *dialing -= 1;
                }
            }
            Stage::Http1Client(_) => {
                e.http1 -= 1;
                let before = e.idle.len();
                e.idle.retain(|c| *c != id);
                if e.idle.len() < before {
                    self.gauges.idle_pooled.down();
                }
            }
            Stage::Http2(_) => self.unpool_http2_of(endpoint, id),
            _ => {}
        }
        let Some(e) = self.endpoints.get(endpoint) else { return };
        if !e.waiting.is_empty() {
            self.todo.push_back(Todo::Serve(endpoint));
        }
        self.forget_endpoint_if_done(endpoint);
    }

    /// An HTTP/1 connection became something else (an upgrade): it counts as a connection still, but not in the pool.
    pub(crate) fn left_pool(&mut self, id: Key<Conn>) {
        if let Some(e) = self.conns.get(id).and_then(|c| c.endpoint).and_then(|e| self.endpoints.get_mut(e)) {
            e.http1 -= 1;
        }
    }

    /// An endpoint is no longer of use: its idle connections go now, the others when they fall idle.
    ///
    /// Who waits for it goes back to its balancer. Nobody else could serve those who wait for one that stands alone: the
    /// policy that sent them there held when they came, so they get their connection still.
    pub(crate) fn retire(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        e.retired = true;
        e.unused = None;
        let again = e.balancer.take().map(|(balancer, _)| (balancer, e.waiting.take()));
        let (idle, http2) = (std::mem::take(&mut e.idle), e.http2.clone());
        for id in idle {
            self.gauges.idle_pooled.down();
            self.todo.push_back(Todo::Close(id, Closing::Clean));
        }
        for id in http2 {
            self.drain_http2(id);
        }
        if let Some((balancer, waiting)) = again {
            for ex in waiting {
                self.balance_again(io, ex, balancer);
            }
        }
        self.forget_endpoint_if_done(endpoint);
    }

    fn forget_endpoint_if_done(&mut self, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get(endpoint).filter(|e| e.is_done()) else { return };
        // Unless another has taken its place already.
        match &e.policy {
            Some(policy) => {
                if self.lone.get(policy) == Some(&endpoint) {
                    self.lone.remove(policy);
                }
            }
            None => {
                if self.local.get(&e.target) == Some(&endpoint) {
                    self.local.remove(&e.target);
                }
            }
        }
        self.endpoints.remove(endpoint);
    }
}
