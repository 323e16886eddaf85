//! The worker: who lives in it, what events do to it, and what happens at the end of a batch.
//!
//! ```text
//! shell:   accepted | readable | writable | answered   (any number)   then expired, then flush        = one batch
//! worker:  each event: act, then settle (what the act left to do: `todo`)       flush: seal and send, settle
//! ```
//!
//! Invariants: ids, not references, tie things together, and one that outlived its owner finds nothing. `todo` is empty
//! between events. Every timer of a thing is at or before its own deadline.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_net::tls::Identity;

use crate::balancer::Balancer;
use crate::buffers::Spare;
use crate::config::Config;
use crate::conn::{Closing, Conn, Stage, Timeout};
use crate::discovery::Discovery;
use crate::exchange::{Exchange, HeadScratch};
use crate::io::{Accepted, Answer, Io, Note, SocketId};
use crate::limits::{Bound, CLIENT_STREAMS, PEER_RESETS};
use crate::metrics::{Blocks, Registry, WorkerGauges, WorkerLabels};
use crate::pool::Endpoint;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::timers::Timers;
use weft_http::{h1, h2};
use weft_policy::outbound;

/// One thread's share of the proxy: see [`crate`].
pub struct Worker {
    pub(crate) config: Config,
    pub(crate) blocks: Blocks,
    pub(crate) gauges: Arc<WorkerGauges>,
    /// The time of the current event.
    pub(crate) now: Instant,

    pub(crate) conns: Slab<Conn>,
    pub(crate) conn_timers: Timers,
    /// Which connection has which socket.
    pub(crate) sockets: Vec<Option<Key<Conn>>>,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) exchange_timers: Timers,
    pub(crate) endpoints: Slab<Endpoint>,
    pub(crate) endpoint_timers: Timers,
    pub(crate) balancers: Slab<Balancer>,
    pub(crate) balancer_timers: Timers,
    pub(crate) discovery: Discovery,
    /// The latest endpoints behind each path that a balancer uses.
    pub(crate) sets: HashMap<Arc<str>, Arc<outbound::EndpointSet>>,
    /// Endpoints that no balancer owns: forwarded to, and the application itself.
    pub(crate) lone: HashMap<Arc<outbound::Endpoint>, Key<Endpoint>>,
    pub(crate) local: HashMap<SocketAddr, Key<Endpoint>>,

    /// Connections that were written to since the last flush.
    pub(crate) dirty: Vec<Key<Conn>>,
    /// What the current event has left to do.
    pub(crate) todo: VecDeque<Todo>,

    /// Bytes in the buffers of all connections and exchanges.
    pub(crate) buffered: usize,
    /// Connections not read from because `buffered` met its bound.
    pub(crate) starved: Vec<Key<Conn>>,
    pub(crate) spare: Spare,
    pub(crate) read_scratch: Box<[u8]>,
    pub(crate) plain_scratch: Vec<u8>,
    pub(crate) heads: HeadScratch,

    pub(crate) http2_server: Arc<h2::Config>,
    /// To serve another proxy, which speaks for many clients.
    pub(crate) http2_peer: Arc<h2::Config>,
    pub(crate) http2_client: Arc<h2::Config>,
    /// Servers that did not ask for it are not sent PINGs: some take them for an attack.
    pub(crate) http2_quiet_client: Arc<h2::Config>,
    /// The `date` field of this second.
    pub(crate) date: [u8; 29],
    dated: Option<Instant>,
    pub(crate) identity: Option<Arc<Identity>>,
    /// Counts the certificates.
    pub(crate) identity_generation: u64,
    /// Since when the worker is draining.
    pub(crate) draining: Option<Instant>,
}

/// Something to be done before the event is over, by id: whoever it was for may be gone by then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Todo {
    /// Input may be consumed again.
    Consume(Key<Conn>),
    /// Everything is sent, and somebody waits for that.
    Drained(Key<Conn>),
    /// Close it.
    Close(Key<Conn>, Closing),
    /// A connection to the endpoint may be free.
    Serve(Key<Endpoint>),
    /// An endpoint may be ready.
    Balance(Key<Balancer>),
}

