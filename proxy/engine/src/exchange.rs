//! The life of a request: from its head to the last byte of its response.
//!
//! ```text
//! http1 | http2 ─▶ request() ─▶ route ─▶ pick ─▶ place ─▶ send_request() ─┐   (or it waits: for an endpoint, for a connection)
//!                     │                                                  ▼
//!                 deliver()  ════ request content ══▶ upstream ══ response content ════ deliver() ═▶ client
//!                     │                                                  │
//!                     └──▶ fail(): an answer of our own     respond() ◀──┘     finish(): counted, both legs let go
//! ```
//!
//! Content goes straight from what was read to what will be sent. What the receiving leg cannot take (its window, its
//! full output, or because it is not there yet) stays in the flow's buffer, and its source is held: an HTTP/1 connection
//! is not read from, an HTTP/2 stream is given no window. So a flow holds at most one read or one stream window.
//!
//! Invariants: the client's leg is there as long as the exchange; the upstream leg from `send_request` until either
//! side of it has ended. Each leg's connection knows the exchange, and forgets it with [`Worker::finish`].

use std::time::Duration;

use weft_http::fields::{Kind, Leg as FieldLeg};
use weft_http::h2::{Code, StreamKey};
use weft_http::head::{Extra, Head, Method, Outgoing, Version};
use weft_http::orig_proto::OrigProto;
use weft_policy::FailureKind;

use crate::balancer::{self, Balancer, Pick, Waiter};
use crate::conn::{Conn, Stage};
use crate::content::{Flow, Way};
use crate::counts::Counts;
use crate::io::{Io, Side};
use crate::limits::Bound;
use crate::plan::Dispatch;
use crate::pool::{Endpoint, Wire};
use crate::retry::Replay;
use crate::route::Chosen;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// One request and its response.
pub(crate) struct Exchange {
    pub(crate) side: Side,
    /// The client's leg.
    pub(crate) down: Leg,
    /// The server's leg, while there is one.
    pub(crate) up: Option<Leg>,
    /// The endpoint that was chosen.
    pub(crate) endpoint: Option<Key<Endpoint>>,
    /// What is spoken with it.
    pub(crate) wire: Wire,
    pub(crate) method: Method,
    /// The version of the message, wherever it came from: HTTP/1 carried over HTTP/2 is HTTP/1.
    pub(crate) version: Version,
    /// The client speaks gRPC over HTTP/2.
    pub(crate) grpc: bool,
    /// HTTP/1 that came, or goes, over HTTP/2.
    pub(crate) carried: bool,
    /// The client wants to upgrade, or to CONNECT.
    pub(crate) tunnel: bool,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    /// The request's head, while it may be needed again: it waits, or it may have to be sent to another endpoint.
    pub(crate) parked: Option<Box<Saved>>,
    /// What is kept for trying again, if its route asks for that.
    pub(crate) replay: Option<Box<Replay>>,
    /// The response's head has been sent to the client.
    pub(crate) head_sent: bool,
    /// What is counted, and what the policy says of it.
    pub(crate) chosen: Chosen,
    pub(crate) counts: Counts,
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u8>,
    /// Endpoints that could not be connected to.
    pub(crate) attempts: u32,
    /// The balancer's choice of its endpoint, to be given back.
    pub(crate) pick: Option<Pick>,
    pub(crate) started: Instant,
    pub(crate) sent_at: Option<Instant>,
    request_ended: Option<Instant>,
    pub(crate) moved: Instant,
    /// Until when it may wait for a connection.
    pub(crate) wait: Option<Instant>,
    pub(crate) accounted: usize,
}

/// A connection, and the stream on it if it has streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leg {
    pub(crate) conn: Key<Conn>,
    pub(crate) stream: Option<StreamKey>,
}

/// A head with bytes of its own.
#[derive(Default)]
pub(crate) struct Saved {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// As the server said.
    Whole,
    /// By the proxy, for this reason.
    Failed(FailureKind),
    /// The client gave up.
    Cancelled,
    /// The server reset the stream.
    Reset(Code),
}

