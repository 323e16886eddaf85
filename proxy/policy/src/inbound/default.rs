//! What is allowed while the control plane has said nothing.

use super::{
    Authentication, Authorization, DEFAULT_DETECT_TIMEOUT, HttpRoutes, Network, Protocol, ServerPolicy,
};
use crate::Meta;
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use thiserror::Error;
use weft_names::Cidr;

/// What is allowed by default. Source: `LINKERD2_PROXY_INBOUND_DEFAULT_POLICY`, the annotation
/// `config.linkerd.io/default-inbound-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultPolicy {
    /// `all-unauthenticated`: anybody.
    AllUnauthenticated,
    /// `all-authenticated`: anybody with an identity.
    AllAuthenticated,
    /// `cluster-unauthenticated`: anybody from the cluster's networks.
    ClusterUnauthenticated,
    /// `cluster-authenticated`: anybody with an identity from the cluster's networks.
    ClusterAuthenticated,
    /// `deny`: nobody, but for clients on loopback.
    Deny,
    /// `audit`: anybody, and it is noted.
    Audit,
}

/// The text is no default policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a default policy: all-unauthenticated, all-authenticated, cluster-unauthenticated, \
     cluster-authenticated, deny or audit was expected"
)]
pub struct InvalidDefaultPolicy(String);

impl DefaultPolicy {
    /// Every default policy.
    pub const ALL: [Self; 6] = [
        Self::AllUnauthenticated,
        Self::AllAuthenticated,
        Self::ClusterUnauthenticated,
        Self::ClusterAuthenticated,
        Self::Deny,
        Self::Audit,
    ];

    /// The name it is configured by, which also labels what it allows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }

    /// Whether it means anything only where the cluster's networks are known.
    pub const fn needs_cluster_networks(self) -> bool {
        matches!(self, Self::ClusterUnauthenticated | Self::ClusterAuthenticated)
    }

    /// The same networks, but an identity is needed: what a port that requires identities has for its default.
    #[must_use]
    pub const fn authenticated(self) -> Self {
        match self {
            Self::AllUnauthenticated | Self::Audit => Self::AllAuthenticated,
            Self::ClusterUnauthenticated => Self::ClusterAuthenticated,
            other => other,
        }
    }

    /// Whom it allows, where the cluster is made of `cluster_networks`.
    pub fn authorizations(self, cluster_networks: &[Cidr]) -> Vec<Authorization> {
        let cluster = || cluster_networks.iter().copied().map(Network::all_of).collect();
        let (networks, authentication) = match self {
            Self::Deny => return Vec::new(),
            Self::AllUnauthenticated | Self::Audit => (Network::anywhere(), Authentication::Unauthenticated),
            Self::AllAuthenticated => (Network::anywhere(), Authentication::any_identity()),
            Self::ClusterUnauthenticated => (cluster(), Authentication::Unauthenticated),
            Self::ClusterAuthenticated => (cluster(), Authentication::any_identity()),
        };
        vec![Authorization { networks, authentication, meta: self.meta() }]
    }

    /// The policy of a port: its protocol is detected within `timeout`, or it is opaque.
    pub fn server(self, cluster_networks: &[Cidr], opaque: bool, timeout: Duration) -> ServerPolicy {
        let protocol = if opaque {
            Protocol::Opaque
        } else {
            let routes = HttpRoutes::anything(Arc::new(Meta::default_named("default")));
            Protocol::Detect { timeout, routes, rate_limit: None }
        };
        ServerPolicy::new(self.meta(), protocol, self.authorizations(cluster_networks))
    }

    /// [`Self::server`] with the control plane's own timeout.
    pub fn detect(self, cluster_networks: &[Cidr]) -> ServerPolicy {
        self.server(cluster_networks, false, DEFAULT_DETECT_TIMEOUT)
    }

    fn meta(self) -> Arc<Meta> {
        Arc::new(Meta::default_named(self.name()))
    }
}

impl FromStr for DefaultPolicy {
    type Err = InvalidDefaultPolicy;

    fn from_str(s: &str) -> Result<Self, InvalidDefaultPolicy> {
        Self::ALL.into_iter().find(|p| p.name() == s).ok_or_else(|| InvalidDefaultPolicy(s.to_owned()))
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
