//! `Service`: a name and an address that stand for workloads.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_names::PortSet;

use super::{Id, PortRef, Selector, ServiceTraffic};
use crate::problem::Source;

/// API groups as the proxy API names them.
pub mod group {
    /// Kubernetes' own kinds.
    pub const CORE: &str = "core";
}

/// The ports taken as opaque where nothing says otherwise: protocols in which the server speaks first.
pub const DEFAULT_OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11211];

/// A service.
///
/// Two sources can say something of one service: the registry (its address, the ports its workloads
/// serve) and a manifest (annotations, ports, a selector). [`Service::merged`] is what both together say.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub id: Id,
    /// Its virtual addresses. None: a service that is only reached through its workloads' addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports, by number.
    pub ports: BTreeMap<u16, ServicePort>,
    /// Ports of which nothing is to be looked at. `None`: [`DEFAULT_OPAQUE_PORTS`].
    pub opaque_ports: Option<PortSet>,
    /// Workloads of its namespace that belong to it, besides those that say so themselves.
    pub selector: Option<Selector>,
    /// What its annotations say.
    pub traffic: ServiceTraffic,
    /// Where it was written, if in a manifest.
    pub source: Option<Source>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// The port of the workloads. `None`: the same number.
    pub target: Option<PortRef>,
    /// `appProtocol`, as written.
    pub app_protocol: Option<Arc<str>>,
}

/// What `appProtocol` says is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// Nothing: it is detected.
    Unset,
    /// `http`: HTTP/1.
    Http1,
    /// `kubernetes.io/h2c`: HTTP/2 with prior knowledge.
    Http2,
    /// `linkerd.io/opaque`, `linkerd.io/tcp`, and anything that is not known.
    Opaque,
}

impl ServicePort {
    /// What is spoken on the port.
    #[must_use]
    pub fn app_protocol(&self) -> AppProtocol {
        match self.app_protocol.as_deref() {
            None | Some("") => AppProtocol::Unset,
            Some("http") => AppProtocol::Http1,
            Some("kubernetes.io/h2c") => AppProtocol::Http2,
            Some(_) => AppProtocol::Opaque,
        }
    }
}

impl Service {
    /// A service of this name of which nothing is known yet.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self {
            id,
            addresses: Vec::new(),
            ports: BTreeMap::new(),
            opaque_ports: None,
            selector: None,
            traffic: ServiceTraffic::default(),
            source: None,
        }
    }

    /// Whether the bytes on `port` are not to be looked at.
    #[must_use]
    pub fn is_opaque(&self, port: u16) -> bool {
        match &self.opaque_ports {
            Some(ports) => ports.contains(port),
            None => DEFAULT_OPAQUE_PORTS.contains(&port),
        }
    }

    /// What the registry and a manifest say together. What is written wins, except for addresses: those
    /// are allocated.
    #[must_use]
    pub fn merged(registered: &Self, written: &Self) -> Self {
        let mut ports = registered.ports.clone();
        ports.extend(written.ports.iter().map(|(port, what)| (*port, what.clone())));
        let mut addresses = registered.addresses.clone();
        addresses.extend(written.addresses.iter().filter(|address| !registered.addresses.contains(address)));
        Self {
            addresses,
            ports,
            opaque_ports: written.opaque_ports.clone().or_else(|| registered.opaque_ports.clone()),
            ..written.clone()
        }
    }
}