/// Buffers for heads that are being read, shared by all connections: filled, used and forgotten within one event.
#[derive(Default)]
pub(crate) struct HeadScratch {
    pub(crate) head: Head,
    pub(crate) trailers: Head,
    pub(crate) arena: Vec<u8>,
    pub(crate) extra: Extra,
    /// Saved heads to be used again.
    #[expect(clippy::vec_box, reason = "they go to exchanges and back without being copied")]
    spare: Vec<Box<Saved>>,
}

/// Saved heads kept for reuse, and the most bytes that one may have room for: larger ones were made for a rare head.
const SPARE_HEADS: usize = 256;
const SPARE_HEAD_BYTES: usize = 8 * 1024;

impl HeadScratch {
    /// A copy with bytes of its own.
    pub(crate) fn save(&mut self, head: &Head, bytes: &[u8]) -> Box<Saved> {
        let mut saved = self.spare.pop().unwrap_or_default();
        saved.head.clone_from(head);
        saved.bytes.clear();
        saved.bytes.extend_from_slice(bytes);
        saved
    }

    pub(crate) fn give(&mut self, saved: Box<Saved>) {
        if self.spare.len() < SPARE_HEADS && saved.bytes.capacity() <= SPARE_HEAD_BYTES {
            self.spare.push(saved);
        }
    }
}

impl Exchange {
    fn new(side: Side, down: Leg, head: &Head, now: Instant) -> Self {
        Self {
            side,
            down,
            up: None,
            endpoint: None,
            wire: Wire::Http1,
            method: head.method,
            version: head.version,
            grpc: head.facts.grpc && head.version == Version::Http2,
            carried: false,
            tunnel: head.version != Version::Http2
                && (head.facts.upgrade.is_some() || head.method == Method::Connect),
            request: Flow::default(),
            response: Flow::default(),
            parked: None,
            replay: None,
            head_sent: false,
            chosen: Chosen::default(),
            counts: Counts::None,
            status: 0,
            grpc_status: None,
            attempts: 0,
            pick: None,
            started: now,
            sent_at: None,
            request_ended: None,
            moved: now,
            wait: None,
            accounted: 0,
        }
    }

    pub(crate) fn flow(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::Request => &mut self.request,
            Way::Response => &mut self.response,
        }
    }

    /// Where the bytes of one direction come from, and where they go.
    pub(crate) fn legs(&self, way: Way) -> (Option<Leg>, Option<Leg>) {
        match way {
            Way::Request => (Some(self.down), self.up),
            Way::Response => (self.up, Some(self.down)),
        }
    }

    /// What happens at which time, if nothing else does.
    fn deadlines(&self) -> [(Option<Instant>, FailureKind); 5] {
        let timeouts = &self.chosen.timeouts;
        let attempt = self.replay.as_ref().and_then(|r| r.attempt_timeout()).filter(|_| !self.head_sent);
        [
            (
                attempt.and_then(|t| self.up.and(self.sent_at).map(|at| at + t)),
                FailureKind::ResponseHeadersTimeout,
            ),
            (self.wait, FailureKind::FailFast),
            (timeouts.request.map(|t| self.started + t), FailureKind::RequestTimeout),
            (
                timeouts.response.and_then(|t| self.request_ended.map(|at| at + t)),
                FailureKind::ResponseTimeout,
            ),
            (timeouts.idle.map(|t| self.moved + t), FailureKind::IdleTimeout),
        ]
    }

    /// When the first of its time-outs is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let again = self.replay.as_ref().and_then(|r| r.at);
        self.deadlines().iter().filter_map(|d| d.0).chain(again).min()
    }

    /// Bytes it holds: content, and the copies of head and content that it may be sent again from.
    pub(crate) fn held(&self) -> usize {
        let parked = self.parked.as_ref().map_or(0, |saved| saved.bytes.len());
        let replay = self.replay.as_ref().map_or(0, |replay| replay.kept());
        self.request.buf.len() + self.response.buf.len() + parked + replay
    }

    pub(crate) fn field_leg(&self, way: Way) -> FieldLeg {
        match (self.side, way) {
            (Side::Outbound, Way::Request) => FieldLeg::OutboundRequest,
            (Side::Outbound, Way::Response) => FieldLeg::OutboundResponse,
            (Side::Inbound, Way::Request) => FieldLeg::InboundRequest,
            (Side::Inbound, Way::Response) => FieldLeg::InboundResponse,
        }
    }
}

