//! Trying again: elsewhere, when no server has seen a request or an unanswered one is safe to repeat; and once more, when a
//! route asks for that.
//!
//! For the latter a copy of the request is kept until a response comes that stands.
//! A request can be sent again once all of it has come and its content fits the bounds of route and worker
//! ([`crate::Limits::replay_bytes`]). A response that calls for another attempt is dropped with its connection's stream, unless
//! no endpoint is ready for another: then it is passed on.

use std::time::Duration;

use weft_balance::Class;
use weft_http::h2::Code;
use weft_http::head::Method;
use weft_policy::FailureKind;
use weft_policy::outbound::{Retry, RetryConditions};

use crate::balancer::Balancer;
use crate::config::Backoff;
use crate::counts::Counts;
use crate::exchange::{End, Exchange};
use crate::io::Io;
use crate::limits::Bound;
use crate::pool::Endpoint;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::Worker;

/// What an exchange keeps for another attempt.
pub(crate) struct Replay {
    /// The request's content so far.
    content: Vec<u8>,
    /// More than this is not kept.
    limit: usize,
    /// There was more.
    over: bool,
    /// Attempts after the first.
    retries: u16,
    most: u16,
    /// How long an attempt may take to be answered; not the last one.
    timeout: Option<Duration>,
    backoff: Option<Backoff>,
    /// Which responses call for another attempt, if the client said so and not the route.
    conditions: Option<RetryConditions>,
    /// When the next attempt begins. Until then where it goes is kept.
    pub(crate) at: Option<Instant>,
}

impl Replay {
    pub(crate) fn new(retry: &Retry, most_bytes: usize) -> Self {
        Self {
            content: Vec::new(),
            limit: most_bytes.min(usize::try_from(retry.max_request_bytes).unwrap_or(usize::MAX)),
            over: false,
            retries: 0,
            most: retry.max_retries,
            timeout: retry.timeout,
            backoff: retry.backoff.map(|b| Backoff {
                min: b.min(),
                max: b.max(),
                jitter: f64::from(b.jitter()),
            }),
            conditions: None,
            at: None,
        }
    }

    /// Under these conditions instead of the route's.
    pub(crate) fn under(self, conditions: RetryConditions) -> Self {
        Self { conditions: Some(conditions), ..self }
    }

    /// Keeps a copy of content on its way to the server.
    pub(crate) fn keep(&mut self, data: &[u8]) {
        if self.over || self.content.len() + data.len() > self.limit {
            self.give_up();
        } else {
            self.content.extend_from_slice(data);
        }
    }

    /// Bytes of the copy.
    pub(crate) fn kept(&self) -> usize {
        self.content.len()
    }

    /// Something came that is not kept.
    pub(crate) fn give_up(&mut self) {
        self.over = true;
        self.content = Vec::new();
    }

    /// How long this attempt may take to be answered.
    pub(crate) fn attempt_timeout(&self) -> Option<Duration> {
        self.timeout.filter(|_| self.retries < self.most)
    }

    pub(crate) fn has_retried(&self) -> bool {
        self.retries > 0
    }
}

/// Why there will be no (more) response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lost {
    /// The connection broke.
    Broken,
    /// What came was no response.
    Malformed,
    /// The server reset the stream.
    Reset(Code),
    /// The server says that it has not seen the request.
    NotProcessed,
}

impl Worker {
    // --- elsewhere

    /// Nobody could be connected to for an exchange that waited.
    pub(crate) fn not_connected(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        kind: FailureKind,
        error: &std::io::Error,
    ) {
        let most = self.config.limits.connect_attempts;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.attempts += 1;
        match x.chosen.balancer {
            Some(balancer) if x.attempts < most => self.balance_again(io, ex, balancer),
            _ => self.fail(io, ex, kind, Some(&error.to_string())),
        }
    }

