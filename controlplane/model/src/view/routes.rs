//! Routes of a service: those written for it, or the default one.

use std::{sync::Arc, time::Duration};

use weft_names::{Meta, ResourceRef};
use weft_policy::{
    Filter,
    filter::{GrpcFailure, HttpFailure},
    matching::{HttpMatch, PathMatch},
    outbound::{
        Backend, Backoff, Distribution, GrpcRoute, GrpcRule, HttpRoute, HttpRule, Retry, RetryConditions,
        RouteBackend, Rule, Timeouts,
    },
};

use super::outbound;
use crate::{
    fact::{Id, ParentRef, RouteTraffic, Service, route::BackendRef, service::group, traffic::Retries},
    facts::Lens,
};

/// Bytes of a request that are kept to be sent again.
const MAX_RETRY_BYTES: u32 = 64 * 1024;
/// Waits between attempts, and their jitter.
const RETRY_BACKOFF: (Duration, Duration, f32) = (Duration::from_millis(25), Duration::from_millis(250), 1.0);
/// HTTP status of requests to a backend that there is not.
const INVALID_BACKEND_HTTP: u16 = 500;
/// gRPC status of calls to a backend that there is not: INTERNAL. Linkerd sends 500 here, which is none.
const INVALID_BACKEND_GRPC: u32 = 13;

/// The service that routes are made for.
pub(super) struct Parent<'a> {
    pub(super) service: &'a Service,
    pub(super) port: u16,
    /// The client's namespace.
    pub(super) client: &'a Arc<str>,
    /// The service itself as a backend.
    pub(super) backend: Arc<Backend>,
}

/// HTTP routes: those written, or one for everything.
pub(super) fn http(parent: &Parent<'_>, lens: &Lens<'_>) -> Vec<HttpRoute> {
    let written = lens.http_routes_of(&parent.service.id);
    let written = parent.in_force(written, |route| (&route.id, &route.parents));
    let routes: Vec<HttpRoute> = written
        .into_iter()
        .map(|route| HttpRoute {
            meta: Arc::new(route_meta(route.group.as_str(), "HTTPRoute", &route.id)),
            hosts: route.hosts.clone(),
            rules: route
                .rules
                .iter()
                .map(|rule| HttpRule {
                    matches: rule.matches.clone(),
                    filters: rule.filters.clone(),
                    timeouts: parent.timeouts(&route.traffic, rule.request_timeout),
                    retry: parent.retry(&route.traffic, http_conditions),
                    allow_l5d_request_headers: lens.settings().allow_l5d_request_headers,
                    ..Rule::new(parent.distribution(&rule.backends, fail_http, lens))
                })
                .collect(),
        })
        .collect();
    if !routes.is_empty() {
        return routes;
    }
    let anything = HttpMatch { path: Some(PathMatch::Prefix("/".into())), ..HttpMatch::default() };
    let rule = HttpRule {
        matches: vec![anything],
        timeouts: parent.timeouts(&RouteTraffic::default(), None),
        retry: parent.retry(&RouteTraffic::default(), http_conditions),
        allow_l5d_request_headers: lens.settings().allow_l5d_request_headers,
        ..Rule::new(Distribution::only(RouteBackend::new(parent.backend.clone())))
    };
    vec![HttpRoute { meta: Arc::new(Meta::default_named("http")), hosts: Vec::new(), rules: vec![rule] }]
}

/// gRPC routes, if there are any.
pub(super) fn grpc(parent: &Parent<'_>, lens: &Lens<'_>) -> Vec<GrpcRoute> {
    let written = lens.grpc_routes_of(&parent.service.id);
    let written = parent.in_force(written, |route| (&route.id, &route.parents));
    written
        .into_iter()
        .map(|route| GrpcRoute {
            meta: Arc::new(route_meta("gateway.networking.k8s.io", "GRPCRoute", &route.id)),
            hosts: route.hosts.clone(),
            rules: route
                .rules
                .iter()
                .map(|rule| GrpcRule {
                    matches: rule.matches.clone(),
                    filters: rule.filters.clone(),
                    timeouts: parent.timeouts(&route.traffic, None),
                    retry: parent.retry(&route.traffic, grpc_conditions),
                    allow_l5d_request_headers: lens.settings().allow_l5d_request_headers,
                    ..Rule::new(parent.distribution(&rule.backends, fail_grpc, lens))
                })
                .collect(),
        })
        .collect()
}

pub(super) fn route_meta(group: &str, kind: &str, id: &Id) -> Meta {
    ResourceRef::new(group, kind, id.namespace.clone(), id.name.clone()).into()
}

