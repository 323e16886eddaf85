//! Policies and endpoints as a control plane sends them, for scripts.

use linkerd2_proxy_api::{
    destination::{
        ProtocolHint, TlsIdentity, WeightedAddr, protocol_hint,
        tls_identity::{DnsLikeIdentity, Strategy},
    },
    http_route::{self, HttpRouteMatch, PathMatch, path_match},
    inbound, meta, net,
    outbound::{
        self, Backend, HttpRoute, OpaqueRoute, OutboundPolicy, backend, http_route as http, opaque_route,
        proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque},
    },
};
use std::{collections::HashMap, net::SocketAddr, time::Duration};

// === outbound ===

/// What a target speaks, as its policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// To be found out.
    Detect,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Anything; not looked at.
    Opaque,
}

/// A resource's metadata.
pub fn resource(kind: &str, name: &str) -> meta::Metadata {
    let resource = meta::Resource {
        group: "core".into(),
        kind: kind.into(),
        name: name.into(),
        namespace: "default".into(),
        port: 80,
        ..meta::Resource::default()
    };
    meta::Metadata { kind: Some(meta::metadata::Kind::Resource(resource)) }
}

fn default_meta(name: &str) -> meta::Metadata {
    meta::Metadata { kind: Some(meta::metadata::Kind::Default(name.into())) }
}

/// The path by which the endpoints of a service are asked for.
pub fn path(service: &str) -> String {
    format!("{service}.default.svc.cluster.local:80")
}

/// A service balanced over the endpoints of [`path`].
pub fn balancer(service: &str) -> Backend {
    let load = backend::balance_p2c::PeakEwma {
        default_rtt: Some(duration(Duration::from_millis(30))),
        decay: Some(duration(Duration::from_secs(10))),
    };
    let discovery = backend::EndpointDiscovery {
        kind: Some(backend::endpoint_discovery::Kind::Dst(backend::endpoint_discovery::DestinationGet {
            path: path(service),
        })),
    };
    Backend {
        metadata: Some(resource("Service", service)),
        kind: Some(backend::Kind::Balancer(backend::BalanceP2c {
            discovery: Some(discovery),
            load: Some(backend::balance_p2c::Load::PeakEwma(load)),
        })),
        queue: Some(outbound::Queue {
            capacity: 100,
            failfast_timeout: Some(duration(Duration::from_secs(3))),
        }),
    }
}

/// One endpoint and no other.
pub fn forward(endpoint: WeightedAddr) -> Backend {
    Backend {
        metadata: Some(default_meta("forward")),
        kind: Some(backend::Kind::Forward(endpoint)),
        queue: Some(outbound::Queue {
            capacity: 100,
            failfast_timeout: Some(duration(Duration::from_secs(3))),
        }),
    }
}

/// One HTTP route with one rule that matches everything.
pub fn http_route(backend: Backend) -> HttpRoute {
    HttpRoute {
        metadata: Some(default_meta("http")),
        hosts: Vec::new(),
        rules: vec![http::Rule {
            matches: vec![prefix("/")],
            backends: Some(first_available(backend)),
            ..http::Rule::default()
        }],
    }
}

/// Requests below a path.
pub fn prefix(path: &str) -> HttpRouteMatch {
    HttpRouteMatch {
        path: Some(PathMatch { kind: Some(path_match::Kind::Prefix(path.into())) }),
        ..HttpRouteMatch::default()
    }
}

fn first_available(backend: Backend) -> http::Distribution {
    let backend = http::RouteBackend { backend: Some(backend), ..http::RouteBackend::default() };
    let available = http::distribution::FirstAvailable { backends: vec![backend] };
    http::Distribution { kind: Some(http::distribution::Kind::FirstAvailable(available)) }
}

fn opaque(backend: Backend) -> Opaque {
    let backend = opaque_route::RouteBackend { backend: Some(backend), filters: Vec::new() };
    let available = opaque_route::distribution::FirstAvailable { backends: vec![backend] };
    let distribution = opaque_route::Distribution {
        kind: Some(opaque_route::distribution::Kind::FirstAvailable(available)),
    };
    Opaque {
        routes: vec![OpaqueRoute {
            metadata: Some(default_meta("opaque")),
            rules: vec![opaque_route::Rule { backends: Some(distribution), filters: Vec::new() }],
        }],
    }
}

fn grpc(backend: Backend) -> Grpc {
    use outbound::grpc_route as grpc;
    let backend = grpc::RouteBackend { backend: Some(backend), ..grpc::RouteBackend::default() };
    let available = grpc::distribution::FirstAvailable { backends: vec![backend] };
    let rule = grpc::Rule {
        backends: Some(grpc::Distribution {
            kind: Some(grpc::distribution::Kind::FirstAvailable(available)),
        }),
        ..grpc::Rule::default()
    };
    let route =
        outbound::GrpcRoute { metadata: Some(default_meta("grpc")), hosts: Vec::new(), rules: vec![rule] };
    Grpc { routes: vec![route], failure_accrual: None }
}

/// The policy of a service that sends everything to one backend.
pub fn service(name: &str, speaks: Speaks, backend: Backend) -> OutboundPolicy {
    http_service(name, speaks, backend.clone(), vec![http_route(backend)])
}