impl Worker {
    // --- begin

    /// A request's head has come on a connection, from a client. `ended`: it was the whole request.
    pub(crate) fn request(
        &mut self,
        io: &mut impl Io,
        down: Leg,
        head: &mut Head,
        bytes: &[u8],
        ended: bool,
    ) {
        let Some(conn) = self.conns.get(down.conn) else { return };
        let side = conn.side;
        let carried = side == Side::Inbound && OrigProto::restore(head);
        let mut x = Exchange::new(side, down, head, self.now);
        x.carried = carried;
        x.request.ended = ended;
        let full = self.exchanges.len() >= self.config.limits.exchanges;
        let ex = self.exchanges.insert(x);
        self.claim(down, ex);
        if full {
            self.met(io, Bound::Exchanges);
            return self.fail(io, ex, FailureKind::LoadShed, None);
        }
        let mut extra = std::mem::take(&mut self.heads.extra);
        extra.clear();
        self.heads.extra = extra;
        match self.route(io, ex, head, bytes) {
            Ok(dispatch) => {
                if let Some(at) = self.exchanges.get(ex).and_then(Exchange::next_deadline) {
                    self.exchange_timers.arm(ex.index(), at);
                }
                self.pick_and_send(io, ex, dispatch, head, bytes);
            }
            Err(refused) => self.refuse_request(io, ex, refused),
        }
    }

    /// Sends a request at once if an endpoint and a connection to it are there; else it waits for them.
    fn pick_and_send(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        dispatch: Dispatch,
        head: &Head,
        bytes: &[u8],
    ) {
        let chosen = match dispatch {
            Dispatch::Endpoint(endpoint) => Some((endpoint, None)),
            Dispatch::Balancer(balancer) => self.pick_now(io, balancer).map(|(e, pick)| (e, Some(pick))),
            Dispatch::Fail => return self.fail(io, ex, FailureKind::BackendFailed, None),
        };
        if let Some((endpoint, pick)) = chosen {
            self.bind(ex, endpoint, pick);
            if let Some(conn) = self.free_connection_for(ex) {
                return self.send_request(io, ex, conn, head, bytes);
            }
        }
        self.park(ex, head, bytes);
        match (chosen, dispatch) {
            (Some((endpoint, _)), _) => self.place(io, ex, endpoint),
            (None, Dispatch::Balancer(balancer)) => self.balance(io, Waiter::Exchange(ex), balancer),
            (None, _) => {}
        }
    }

    fn park(&mut self, ex: Key<Exchange>, head: &Head, bytes: &[u8]) {
        let saved = self.heads.save(head, bytes);
        if let Some(x) = self.exchanges.get_mut(ex) {
            x.parked = Some(saved);
        }
        self.account_exchange(ex);
    }

    /// An endpoint is chosen: that decides what is spoken.
    fn bind(&mut self, ex: Key<Exchange>, endpoint: Key<Endpoint>, pick: Option<Pick>) {
        let prefers_http2 = self.endpoints.get(endpoint).is_some_and(Endpoint::prefers_http2);
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.endpoint = Some(endpoint);
        x.pick = pick;
        x.wire = match x.version {
            Version::Http2 => Wire::Http2,
            _ if prefers_http2 && !x.tunnel => Wire::Http2,
            _ => Wire::Http1,
        };
        if x.side == Side::Outbound {
            x.carried = x.version != Version::Http2 && x.wire == Wire::Http2;
        }
    }

