//! Routes and their rules: what a request, a call or a connection has to be like, and what is then done with it.

use super::{Backend, Distribution, ProfileRule, RouteBackend};
use crate::{
    FailureKind, Filter, Meta, RequestView,
    matching::{self, GrpcMatch, HostMatch, HttpMatch, Matches, PathRank, RouteLike},
};
use std::{sync::Arc, time::Duration};
use thiserror::Error;

/// Routes of one protocol, and when endpoints behind them are taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes<M> {
    /// The routes.
    pub routes: Vec<Route<M>>,
    /// When to take an endpoint out that fails; none is never.
    pub accrual: Option<Accrual>,
    /// Which of several matching rules is taken.
    pub order: Order,
}

/// Which of several matching rules is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The most specific one, as [`matching`] ranks them.
    #[default]
    Ranked,
    /// The first one: routes of a service profile.
    First,
}

/// A route: rules for some hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<M> {
    /// What it comes from.
    pub meta: Arc<Meta>,
    /// Hosts it is for; none is any.
    pub hosts: Vec<HostMatch>,
    /// Its rules.
    pub rules: Vec<Rule<M>>,
}

/// A rule: requests that answer any of its matches are treated in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M> {
    /// What it asks; one of them has to hold, none is anything.
    pub matches: Vec<M>,
    /// What is done first.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backends: Distribution,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// Whether they are tried again.
    pub retry: Option<Retry>,
    /// Whether clients may override timeouts and retries with `l5d-*` headers.
    pub allow_l5d_request_headers: bool,
    /// What a service profile asks for, if the rule is made of one of its routes. Has no place in policy messages.
    pub profile: Option<Arc<ProfileRule>>,
}

/// Routes of HTTP requests.
pub type HttpRoutes = Routes<HttpMatch>;
/// A route of HTTP requests.
pub type HttpRoute = Route<HttpMatch>;
/// A rule for HTTP requests.
pub type HttpRule = Rule<HttpMatch>;
/// Routes of gRPC calls.
pub type GrpcRoutes = Routes<GrpcMatch>;
/// A route of gRPC calls.
pub type GrpcRoute = Route<GrpcMatch>;
/// A rule for gRPC calls.
pub type GrpcRule = Rule<GrpcMatch>;

/// How long a request may take; none is as long as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the end of the response, all attempts together.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// Between bytes of either direction.
    pub idle: Option<Duration>,
}

/// Whether and when a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often at most, after the first attempt.
    pub max_retries: u16,
    /// Bytes of a request's body that are kept to be sent again; with a longer body there is no retry.
    pub max_request_bytes: u32,
    /// Which responses call for it.
    pub conditions: RetryConditions,
    /// How long an attempt may take until its response's head; not applied to the last one.
    pub timeout: Option<Duration>,
    /// How long to wait before trying again; none is not at all.
    pub backoff: Option<Backoff>,
}

/// Which responses are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryConditions {
    /// HTTP statuses, as ranges from first to last.
    pub statuses: Vec<(u16, u16)>,
    /// gRPC statuses.
    pub grpc: GrpcCodes,
}

/// gRPC statuses that can be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcCodes {
    /// 1
    pub cancelled: bool,
    /// 4
    pub deadline_exceeded: bool,
    /// 8
    pub resource_exhausted: bool,
    /// 13
    pub internal: bool,
    /// 14
    pub unavailable: bool,
}

/// An exponential backoff: `min`, doubled each time up to `max`, plus a random part of up to `jitter` times that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f32,
}

/// Why a backoff makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidBackoff {
    /// The shortest is longer than the longest.
    #[error("the minimum of a backoff must not exceed its maximum")]
    Order,
    /// No wait at all.
    #[error("the maximum of a backoff must not be zero")]
    Zero,
    /// Not a number from 0 to 100.
    #[error("the jitter of a backoff must be from 0 to 100")]
    Jitter,
}

/// When an endpoint that fails is taken out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Accrual {
    /// After this many failures in a row.
    Consecutive {
        /// How many.
        max_failures: u32,
        /// For how long.
        backoff: Backoff,
    },
    /// After failures in a row, or when too few requests of a window succeed.
    Unified {
        /// The least share that has to succeed, 0 to 1.
        success_rate_threshold: f64,
        /// The window. Default 10 s, at least 10 ms.
        window: Duration,
        /// Requests a window needs to be judged. Default 5, at most 1,000,000.
        min_requests: u32,
        /// Failures in a row; 0 is never.
        max_consecutive_failures: u32,
        /// For how long.
        backoff: Backoff,
    },
}

