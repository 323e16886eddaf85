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
//!
//! Here: what an exchange is, its times, its end. [`crate::request`] is the way there, [`crate::response`] the way back.

use std::time::Duration;

use weft_http::fields::Leg as FieldLeg;
use weft_http::h2::{Code, StreamKey};
use weft_http::head::{Extra, Head, Method, Version};
use weft_policy::FailureKind;

use crate::balancer::{self, Pick};
use crate::conn::{Conn, Stage};
use crate::content::{Flow, Way};
use crate::counts::Counts;
use crate::io::{Io, Side};
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
    pub(crate) request_ended: Option<Instant>,
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
    pub(crate) fn new(side: Side, down: Leg, head: &Head, now: Instant) -> Self {
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
        if x.replay.as_ref().is_some_and(|r| r.at.is_some()) {
            self.release_destination(io, x.chosen.balancer, x.endpoint);
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
    pub(crate) fn claim(&mut self, leg: Leg, ex: Key<Exchange>) {
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