impl Worker {
    /// A worker that knows nothing yet. Asks about the ports that are to be known from the start.
    pub fn new(config: Config, registry: Arc<Registry>, io: &mut impl Io) -> Self {
        let gauges = registry.workers.block(&WorkerLabels { worker: config.worker });
        let keepalive = config.keepalive_interval.map(|interval| h2::Keepalive {
            interval,
            timeout: config.keepalive_timeout,
            while_idle: true,
        });
        let limits = config.limits.http;
        // Clients of ours are asked only while something is going on; peers always, so that a dead one is known.
        let http2 = |server: bool| {
            let keepalive = keepalive.map(|k| h2::Keepalive { while_idle: !server, ..k });
            let mut http2 = limits.http2;
            if server {
                http2.max_concurrent_streams = http2.max_concurrent_streams.min(CLIENT_STREAMS);
            }
            h2::Config::new(http2, limits.head).with_keepalive(keepalive)
        };
        let mut of_peers = limits.http2;
        of_peers.resets = PEER_RESETS;
        let peer_keepalive = keepalive.map(|k| h2::Keepalive { while_idle: false, ..k });
        let http2_peer = h2::Config::new(of_peers, limits.head).with_keepalive(peer_keepalive);
        let mut worker = Self {
            gauges,
            now: Instant::START,
            conns: Slab::default(),
            conn_timers: Timers::default(),
            sockets: Vec::new(),
            exchanges: Slab::default(),
            exchange_timers: Timers::default(),
            endpoints: Slab::default(),
            endpoint_timers: Timers::default(),
            balancers: Slab::default(),
            balancer_timers: Timers::default(),
            discovery: Discovery::default(),
            sets: HashMap::new(),
            lone: HashMap::new(),
            local: HashMap::new(),
            dirty: Vec::new(),
            todo: VecDeque::new(),
            buffered: 0,
            starved: Vec::new(),
            spare: Spare::new(config.limits.spare_buffers),
            read_scratch: vec![0; config.limits.read_bytes].into_boxed_slice(),
            plain_scratch: Vec::new(),
            heads: HeadScratch::default(),
            http2_server: Arc::new(http2(true)),
            http2_peer: Arc::new(http2_peer),
            http2_client: Arc::new(http2(false)),
            http2_quiet_client: Arc::new(http2(false).with_keepalive(None)),
            date: h1::http_date(0),
            dated: None,
            identity: None,
            identity_generation: 0,
            draining: None,
            config,
            blocks: Blocks::new(registry),
        };
        worker.ask_about_fixed_ports(io);
        worker
    }

    // --- events

    /// A connection was accepted.
    pub fn accepted(&mut self, io: &mut impl Io, accepted: Accepted, now: Instant) {
        self.at(io, now);
        self.accept(io, accepted);
        self.settle(io);
    }

    /// A socket has bytes, an end, or an error.
    pub fn readable(&mut self, io: &mut impl Io, socket: SocketId, now: Instant) {
        self.at(io, now);
        let Some(id) = self.conn_of(socket) else { return };
        if self.buffered >= self.config.limits.buffered_bytes && !self.is_read_under_pressure(id) {
            self.starve(io, id);
        } else if self.is_owed_answers(id) {
            self.met(io, Bound::OutputBytes);
            self.await_drained(id);
            self.pause(io, id);
        } else {
            self.read_socket(io, id);
        }
        self.settle(io);
    }

    /// A socket takes bytes again, or connecting is done.
    pub fn writable(&mut self, io: &mut impl Io, socket: SocketId, now: Instant) {
        self.at(io, now);
        let Some(id) = self.conn_of(socket) else { return };
        match self.conns.get(id).map(|c| &c.stage) {
            Some(Stage::Dial(dial)) if dial.connecting => self.connected(io, id),
            _ => self.flush_conn(io, id),
        }
        self.settle(io);
    }

