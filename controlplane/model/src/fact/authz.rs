//! Who may do what: `AuthorizationPolicy` and the older `ServerAuthorization`.

use std::sync::Arc;

use weft_policy::inbound::Network;

use super::{Id, IdentityMatch, Selector};
use crate::problem::Source;

/// An `AuthorizationPolicy` of `policy.linkerd.io`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    /// Its name. Its target is in the same namespace.
    pub id: Id,
    /// What it allows access to.
    pub target: AuthorizationTarget,
    /// The identity that is required, if any.
    pub identity: Option<IdentityRef>,
    /// The `NetworkAuthentication` that is required, if any.
    pub network: Option<Id>,
    /// Where it was written.
    pub source: Source,
}

/// What an `AuthorizationPolicy` points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationTarget {
    /// A Server by name.
    Server(Arc<str>),
    /// Every Server of the policy's namespace.
    Namespace,
    /// An HTTPRoute by name.
    HttpRoute(RouteGroup, Arc<str>),
    /// A GRPCRoute by name.
    GrpcRoute(Arc<str>),
}

/// The API group an HTTPRoute belongs to; both may have one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteGroup {
    /// `policy.linkerd.io`
    Linkerd,
    /// `gateway.networking.k8s.io`
    Gateway,
}

impl RouteGroup {
    /// The group's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linkerd => "policy.linkerd.io",
            Self::Gateway => "gateway.networking.k8s.io",
        }
    }
}

/// The identity an `AuthorizationPolicy` requires, by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityRef {
    /// A `MeshTLSAuthentication`.
    MeshTls(Id),
    /// A service account.
    ServiceAccount(Id),
}

/// A `ServerAuthorization` of `policy.linkerd.io`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAuthorization {
    /// Its name. Its Servers are in the same namespace.
    pub id: Id,
    /// The Servers it is for.
    pub servers: ServerSelection,
    /// The client networks; `None` means the cluster networks.
    pub networks: Option<Vec<Network>>,
    /// Who the client must be.
    pub client: ClientAuthentication,
    /// Where it was written.
    pub source: Source,
}

/// Which Servers a `ServerAuthorization` is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerSelection {
    /// One by name.
    Name(Arc<str>),
    /// Those whose labels match.
    Selector(Selector),
}

/// Who a client must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Anyone.
    Unauthenticated,
    /// Mesh TLS, with an identity or without.
    TlsUnauthenticated,
    /// One of these identities.
    Identities(Vec<IdentityMatch>),
}
