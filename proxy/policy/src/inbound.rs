//! What to do with connections to an application.

mod authorize;
mod default;

pub use self::{
    authorize::{Client, ClientTls, Layer, Permit, Refusal, RefusalReason, WrongProtocol},
    default::{DefaultPolicy, InvalidDefaultPolicy},
};

use crate::{
    Filter, Meta,
    matching::{GrpcMatch, HostMatch, HttpMatch, Matches, RouteLike},
};
use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};
use weft_names::{Cidr, IdentityName, IdentitySuffix};

/// How to treat connections to one port: an immutable snapshot, replaced as a whole on each change. Source:
/// `inbound.Server`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPolicy {
    /// The server, or the default that stands for one (`srv_*` labels).
    pub meta: Arc<Meta>,
    /// The protocol and its routes.
    pub protocol: Protocol,
    /// Who may connect. Clients on loopback always may, without being listed.
    pub authorizations: Arc<[Authorization]>,
    /// Why the policy fails everything, if it stands for one that could not be understood.
    pub problem: Option<Arc<str>>,
}

/// Which protocol connections speak, and the routes of each.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// To be found out from the first bytes.
    Detect {
        /// How long to wait for them.
        timeout: Duration,
        /// Routes if it is HTTP.
        routes: HttpRoutes,
        /// How many requests there may be.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/1; HTTP/2 from other proxies.
    Http1 {
        /// Routes.
        routes: HttpRoutes,
        /// How many requests there may be.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// HTTP/2 with prior knowledge.
    Http2 {
        /// Routes.
        routes: HttpRoutes,
        /// How many requests there may be.
        rate_limit: Option<Arc<RateLimit>>,
    },
    /// gRPC, which is HTTP/2 with prior knowledge.
    Grpc {
        /// Routes.
        routes: GrpcRoutes,
    },
    /// Bytes; TLS is not looked for.
    Opaque,
    /// TLS of the application's own, passed through.
    Tls,
}

/// Routes of one protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes<M> {
    /// The routes.
    pub routes: Vec<Route<M>>,
}

/// A route: rules for some hosts, and who may use them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<M> {
    /// What it comes from.
    pub meta: Arc<Meta>,
    /// Hosts it is for; none is any.
    pub hosts: Vec<HostMatch>,
    /// Who may use it, beside those who may use the server.
    pub authorizations: Vec<Authorization>,
    /// Its rules.
    pub rules: Vec<Rule<M>>,
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M> {
    /// What it asks; one of them has to hold, none is anything.
    pub matches: Vec<M>,
    /// What is done with an authorized request.
    pub filters: Vec<Filter>,
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

/// Clients that may do something: from one of the networks, and authenticated so. Source: `inbound.Authz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Where they come from; never empty.
    pub networks: Vec<Network>,
    /// How they prove who they are.
    pub authentication: Authentication,
    /// What it comes from.
    pub meta: Arc<Meta>,
}

/// A network but for some parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub net: Cidr,
    /// Its parts that do not count.
    pub except: Vec<Cidr>,
}

/// How clients prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    Unauthenticated,
    /// By TLS that this proxy terminates, with or without an identity.
    TlsUnauthenticated,
    /// By an identity that is listed, or below a suffix that is.
    TlsAuthenticated {
        /// Identities.
        identities: Vec<IdentityName>,
        /// Suffixes.
        suffixes: Vec<IdentitySuffix>,
    },
}

/// How many requests there may be. Source: `inbound.HttpLocalRateLimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What it comes from (`ratelimit_*` labels).
    pub meta: Arc<Meta>,
    /// Requests per second of all clients together.
    pub total: Option<NonZeroU32>,
    /// Requests per second of each client that no override is for; clients without identity count as one.
    pub identity: Option<NonZeroU32>,
    /// Other limits for some clients; those one override names share it.
    pub overrides: Vec<RateLimitOverride>,
}

/// Another limit for some clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitOverride {
    /// Requests per second; none is no limit.
    pub limit: Option<NonZeroU32>,
    /// Which clients.
    pub clients: Vec<IdentityName>,
}

/// Which limit of a [`RateLimit`] is for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitFor {
    /// The override at this index.
    Override(usize),
    /// Its own share of [`RateLimit::identity`].
    Identity,
    /// None but the total.
    None,
}

/// The control plane's detection timeout, where it names none.
pub const DEFAULT_DETECT_TIMEOUT: Duration = Duration::from_secs(10);

impl ServerPolicy {
    /// A policy that can be understood.
    pub fn new(meta: Arc<Meta>, protocol: Protocol, authorizations: impl Into<Arc<[Authorization]>>) -> Self {
        Self { meta, protocol, authorizations: authorizations.into(), problem: None }
    }

    /// The policy that stands for one that could not be understood: nobody is authorized but clients on loopback, and
    /// their requests are answered with an internal error.
    pub fn invalid(reason: impl Into<Arc<str>>) -> Self {
        let meta = Arc::new(Meta::default_named("invalid"));
        let filter = Filter::InternalError { message: "invalid server policy configuration".into() };
        let rule = Rule { matches: Vec::new(), filters: vec![filter] };
        let route = Route {
            meta: Arc::clone(&meta),
            hosts: Vec::new(),
            authorizations: Vec::new(),
            rules: vec![rule],
        };
        let routes = Routes { routes: vec![route] };
        let protocol = Protocol::Detect { timeout: DEFAULT_DETECT_TIMEOUT, routes, rate_limit: None };
        Self { meta, protocol, authorizations: Arc::from([]), problem: Some(reason.into()) }
    }

    /// The limits on requests, if there are any.
    pub fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        match &self.protocol {
            Protocol::Detect { rate_limit, .. }
            | Protocol::Http1 { rate_limit, .. }
            | Protocol::Http2 { rate_limit, .. } => rate_limit.as_ref(),
            Protocol::Grpc { .. } | Protocol::Opaque | Protocol::Tls => None,
        }
    }
}

impl<M> Routes<M> {
    /// One route for every host and request, without filters and authorizations of its own.
    pub fn anything(meta: Arc<Meta>) -> Self {
        let rules = vec![Rule { matches: Vec::new(), filters: Vec::new() }];
        Self { routes: vec![Route { meta, hosts: Vec::new(), authorizations: Vec::new(), rules }] }
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

impl Network {
    /// All of a network.
    pub fn all_of(net: Cidr) -> Self {
        Self { net, except: Vec::new() }
    }

    /// Every address.
    pub fn anywhere() -> Vec<Self> {
        vec![Self::all_of(Cidr::ANY_V4), Self::all_of(Cidr::ANY_V6)]
    }

    /// Whether `addr` is in the network and in none of the excepted parts.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.net.contains(addr) && !self.except.iter().any(|e| e.contains(addr))
    }
}

impl Authentication {
    /// Any identity.
    pub fn any_identity() -> Self {
        Self::TlsAuthenticated { identities: Vec::new(), suffixes: vec![IdentitySuffix::any()] }
    }
}

impl RateLimit {
    /// Which limit, beside the total, is for a client.
    pub fn for_client(&self, identity: Option<&IdentityName>) -> RateLimitFor {
        let named = identity.and_then(|id| self.overrides.iter().position(|o| o.clients.contains(id)));
        match named {
            Some(index) => RateLimitFor::Override(index),
            None if self.identity.is_some() => RateLimitFor::Identity,
            None => RateLimitFor::None,
        }
    }
}
