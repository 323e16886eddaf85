//! The way there: a request from its head to what is sent to a server.
//!
//! In the order in which it happens: [`Worker::request`] (somebody asks), a route and an endpoint for it, a wait for
//! either if that must be, `send_request` (the head on an upstream connection, then the content that is there). The
//! rest of the content follows by [`crate::content`]; what comes back is [`crate::response`]'s.

use weft_http::fields::Kind;
use weft_http::head::{Head, Outgoing, Version};
use weft_http::orig_proto::OrigProto;
use weft_policy::FailureKind;

use crate::balancer::{Balancer, Pick, Waiter};
use crate::conn::Conn;
use crate::content::Way;
use crate::exchange::{Exchange, Leg};
use crate::io::{Io, Side};
use crate::limits::Bound;
use crate::plan::Dispatch;
use crate::pool::{Endpoint, Wire};
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::Worker;

impl Worker {
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

    /// Keeps the head of a request that must wait.
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

    /// The server has been sent all of it: from now on the time for its response runs.
    pub(crate) fn request_sent(&mut self, ex: Key<Exchange>) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.request_ended = Some(now);
        if let Some(at) = x.next_deadline() {
            self.exchange_timers.arm(ex.index(), at);
        }
    }
}