    /// The server's leg is gone before the response was complete.
    pub(crate) fn upstream_lost(&mut self, io: &mut impl Io, ex: Key<Exchange>, lost: Lost) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.up = None;
        if !x.head_sent && self.try_elsewhere(io, ex, lost) {
            return;
        }
        let Some(x) = self.exchanges.get(ex) else { return };
        match lost {
            // Between HTTP/2 and HTTP/2 a reset is passed on as it is.
            Lost::Reset(code) if !x.carried && x.down.stream.is_some() => {
                self.reset_leg(x.down, code);
                self.finish(io, ex, End::Reset(code));
            }
            Lost::Reset(_) => self.fail(io, ex, FailureKind::UpgradedReset, None),
            Lost::Broken | Lost::Malformed | Lost::NotProcessed => self.fail(io, ex, FailureKind::Io, None),
        }
    }

    /// Sends a request again that the server has not seen, or that a connection took down with it unanswered and that is
    /// safe to repeat (RFC 9110 9.2.2). False if that cannot be.
    fn try_elsewhere(&mut self, io: &mut impl Io, ex: Key<Exchange>, lost: Lost) -> bool {
        let most = self.config.limits.connect_attempts;
        let unseen = matches!(lost, Lost::NotProcessed | Lost::Reset(Code::REFUSED_STREAM));
        let Some(x) = self.exchanges.get_mut(ex) else { return false };
        if x.request.begun {
            // Content has gone with it, of which there may be a copy.
            return unseen && self.try_again(io, ex);
        }
        let idempotent =
            matches!(x.method, Method::Get | Method::Head | Method::Options | Method::Put | Method::Delete);
        let again = unseen || lost == Lost::Broken && idempotent;
        x.attempts += 1;
        if !again || x.parked.is_none() || x.attempts >= most {
            return false;
        }
        x.request.sent = false;
        if let Some(pick) = x.pick.take() {
            self.pick_ended(io, pick, Some(Class::Failure));
        }
        let Some(x) = self.exchanges.get(ex) else { return false };
        match (x.chosen.balancer, x.endpoint) {
            (Some(balancer), _) => self.balance_again(io, ex, balancer),
            (None, Some(endpoint)) if self.endpoints.get(endpoint).is_some() => self.place(io, ex, endpoint),
            _ => return false,
        }
        true
    }

    // --- once more

    /// Whether a response calls for another attempt, by the conditions of its route.
    pub(crate) fn calls_for_retry(&self, ex: Key<Exchange>) -> bool {
        let Some(x) = self.exchanges.get(ex) else { return false };
        let Some(replay) = &x.replay else { return false };
        let Counts::Outbound { plan, table, route, rule, .. } = &x.counts else { return false };
        let by_route = || plan.retry(*table, *route, *rule).map(|r| &r.conditions);
        let Some(conditions) = replay.conditions.as_ref().or_else(by_route) else { return false };
        let grpc = x.grpc_status.filter(|_| x.grpc).is_some_and(|s| conditions.grpc.contains(u32::from(s)));
        grpc || conditions.status(x.status)
    }

    /// Begins another attempt. False if there cannot be one: what there is of a response stands.
    pub(crate) fn try_again(&mut self, io: &mut impl Io, ex: Key<Exchange>) -> bool {
        let random = io.random();
        let Some(x) = self.exchanges.get(ex) else { return false };
        let ready = x.chosen.balancer.is_none_or(|b| self.balancer_is_ready(b));
        let Some(x) = self.exchanges.get_mut(ex) else { return false };
        let block = x.counts.route_block();
        let whole = x.request.ended;
        let Some(replay) = &mut x.replay else { return false };
        if replay.retries >= replay.most {
            if let Some(block) = block {
                block.retry_limit_exceeded.count();
            }
            return false;
        }
        if !whole || replay.over || !ready {
            if let Some(block) = &block {
                block.retry_overflow.count();
            }
            if replay.over {
                self.met(io, Bound::ReplayBytes);
            }
            return false;
        }
        replay.retries += 1;
        let wait = replay
            .backoff
            .map_or(Duration::ZERO, |b| b.checked().delay(u32::from(replay.retries) - 1, random));
        let at = self.now + wait;
        replay.at = Some(at);
        if let Some(block) = &block {
            block.retry_requests.count();
        }
        self.hold_destination(ex);
        self.abandon_attempt(io, ex);
        self.exchange_timers.arm(ex.index(), at);
        true
    }

    /// Keeps where an exchange goes until its next attempt, whatever becomes of the policy meanwhile.
    fn hold_destination(&mut self, ex: Key<Exchange>) {
        let Some(x) = self.exchanges.get(ex) else { return };
        if let Some(balancer) = x.chosen.balancer {
            self.hold_balancer(balancer);
        } else if let Some(e) = x.endpoint.and_then(|e| self.endpoints.get_mut(e)) {
            e.users += 1;
        }
    }

    /// What [`Self::try_again`] kept for an exchange is not needed any more.
    pub(crate) fn release_destination(
        &mut self,
        io: &mut impl Io,
        balancer: Option<Key<Balancer>>,
        endpoint: Option<Key<Endpoint>>,
    ) {
        if let Some(balancer) = balancer {
            self.release_balancer(io, balancer);
        } else if let Some(endpoint) = endpoint {
            self.release_endpoint(endpoint);
        }
    }

    /// The wait before another attempt is over.
    pub(crate) fn next_attempt(&mut self, io: &mut impl Io, ex: Key<Exchange>) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let Some(replay) = &mut x.replay else { return };
        replay.at = None;
        let content = replay.content.clone();
        x.request.restart(&content, &mut self.spare);
        self.account_exchange(ex);
        let Some(x) = self.exchanges.get(ex) else { return };
        let (balancer, endpoint) = (x.chosen.balancer, x.endpoint);
        match (balancer, endpoint) {
            (Some(balancer), _) => self.balance_again(io, ex, balancer),
            (None, Some(endpoint)) if self.endpoints.get(endpoint).is_some() => self.place(io, ex, endpoint),
            _ => self.fail(io, ex, FailureKind::Io, None),
        }
        self.release_destination(io, balancer, endpoint);
    }

    /// Lets go of the server's leg of an attempt whose response does not count.
    pub(crate) fn abandon_attempt(&mut self, io: &mut impl Io, ex: Key<Exchange>) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let (up, pick) = (x.up.take(), x.pick.take());
        x.wait = None;
        if let Some(up) = up {
            self.let_go_of_server(io, up, false);
        }
        if let Some(pick) = pick {
            self.pick_ended(io, pick, Some(Class::Failure));
        }
    }
}
