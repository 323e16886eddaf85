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
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use weft_balance::EndpointId;
use weft_balance::backoff::Retries;
use weft_http::h2::Role;
use weft_net::tls::{Offer, Target as TlsTarget, TlsConn};
use weft_net::transport_header::{SessionProtocol, TransportHeader};
use weft_policy::FailureKind;
use weft_policy::outbound::{self, Hint};

use crate::balancer::Balancer;
use crate::config::Backoff;
use crate::conn::{Closing, Conn, Security, Stage, Timeout};
use crate::exchange::Exchange;
use crate::http1::Http1Client;
use crate::io::{Io, Note, Side};
use crate::limits::Bound;
use crate::metrics::labels::LOOPBACK;
use crate::metrics::{self, EndpointLabels, Peer, Tls, TransportLabels};
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
    /// How many plans and stacks refer to it, besides its balancer.
    pub(crate) users: u32,
    /// It is no longer in its set: connections end as they fall idle.
    pub(crate) retired: bool,
    /// HTTP/2 connections, usable ones only.
    http2: Vec<Key<Conn>>,
    /// Idle HTTP/1 connections; the last one is used first, so that the others can expire.
    idle: Vec<Key<Conn>>,
    /// HTTP/1 connections, busy ones included.
    http1: usize,
    dialing_http1: usize,
    dialing_http2: usize,
    /// All connections, of any kind and state.
    pub(crate) connections: usize,
    /// Exchanges that wait for a connection.
    pub(crate) waiting: VecDeque<Key<Exchange>>,
    /// One that stands alone could not be connected to so often in a row, and is left alone until then.
    failures: Retries,
    backoff: Option<Instant>,
    /// Nothing refers to it any more; forgotten at this time.
    pub(crate) unused: Option<Instant>,
    /// Made anew when our certificate is.
    tls: Option<(u64, TlsTarget)>,
    http: Option<Arc<metrics::Http>>,
    transport: Option<Arc<metrics::Transport>>,
}

/// A connection being made.
pub(crate) struct Dial {
    /// The socket is not connected yet; after that TLS may take a while.
    pub(crate) connecting: bool,
    pub(crate) purpose: Purpose,
}

/// What a connection is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Http1,
    Http2,
    /// The bytes of one client.
    Opaque(Key<Conn>),
}

