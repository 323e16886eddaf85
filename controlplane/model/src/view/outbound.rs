//! What is done with connections to a target (`OutboundPolicies`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use weft_names::{Meta, Port, ResourceRef};
use weft_policy::{
    Filter,
    outbound::{
        Backend, DEFAULT_DETECT_TIMEOUT, Distribution, Endpoint, GrpcRoutes, HttpRoutes, OpaqueRoutes,
        Protocol, RouteBackend, TcpRule,
    },
};

use super::{Absent, View, ViewKey, routes};
use crate::{
    fact::{
        Id, Service,
        service::{AppProtocol, group},
    },
    facts::Lens,
};

/// Which policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundKey {
    /// For what.
    pub target: Target,
    /// The client's namespace: routes written there are only for clients there.
    pub client: Arc<str>,
}

/// What a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A service's port.
    Service(Id, u16),
    /// An address.
    Address(SocketAddr),
}

/// The view is the policy model's own policy.
pub type Outbound = weft_policy::outbound::Policy;

impl View for Outbound {
    type Key = OutboundKey;

    fn key(key: &OutboundKey) -> ViewKey {
        ViewKey::Outbound(key.clone())
    }

    fn make(key: &OutboundKey, lens: &Lens<'_>) -> Result<Self, Absent> {
        match &key.target {
            Target::Service(id, port) => {
                let service = lens.service(id).ok_or(Absent::NotFound)?;
                Ok(to_service(service, *port, &key.client, lens))
            }
            Target::Address(address) => match lens.service_at(address.ip())? {
                Some(service) => Ok(to_service(service, address.port(), &key.client, lens)),
                // Of a workload the profile says all there is to say, wherever its address is from.
                None if is_inside(lens, address.ip())? => Err(Absent::NotFound),
                None => Ok(Self::forward(
                    Arc::new(Meta::default_named("egress-fallback")),
                    Arc::new(Endpoint::plain(*address)),
                )),
            },
        }
    }
}

/// Whether an address is the mesh's own.
fn is_inside(lens: &Lens<'_>, address: IpAddr) -> Result<bool, Absent> {
    let is_workload = lens.workload_at(address)?.is_some();
    Ok(is_workload || lens.settings().cluster_networks.iter().any(|net| net.contains(address)))
}

fn to_service(service: &Service, port: u16, client: &Arc<str>, lens: &Lens<'_>) -> Outbound {
    let meta = Arc::new(service_meta(&service.id, port));
    let Some(spec) = service.ports.get(&port) else {
        let refused = TcpRule { filters: vec![Filter::Forbidden], backends: Distribution::Empty };
        let undefined = Arc::new(Meta::default_named("undefined-port"));
        return Outbound::new(meta, Protocol::Opaque(OpaqueRoutes::from_rule(undefined, refused)));
    };
    let parent = routes::Parent { service, port, client, backend: backend(service, port, lens) };
    let opaque = || {
        let rule = TcpRule::new(Distribution::only(RouteBackend::new(parent.backend.clone())));
        OpaqueRoutes::from_rule(Arc::new(Meta::default_named("opaq")), rule)
    };
    let accrual = service.traffic.accrual;
    let http = || HttpRoutes { accrual, ..HttpRoutes::new(routes::http(&parent, lens)) };
    let grpc = || {
        let routes = routes::grpc(&parent, lens);
        (!routes.is_empty()).then(|| GrpcRoutes { accrual, ..GrpcRoutes::new(routes) })
    };
    let protocol = match spec.app_protocol() {
        AppProtocol::Http1 => Protocol::Http1(http()),
        AppProtocol::Http2 => grpc().map_or_else(|| Protocol::Http2(http()), Protocol::Grpc),
        AppProtocol::Opaque => Protocol::Opaque(opaque()),
        AppProtocol::Unset if service.is_opaque(port) => Protocol::Opaque(opaque()),
        AppProtocol::Unset => grpc().map_or_else(
            || {
                let http = http();
                Protocol::Detect {
                    timeout: DEFAULT_DETECT_TIMEOUT,
                    http1: http.clone(),
                    http2: http,
                    opaque: opaque(),
                }
            },
            Protocol::Grpc,
        ),
    };
    Outbound::new(meta, protocol)
}

/// A service's port as a backend.
pub(super) fn backend(service: &Service, port: u16, lens: &Lens<'_>) -> Arc<Backend> {
    let path = format!("{}:{port}", lens.settings().service_name(&service.id));
    Arc::new(Backend::balance(Arc::new(service_meta(&service.id, port)), path, service.traffic.load))
}

pub(super) fn service_meta(service: &Id, port: u16) -> Meta {
    let mut resource =
        ResourceRef::new(group::CORE, "Service", service.namespace.clone(), service.name.clone());
    resource.port = Port::new(port);
    resource.into()
}
