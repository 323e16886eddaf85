//! What the labels of a block are called by Linkerd, and in which order they stand.

use crate::telemetry::text::Labels;
use std::net::SocketAddr;
use weft_engine::io::Side;
use weft_engine::metrics::{
    BalancerLabels, EndpointLabels, Peer, PermitLabels, RouteBackendLabels, RouteLabels, ServerLabels, Tls,
    TransportLabels,
};
use weft_policy::{Meta, outbound::Endpoint};

fn side(labels: &mut Labels, side: Side) {
    labels.add(
        "direction",
        match side {
            Side::Inbound => "inbound",
            Side::Outbound => "outbound",
        },
    );
}

fn target(labels: &mut Labels, addr: SocketAddr) {
    labels.add("target_addr", &addr.to_string());
    labels.add("target_ip", &addr.ip().to_string());
    labels.add("target_port", &addr.port().to_string());
}

/// `peer_id` is `client_id` for those who connect to us, `server_id` for those we connect to.
fn tls(labels: &mut Labels, tls: &Tls, peer_id: &str) {
    match tls {
        Tls::Mutual(id) => labels.add("tls", "true").add(peer_id, id),
        Tls::NoIdentity => labels.add("tls", "true").add(peer_id, ""),
        Tls::Passthrough(sni) => labels.add("tls", "opaque").add("sni", sni.as_deref().unwrap_or("")),
        Tls::None(reason) => labels.add("tls", "no_identity").add("no_tls_reason", reason),
    };
}

fn endpoint(labels: &mut Labels, endpoint: &Endpoint) {
    for (name, value) in endpoint.labels.iter() {
        labels.add(&format!("dst_{name}"), value);
    }
}

fn server(labels: &mut Labels, server: &Meta) {
    labels.add("srv_group", server.group()).add("srv_kind", server.kind()).add("srv_name", server.name());
}

pub(super) fn route(labels: &mut Labels, route: &Meta) {
    labels.add("route_group", route.group()).add("route_kind", route.kind());
    labels.add("route_namespace", route.namespace()).add("route_name", route.name());
}

pub(super) fn parent(labels: &mut Labels, of: &Meta) {
    resource(labels, "parent", of);
}

fn resource(labels: &mut Labels, role: &str, of: &Meta) {
    let mut add = |part: &str, value: &str| {
        labels.add(&format!("{role}_{part}"), value);
    };
    add("group", of.group());
    add("kind", of.kind());
    add("namespace", of.namespace());
    add("name", of.name());
    add("port", &of.port().map(|port| port.to_string()).unwrap_or_default());
    add("section_name", of.section());
}

pub(super) fn endpoint_labels(of: &EndpointLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, Side::Outbound);
    target(&mut labels, of.endpoint.addr);
    tls(&mut labels, &of.tls, "server_id");
    endpoint(&mut labels, &of.endpoint);
    labels
}

pub(super) fn permit_labels(of: &PermitLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, Side::Inbound);
    target(&mut labels, of.target);
    tls(&mut labels, &of.tls, "client_id");
    server(&mut labels, &of.server);
    labels.add("srv_port", &of.target.port().to_string());
    labels
        .add("route_group", of.route.group())
        .add("route_kind", of.route.kind())
        .add("route_name", of.route.name());
    labels.add("authz_group", of.authorization.group()).add("authz_kind", of.authorization.kind());
    labels.add("authz_name", of.authorization.name());
    labels
}

pub(super) fn transport_labels(of: &TransportLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, of.side);
    let (peer, peer_id) = match of.peer {
        Peer::Source => ("src", "client_id"),
        Peer::Destination => ("dst", "server_id"),
    };
    labels.add("peer", peer);
    target(&mut labels, of.target);
    tls(&mut labels, &of.tls, peer_id);
    if let Some(of) = &of.server {
        server(&mut labels, of);
    }
    if let Some(of) = &of.endpoint {
        endpoint(&mut labels, of);
    }
    labels
}

pub(super) fn server_labels(of: &ServerLabels) -> Labels {
    let mut labels = Labels::new();
    labels.add("target_port", &of.port.to_string());
    server(&mut labels, &of.server);
    labels.add("srv_port", &of.port.to_string());
    labels
}

pub(super) fn route_labels(of: &RouteLabels) -> Labels {
    let mut labels = Labels::new();
    parent(&mut labels, &of.parent);
    route(&mut labels, &of.route);
    labels
}

pub(super) fn backend_labels(of: &RouteBackendLabels) -> Labels {
    let mut labels = route_labels(&of.route);
    resource(&mut labels, "backend", &of.backend);
    labels
}

pub(super) fn balancer_labels(of: &BalancerLabels) -> Labels {
    let mut labels = Labels::new();
    resource(&mut labels, "backend", &of.backend);
    labels.add("concrete", &of.path);
    labels
}