    /// News from the control thread.
    pub fn answered(&mut self, io: &mut impl Io, answer: Answer, now: Instant) {
        self.at(io, now);
        match answer {
            Answer::Discovered { target, policy } => self.discovered(io, target, policy),
            Answer::Endpoints { path, endpoints } => self.resolved(io, &path, &endpoints),
            Answer::Port { port, policy } => self.port_policy(io, port, policy),
            Answer::Identity(identity) => {
                // With caches of its own, so that nothing is shared between workers.
                self.identity = Some(identity.for_worker().map_or(identity, Arc::new));
                self.identity_generation += 1;
            }
            Answer::Drain => self.drain(io, now),
        }
        self.settle(io);
    }

    /// Time has passed. To be called when [`Worker::next_deadline`] has come, and once per batch.
    pub fn expired(&mut self, io: &mut impl Io, now: Instant) {
        self.at(io, now);
        while let Some(slot) = self.conn_timers.due(now) {
            let Some(id) = self.conns.key_at(slot) else { continue };
            match self.conns.get(id).and_then(|c| c.deadline) {
                Some((at, timeout)) if at <= now => {
                    self.set_deadline(id, None);
                    self.timed_out(io, id, timeout);
                    self.settle(io);
                }
                Some((at, _)) => self.conn_timers.arm(slot, at),
                None => {}
            }
        }
        while let Some(slot) = self.exchange_timers.due(now) {
            let Some(id) = self.exchanges.key_at(slot) else { continue };
            match self.exchanges.get(id).and_then(Exchange::next_deadline) {
                Some(at) if at <= now => {
                    self.exchange_timed_out(io, id);
                    self.settle(io);
                    if let Some(at) = self.exchanges.get(id).and_then(Exchange::next_deadline) {
                        self.exchange_timers.arm(slot, at);
                    }
                }
                Some(at) => self.exchange_timers.arm(slot, at),
                None => {}
            }
        }
        while let Some(slot) = self.endpoint_timers.due(now) {
            let Some(id) = self.endpoints.key_at(slot) else { continue };
            match self.endpoints.get(id).and_then(Endpoint::next_deadline) {
                Some(at) if at <= now => {
                    self.endpoint_timed_out(io, id);
                    self.settle(io);
                }
                Some(at) => self.endpoint_timers.arm(slot, at),
                None => {}
            }
        }
        while let Some(slot) = self.balancer_timers.due(now) {
            let Some(id) = self.balancers.key_at(slot) else { continue };
            match self.balancers.get(id).and_then(Balancer::next_deadline) {
                Some(at) if at <= now => {
                    self.balancer_timed_out(io, id);
                    self.settle(io);
                }
                Some(at) => self.balancer_timers.arm(slot, at),
                None => {}
            }
        }
        self.forget_idle_policies(io);
        self.blocks.sweep(now);
        if self.draining.is_some_and(|since| now >= since + self.config.drain_grace) {
            self.end_of_grace(io);
        }
        self.settle(io);
    }

    /// The end of a batch: every connection that was written to is sealed and sent, once.
    pub fn flush(&mut self, io: &mut impl Io, now: Instant) {
        self.at(io, now);
        // Sending frees room, and who waited for it may write again: to connections behind this place, or before.
        let mut next = 0;
        while let Some(id) = self.dirty.get(next).copied() {
            next += 1;
            self.flush_conn(io, id);
            self.settle(io);
        }
        self.dirty.clear();
        self.feed_starved(io);
        self.settle(io);
        self.count();
    }