/// Routes of opaque connections. At most the first is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpaqueRoutes {
    /// The routes.
    pub routes: Vec<OpaqueRoute>,
}

/// A route of opaque connections.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute {
    /// What it comes from.
    pub meta: Arc<Meta>,
    /// Its rules; the first is used.
    pub rules: Vec<TcpRule>,
}

/// Routes of TLS connections that are passed through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsRoutes {
    /// The routes.
    pub routes: Vec<TlsRoute>,
}

/// A route of TLS connections.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsRoute {
    /// What it comes from.
    pub meta: Arc<Meta>,
    /// Names asked for (SNI); none is any.
    pub snis: Vec<HostMatch>,
    /// Its rules; the first is used.
    pub rules: Vec<TcpRule>,
}

/// What is done with a connection whose bytes are not looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpRule {
    /// [`Filter::Forbidden`] or [`Filter::Invalid`], or nothing.
    pub filters: Vec<Filter>,
    /// Where it goes.
    pub backends: Distribution,
}

/// The rule that was found for a request, and where: both indices count in the snapshot, so that what a worker keeps
/// per rule can be looked up without hashing.
#[derive(Debug)]
pub struct Matched<'a, M: Matches> {
    /// Index of the route.
    pub route_index: usize,
    /// The route.
    pub route: &'a Route<M>,
    /// Index of the rule in the route.
    pub rule_index: usize,
    /// The rule.
    pub rule: &'a Rule<M>,
    /// How well it matched.
    pub rank: M::Rank,
}

/// The rule found for an HTTP request.
pub type HttpMatched<'a> = Matched<'a, HttpMatch>;
/// The rule found for a gRPC call.
pub type GrpcMatched<'a> = Matched<'a, GrpcMatch>;

/// The rule found for a connection.
#[derive(Clone, Copy, Debug)]
pub struct TcpMatched<'a> {
    /// Index of the route.
    pub route_index: usize,
    /// What the route comes from.
    pub meta: &'a Arc<Meta>,
    /// The rule, the first of the route.
    pub rule: &'a TcpRule,
}

/// No rule of a policy's routes matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no route found for request")]
pub struct NoRoute;

// === impl Routes ===

impl<M> Routes<M> {
    /// These routes, ranked, without failure accrual.
    pub fn new(routes: Vec<Route<M>>) -> Self {
        Self { routes, accrual: None, order: Order::Ranked }
    }

    /// One route for every host, with one rule.
    pub fn from_rule(meta: Arc<Meta>, rule: Rule<M>) -> Self {
        Self::new(vec![Route { meta, hosts: Vec::new(), rules: vec![rule] }])
    }

    /// One route for everything, to one backend.
    pub fn to_backend(meta: Arc<Meta>, backend: Arc<Backend>) -> Self {
        Self::from_rule(meta, Rule::new(Distribution::only(RouteBackend::new(backend))))
    }
}

impl<M: Matches> Routes<M> {
    /// The rule for `request`. Allocates nothing.
    pub fn find<'a>(&'a self, request: &RequestView<'_>) -> Result<Matched<'a, M>, NoRoute> {
        match self.order {
            Order::Ranked => matching::find(&self.routes, request).map(Matched::from).ok_or(NoRoute),
            Order::First => self.first(request).ok_or(NoRoute),
        }
    }

    fn first<'a>(&'a self, request: &RequestView<'_>) -> Option<Matched<'a, M>> {
        self.routes.iter().enumerate().find_map(|(route_index, route)| {
            route.rules.iter().enumerate().find_map(|(rule_index, rule)| {
                let rank = if rule.matches.is_empty() {
                    M::anything(request)
                } else {
                    rule.matches.iter().find_map(|m| m.rank(request))
                };
                rank.map(|rank| Matched { route_index, route, rule_index, rule, rank })
            })
        })
    }
}

impl<M> Rule<M> {
    /// A rule for everything that only chooses a backend.
    pub fn new(backends: Distribution) -> Self {
        Self {
            matches: Vec::new(),
            filters: Vec::new(),
            backends,
            timeouts: Timeouts::default(),
            retry: None,
            allow_l5d_request_headers: false,
            profile: None,
        }
    }
}

impl<M: Matches> RouteLike for Route<M> {
    type Match = M;
    type Rule = Rule<M>;

    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }

    fn rules(&self) -> &[Rule<M>] {
        &self.rules
    }

    fn matches(rule: &Rule<M>) -> &[M] {
        &rule.matches
    }
}

