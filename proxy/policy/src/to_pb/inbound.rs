//! Inbound server policies.

use super::{route, shared};
use crate::{
    Filter, Meta,
    inbound::{
        Authentication, Authorization, GrpcRoute, GrpcRoutes, HttpRoute, HttpRoutes, Network, Protocol,
        RateLimit, ServerPolicy,
    },
};
use linkerd2_proxy_api::inbound as pb;
use std::{collections::HashMap, num::NonZeroU32};
use weft_names::IdentityName;

/// The message of a policy. Addresses of the server are not told: proxies do not look.
pub fn server(policy: &ServerPolicy) -> pb::Server {
    use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};
    let kind = match &policy.protocol {
        Protocol::Detect { timeout, routes, rate_limit: limit } => Kind::Detect(Detect {
            timeout: Some(shared::duration(*timeout)),
            http_routes: http_routes(routes),
            http_local_rate_limit: limit.as_deref().map(rate_limit),
        }),
        Protocol::Http1 { routes, rate_limit: limit } => Kind::Http1(Http1 {
            routes: http_routes(routes),
            local_rate_limit: limit.as_deref().map(rate_limit),
        }),
        Protocol::Http2 { routes, rate_limit: limit } => Kind::Http2(Http2 {
            routes: http_routes(routes),
            local_rate_limit: limit.as_deref().map(rate_limit),
        }),
        Protocol::Grpc { routes } => Kind::Grpc(Grpc { routes: grpc_routes(routes) }),
        Protocol::Opaque => Kind::Opaque(Opaque {}),
        Protocol::Tls => Kind::Tls(Tls {}),
    };
    pb::Server {
        protocol: Some(pb::ProxyProtocol { kind: Some(kind) }),
        server_ips: Vec::new(),
        authorizations: policy.authorizations.iter().map(authorization).collect(),
        labels: labels(&policy.meta),
    }
}

fn http_routes(routes: &HttpRoutes) -> Vec<pb::HttpRoute> {
    let route = |r: &HttpRoute| pb::HttpRoute {
        metadata: Some(shared::meta(&r.meta)),
        hosts: r.hosts.iter().map(shared::host).collect(),
        authorizations: r.authorizations.iter().map(authorization).collect(),
        rules: r
            .rules
            .iter()
            .map(|rule| pb::http_route::Rule {
                matches: rule.matches.iter().map(route::http_match).collect(),
                filters: rule.filters.iter().filter_map(http_filter).collect(),
            })
            .collect(),
    };
    routes.routes.iter().map(route).collect()
}

fn grpc_routes(routes: &GrpcRoutes) -> Vec<pb::GrpcRoute> {
    let route = |r: &GrpcRoute| pb::GrpcRoute {
        metadata: Some(shared::meta(&r.meta)),
        hosts: r.hosts.iter().map(shared::host).collect(),
        authorizations: r.authorizations.iter().map(authorization).collect(),
        rules: r
            .rules
            .iter()
            .map(|rule| pb::grpc_route::Rule {
                matches: rule.matches.iter().map(route::grpc_match).collect(),
                filters: rule.filters.iter().filter_map(grpc_filter).collect(),
            })
            .collect(),
    };
    routes.routes.iter().map(route).collect()
}

fn http_filter(filter: &Filter) -> Option<pb::http_route::Filter> {
    use pb::http_route::filter::Kind;
    let kind = match filter {
        Filter::FailHttp(f) => Kind::FailureInjector(route::http_failure(f)),
        Filter::RequestHeaders(edit) => Kind::RequestHeaderModifier(route::request_headers(edit)),
        Filter::Redirect(r) => Kind::Redirect(route::redirect(r)),
        _ => return None,
    };
    Some(pb::http_route::Filter { kind: Some(kind) })
}

fn grpc_filter(filter: &Filter) -> Option<pb::grpc_route::Filter> {
    use pb::grpc_route::filter::Kind;
    let kind = match filter {
        Filter::FailGrpc(f) => Kind::FailureInjector(route::grpc_failure(f)),
        Filter::RequestHeaders(edit) => Kind::RequestHeaderModifier(route::request_headers(edit)),
        _ => return None,
    };
    Some(pb::grpc_route::Filter { kind: Some(kind) })
}

// --- authorizations

fn authorization(authorization: &Authorization) -> pb::Authz {
    pb::Authz {
        networks: authorization.networks.iter().map(network).collect(),
        authentication: Some(authentication(&authorization.authentication)),
        labels: labels(&authorization.meta),
        metadata: Some(shared::meta(&authorization.meta)),
    }
}

fn network(network: &Network) -> pb::Network {
    pb::Network {
        net: Some(shared::network(&network.net)),
        except: network.except.iter().map(shared::network).collect(),
    }
}

fn authentication(authentication: &Authentication) -> pb::Authn {
    use pb::authn::{
        Permit, PermitMeshTls, PermitUnauthenticated,
        permit_mesh_tls::{Clients, PermitClientIdentities},
    };
    let tls = |clients| Permit::MeshTls(PermitMeshTls { clients: Some(clients) });
    let permit = match authentication {
        Authentication::Unauthenticated => Permit::Unauthenticated(PermitUnauthenticated {}),
        Authentication::TlsUnauthenticated => tls(Clients::Unauthenticated(PermitUnauthenticated {})),
        Authentication::TlsAuthenticated { identities: named, suffixes } => {
            tls(Clients::Identities(PermitClientIdentities {
                identities: identities(named),
                suffixes: suffixes
                    .iter()
                    .map(|suffix| pb::IdentitySuffix { parts: suffix.parts().map(str::to_owned).collect() })
                    .collect(),
            }))
        }
    };
    pb::Authn { permit: Some(permit) }
}

fn identities(identities: &[IdentityName]) -> Vec<pb::Identity> {
    identities.iter().map(|id| pb::Identity { name: id.to_string() }).collect()
}

fn labels(meta: &Meta) -> HashMap<String, String> {
    [("group", meta.group()), ("kind", meta.kind()), ("name", meta.name())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

// --- rate limits

fn rate_limit(limit: &RateLimit) -> pb::HttpLocalRateLimit {
    use pb::http_local_rate_limit::{Limit, Override, r#override::ClientIdentities};
    let rate = |limit: Option<NonZeroU32>| limit.map(|n| Limit { requests_per_second: n.get() });
    pb::HttpLocalRateLimit {
        metadata: Some(shared::meta(&limit.meta)),
        total: rate(limit.total),
        identity: rate(limit.identity),
        overrides: limit
            .overrides
            .iter()
            .map(|o| Override {
                limit: rate(o.limit),
                clients: Some(ClientIdentities { identities: identities(&o.clients) }),
            })
            .collect(),
    }
}