    /// When to call [`Worker::expired`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        [
            self.conn_timers.next(),
            self.exchange_timers.next(),
            self.endpoint_timers.next(),
            self.balancer_timers.next(),
            self.discovery.next_deadline(),
            self.draining.map(|since| since + self.config.drain_grace).filter(|_| !self.is_idle()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends what can be ended without anybody noticing, now and as exchanges finish. Accepting has to be stopped by the
    /// shell. When [`Worker::is_idle`] or after [`Config::drain_grace`], the worker is done.
    pub fn drain(&mut self, io: &mut impl Io, now: Instant) {
        self.at(io, now);
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now);
        let clients: Vec<_> =
            self.conns.iter().filter(|(_, c)| c.endpoint.is_none()).map(|(id, _)| id).collect();
        for id in clients {
            self.drain_client(io, id);
        }
        self.settle(io);
    }

    /// True if no accepted connection is left.
    pub fn is_idle(&self) -> bool {
        self.gauges.accepted.get() == 0
    }

    // --- between event and flush

    fn at(&mut self, io: &mut impl Io, now: Instant) {
        debug_assert!(now >= self.now, "time goes forward");
        self.now = self.now.max(now);
        if self.dated.is_none_or(|at| now - at >= Duration::from_secs(1)) {
            self.dated = Some(now);
            self.date = h1::http_date(io.unix_time().as_secs());
        }
    }