/// The policy of a service with HTTP routes of the test's own; `backend` is for what is not HTTP.
pub fn http_service(name: &str, speaks: Speaks, backend: Backend, routes: Vec<HttpRoute>) -> OutboundPolicy {
    let http1 = Http1 { routes: routes.clone(), failure_accrual: None };
    let http2 = Http2 { routes, failure_accrual: None };
    let kind = match speaks {
        Speaks::Detect => Kind::Detect(Detect {
            timeout: Some(duration(Duration::from_secs(10))),
            opaque: Some(opaque(backend)),
            http1: Some(http1),
            http2: Some(http2),
        }),
        Speaks::Http1 => Kind::Http1(http1),
        Speaks::Http2 => Kind::Http2(http2),
        Speaks::Grpc => Kind::Grpc(grpc(backend)),
        Speaks::Opaque => Kind::Opaque(opaque(backend)),
    };
    OutboundPolicy {
        protocol: Some(outbound::ProxyProtocol { kind: Some(kind) }),
        metadata: Some(resource("Service", name)),
    }
}

// === endpoints ===

/// An endpoint without a proxy.
pub fn plain(address: SocketAddr) -> WeightedAddr {
    WeightedAddr {
        addr: Some(net::TcpAddress { ip: Some(address.ip().into()), port: address.port().into() }),
        weight: 10_000,
        metric_labels: HashMap::from([("pod".into(), format!("pod-{}", address.port()))]),
        ..WeightedAddr::default()
    }
}

/// An endpoint with a proxy that listens on `inbound_port` and proves to be `identity`. `opaque`: what it speaks is not HTTP.
pub fn meshed(address: SocketAddr, identity: &str, inbound_port: u16, opaque: bool) -> WeightedAddr {
    let name = DnsLikeIdentity { name: identity.into() };
    let protocol = match opaque {
        true => protocol_hint::Protocol::Opaque(protocol_hint::Opaque {}),
        false => protocol_hint::Protocol::H2(protocol_hint::H2 {}),
    };
    WeightedAddr {
        tls_identity: Some(TlsIdentity {
            strategy: Some(Strategy::DnsLikeIdentity(name.clone())),
            server_name: Some(name),
        }),
        protocol_hint: Some(ProtocolHint {
            protocol: Some(protocol),
            opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: inbound_port.into() }),
        }),
        ..plain(address)
    }
}

// === inbound ===

/// A server whose protocol is found out, open to everybody.
pub fn inbound_detect() -> inbound::Server {
    let detect = inbound::proxy_protocol::Detect {
        timeout: Some(duration(Duration::from_secs(10))),
        http_routes: vec![inbound_route("default", vec![prefix("/")])],
        http_local_rate_limit: None,
    };
    inbound_server("all-unauthenticated", inbound::proxy_protocol::Kind::Detect(detect), vec![everybody()])
}

/// A server that is not looked into, open to everybody.
pub fn inbound_opaque() -> inbound::Server {
    let opaque = inbound::proxy_protocol::Kind::Opaque(inbound::proxy_protocol::Opaque {});
    inbound_server("opaque", opaque, vec![everybody()])
}

/// A server by name.
pub fn inbound_server(
    name: &str,
    protocol: inbound::proxy_protocol::Kind,
    authorizations: Vec<inbound::Authz>,
) -> inbound::Server {
    let labels = [("group", "policy.linkerd.io"), ("kind", "server"), ("name", name)];
    inbound::Server {
        protocol: Some(inbound::ProxyProtocol { kind: Some(protocol) }),
        server_ips: Vec::new(),
        authorizations,
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// A route of a server.
pub fn inbound_route(name: &str, matches: Vec<HttpRouteMatch>) -> inbound::HttpRoute {
    inbound::HttpRoute {
        metadata: Some(default_meta(name)),
        hosts: Vec::new(),
        authorizations: Vec::new(),
        rules: vec![inbound::http_route::Rule { matches, filters: Vec::new() }],
    }
}

/// Everybody, from everywhere, with or without TLS.
pub fn everybody() -> inbound::Authz {
    authorization("all", inbound::authn::Permit::Unauthenticated(inbound::authn::PermitUnauthenticated {}))
}

/// These identities and nobody else.
pub fn only(identities: &[&str]) -> inbound::Authz {
    use inbound::authn::{PermitMeshTls, permit_mesh_tls};
    let identities = identities.iter().map(|name| inbound::Identity { name: (*name).to_owned() }).collect();
    let clients = permit_mesh_tls::PermitClientIdentities { identities, suffixes: Vec::new() };
    let clients = Some(permit_mesh_tls::Clients::Identities(clients));
    authorization("only", inbound::authn::Permit::MeshTls(PermitMeshTls { clients }))
}

fn authorization(name: &str, permit: inbound::authn::Permit) -> inbound::Authz {
    let network = |ip: std::net::IpAddr| inbound::Network {
        net: Some(net::IpNetwork { ip: Some(ip.into()), prefix_len: 0 }),
        except: Vec::new(),
    };
    let labels = [("group", "policy.linkerd.io"), ("kind", "serverauthorization"), ("name", name)];
    inbound::Authz {
        networks: vec![network([0, 0, 0, 0].into()), network([0_u16; 8].into())],
        authentication: Some(inbound::Authn { permit: Some(permit) }),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        metadata: Some(resource("serverauthorization", name)),
    }
}

/// A failure that a route answers with.
pub fn failure(status: u32, message: &str) -> http_route::HttpFailureInjector {
    http_route::HttpFailureInjector { status, message: message.into(), ratio: None }
}

/// As the protocol has it.
///
/// # Panics
/// Above 292 years.
pub fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().expect("a duration in range")
}