/// What an exchange needs of an upstream connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    Http1,
    Http2,
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
            waiting: VecDeque::new(),
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

    /// True if HTTP of any version is carried to it over HTTP/2.
    pub(crate) fn prefers_http2(&self) -> bool {
        self.policy.as_ref().is_some_and(|p| p.hint == Hint::H2)
    }

    /// True if an HTTP/2 connection to it can be used.
    pub(crate) fn has_http2(&self) -> bool {
        !self.http2.is_empty()
    }

    /// Where connections go: the other proxy's port if there is one, and it is told the target's in a header.
    fn address(&self) -> SocketAddr {
        match self.tagged_port() {
            Some(port) => SocketAddr::new(self.target.ip(), port.get()),
            None => self.target,
        }
    }

    fn tagged_port(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.policy.as_ref()?.opaque_transport_port?)
    }

    fn dialing(&self) -> usize {
        self.dialing_http1 + self.dialing_http2
    }

    fn dialing_for(&mut self, purpose: Purpose) -> Option<&mut usize> {
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
        e.waiting.push_back(ex);
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
        let (mut http1, mut http2) = (0, 0);
        for ex in &e.waiting {
            match self.exchanges.get(*ex).map(|x| x.wire) {
                Some(Wire::Http1) => http1 += 1,
                Some(Wire::Http2) => http2 += 1,
                None => {}
            }
        }
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
        // In order, but who wants a connection of one kind does not hold up who wants one of the other.
        let mut skipped = 0;
        while let Some(e) = self.endpoints.get(endpoint)
            && let Some(ex) = e.waiting.get(skipped).copied()
        {
            let found = match self.exchanges.get(ex).map(|x| x.wire) {
                None => None,
                Some(wire) => match self.free_connection(endpoint, wire) {
                    Some(conn) => Some(conn),
                    None => {
                        skipped += 1;
                        continue;
                    }
                },
            };
            if let Some(e) = self.endpoints.get_mut(endpoint) {
                e.waiting.remove(skipped);
            }
            if let Some(conn) = found {
                self.send_parked(io, ex, conn);
            }
        }
        if skipped > 0 {
            self.dial_more(io, endpoint);
        }
    }

    // --- make a connection

    /// Begins to make one. False if that failed at once; everybody who waited has been told then.
    pub(crate) fn dial(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>, purpose: Purpose) -> bool {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return false };
        let side = e.side;
        let timeout = match side {
            Side::Outbound => self.config.outbound.connect_timeout,
            Side::Inbound => self.config.inbound.connect_timeout,
        };
        match io.connect(e.address(), side) {
            Ok(socket) => {
                e.connections += 1;
                if let Some(dialing) = e.dialing_for(purpose) {
                    *dialing += 1;
                }
                let stage = Stage::Dial(Box::new(Dial { connecting: true, purpose }));
                let mut conn = Conn::new(socket, side, stage, self.now);
                conn.endpoint = Some(endpoint);
                let id = self.open(conn);
                self.gauges.dialed.up();
                self.set_deadline(id, Some((self.now + timeout, Timeout::Connect)));
                self.tell_interest(io, id);
                true
            }
            Err(error) => {
                self.endpoint_failed(io, endpoint, purpose, &error);
                false
            }
        }
    }

    /// The socket is connected, or is not.
    pub(crate) fn connected(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Err(error) = io.connect_result(conn.socket) {
            if error.kind() == ErrorKind::WouldBlock {
                return;
            }
            return self.dial_failed(io, id, &error);
        }
        let Stage::Dial(dial) = &mut conn.stage else { return };
        dial.connecting = false;
        let Some(endpoint) = conn.endpoint else { return };
        match self.tls_target(endpoint) {
            Ok(None) => self.dialed(io, id),
            Ok(Some(target)) => match TlsConn::client(&target) {
                Ok(tls) => {
                    if let Some(conn) = self.conns.get_mut(id) {
                        conn.security = Security::Tls(Box::new(tls));
                    }
                    self.mark(id);
                    self.tell_interest(io, id);
                }
                Err(error) => self.dial_failed(io, id, &io::Error::other(error)),
            },
            Err(error) => self.dial_failed(io, id, &error),
        }
    }

    /// How to meet the endpoint: by TLS with whom; none for plaintext.
    fn tls_target(&mut self, endpoint: Key<Endpoint>) -> io::Result<Option<TlsTarget>> {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return Ok(None) };
        let Some(tls) = e.policy.as_ref().and_then(|p| p.tls.as_ref()) else { return Ok(None) };
        if let Some((generation, target)) = &e.tls
            && *generation == self.identity_generation
        {
            return Ok(Some(target.clone()));
        }
        let Some(identity) = &self.identity else {
            return Err(io::Error::other("this proxy has no certificate yet"));
        };
        let offer = if e.tagged_port().is_some() { Offer::Tagged } else { Offer::Plain };
        let target =
            identity.target(tls.server_id.clone(), &tls.server_name, offer).map_err(io::Error::other)?;
        e.tls = Some((self.identity_generation, target.clone()));
        Ok(Some(target))
    }

    /// A connection is made, and the peer is who it should be.
    pub(crate) fn dialed(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Dial(dial) = &conn.stage else { return };
        let (purpose, Some(endpoint)) = (dial.purpose, conn.endpoint) else { return };
        let tagged = matches!(&conn.security, Security::Tls(tls) if tls.is_tagged());
        let Some(e) = self.endpoints.get_mut(endpoint) else {
            return self.close(io, id, Closing::Clean);
        };
        if e.tagged_port().is_some() && !tagged {
            let error = io::Error::other("the peer takes no transport header on its own port");
            return self.dial_failed(io, id, &error);
        }
        if let Some(dialing) = e.dialing_for(purpose) {
            *dialing -= 1;
        }
        let target_port = e.tagged_port().and_then(|_| NonZeroU16::new(e.target.port()));
        e.failures.succeeded();
        e.backoff = None;
        let header = target_port.map(|port| TransportHeader {
            port,
            name: None,
            protocol: match purpose {
                Purpose::Http1 => Some(SessionProtocol::Http1),
                Purpose::Http2 => Some(SessionProtocol::Http2),
                Purpose::Opaque(_) => None,
            },
        });
        self.set_deadline(id, None);
        self.open_destination_transport(id, endpoint);
        if let (Some(header), Some(output)) = (header, self.output(id)) {
            header.encode(output);
        }
        match purpose {
            Purpose::Opaque(client) => {
                self.opaque_connected(io, client, id);
            }
            Purpose::Http1 => {
                self.become_stage(io, id, Stage::Http1Client(Box::new(Http1Client::new())));
                if let Some(e) = self.endpoints.get_mut(endpoint) {
                    e.http1 += 1;
                }
                self.released(io, id);
            }
            Purpose::Http2 => {
                self.start_http2(io, id, Role::Client);
                if let Some(e) = self.endpoints.get_mut(endpoint) {
                    e.http2.push(id);
                }
                self.todo.push_back(Todo::Serve(endpoint));
            }
        }
        self.endpoint_ready(endpoint);
    }

    fn become_stage(&mut self, io: &mut impl Io, id: Key<Conn>, stage: Stage) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.stage = stage;
            self.tell_interest(io, id);
        }
    }

    /// A connection could not be made.
    pub(crate) fn dial_failed(&mut self, io: &mut impl Io, id: Key<Conn>, error: &io::Error) {
        let Some(conn) = self.conns.get(id) else { return };
        let Stage::Dial(dial) = &conn.stage else { return };
        let (purpose, endpoint) = (dial.purpose, conn.endpoint);
        self.close(io, id, Closing::Cut);
        if let Some(endpoint) = endpoint {
            self.endpoint_failed(io, endpoint, purpose, error);
        }
    }

    /// Tells everybody who waited for an endpoint that it cannot be reached.
    fn endpoint_failed(
        &mut self,
        io: &mut impl Io,
        endpoint: Key<Endpoint>,
        purpose: Purpose,
        error: &io::Error,
    ) {
        let random = io.random();
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        let mut backoff = Duration::ZERO;
        if e.balancer.is_none() {
            backoff = e.failures.failed(random);
            let at = self.now + backoff;
            e.backoff = Some(at);
            self.endpoint_timers.arm(endpoint.index(), at);
        }
        let message = &error.to_string();
        io.note(&Note::ConnectFailed { side: e.side, target: e.address(), message, backoff });
        let kind = match error.kind() {
            ErrorKind::TimedOut => FailureKind::ConnectTimeout,
            _ => FailureKind::Connect,
        };
        // Another connection may still be made; who waits for that goes on waiting.
        let waiting = if e.dialing() == 0 { std::mem::take(&mut e.waiting) } else { VecDeque::new() };
        if let Some((balancer, id)) = e.balancer
            && !e.has_http2()
        {
            self.endpoint_unreachable(io, balancer, id);
        }
        for ex in waiting {
            self.not_connected(io, ex, kind, error);
        }
        if let Purpose::Opaque(client) = purpose {
            self.opaque_not_connected(io, client, error);
        }
    }

    /// A back-off is over, or nobody has used the endpoint for long enough.
    pub(crate) fn endpoint_timed_out(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let now = self.now;
        if let Some(e) = self.endpoints.get_mut(endpoint)
            && e.backoff.is_some_and(|at| at <= now)
        {
            e.backoff = None;
            self.todo.push_back(Todo::Serve(endpoint));
        }
        if let Some(at) = self.endpoints.get(endpoint).and_then(Endpoint::next_deadline) {
            self.endpoint_timers.arm(endpoint.index(), at);
        }
        if self.endpoints.get(endpoint).is_some_and(|e| e.unused.is_some_and(|at| at <= self.now)) {
            self.retire(io, endpoint);
        }
    }

    fn open_destination_transport(&mut self, id: Key<Conn>, endpoint: Key<Endpoint>) {
        let registry = Arc::clone(&self.registry);
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        let transport = match &e.transport {
            Some(transport) => Arc::clone(transport),
            None => {
                let transport = registry.transports.block(&TransportLabels {
                    side: e.side,
                    peer: Peer::Destination,
                    target: e.target,
                    tls: e.tls_label(),
                    server: None,
                    endpoint: e.policy.clone(),
                });
                e.transport = Some(Arc::clone(&transport));
                transport
            }
        };
        transport.opened.count();
        transport.open.up();
        if let Some(conn) = self.conns.get_mut(id) {
            conn.transport = Some(transport);
        }
    }

    /// The counters of HTTP towards an endpoint.
    pub(crate) fn endpoint_http(&mut self, endpoint: Key<Endpoint>) -> Option<Arc<metrics::Http>> {
        let registry = &self.registry;
        let e = self.endpoints.get_mut(endpoint)?;
        if e.http.is_none() {
            let endpoint = e.policy.clone()?;
            e.http = Some(registry.endpoints.block(&EndpointLabels { endpoint, tls: e.tls_label() }));
        }
        e.http.clone()
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
    pub(crate) fn retire(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        e.retired = true;
        e.unused = None;
        e.backoff = None;
        let balancer = e.balancer.take();
        let waiting = std::mem::take(&mut e.waiting);
        for id in e.idle.clone() {
            self.todo.push_back(Todo::Close(id, Closing::Clean));
        }
        for id in e.http2.clone() {
            self.drain_http2(id);
        }
        for ex in waiting {
            match balancer {
                Some((balancer, _)) => self.balance_again(io, ex, balancer),
                None => self.fail(io, ex, FailureKind::Connect, None),
            }
        }
        self.forget_endpoint_if_done(endpoint);
    }

    fn forget_endpoint_if_done(&mut self, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get(endpoint).filter(|e| e.retired && e.connections == 0) else {
            return;
        };
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
