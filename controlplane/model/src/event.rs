//! What sources report: the only input of the projection.

use std::sync::Arc;

use crate::{
    fact::{
        AuthorizationPolicy, GrpcRoute, HttpRoute, Id, MeshTlsAuthentication, NetworkAuthentication,
        RouteGroup, Server, ServerAuthorization, Service, ServiceProfile, Workload,
    },
    problem::{Problem, Source},
};

/// One report. Each says how something is now, so that repeating one changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The registry knows this of a service.
    Service(Arc<Service>),
    /// The registry knows nothing of a service any more.
    ServiceGone(Id),
    /// A workload is like this.
    Workload(Arc<Workload>),
    /// A workload is gone.
    WorkloadGone(Id),
    /// Somebody wrote an object.
    Written(Object),
    /// An object that somebody wrote is no longer there.
    Erased(Kind, Id),
    /// The problems of a file are these. None: it has none, or is gone.
    Problems(Arc<str>, Arc<[Problem]>),
}

/// An object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `v1` `Service`
    Service(Arc<Service>),
    /// `policy.linkerd.io` `Server`
    Server(Arc<Server>),
    /// `policy.linkerd.io` `ServerAuthorization`
    ServerAuthorization(Arc<ServerAuthorization>),
    /// `policy.linkerd.io` `AuthorizationPolicy`
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    /// `policy.linkerd.io` `MeshTLSAuthentication`
    MeshTlsAuthentication(Arc<MeshTlsAuthentication>),
    /// `policy.linkerd.io` `NetworkAuthentication`
    NetworkAuthentication(Arc<NetworkAuthentication>),
    /// `linkerd.io` `ServiceProfile`
    ServiceProfile(Arc<ServiceProfile>),
    /// `HTTPRoute` of either group
    HttpRoute(Arc<HttpRoute>),
    /// `gateway.networking.k8s.io` `GRPCRoute`
    GrpcRoute(Arc<GrpcRoute>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Server(_) => Kind::Server,
            Self::ServerAuthorization(_) => Kind::ServerAuthorization,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::MeshTlsAuthentication(_) => Kind::MeshTlsAuthentication,
            Self::NetworkAuthentication(_) => Kind::NetworkAuthentication,
            Self::ServiceProfile(_) => Kind::ServiceProfile,
            Self::HttpRoute(route) => Kind::HttpRoute(route.group),
            Self::GrpcRoute(_) => Kind::GrpcRoute,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &Id {
        match self {
            Self::Service(object) => &object.id,
            Self::Server(object) => &object.id,
            Self::ServerAuthorization(object) => &object.id,
            Self::AuthorizationPolicy(object) => &object.id,
            Self::MeshTlsAuthentication(object) => &object.id,
            Self::NetworkAuthentication(object) => &object.id,
            Self::ServiceProfile(object) => &object.id,
            Self::HttpRoute(object) => &object.id,
            Self::GrpcRoute(object) => &object.id,
        }
    }

    /// Where it was written.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Service(object) => object.source.as_ref(),
            Self::Server(object) => Some(&object.source),
            Self::ServerAuthorization(object) => Some(&object.source),
            Self::AuthorizationPolicy(object) => Some(&object.source),
            Self::MeshTlsAuthentication(object) => Some(&object.source),
            Self::NetworkAuthentication(object) => Some(&object.source),
            Self::ServiceProfile(object) => Some(&object.source),
            Self::HttpRoute(object) => Some(&object.source),
            Self::GrpcRoute(object) => Some(&object.source),
        }
    }
}

/// The kinds of objects that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` `Service`
    Service,
    /// `policy.linkerd.io` `Server`
    Server,
    /// `policy.linkerd.io` `ServerAuthorization`
    ServerAuthorization,
    /// `policy.linkerd.io` `AuthorizationPolicy`
    AuthorizationPolicy,
    /// `policy.linkerd.io` `MeshTLSAuthentication`
    MeshTlsAuthentication,
    /// `policy.linkerd.io` `NetworkAuthentication`
    NetworkAuthentication,
    /// `linkerd.io` `ServiceProfile`
    ServiceProfile,
    /// `HTTPRoute` of a group
    HttpRoute(RouteGroup),
    /// `gateway.networking.k8s.io` `GRPCRoute`
    GrpcRoute,
}

impl Kind {
    /// The kind as users write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Server => "Server",
            Self::ServerAuthorization => "ServerAuthorization",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::MeshTlsAuthentication => "MeshTLSAuthentication",
            Self::NetworkAuthentication => "NetworkAuthentication",
            Self::ServiceProfile => "ServiceProfile",
            Self::HttpRoute(_) => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
        }
    }
}
