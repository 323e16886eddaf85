//! The facts of a mesh, normalised: what sources report and views are made of.
//!
//! A fact is valid by construction: whatever can be wrong with it was found where it was read (a
//! manifest, the registry), so that making a view cannot fail. Facts are compared to see whether
//! anything changed, so they hold only what a view may depend on.

use std::{fmt, sync::Arc};

pub mod authn;
pub mod authz;
pub mod labels;
pub mod profile;
pub mod route;
pub mod server;
pub mod service;
pub mod traffic;
pub mod workload;

pub use self::{
    authn::{IdentityMatch, MeshTlsAuthentication, NetworkAuthentication},
    authz::{AuthorizationPolicy, RouteGroup, ServerAuthorization},
    labels::{Labels, Selector},
    profile::ServiceProfile,
    route::{GrpcRoute, HttpRoute, ParentRef},
    server::{PortRef, Server, ServerProtocol},
    service::{Service, ServicePort},
    traffic::{RouteTraffic, ServiceTraffic},
    workload::{Proxy, Workload, WorkloadPort},
};

/// A namespaced name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within it.
    pub name: Arc<str>,
}

impl Id {
    /// `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