impl Parent<'_> {
    /// The routes that are for this port and this client. Routes of the service's own namespace are for
    /// everybody; those of the client's namespace are only for clients there and take the place of the
    /// others. A service without an address cannot be a parent.
    fn in_force<'r, R>(
        &self,
        routes: Vec<&'r Arc<R>>,
        of: impl Fn(&'r R) -> (&'r Id, &'r Vec<ParentRef>),
    ) -> Vec<&'r Arc<R>> {
        if self.service.addresses.is_empty() {
            return Vec::new();
        }
        let is_here = |parent: &ParentRef| match parent {
            ParentRef::Service(id, port) => {
                *id == self.service.id && port.is_none_or(|port| port == self.port)
            }
            ParentRef::Server(_) => false,
        };
        let written_in = |namespace: &Arc<str>| -> Vec<&'r Arc<R>> {
            let is_for = |route: &&&'r Arc<R>| {
                let (id, parents) = of(route);
                id.namespace == *namespace && parents.iter().any(is_here)
            };
            routes.iter().filter(is_for).copied().collect()
        };
        let consumer = written_in(self.client);
        match consumer.is_empty() {
            true => written_in(&self.service.id.namespace),
            false => consumer,
        }
    }

    /// A route's own annotations take the place of all of the service's; a rule's `timeouts.request` is
    /// for where no annotation says how long a request may take.
    fn timeouts(&self, route: &RouteTraffic, rule: Option<Duration>) -> Timeouts {
        match (route.timeouts, self.service.traffic.route.timeouts) {
            (Some(own), _) => Timeouts { request: own.request.or(rule), ..own },
            (None, inherited) => {
                let inherited = inherited.unwrap_or_default();
                Timeouts { request: rule.or(inherited.request), ..inherited }
            }
        }
    }

    fn retry(
        &self,
        route: &RouteTraffic,
        conditions: impl Fn(&Retries) -> Option<RetryConditions>,
    ) -> Option<Retry> {
        let retries = route.retries.as_ref().or(self.service.traffic.route.retries.as_ref())?;
        let (min, max, jitter) = RETRY_BACKOFF;
        Some(Retry {
            max_retries: retries.limit,
            max_request_bytes: MAX_RETRY_BYTES,
            conditions: conditions(retries)?,
            timeout: retries.timeout,
            backoff: Backoff::new(min, max, jitter).ok(),
        })
    }

    fn distribution(
        &self,
        backends: &[BackendRef],
        fail: impl Fn(Arc<str>) -> Filter,
        lens: &Lens<'_>,
    ) -> Distribution {
        if backends.is_empty() {
            return Distribution::only(RouteBackend::new(self.backend.clone()));
        }
        if backends.iter().all(|backend| backend.weight == 0) {
            return Distribution::Empty;
        }
        let backends = backends.iter().map(|to| {
            let (backend, failure) = resolve(to, lens);
            let mut filters = to.filters.clone();
            filters.extend(failure.map(&fail));
            (RouteBackend { backend, filters }, to.weight)
        });
        Distribution::RandomAvailable(backends.collect())
    }
}

/// What a reference means, and why it is nothing if it is.
fn resolve(to: &BackendRef, lens: &Lens<'_>) -> (Arc<Backend>, Option<Arc<str>>) {
    let failed = |meta: Meta, message: String| {
        let message: Arc<str> = message.into();
        (Arc::new(Backend::fail(Arc::new(meta), message.clone())), Some(message))
    };
    let BackendRef { group, kind, id, port, .. } = to;
    if !(matches!(&**group, "" | group::CORE) && &**kind == "Service") {
        let message = format!("unsupported backend type {group} {kind} {}", id.name);
        return failed(Meta::default_named("invalid"), message);
    }
    let Some(port) = *port else {
        return failed(outbound::service_meta(id, 0), "missing port for backend Service".to_owned());
    };
    match lens.service(id) {
        Some(service) => (outbound::backend(service, port, lens), None),
        None => failed(outbound::service_meta(id, port), format!("Service not found {}", id.name)),
    }
}

fn fail_http(message: Arc<str>) -> Filter {
    Filter::FailHttp(HttpFailure { status: INVALID_BACKEND_HTTP, message, ratio: None })
}

fn fail_grpc(message: Arc<str>) -> Filter {
    Filter::FailGrpc(GrpcFailure { code: INVALID_BACKEND_GRPC, message, ratio: None })
}

fn http_conditions(retries: &Retries) -> Option<RetryConditions> {
    let statuses = retries.statuses.clone();
    (!statuses.is_empty()).then(|| RetryConditions { statuses, ..RetryConditions::default() })
}

fn grpc_conditions(retries: &Retries) -> Option<RetryConditions> {
    retries.codes.map(|grpc| RetryConditions { grpc, ..RetryConditions::default() })
}
