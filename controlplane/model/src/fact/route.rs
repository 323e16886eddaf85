//! `HTTPRoute` and `GRPCRoute`: which requests go where, and what is done to them on the way.

use std::{sync::Arc, time::Duration};

use weft_policy::{
    Filter,
    matching::{GrpcMatch, HostMatch, HttpMatch},
};

use super::{Id, authz::RouteGroup, traffic::RouteTraffic};
use crate::{facts::Topic, problem::Source};

/// An `HTTPRoute` of either group.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    /// Which group it was written in.
    pub group: RouteGroup,
    /// Its name.
    pub id: Id,
    /// `creationTimestamp`: the older of two routes comes first.
    pub created: Option<Arc<str>>,
    /// What it belongs to.
    pub parents: Vec<ParentRef>,
    /// The hosts it is for. None: any.
    pub hosts: Vec<HostMatch>,
    /// Its rules.
    pub rules: Vec<HttpRule>,
    /// What its annotations say.
    pub traffic: RouteTraffic,
    /// Where it was written.
    pub source: Source,
}

/// A `GRPCRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcRoute {
    /// Its name.
    pub id: Id,
    /// `creationTimestamp`: the older of two routes comes first.
    pub created: Option<Arc<str>>,
    /// What it belongs to.
    pub parents: Vec<ParentRef>,
    /// The hosts it is for. None: any.
    pub hosts: Vec<HostMatch>,
    /// Its rules.
    pub rules: Vec<GrpcRule>,
    /// What its annotations say.
    pub traffic: RouteTraffic,
    /// Where it was written.
    pub source: Source,
}

/// What a route belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentRef {
    /// A Server of the route's namespace: the route is for requests that arrive.
    Server(Id),
    /// A Service, or only one of its ports: the route is for requests that are sent.
    Service(Id, Option<u16>),
}

impl ParentRef {
    pub(crate) fn topic(&self) -> Topic {
        match self {
            Self::Server(id) => Topic::ServerRoutes(id.namespace.clone()),
            Self::Service(id, _) => Topic::ServiceRoutes(id.clone()),
        }
    }
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// The requests it is for: any of these. None: all.
    pub matches: Vec<HttpMatch>,
    /// What is done to them.
    pub filters: Vec<Filter>,
    /// Where they go. None: to the parent.
    pub backends: Vec<BackendRef>,
    /// `timeouts.request`
    pub request_timeout: Option<Duration>,
}

/// A rule of a GRPCRoute.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcRule {
    /// The requests it is for: any of these. None: all.
    pub matches: Vec<GrpcMatch>,
    /// What is done to them.
    pub filters: Vec<Filter>,
    /// Where they go. None: to the parent.
    pub backends: Vec<BackendRef>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// API group; `core` for a Service.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Name and namespace.
    pub id: Id,
    /// The service's port; a Service needs one.
    pub port: Option<u16>,
    /// Its share.
    pub weight: u32,
    /// What is done to the requests that go there.
    pub filters: Vec<Filter>,
}