    fn free_connection_for(&mut self, ex: Key<Exchange>) -> Option<Key<Conn>> {
        let x = self.exchanges.get(ex)?;
        self.free_connection(x.endpoint?, x.wire)
    }

    /// A balancer has chosen an endpoint for an exchange that waited.
    pub(crate) fn assign_exchange(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        endpoint: Key<Endpoint>,
        pick: Pick,
    ) {
        self.bind(ex, endpoint, Some(pick));
        self.place(io, ex, endpoint);
    }

    /// The endpoint is no more, or was of no use: the balancer chooses another.
    pub(crate) fn balance_again(&mut self, io: &mut impl Io, ex: Key<Exchange>, balancer: Key<Balancer>) {
        if let Some(x) = self.exchanges.get_mut(ex) {
            x.endpoint = None;
            x.wait = None;
            if let Some(pick) = x.pick.take() {
                self.pick_unused(pick);
            }
        }
        self.balance(io, Waiter::Exchange(ex), balancer);
    }

    /// It may wait for a connection until then.
    pub(crate) fn wait_until(&mut self, ex: Key<Exchange>, at: Instant) {
        if let Some(x) = self.exchanges.get_mut(ex) {
            x.wait = Some(x.wait.map_or(at, |w| w.min(at)));
            self.exchange_timers.arm(ex.index(), at);
        }
    }

    // --- send

    /// Sends a request that waited.
    pub(crate) fn send_parked(&mut self, io: &mut impl Io, ex: Key<Exchange>, conn: Key<Conn>) {
        let Some(saved) = self.exchanges.get_mut(ex).and_then(|x| x.parked.take()) else {
            return self.fail(io, ex, FailureKind::Unexpected, None);
        };
        self.send_request(io, ex, conn, &saved.head, &saved.bytes);
        self.heads.give(saved);
    }

    /// Writes the request's head on an upstream connection, and whatever of its content is there.
    fn send_request(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        conn: Key<Conn>,
        head: &Head,
        bytes: &[u8],
    ) {
        let now = self.now;
        let client_id = self.client_id_for(ex);
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let end = x.request.ended && x.request.buf.is_empty() && x.request.trailers.is_none();
        let mut extra = std::mem::take(&mut self.heads.extra);
        x.chosen.extra_fields(&mut extra);
        if let Some(client_id) = &client_id {
            extra.add(Kind::ClientId, client_id.as_str().as_bytes());
        }
        if x.side == Side::Outbound
            && x.carried
            && let Some(orig) = OrigProto::of(head)
        {
            extra.add(Kind::OrigProto, orig.value());
        }
        let endpoint = x.endpoint.and_then(|e| self.endpoints.get(e)).and_then(|e| e.policy.as_ref());
        let is_required = |required: &str| {
            endpoint.and_then(|e| e.tls.as_ref()).is_some_and(|tls| tls.server_id.as_str() == required)
        };
        if x.chosen.required.as_deref().is_some_and(|required| !is_required(required)) {
            self.heads.extra = extra;
            self.todo_release(conn);
            return self.fail(io, ex, FailureKind::IdentityRequired, None);
        }
        let authority = endpoint.and_then(|e| e.authority_override.clone());
        let message = Outgoing {
            authority: authority.as_deref().map(str::as_bytes),
            ..Outgoing::new(head, bytes, x.field_leg(Way::Request)).with(&extra)
        };
        let first_attempt = x.sent_at.is_none();
        let sent = self.write_request(ex, conn, &message, end);
        extra.clear();
        self.heads.extra = extra;
        let stream = match sent {
            Ok(stream) => stream,
            Err(kind) => {
                self.todo_release(conn);
                return self.fail(io, ex, kind, None);
            }
        };
        self.count_request(ex, first_attempt);
        // Until the server has said something, the request may have to be sent to another: if nothing but the head of a
        // request is lost, that is possible.
        let replayable =
            self.exchanges.get(ex).is_some_and(|x| x.parked.is_none() && (end || x.replay.is_some()));
        let small = bytes.len() <= self.config.limits.replay_head_bytes;
        if replayable && !small {
            self.met(io, Bound::ReplayHeadBytes);
        }
        let saved = (replayable && small).then(|| self.heads.save(head, bytes));
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.up = Some(Leg { conn, stream });
        x.wait = None;
        x.sent_at = Some(now);
        if saved.is_some() {
            x.parked = saved;
        }
        if end {
            x.request.sent = true;
            self.request_sent(ex);
        } else {
            self.pump(io, ex, Way::Request);
        }
        self.account_exchange(ex);
    }