    /// Does what is left to do until nothing is.
    fn settle(&mut self, io: &mut impl Io) {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Consume(id) => {
                    if self.conns.get(id).is_some_and(|c| !c.paused) {
                        self.consume_input(io, id);
                    }
                    if self.conns.get(id).is_some_and(|c| c.ended && !c.paused) {
                        self.end_of_input(io, id);
                    }
                }
                Todo::Drained(id) => self.drained(io, id),
                Todo::Close(id, closing) => self.close(io, id, closing),
                Todo::Serve(endpoint) => self.serve_endpoint(io, endpoint),
                Todo::Balance(balancer) => self.serve_balancer(io, balancer),
            }
        }
    }

    /// Ends a client's connection as soon as that loses nothing.
    fn drain_client(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        match &conn.stage {
            Stage::Http1Server(server) if server.is_idle() && conn.input.is_empty() => {
                self.goodbye(io, id);
                self.close(io, id, Closing::Clean);
            }
            // The response says that it is the last one; bytes go on until they end.
            Stage::Http2(_) => self.drain_http2(id),
            _ => {}
        }
    }

    /// Patience is over.
    fn end_of_grace(&mut self, io: &mut impl Io) {
        let clients: Vec<_> =
            self.conns.iter().filter(|(_, c)| c.client.is_some()).map(|(id, _)| id).collect();
        for id in clients {
            let cut = io::Error::from(io::ErrorKind::ConnectionAborted);
            self.broken(io, id, &cut);
        }
    }

    fn drained(&mut self, io: &mut impl Io, id: Key<Conn>) {
        match self.conns.get(id).map(|c| &c.stage) {
            Some(Stage::Relay(_)) => self.relay_drained(io, id),
            Some(_) => self.pump_connection(io, id),
            None => {}
        }
    }

    fn timed_out(&mut self, io: &mut impl Io, id: Key<Conn>, timeout: Timeout) {
        match timeout {
            Timeout::Discover | Timeout::DetectTls | Timeout::DetectHttp | Timeout::TransportHeader => {
                self.accept_timed_out(io, id, timeout);
            }
            Timeout::Handshake => {
                self.gauges.slow_clients.count();
                self.close(io, id, Closing::Cut);
            }
            Timeout::Connect => {
                let e = io::Error::from(io::ErrorKind::TimedOut);
                self.dial_failed(io, id, &e);
            }
            Timeout::Head => {
                self.gauges.slow_clients.count();
                self.slow_head(io, id);
            }
            Timeout::Idle => self.close(io, id, Closing::Clean),
            Timeout::Discard => self.close(io, id, Closing::Cut),
            Timeout::KeepAlive => self.keepalive(io, id),
            Timeout::Stall => {
                self.gauges.slow_clients.count();
                let e = io::Error::from(io::ErrorKind::TimedOut);
                self.broken(io, id, &e);
            }
        }
    }

    /// Counts that a bound was met; the first time an operator is told.
    pub(crate) fn met(&self, io: &mut impl Io, bound: Bound) {
        if let Some(counter) = self.gauges.bounds_met.get(bound as usize) {
            if counter.get() == 0 {
                io.note(&Note::BoundMet { bound: bound.name() });
            }
            counter.count();
        }
    }

    // --- the bound on all buffers together

    /// What waits in buffers may wait for these: for a connection to be made, for a window to be opened. Were they not read,
    /// nothing would ever be sent. Their own flow control holds them, and the bound a second time.
    /// So it is with a response whose client takes what it is given (requests that are pipelined wait for its end), and with
    /// bytes whose other side does.
    fn is_read_under_pressure(&self, id: Key<Conn>) -> bool {
        match self.conns.get(id).map(|c| &c.stage) {
            // Requests wait for room that only servers give: theirs is read when clients' is not any more.
            Some(Stage::Http2(_)) if self.client(id).is_some() => !self.is_at_request_bound(),
            Some(Stage::Dial(_) | Stage::Http2(_)) => {
                self.buffered < self.config.limits.buffered_bytes.saturating_mul(2)
            }
            Some(Stage::Http1Client(client)) => client
                .exchange
                .and_then(|ex| self.exchanges.get(ex))
                .and_then(|x| self.conns.get(x.down.conn))
                .is_none_or(|down| down.pending() == 0),
            // Two proxies whose buffers are full of what the other is to take would wait for each other for ever.
            Some(Stage::Relay(relay)) => {
                self.buffered < self.config.limits.buffered_bytes.saturating_mul(2)
                    && relay.peer.and_then(|peer| self.conns.get(peer)).is_none_or(|p| p.pending() == 0)
            }
            _ => false,
        }
    }

    /// True if so much is held that no client's HTTP/2 connection is read from either.
    pub(crate) fn is_at_request_bound(&self) -> bool {
        let bound = self.config.limits.buffered_bytes;
        self.buffered >= bound.saturating_add(bound / 2)
    }

    /// True for a client whose HTTP/2 connection holds so much output that no more requests are taken from it. Content stops
    /// at the bound itself; heads and answers, which no window holds, go beyond it. Servers are always read from: two
    /// proxies that both waited for the other to read would wait for ever.
    fn is_owed_answers(&self, id: Key<Conn>) -> bool {
        let Some(conn) = self.conns.get(id).filter(|c| c.client.is_some()) else { return false };
        matches!(conn.stage, Stage::Http2(_))
            && conn.pending() >= self.config.limits.output_bytes.saturating_mul(4)
    }

    pub(crate) fn starve(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.met(io, Bound::BufferedBytes);
        if self.conns.get(id).is_some_and(|c| !c.paused) {
            self.pause(io, id);
            self.starved.push(id);
        }
    }

    fn feed_starved(&mut self, io: &mut impl Io) {
        if self.starved.is_empty() {
            return;
        }
        let relieved = self.buffered < self.config.limits.buffered_bytes / 4 * 3;
        let mut starved = std::mem::take(&mut self.starved);
        // Those whose client has taken what it was given go on at once: others wait for them.
        starved.retain(|id| {
            let fed = relieved || self.is_read_under_pressure(*id);
            if fed {
                self.resume(io, *id);
            }
            !fed
        });
        // What was starved meanwhile.
        starved.append(&mut self.starved);
        self.starved = starved;
    }

    /// Gauges that follow from state, once per batch.
    fn count(&self) {
        let g = &self.gauges;
        g.exchanges.set(self.exchanges.len() as u64);
        g.buffered_bytes.set(self.buffered as u64);
        g.spare_buffers.set(self.spare.len() as u64);
        g.endpoints.set(self.endpoints.len() as u64);
        g.policies.set(self.discovery.len() as u64);
        let timers = [&self.conn_timers, &self.exchange_timers, &self.endpoint_timers, &self.balancer_timers];
        g.timers.set(timers.iter().map(|t| t.len() as u64).sum());
    }
}
