//! Inbound server policies.

use super::{At, Invalid, Problem, each, required, route, shared};
use crate::{
    Filter, Meta,
    inbound::{
        Authentication, Authorization, DEFAULT_DETECT_TIMEOUT, GrpcRoute, GrpcRoutes, GrpcRule, HttpRoute,
        HttpRoutes, HttpRule, Network, Protocol, RateLimit, RateLimitOverride, ServerPolicy,
    },
    limits::{MAX_AUTHORIZATIONS, MAX_MATCHES, MAX_ROUTES},
};
use linkerd2_proxy_api::inbound as pb;
use std::{collections::HashMap, num::NonZeroU32, sync::Arc};
use weft_names::{IdentityName, IdentitySuffix, ResourceRef};

/// The policy of a message.
///
/// # Errors
/// The first thing that cannot be understood. [`ServerPolicy::from_pb`] makes a policy of that.
pub fn server(message: &pb::Server) -> Result<ServerPolicy, Problem> {
    use pb::proxy_protocol::Kind;
    let protocol = required(&message.protocol, "protocol")?;
    let protocol =
        match protocol.kind.as_ref().ok_or_else(|| Problem::new("protocol", Invalid::UnknownKind))? {
            Kind::Detect(detect) => Protocol::Detect {
                timeout: shared::maybe(&detect.timeout, "protocol.detect.timeout")?
                    .unwrap_or(DEFAULT_DETECT_TIMEOUT),
                routes: http_routes(&detect.http_routes).at("protocol.detect")?,
                rate_limit: rate_limit(&detect.http_local_rate_limit).at("protocol.detect")?,
            },
            Kind::Http1(http) => Protocol::Http1 {
                routes: http_routes(&http.routes).at("protocol.http1")?,
                rate_limit: rate_limit(&http.local_rate_limit).at("protocol.http1")?,
            },
            Kind::Http2(http) => Protocol::Http2 {
                routes: http_routes(&http.routes).at("protocol.http2")?,
                rate_limit: rate_limit(&http.local_rate_limit).at("protocol.http2")?,
            },
            Kind::Grpc(grpc) => Protocol::Grpc { routes: grpc_routes(&grpc.routes).at("protocol.grpc")? },
            Kind::Opaque(_) => Protocol::Opaque,
            Kind::Tls(_) => Protocol::Tls,
        };
    let meta = labelled(&message.labels).at("labels")?;
    let authorizations = authorizations(&message.authorizations)?;
    Ok(ServerPolicy::new(meta, protocol, authorizations))
}

fn http_routes(routes: &[pb::HttpRoute]) -> Result<HttpRoutes, Problem> {
    let routes = each(routes, "routes", MAX_ROUTES, |route| {
        let rules = each(&route.rules, "rules", MAX_ROUTES, |rule| {
            Ok(HttpRule {
                matches: route::http_matches(&rule.matches)?,
                filters: each(&rule.filters, "filters", MAX_MATCHES, http_filter)?,
            })
        })?;
        Ok(HttpRoute {
            meta: shared::required_meta(&route.metadata)?,
            hosts: each(&route.hosts, "hosts", MAX_MATCHES, shared::host)?,
            authorizations: authorizations(&route.authorizations)?,
            rules,
        })
    })?;
    Ok(HttpRoutes { routes })
}

fn grpc_routes(routes: &[pb::GrpcRoute]) -> Result<GrpcRoutes, Problem> {
    let routes = each(routes, "routes", MAX_ROUTES, |route| {
        let rules = each(&route.rules, "rules", MAX_ROUTES, |rule| {
            Ok(GrpcRule {
                matches: route::grpc_matches(&rule.matches)?,
                filters: each(&rule.filters, "filters", MAX_MATCHES, grpc_filter)?,
            })
        })?;
        Ok(GrpcRoute {
            meta: shared::required_meta(&route.metadata)?,
            hosts: each(&route.hosts, "hosts", MAX_MATCHES, shared::host)?,
            authorizations: authorizations(&route.authorizations)?,
            rules,
        })
    })?;
    Ok(GrpcRoutes { routes })
}

fn http_filter(filter: &pb::http_route::Filter) -> Result<Filter, Problem> {
    use pb::http_route::filter::Kind;
    match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::FailureInjector(f) => route::http_failure(f),
        Kind::RequestHeaderModifier(m) => route::request_headers(m),
        Kind::Redirect(r) => route::redirect(r),
    }
}

