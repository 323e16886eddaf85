//! What the whole mesh has in common and does not change while the control plane runs.

use std::sync::Arc;

use weft_names::{Cidr, DnsName, IdentityName, TrustDomain};
use weft_policy::inbound::DefaultPolicy;

use crate::fact::Id;

/// Names, networks and defaults of a mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domain of service names, such as `cluster.local`.
    pub cluster_domain: DnsName,
    /// The domain of identities, such as `cluster.local`.
    pub trust_domain: TrustDomain,
    /// The namespace the control plane is said to be in, such as `linkerd`; part of every identity.
    pub control_plane_namespace: Arc<str>,
    /// The networks that count as the mesh's own.
    pub cluster_networks: Vec<Cidr>,
    /// Who may connect where nothing says otherwise.
    pub default_policy: DefaultPolicy,
    /// Whether clients may override time-outs and retries with `l5d-*` headers. Linkerd's default: no.
    pub allow_l5d_request_headers: bool,
}

/// The networks that count as a mesh's own where nothing else is said: the private ones (Linkerd's
/// `clusterNetworks`).
pub const DEFAULT_CLUSTER_NETWORKS: [&str; 5] =
    ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];

impl Settings {
    /// A mesh with these names and otherwise Linkerd's defaults.
    #[must_use]
    pub fn new(cluster_domain: DnsName, trust_domain: TrustDomain, control_plane_namespace: &str) -> Self {
        Self {
            cluster_domain,
            trust_domain,
            control_plane_namespace: control_plane_namespace.into(),
            cluster_networks: DEFAULT_CLUSTER_NETWORKS.iter().filter_map(|net| net.parse().ok()).collect(),
            default_policy: DefaultPolicy::AllUnauthenticated,
            allow_l5d_request_headers: false,
        }
    }

    /// Linkerd's defaults: `cluster.local` for both domains, control plane in `linkerd`.
    #[must_use]
    pub fn with_defaults() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, parsed in a test")]
        let domain: DnsName = "cluster.local".parse().expect("a domain name");
        #[expect(clippy::expect_used, reason = "a constant, parsed in a test")]
        let trust_domain = "cluster.local".parse().expect("a trust domain");
        Self::new(domain, trust_domain, "linkerd")
    }

    /// The identity of a service account. `None` if it would be longer than a DNS name can be.
    #[must_use]
    pub fn identity(&self, account: &Id) -> Option<IdentityName> {
        let Self { control_plane_namespace, trust_domain, .. } = self;
        IdentityName::service_account(
            &account.name,
            &account.namespace,
            control_plane_namespace,
            trust_domain,
        )
        .ok()
    }

    /// What the identities of a namespace are below of.
    #[must_use]
    pub fn identities_of(&self, namespace: &str) -> Option<DnsName> {
        let Self { control_plane_namespace, trust_domain, .. } = self;
        format!("{namespace}.serviceaccount.identity.{control_plane_namespace}.{trust_domain}").parse().ok()
    }

    /// The full DNS name of a service.
    #[must_use]
    pub fn service_name(&self, service: &Id) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.cluster_domain)
    }
}
