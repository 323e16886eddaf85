//! One policy out of what discovery says: the service profile and the outbound policy of a target.

use super::{
    Backend, Distribution, Endpoint, HttpRoute, HttpRoutes, HttpRule, Load, OpaqueRoutes, Order, Policy,
    Profile, ProfileRule, Protocol, RouteBackend, Rule, TcpRule,
};
use crate::{Filter, HeaderName, HeaderValue, Meta, filter::HeaderEdit, matching::HttpMatch};
use std::{net::SocketAddr, sync::Arc};
use weft_names::ResourceRef;

/// What asking for a target's outbound policy came to. Errors that are neither of these fail the connection.
#[derive(Clone, Copy, Debug)]
pub enum PolicyLookup<'a> {
    /// There is one.
    Found(&'a Arc<Policy>),
    /// The control plane has none (`NOT_FOUND`), or does not know of policies (`UNIMPLEMENTED`).
    Absent,
}

impl Policy {
    /// What is done with connections to `target`, out of both answers of the control plane.
    ///
    /// | profile | policy | result |
    /// |---|---|---|
    /// | with an endpoint | absent | to that endpoint (`default/endpoint`), protocol detected |
    /// | other, or none | absent | to the target (`default/fallback`), protocol detected |
    /// | opaque | any | opaque routes only |
    /// | with routes or targets | any | HTTP follows the profile |
    /// | with targets | any | opaque connections follow the profile |
    /// | other, or none | found | the policy |
    ///
    /// A policy that could not be understood stays what it is, whatever the profile says.
    pub fn resolve(target: SocketAddr, profile: Option<&Profile>, policy: PolicyLookup<'_>) -> Arc<Self> {
        let base = match policy {
            PolicyLookup::Found(policy) => Arc::clone(policy),
            PolicyLookup::Absent => Arc::new(Self::synthesised(target, profile)),
        };
        let Some(profile) = profile else { return base };
        if base.problem.is_some() {
            return base;
        }
        let opaque_of_profile = || (!profile.targets.is_empty()).then(|| opaque_routes(profile));
        if profile.opaque {
            let routes = match (opaque_of_profile(), &base.protocol) {
                (Some(routes), _) => routes,
                (None, Protocol::Opaque(_)) => return base,
                (None, Protocol::Detect { opaque, .. }) => opaque.clone(),
                (None, _) => OpaqueRoutes::from_rule(
                    Arc::new(Meta::default_named("opaq")),
                    TcpRule::new(Distribution::only(RouteBackend::new(service(target, profile)))),
                ),
            };
            return Arc::new(Self::new(Arc::clone(&base.parent), Protocol::Opaque(routes)));
        }
        if !profile.takes_http() {
            return base;
        }
        let http = || http_routes(target, profile);
        let protocol = match &base.protocol {
            Protocol::Detect { timeout, opaque, .. } => {
                let http = http();
                Protocol::Detect {
                    timeout: *timeout,
                    http1: http.clone(),
                    http2: http,
                    opaque: opaque_of_profile().unwrap_or_else(|| opaque.clone()),
                }
            }
            Protocol::Http1(_) => Protocol::Http1(http()),
            Protocol::Http2(_) | Protocol::Grpc(_) => Protocol::Http2(http()),
            Protocol::Opaque(_) => match opaque_of_profile() {
                Some(routes) => Protocol::Opaque(routes),
                None => return base,
            },
            Protocol::Tls(_) => return base,
        };
        Arc::new(Self::new(Arc::clone(&base.parent), protocol))
    }

    /// The policy of a target that has none of its own.
    fn synthesised(target: SocketAddr, profile: Option<&Profile>) -> Self {
        let (name, endpoint) = match profile.and_then(|p| p.endpoint.as_ref()) {
            Some(endpoint) => ("endpoint", Arc::clone(endpoint)),
            None => ("fallback", Arc::new(Endpoint::plain(target))),
        };
        let meta = Arc::new(Meta::default_named(name));
        Self::forward(meta, endpoint)
    }

    /// To one endpoint, protocol detected.
    pub fn forward(meta: Arc<Meta>, endpoint: Arc<Endpoint>) -> Self {
        let backend = Arc::new(Backend::forward(Arc::clone(&meta), endpoint));
        let http = HttpRoutes::to_backend(Arc::clone(&meta), Arc::clone(&backend));
        let opaque = OpaqueRoutes::to_backend(Arc::clone(&meta), backend);
        let timeout = super::DEFAULT_DETECT_TIMEOUT;
        Self::new(meta, Protocol::Detect { timeout, http1: http.clone(), http2: http, opaque })
    }
}