impl<'a, M: Matches> From<matching::Found<'a, Route<M>>> for Matched<'a, M> {
    fn from(found: matching::Found<'a, Route<M>>) -> Self {
        let matching::Found { route_index, route, rule_index, rule, rank } = found;
        Self { route_index, route, rule_index, rule, rank }
    }
}

impl Matched<'_, HttpMatch> {
    /// What matched the path, for [`crate::filter::decide`].
    pub fn path(&self) -> PathRank {
        self.rank.path
    }
}

impl NoRoute {
    /// Which answer of the table it is.
    pub fn failure(self) -> FailureKind {
        FailureKind::RouteNotFound
    }
}

// === impl Retry ===

impl RetryConditions {
    /// Whether a response with this HTTP status is tried again.
    pub fn status(&self, status: u16) -> bool {
        self.statuses.iter().any(|&(first, last)| (first..=last).contains(&status))
    }
}

impl GrpcCodes {
    /// Whether a response with this gRPC status is tried again.
    pub fn contains(self, code: u32) -> bool {
        match code {
            1 => self.cancelled,
            4 => self.deadline_exceeded,
            8 => self.resource_exhausted,
            13 => self.internal,
            14 => self.unavailable,
            _ => false,
        }
    }
}

// === impl Backoff ===

impl Backoff {
    /// A backoff from `min` to `max`; `jitter` is relative, 0 to 100.
    pub fn new(min: Duration, max: Duration, jitter: f32) -> Result<Self, InvalidBackoff> {
        if max.is_zero() {
            return Err(InvalidBackoff::Zero);
        }
        if min > max {
            return Err(InvalidBackoff::Order);
        }
        if !(0.0..=100.0).contains(&jitter) {
            return Err(InvalidBackoff::Jitter);
        }
        Ok(Self { min, max, jitter })
    }

    /// The first wait.
    pub fn min(&self) -> Duration {
        self.min
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The random part, relative to a wait.
    pub fn jitter(&self) -> f32 {
        self.jitter
    }
}

impl Accrual {
    /// The window of [`Accrual::Unified`], where none is named.
    pub const DEFAULT_WINDOW: Duration = Duration::from_secs(10);
    /// The shortest window.
    pub const MIN_WINDOW: Duration = Duration::from_millis(10);
    /// Requests a window needs, where no number is named.
    pub const DEFAULT_MIN_REQUESTS: u32 = 5;
    /// The most requests a window may need.
    pub const MAX_MIN_REQUESTS: u32 = 1_000_000;
}

// === impl OpaqueRoutes, TlsRoutes ===

impl OpaqueRoutes {
    /// One route with one rule.
    pub fn from_rule(meta: Arc<Meta>, rule: TcpRule) -> Self {
        Self { routes: vec![OpaqueRoute { meta, rules: vec![rule] }] }
    }

    /// One route to one backend.
    pub fn to_backend(meta: Arc<Meta>, backend: Arc<Backend>) -> Self {
        Self::from_rule(meta, TcpRule::new(Distribution::only(RouteBackend::new(backend))))
    }

    /// The rule for a connection.
    pub fn find(&self) -> Result<TcpMatched<'_>, NoRoute> {
        let route = self.routes.first().ok_or(NoRoute)?;
        let rule = route.rules.first().ok_or(NoRoute)?;
        Ok(TcpMatched { route_index: 0, meta: &route.meta, rule })
    }
}

impl TlsRoutes {
    /// The rule for a connection that asks for `sni`: an exact name beats a suffix, a longer suffix a shorter one, and
    /// of equals the first wins.
    pub fn find(&self, sni: &[u8]) -> Result<TcpMatched<'_>, NoRoute> {
        let mut best = None;
        for (route_index, route) in self.routes.iter().enumerate() {
            let Some(rank) = matching::best_host(&route.snis, sni) else { continue };
            let Some(rule) = route.rules.first() else { continue };
            if best.as_ref().is_none_or(|(b, _)| rank > *b) {
                best = Some((rank, TcpMatched { route_index, meta: &route.meta, rule }));
            }
        }
        best.map(|(_, matched)| matched).ok_or(NoRoute)
    }
}

impl TcpRule {
    /// A rule without filters.
    pub fn new(backends: Distribution) -> Self {
        Self { filters: Vec::new(), backends }
    }

    /// Why the rule refuses every connection, and in which words, if it does.
    pub fn refusal(&self) -> Option<(FailureKind, &str)> {
        self.filters.iter().find_map(|f| match f {
            Filter::Forbidden => Some((FailureKind::Forbidden, "forbidden by policy")),
            Filter::Invalid { message } | Filter::InternalError { message } => {
                Some((FailureKind::InvalidPolicy, &**message))
            }
            _ => None,
        })
    }
}
