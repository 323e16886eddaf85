//! What to do with connections an application makes.

mod distribution;
mod endpoint;
mod overrides;
mod profile;
mod resolve;
mod route;

pub use self::{
    distribution::{Backend, Dispatcher, Distribution, Load, Penalty, RouteBackend},
    endpoint::{
        Change, Endpoint, EndpointSet, EndpointTls, Hint, Http2FlowControl, Http2Internals, Http2KeepAlive,
        Http2Params, Labels,
    },
    overrides::{OVERRIDE_HEADERS, Overrides, parse_duration, parse_grpc_codes, parse_statuses},
    profile::{Profile, ProfileRoute, ProfileRule, ProfileTarget, ResponseClass, RetryBudget},
    resolve::PolicyLookup,
    route::{
        Accrual, Backoff, GrpcCodes, GrpcMatched, GrpcRoute, GrpcRoutes, GrpcRule, HttpMatched, HttpRoute,
        HttpRoutes, HttpRule, InvalidBackoff, Matched, NoRoute, OpaqueRoute, OpaqueRoutes, Order, Retry,
        RetryConditions, Route, Routes, Rule, TcpMatched, TcpRule, Timeouts, TlsRoute, TlsRoutes,
    },
};

use crate::Meta;
use std::{sync::Arc, time::Duration};

/// How to treat connections to one target: an immutable snapshot, replaced as a whole on each change.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What the policy belongs to: a service, an egress network, or a default.
    pub parent: Arc<Meta>,
    /// The protocol and its routes.
    pub protocol: Protocol,
    /// Why the policy fails everything, if it stands for one that could not be understood.
    pub problem: Option<Arc<str>>,
}

/// Which protocol connections speak, and the routes of each.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// To be found out from the first bytes.
    Detect {
        /// How long to wait for them, as the control plane says; proxies use their own setting.
        timeout: Duration,
        /// Routes if it is HTTP/1.
        http1: HttpRoutes,
        /// Routes if it is HTTP/2.
        http2: HttpRoutes,
        /// Routes if it is neither.
        opaque: OpaqueRoutes,
    },
    /// HTTP/1.
    Http1(HttpRoutes),
    /// HTTP/2 with prior knowledge.
    Http2(HttpRoutes),
    /// gRPC, which is HTTP/2 with prior knowledge.
    Grpc(GrpcRoutes),
    /// Bytes.
    Opaque(OpaqueRoutes),
    /// TLS of the application's own, routed by SNI and passed through.
    Tls(TlsRoutes),
}

/// The control plane's detection timeout, where it names none.
pub const DEFAULT_DETECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Policy {
    /// A policy that can be understood.
    pub fn new(parent: Arc<Meta>, protocol: Protocol) -> Self {
        Self { parent, protocol, problem: None }
    }

    /// The policy that stands for one that could not be understood: the protocol is detected, every HTTP request is
    /// answered with an internal error, every other connection is closed.
    pub fn invalid(reason: impl Into<Arc<str>>) -> Self {
        const MESSAGE: &str = "invalid client policy configuration";
        let meta = Arc::new(Meta::default_named("invalid"));
        let internal = crate::Filter::InternalError { message: MESSAGE.into() };
        let http = HttpRoutes::from_rule(
            Arc::clone(&meta),
            HttpRule { filters: vec![internal], ..HttpRule::new(Distribution::Empty) },
        );
        let opaque = OpaqueRoutes::from_rule(
            Arc::clone(&meta),
            TcpRule {
                filters: vec![crate::Filter::Invalid { message: MESSAGE.into() }],
                backends: Distribution::Empty,
            },
        );
        Self {
            parent: meta,
            protocol: Protocol::Detect {
                timeout: DEFAULT_DETECT_TIMEOUT,
                http1: http.clone(),
                http2: http,
                opaque,
            },
            problem: Some(reason.into()),
        }
    }

    /// Every backend the policy names, in the order of the routes, repeated where routes repeat it: for a worker that
    /// prepares what a snapshot needs.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.protocol.distributions().into_iter().flat_map(|d| d.backends()).map(|b| &b.backend)
    }
}

impl Protocol {
    /// Linkerd's name of the protocol (`protocol` of `outbound_tcp_protocol_connections`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::Detect { .. } => "detect",
            Self::Http1(_) => "http/1",
            Self::Http2(_) | Self::Grpc(_) => "http/2",
            Self::Opaque(_) => "opaq",
            Self::Tls(_) => "tls",
        }
    }

    fn distributions(&self) -> Vec<&Distribution> {
        fn of<M>(routes: &Routes<M>) -> impl Iterator<Item = &Distribution> {
            routes.routes.iter().flat_map(|r| &r.rules).map(|r| &r.backends)
        }
        fn opaque(routes: &OpaqueRoutes) -> impl Iterator<Item = &Distribution> {
            routes.routes.iter().flat_map(|r| &r.rules).map(|r| &r.backends)
        }
        match self {
            Self::Detect { http1, http2, opaque: o, .. } => {
                of(http1).chain(of(http2)).chain(opaque(o)).collect()
            }
            Self::Http1(routes) | Self::Http2(routes) => of(routes).collect(),
            Self::Grpc(routes) => of(routes).collect(),
            Self::Opaque(routes) => opaque(routes).collect(),
            Self::Tls(routes) => routes.routes.iter().flat_map(|r| &r.rules).map(|r| &r.backends).collect(),
        }
    }
}