/// Where requests of the profile's service go, if not to its targets.
fn service(target: SocketAddr, profile: &Profile) -> Arc<Backend> {
    let meta = profile.parent.clone().unwrap_or_else(|| Arc::new(Meta::default_named("profile")));
    let backend = match (&profile.endpoint, canonical(target, profile)) {
        (Some(endpoint), _) => Backend::forward(meta, Arc::clone(endpoint)),
        (None, Some(path)) => Backend::balance(meta, path, Load::default()),
        (None, None) => Backend::forward(meta, Arc::new(Endpoint::plain(target))),
    };
    Arc::new(backend)
}

/// The service's name with the target's port.
fn canonical(target: SocketAddr, profile: &Profile) -> Option<Arc<str>> {
    profile.name.as_ref().map(|name| Arc::from(format!("{name}:{}", target.port())))
}

fn targets(profile: &Profile) -> Distribution {
    let backends = profile.targets.iter().map(|t| {
        let path = t.authority.to_string();
        let meta = t.backend.clone().unwrap_or_else(|| Arc::new(Meta::default_named(path.as_str())));
        (RouteBackend::new(Arc::new(Backend::balance(meta, path, Load::default()))), t.weight)
    });
    Distribution::RandomAvailable(backends.collect())
}

fn opaque_routes(profile: &Profile) -> OpaqueRoutes {
    let meta = profile.profile.clone().unwrap_or_else(|| Arc::new(Meta::default_named("profile")));
    OpaqueRoutes::from_rule(meta, TcpRule::new(targets(profile)))
}

fn http_routes(target: SocketAddr, profile: &Profile) -> HttpRoutes {
    let dst = canonical(target, profile);
    let backends = if profile.targets.is_empty() {
        Distribution::only(RouteBackend::new(service(target, profile)))
    } else {
        targets(profile)
    };
    let filters: Vec<Filter> = dst.iter().filter_map(|dst| canonical_header(dst)).collect();
    let dst = dst.unwrap_or_else(|| Arc::from(target.to_string()));
    let rule = |matches: Vec<HttpMatch>, profile: ProfileRule| HttpRule {
        matches,
        filters: filters.clone(),
        profile: Some(Arc::new(profile)),
        ..Rule::new(backends.clone())
    };
    let mut routes: Vec<HttpRoute> = profile
        .routes
        .iter()
        .map(|route| {
            let matches =
                vec![HttpMatch { condition: Some(route.condition.clone()), ..HttpMatch::default() }];
            let asks = ProfileRule {
                dst: Arc::clone(&dst),
                labels: route.labels.clone(),
                classes: route.classes.clone(),
                timeout: route.timeout,
                retry_budget: profile.retry_budget.filter(|_| route.retryable),
            };
            let meta = route_meta(profile, route.labels.get("route"));
            HttpRoute { meta, hosts: Vec::new(), rules: vec![rule(matches, asks)] }
        })
        .collect();
    let other = ProfileRule {
        dst,
        labels: Default::default(),
        classes: Vec::new(),
        timeout: None,
        retry_budget: None,
    };
    routes.push(HttpRoute {
        meta: route_meta(profile, None),
        hosts: Vec::new(),
        rules: vec![rule(Vec::new(), other)],
    });
    HttpRoutes { routes, accrual: None, order: Order::First }
}

/// The profile object, with the route's name as its section.
fn route_meta(profile: &Profile, route: Option<&str>) -> Arc<Meta> {
    match (profile.profile.as_deref(), route) {
        (Some(Meta::Resource(object)), Some(route)) if !object.name.is_empty() => {
            Arc::new(ResourceRef::clone(object).with_section(route).into())
        }
        (Some(Meta::Resource(object)), None) if !object.name.is_empty() => Arc::new(object.clone().into()),
        (_, route) => Arc::new(Meta::default_named(route.unwrap_or("profile"))),
    }
}

/// Tells the peer's proxy which service was meant.
fn canonical_header(dst: &str) -> Option<Filter> {
    let value = HeaderValue::new(dst.as_bytes()).ok()?;
    let set = vec![(HeaderName::known("l5d-dst-canonical"), value)];
    Some(Filter::RequestHeaders(HeaderEdit { set, ..HeaderEdit::default() }))
}

#[cfg(test)]
mod tests;