    pub(crate) fn request_sent(&mut self, ex: Key<Exchange>) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.request_ended = Some(now);
        if let Some(at) = x.next_deadline() {
            self.exchange_timers.arm(ex.index(), at);
        }
    }

    // --- respond

    /// An interim response (1xx other than 101): for clients that know such a thing.
    pub(crate) fn interim(&mut self, ex: Key<Exchange>, head: &Head, bytes: &[u8]) {
        let Some(x) = self.exchanges.get(ex) else { return };
        if x.head_sent || x.version == Version::Http10 {
            return;
        }
        let (down, leg) = (x.down, x.field_leg(Way::Response));
        let _ = self.write_response(down, ex, &Outgoing::new(head, bytes, leg), false);
    }

    /// The response's head has come. `ended`: it was the whole response.
    pub(crate) fn respond(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        head: &mut Head,
        bytes: &[u8],
        ended: bool,
    ) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.moved = self.now;
        x.status = head.status;
        self.see_grpc_status(ex, head, bytes);
        if self.calls_for_retry(ex) && self.try_again(io, ex) {
            return;
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let saved = x.parked.take();
        let mut extra = std::mem::take(&mut self.heads.extra);
        extra.clear();
        if x.carried {
            match x.side {
                Side::Outbound => drop(OrigProto::restore(head)),
                Side::Inbound => {
                    if let Some(orig) = OrigProto::of(head) {
                        extra.add(Kind::OrigProto, orig.value());
                    }
                }
            }
        }
        if x.down.stream.is_some() && !head.facts.date {
            extra.add(Kind::Date, &self.date);
        }
        x.chosen.edit_response(head, bytes, &mut extra);
        let down = x.down.conn;
        if let Some(why) = head.value(bytes, Kind::ProxyError)
            && self.peer_is_proxy(ex)
            && self.may_tell(down)
        {
            extra.add(Kind::ProxyError, why);
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        if x.side == Side::Outbound && head.facts.l5d_close && !x.chosen.balanced {
            // The peer's application is gone, and only a new connection would find another.
            self.close_after_response(ex);
        }
        if let Some(saved) = saved {
            self.heads.give(saved);
            self.account_exchange(ex);
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.head_sent = true;
        x.response.ended = ended;
        let (down, leg) = (x.down, x.field_leg(Way::Response));
        let written = self.write_response(down, ex, &Outgoing::new(head, bytes, leg).with(&extra), ended);
        extra.clear();
        self.heads.extra = extra;
        if written.is_err() {
            // Nothing of it went out.
            if let Some(x) = self.exchanges.get_mut(ex) {
                x.head_sent = false;
            }
            return self.fail(io, ex, FailureKind::Io, Some("the response cannot be written"));
        }
        if ended {
            self.response_begins(ex);
            self.flow_sent(io, ex, Way::Response);
        }
    }

    /// Whether it went to a proxy that has proved who it is: what such a one says went wrong, the client may believe.
    /// What an application says under that name, its own proxy has dropped. (Linkerd's outbound proxy drops both, which
    /// leaves the client with a bare status.)
    fn peer_is_proxy(&self, ex: Key<Exchange>) -> bool {
        let Some(x) = self.exchanges.get(ex).filter(|x| x.side == Side::Outbound) else { return false };
        let endpoint = x.endpoint.and_then(|e| self.endpoints.get(e)).and_then(|e| e.policy.as_ref());
        endpoint.is_some_and(|e| e.tls.is_some())
    }

    /// The first byte after the head, or the end: what latency is measured to.
    pub(crate) fn response_begins(&mut self, ex: Key<Exchange>) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let took = now - x.sent_at.unwrap_or(x.started);
        let failed = x.status >= 500 || x.status == 429;
        if let Some(mut pick) = x.pick {
            self.pick_responded(&mut pick, failed);
            if let Some(x) = self.exchanges.get_mut(ex) {
                x.pick = Some(pick);
            }
        }
        self.count_latency(ex, took);
    }

    pub(crate) fn see_grpc_status(&mut self, ex: Key<Exchange>, head: &Head, bytes: &[u8]) {
        if let Some(value) = head.value(bytes, Kind::GrpcStatus)
            && let Some(x) = self.exchanges.get_mut(ex)
            && (x.grpc || x.version == Version::Http2)
        {
            x.grpc_status = std::str::from_utf8(value).ok().and_then(|s| s.parse().ok());
        }
    }

    // --- what ends it early

    /// The client is gone or has given up.
    pub(crate) fn cancelled(&mut self, io: &mut impl Io, ex: Key<Exchange>) {
        self.finish(io, ex, End::Cancelled);
    }

    /// One of its times is over.
    pub(crate) fn exchange_timed_out(&mut self, io: &mut impl Io, ex: Key<Exchange>) {
        let now = self.now;
        let Some(x) = self.exchanges.get(ex) else { return };
        if x.replay.as_ref().and_then(|r| r.at).is_some_and(|at| at <= now) {
            return self.next_attempt(io, ex);
        }
        let due = x.deadlines().into_iter().find(|(at, _)| at.is_some_and(|at| at <= now));
        let Some((_, kind)) = due else { return };
        if !(kind == FailureKind::ResponseHeadersTimeout && self.try_again(io, ex)) {
            self.fail(io, ex, kind, None);
        }
    }

    // --- end

    /// Counts an exchange and lets go of both legs: whole ones can be used again.
    pub(crate) fn finish(&mut self, io: &mut impl Io, ex: Key<Exchange>, end: End) {
        self.count_end(ex, end);
        let Some(mut x) = self.exchanges.remove(ex) else { return };
        match x.pick.take() {
            Some(pick) if x.sent_at.is_some() => {
                let class = balancer::class(end, Self::outcome(&x, end));
                self.pick_ended(io, pick, class);
            }
            Some(pick) => self.pick_unused(pick),
            None => {}
        }
        self.buffered -= x.accounted;
        x.request.clear(&mut self.spare, &mut self.heads);
        x.response.clear(&mut self.spare, &mut self.heads);
        if let Some(saved) = x.parked.take() {
            self.heads.give(saved);
        }
        if let Some(up) = x.up {
            let whole = end == End::Whole && x.request.sent && x.response.ended;
            self.let_go_of_server(io, up, whole);
        }
        self.let_go_of_client(io, x.down, x.request.ended, x.response.sent);
        if let Some(endpoint) = x.endpoint
            && self.endpoints.get(endpoint).is_some_and(|e| !e.waiting.is_empty())
        {
            self.todo.push_back(Todo::Serve(endpoint));
        }
    }

    /// Tells a leg's connection which exchange is on it.
    fn claim(&mut self, leg: Leg, ex: Key<Exchange>) {
        let Some(conn) = self.conns.get_mut(leg.conn) else { return };
        match (&mut conn.stage, leg.stream) {
            (Stage::Http1Server(server), _) => server.exchange = Some(ex),
            (Stage::Http2(http2), Some(stream)) => http2.connection.set_owner(stream, ex.owner()),
            _ => {}
        }
    }
}

impl Key<Exchange> {
    /// What an HTTP/2 stream calls its exchange.
    pub(crate) fn owner(self) -> u32 {
        u32::try_from(self.index()).unwrap_or(weft_http::h2::NO_OWNER)
    }
}

/// How long until a moment, for codecs that count time as a duration.
pub(crate) fn since_start(now: Instant) -> Duration {
    now.since(Instant::START)
}
