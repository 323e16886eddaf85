//! A workload: one running copy of a program, with an address of its own. Kubernetes' `Pod`.

use std::{net::IpAddr, sync::Arc};

use weft_names::PortSet;
use weft_policy::inbound::DefaultPolicy;

use super::{Id, Labels, PortRef, Selector, service::DEFAULT_OPAQUE_PORTS};

/// A workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Namespace and pod name.
    pub id: Id,
    /// Its addresses; the first IPv4 and the first IPv6 one are used.
    pub addresses: Vec<IpAddr>,
    /// The service it says it belongs to, in its namespace.
    pub service: Option<Arc<str>>,
    /// The name by which it is reached below its service (`POD.SERVICE.NS.svc…`).
    pub hostname: Option<Arc<str>>,
    /// Its service account; its identity is made of it.
    pub service_account: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// What owns it, as the metric label and the name: `deployment`, `web`.
    pub owner: Option<(Arc<str>, Arc<str>)>,
    /// The ports it serves.
    pub ports: Vec<WorkloadPort>,
    /// Whether traffic may be sent to it.
    pub ready: bool,
    /// Its proxy; `None` if it has none.
    pub proxy: Option<Proxy>,
    /// Ports of which nothing is to be looked at. `None`: [`DEFAULT_OPAQUE_PORTS`].
    pub opaque_ports: Option<PortSet>,
    /// Who may connect where nothing says otherwise. `None`: what the mesh has.
    pub default_policy: Option<DefaultPolicy>,
}

/// A port that a workload serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPort {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Its number.
    pub port: u16,
}

/// What has to be known of a workload's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The port on which it takes connections with a transport header. Default 4143.
    pub inbound_port: u16,
    /// Ports of the proxy itself (admin, tap), to which no transport header is sent.
    pub own_ports: PortSet,
    /// Ports that do not pass through it (`skip-inbound-ports`).
    pub skipped_ports: PortSet,
    /// Ports on which a mesh identity is required whatever the default policy
    /// (`proxy-require-identity-inbound-ports`).
    pub identity_ports: PortSet,
}

impl Default for Proxy {
    fn default() -> Self {
        let own = [4190, 4191].into_iter().filter_map(weft_names::Port::new).collect();
        Self {
            inbound_port: 4143,
            own_ports: own,
            skipped_ports: PortSet::new(),
            identity_ports: PortSet::new(),
        }
    }
}

impl Workload {
    /// Whether it belongs to a service of its namespace.
    #[must_use]
    pub fn belongs_to(&self, service: &Id, selector: Option<&Selector>) -> bool {
        self.id.namespace == service.namespace
            && (self.service.as_ref() == Some(&service.name)
                || selector.is_some_and(|selector| selector.matches(&self.labels)))
    }

    /// Whether the bytes on `port` are not to be looked at.
    #[must_use]
    pub fn is_opaque(&self, port: u16) -> bool {
        match &self.opaque_ports {
            Some(ports) => ports.contains(port),
            None => DEFAULT_OPAQUE_PORTS.contains(&port),
        }
    }

    /// The number of a port given by number or name. A name can only be one the workload has.
    #[must_use]
    pub fn port_number(&self, port: &PortRef) -> Option<u16> {
        match port {
            PortRef::Number(port) => Some(*port),
            PortRef::Name(name) => {
                self.ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.port)
            }
        }
    }

    /// Whether its proxy takes the connections to `port`.
    #[must_use]
    pub fn is_meshed(&self, port: u16) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| !proxy.skipped_ports.contains(port))
    }
}