fn grpc_filter(filter: &pb::grpc_route::Filter) -> Result<Filter, Problem> {
    use pb::grpc_route::filter::Kind;
    match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::FailureInjector(f) => route::grpc_failure(f),
        Kind::RequestHeaderModifier(m) => route::request_headers(m),
    }
}

// --- authorizations

fn authorizations(authorizations: &[pb::Authz]) -> Result<Vec<Authorization>, Problem> {
    each(authorizations, "authorizations", MAX_AUTHORIZATIONS, |authz| {
        if authz.networks.is_empty() {
            return Err(Problem::new("networks", Invalid::Missing));
        }
        Ok(Authorization {
            networks: each(&authz.networks, "networks", MAX_AUTHORIZATIONS, network)?,
            authentication: authentication(required(&authz.authentication, "authentication")?)
                .at("authentication")?,
            meta: match &authz.metadata {
                Some(meta) => shared::meta(meta).at("metadata")?,
                None => labelled(&authz.labels).at("labels")?,
            },
        })
    })
}

fn network(network: &pb::Network) -> Result<Network, Problem> {
    Ok(Network {
        net: shared::network(required(&network.net, "net")?).at("net")?,
        except: each(&network.except, "except", MAX_AUTHORIZATIONS, shared::network)?,
    })
}

fn authentication(authn: &pb::Authn) -> Result<Authentication, Problem> {
    use pb::authn::{Permit, permit_mesh_tls::Clients};
    Ok(match authn.permit.as_ref().ok_or(Invalid::UnknownKind)? {
        Permit::Unauthenticated(_) => Authentication::Unauthenticated,
        Permit::MeshTls(tls) => match tls.clients.as_ref().ok_or(Invalid::UnknownKind)? {
            Clients::Unauthenticated(_) => Authentication::TlsUnauthenticated,
            Clients::Identities(clients) => Authentication::TlsAuthenticated {
                identities: identities(&clients.identities)?,
                suffixes: each(&clients.suffixes, "suffixes", MAX_AUTHORIZATIONS, |suffix| {
                    Ok(IdentitySuffix::from_parts(&suffix.parts).map_err(Invalid::Name)?)
                })?,
            },
        },
    })
}

fn identities(identities: &[pb::Identity]) -> Result<Vec<IdentityName>, Problem> {
    each(identities, "identities", MAX_AUTHORIZATIONS, |identity| {
        Ok(identity.name.parse().map_err(Invalid::Identity)?)
    })
}

/// What labels say of where something comes from: `group`, `kind` and `name`. Old control planes give only a name, with
/// a prefix where it is a default.
fn labelled(labels: &HashMap<String, String>) -> Result<Arc<Meta>, Problem> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let (kind, name) = (label("kind"), label("name"));
    if name.is_empty() {
        return Err(Problem::new("name", Invalid::Missing));
    }
    Ok(Arc::new(match (kind, name.strip_prefix("default:")) {
        ("", Some(name)) | (Meta::DEFAULT_KIND, Some(name)) => Meta::default_named(name),
        (Meta::DEFAULT_KIND, None) => Meta::default_named(name),
        (kind, _) => ResourceRef::new(label("group"), kind, "", name).into(),
    }))
}

// --- rate limits

fn rate_limit(limit: &Option<pb::HttpLocalRateLimit>) -> Result<Option<Arc<RateLimit>>, Problem> {
    use pb::http_local_rate_limit::Limit;
    let Some(limits) = limit else { return Ok(None) };
    let rate = |limit: &Option<Limit>| limit.as_ref().and_then(|l| NonZeroU32::new(l.requests_per_second));
    let overrides = each(&limits.overrides, "overrides", MAX_AUTHORIZATIONS, |o| {
        let clients = o.clients.as_ref().map_or(&[][..], |c| &c.identities);
        Ok(RateLimitOverride { limit: rate(&o.limit), clients: identities(clients)? })
    });
    let convert = || {
        Ok(RateLimit {
            meta: shared::required_meta(&limits.metadata)?,
            total: rate(&limits.total),
            identity: rate(&limits.identity),
            overrides: overrides?,
        })
    };
    convert().map(|limits| Some(Arc::new(limits))).map_err(|p: Problem| p.within("local_rate_limit"))
}
