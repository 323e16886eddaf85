//! One workload as an endpoint: address, labels, identity, protocol hint.

use std::{net::SocketAddr, sync::Arc};

use weft_policy::outbound::{Endpoint, EndpointTls, Hint};

use crate::{
    fact::{Id, PortRef, ServerProtocol, Workload},
    facts::Lens,
};

/// The weight of every endpoint. Proxies do not look at it.
const WEIGHT: u32 = 10_000;

/// The endpoint for `port` of a workload. `labels` come first and lose against the workload's own.
///
/// `None` if the workload has no address.
pub(super) fn make(
    workload: &Workload,
    port: u16,
    labels: &[(Arc<str>, Arc<str>)],
    lens: &Lens<'_>,
) -> Option<Endpoint> {
    let address =
        workload.addresses.iter().find(|address| address.is_ipv4()).or_else(|| workload.addresses.first())?;
    let opaque = is_opaque(workload, port, lens);
    let mut endpoint = Endpoint::plain(SocketAddr::new(*address, port));
    endpoint.weight = WEIGHT;
    endpoint.labels = labels.iter().cloned().chain(workload_labels(workload, lens)).collect();
    let proxy = workload.proxy.as_ref().filter(|proxy| !proxy.skipped_ports.contains(port));
    endpoint.hint = match (opaque, proxy) {
        (true, _) => Hint::Opaque,
        (false, Some(_)) => Hint::H2,
        (false, None) => Hint::Unknown,
    };
    if let Some(proxy) = proxy {
        endpoint.opaque_transport_port = (!proxy.own_ports.contains(port)).then_some(proxy.inbound_port);
        let account = Id { namespace: workload.id.namespace.clone(), name: workload.service_account.clone() };
        endpoint.tls = lens.settings().identity(&account).and_then(|identity| {
            let server_name = identity.dns()?.clone();
            Some(EndpointTls { server_id: identity, server_name })
        });
    }
    Some(endpoint)
}

/// Whether nothing of what is sent to a workload's port is looked at: its own list, or a Server that says so.
pub(super) fn is_opaque(workload: &Workload, port: u16, lens: &Lens<'_>) -> bool {
    let selects = |server: &&Arc<crate::fact::Server>| {
        server.pods.as_ref().is_some_and(|selector| selector.matches(&workload.labels))
            && port_of(workload, &server.port) == Some(port)
    };
    // The first Server for a port is the one in force.
    let server = lens.servers(&workload.id.namespace).into_iter().find(selects);
    match server.map(|server| server.protocol) {
        Some(ServerProtocol::Opaque) => true,
        Some(_) | None => workload.is_opaque(port),
    }
}

/// The number a Server's port has on a workload.
pub(super) fn port_of(workload: &Workload, port: &PortRef) -> Option<u16> {
    workload.port_number(port)
}

fn workload_labels(workload: &Workload, lens: &Lens<'_>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut labels: Vec<(Arc<str>, Arc<str>)> = vec![
        ("pod".into(), workload.id.name.clone()),
        ("serviceaccount".into(), workload.service_account.clone()),
        ("zone".into(), "".into()),
        ("zone_locality".into(), "unknown".into()),
    ];
    labels.extend(workload.owner.clone());
    if workload.proxy.is_some() {
        labels.push(("control_plane_ns".into(), lens.settings().control_plane_namespace.clone()));
    }
    labels
}
