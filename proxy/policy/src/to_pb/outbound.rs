//! Outbound policies.

use super::{endpoint, route, shared};
use crate::{
    Filter,
    filter::{GrpcFailure, HttpFailure},
    outbound::{
        Accrual, Backend, Backoff, Dispatcher, Distribution, GrpcRoutes, GrpcRule, HttpRoutes, HttpRule,
        Load, OpaqueRoutes, Policy, Protocol, Retry, RouteBackend, TcpRule, Timeouts, TlsRoutes,
    },
};
use linkerd2_proxy_api::{http_route, opaque_route, outbound as pb};
use std::time::Duration;

/// What Linkerd's control plane says of every queue. Proxies want it to be there and ignore what it says.
const QUEUE_CAPACITY: u32 = 100;
const QUEUE_FAILFAST: Duration = Duration::from_secs(3);

/// What is injected where a backend cannot be reached: the status, and for gRPC the code of the same number.
const FAILED_BACKEND: u16 = 500;

/// The message of a policy.
pub fn outbound(policy: &Policy) -> pb::OutboundPolicy {
    use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind};
    let http1 = |r: &HttpRoutes| Http1 { routes: http_routes(r), failure_accrual: r.accrual.map(accrual) };
    let http2 = |r: &HttpRoutes| Http2 { routes: http_routes(r), failure_accrual: r.accrual.map(accrual) };
    let kind = match &policy.protocol {
        Protocol::Detect { timeout, http1: h1, http2: h2, opaque } => Kind::Detect(Detect {
            timeout: Some(shared::duration(*timeout)),
            opaque: Some(opaque_routes(opaque)),
            http1: Some(http1(h1)),
            http2: Some(http2(h2)),
        }),
        Protocol::Http1(routes) => Kind::Http1(http1(routes)),
        Protocol::Http2(routes) => Kind::Http2(http2(routes)),
        Protocol::Grpc(routes) => {
            Kind::Grpc(Grpc { routes: grpc_routes(routes), failure_accrual: routes.accrual.map(accrual) })
        }
        Protocol::Opaque(routes) => Kind::Opaque(opaque_routes(routes)),
        Protocol::Tls(routes) => Kind::Tls(tls_routes(routes)),
    };
    pb::OutboundPolicy {
        protocol: Some(pb::ProxyProtocol { kind: Some(kind) }),
        metadata: Some(shared::meta(&policy.parent)),
    }
}

// --- routes and rules

fn http_routes(routes: &HttpRoutes) -> Vec<pb::HttpRoute> {
    let route = |r: &crate::outbound::HttpRoute| pb::HttpRoute {
        metadata: Some(shared::meta(&r.meta)),
        hosts: r.hosts.iter().map(shared::host).collect(),
        rules: r.rules.iter().map(http_rule).collect(),
    };
    routes.routes.iter().map(route).collect()
}

fn grpc_routes(routes: &GrpcRoutes) -> Vec<pb::GrpcRoute> {
    let route = |r: &crate::outbound::GrpcRoute| pb::GrpcRoute {
        metadata: Some(shared::meta(&r.meta)),
        hosts: r.hosts.iter().map(shared::host).collect(),
        rules: r.rules.iter().map(grpc_rule).collect(),
    };
    routes.routes.iter().map(route).collect()
}

fn http_rule(rule: &HttpRule) -> pb::http_route::Rule {
    pb::http_route::Rule {
        matches: rule.matches.iter().map(route::http_match).collect(),
        filters: rule.filters.iter().filter_map(http_filter).collect(),
        backends: Some(http_distribution(&rule.backends)),
        timeouts: timeouts(&rule.timeouts),
        retry: rule.retry.as_ref().map(http_retry),
        allow_l5d_request_headers: rule.allow_l5d_request_headers,
        ..Default::default()
    }
}

fn grpc_rule(rule: &GrpcRule) -> pb::grpc_route::Rule {
    pb::grpc_route::Rule {
        matches: rule.matches.iter().map(route::grpc_match).collect(),
        filters: rule.filters.iter().filter_map(grpc_filter).collect(),
        backends: Some(grpc_distribution(&rule.backends)),
        timeouts: timeouts(&rule.timeouts),
        retry: rule.retry.as_ref().map(grpc_retry),
        allow_l5d_request_headers: rule.allow_l5d_request_headers,
        ..Default::default()
    }
}

fn opaque_routes(routes: &OpaqueRoutes) -> pb::proxy_protocol::Opaque {
    let rule = |rule: &TcpRule| pb::opaque_route::Rule {
        backends: Some(opaque_distribution(&rule.backends)),
        filters: rule.filters.iter().filter_map(opaque_filter).collect(),
    };
    let route = |r: &crate::outbound::OpaqueRoute| pb::OpaqueRoute {
        metadata: Some(shared::meta(&r.meta)),
        rules: r.rules.iter().map(rule).collect(),
    };
    pb::proxy_protocol::Opaque { routes: routes.routes.iter().map(route).collect() }
}

fn tls_routes(routes: &TlsRoutes) -> pb::proxy_protocol::Tls {
    let rule = |rule: &TcpRule| pb::tls_route::Rule {
        backends: Some(tls_distribution(&rule.backends)),
        filters: rule.filters.iter().filter_map(tls_filter).collect(),
    };
    let route = |r: &crate::outbound::TlsRoute| pb::TlsRoute {
        metadata: Some(shared::meta(&r.meta)),
        snis: r.snis.iter().map(shared::sni).collect(),
        rules: r.rules.iter().map(rule).collect(),
    };
    pb::proxy_protocol::Tls { routes: routes.routes.iter().map(route).collect() }
}

// --- filters

fn http_filter(filter: &Filter) -> Option<pb::http_route::Filter> {
    use pb::http_route::filter::Kind;
    let kind = match filter {
        Filter::FailHttp(f) => Kind::FailureInjector(route::http_failure(f)),
        Filter::RequestHeaders(edit) => Kind::RequestHeaderModifier(route::request_headers(edit)),
        Filter::ResponseHeaders(edit) => Kind::ResponseHeaderModifier(route::response_headers(edit)),
        Filter::Redirect(r) => Kind::Redirect(route::redirect(r)),
        Filter::FailGrpc(_) | Filter::Forbidden | Filter::Invalid { .. } | Filter::InternalError { .. } => {
            return None;
        }
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

fn opaque_filter(filter: &Filter) -> Option<pb::opaque_route::Filter> {
    use pb::opaque_route::filter::Kind;
    let kind = match filter {
        Filter::Forbidden => Kind::Forbidden(opaque_route::Forbidden {}),
        Filter::Invalid { message } => Kind::Invalid(opaque_route::Invalid { message: message.to_string() }),
        _ => return None,
    };
    Some(pb::opaque_route::Filter { kind: Some(kind) })
}

fn tls_filter(filter: &Filter) -> Option<pb::tls_route::Filter> {
    use pb::tls_route::filter::Kind;
    let kind = match filter {
        Filter::Forbidden => Kind::Forbidden(opaque_route::Forbidden {}),
        Filter::Invalid { message } => Kind::Invalid(opaque_route::Invalid { message: message.to_string() }),
        _ => return None,
    };
    Some(pb::tls_route::Filter { kind: Some(kind) })
}

// --- distributions and backends

/// What makes proxies tell why a backend fails, by the kind of route.
fn http_reason(message: &str) -> Filter {
    Filter::FailHttp(HttpFailure { status: FAILED_BACKEND, message: message.into(), ratio: None })
}

fn grpc_reason(message: &str) -> Filter {
    Filter::FailGrpc(GrpcFailure { code: FAILED_BACKEND.into(), message: message.into(), ratio: None })
}

fn tcp_reason(message: &str) -> Filter {
    Filter::Invalid { message: message.into() }
}

/// The four kinds of routes have messages of their own for the same distribution.
macro_rules! distribution {
    ($name:ident, $kind:ident, $filter:ident, $reason:ident $(, $rest:expr)?) => {
        fn $name(distribution: &Distribution) -> pb::$kind::Distribution {
            use pb::$kind::{RouteBackend as Pb, WeightedRouteBackend, distribution as kinds};
            fn route_backend(backend: &RouteBackend) -> Pb {
                let mut filters: Vec<_> = backend.filters.iter().filter_map($filter).collect();
                if let Dispatcher::Fail { message } = &backend.backend.dispatcher
                    && !backend.filters.iter().any(tells_why)
                {
                    filters.extend($filter(&$reason(message)));
                }
                Pb { backend: Some(self::backend(&backend.backend)), filters $(, ..$rest)? }
            }
            let kind = match distribution {
                Distribution::Empty => kinds::Kind::Empty(kinds::Empty {}),
                Distribution::FirstAvailable(backends) => kinds::Kind::FirstAvailable(kinds::FirstAvailable {
                    backends: backends.iter().map(route_backend).collect(),
                }),
                Distribution::RandomAvailable(backends) => kinds::Kind::RandomAvailable(kinds::RandomAvailable {
                    backends: backends
                        .iter()
                        .map(|(backend, weight)| WeightedRouteBackend {
                            backend: Some(route_backend(backend)),
                            weight: *weight,
                        })
                        .collect(),
                }),
            };
            pb::$kind::Distribution { kind: Some(kind) }
        }
    };
}

distribution!(http_distribution, http_route, http_filter, http_reason, Pb::default());
distribution!(grpc_distribution, grpc_route, grpc_filter, grpc_reason, Pb::default());
distribution!(opaque_distribution, opaque_route, opaque_filter, tcp_reason);
distribution!(tls_distribution, tls_route, tls_filter, tcp_reason);

fn tells_why(filter: &Filter) -> bool {
    matches!(filter, Filter::FailHttp(_) | Filter::FailGrpc(_) | Filter::Invalid { .. })
}

fn backend(backend: &Backend) -> pb::Backend {
    use pb::backend::{BalanceP2c, EndpointDiscovery, Kind, endpoint_discovery as discovery};
    let kind = match &backend.dispatcher {
        Dispatcher::Forward(to) => Some(Kind::Forward(endpoint(to))),
        Dispatcher::Balance { path, load: by } => Some(Kind::Balancer(BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(discovery::Kind::Dst(discovery::DestinationGet { path: path.to_string() })),
            }),
            load: Some(load(by)),
        })),
        Dispatcher::Fail { .. } => None,
    };
    let queue =
        pb::Queue { capacity: QUEUE_CAPACITY, failfast_timeout: Some(shared::duration(QUEUE_FAILFAST)) };
    pb::Backend { metadata: Some(shared::meta(&backend.meta)), queue: Some(queue), kind }
}

fn load(load: &Load) -> pb::backend::balance_p2c::Load {
    use pb::backend::balance_p2c::{Load as Kind, PeakEwma, PenaltyPeakEwma};
    let default_rtt = Some(shared::duration(load.default_rtt));
    let decay = Some(shared::duration(load.decay));
    match load.penalty {
        None => Kind::PeakEwma(PeakEwma { default_rtt, decay }),
        Some(penalty) => Kind::PenaltyPeakEwma(PenaltyPeakEwma {
            default_rtt,
            decay,
            penalty: Some(shared::duration(penalty.penalty)),
            max_retry_after: Some(shared::duration(penalty.max_retry_after)),
            penalty_decay: None,
        }),
    }
}

// --- timeouts, retries, accrual

fn timeouts(timeouts: &Timeouts) -> Option<http_route::Timeouts> {
    (*timeouts != Timeouts::default()).then(|| http_route::Timeouts {
        response: timeouts.response.map(shared::duration),
        request: timeouts.request.map(shared::duration),
        idle: timeouts.idle.map(shared::duration),
    })
}

fn http_retry(retry: &Retry) -> pb::http_route::Retry {
    use pb::http_route::retry::{Conditions, conditions::StatusRange};
    let range = |&(start, end): &(u16, u16)| StatusRange { start: start.into(), end: end.into() };
    pb::http_route::Retry {
        max_retries: retry.max_retries.into(),
        max_request_bytes: retry.max_request_bytes,
        conditions: Some(Conditions { status_ranges: retry.conditions.statuses.iter().map(range).collect() }),
        timeout: retry.timeout.map(shared::duration),
        backoff: retry.backoff.map(backoff),
    }
}

fn grpc_retry(retry: &Retry) -> pb::grpc_route::Retry {
    let codes = retry.conditions.grpc;
    pb::grpc_route::Retry {
        max_retries: retry.max_retries.into(),
        max_request_bytes: retry.max_request_bytes,
        conditions: Some(pb::grpc_route::retry::Conditions {
            cancelled: codes.cancelled,
            deadine_exceeded: codes.deadline_exceeded,
            resource_exhausted: codes.resource_exhausted,
            internal: codes.internal,
            unavailable: codes.unavailable,
        }),
        timeout: retry.timeout.map(shared::duration),
        backoff: retry.backoff.map(backoff),
    }
}

fn accrual(accrual: Accrual) -> pb::FailureAccrual {
    use pb::failure_accrual::{ConsecutiveFailures, Kind, Unified};
    let kind = match accrual {
        Accrual::Consecutive { max_failures, backoff: waits } => {
            Kind::ConsecutiveFailures(ConsecutiveFailures { max_failures, backoff: Some(backoff(waits)) })
        }
        Accrual::Unified {
            success_rate_threshold,
            window,
            min_requests,
            max_consecutive_failures,
            backoff: waits,
        } => Kind::Unified(Unified {
            success_rate_threshold,
            decay: Some(shared::duration(window)),
            min_requests,
            max_consecutive_failures,
            backoff: Some(backoff(waits)),
        }),
    };
    pb::FailureAccrual { ejection: None, kind: Some(kind) }
}

fn backoff(backoff: Backoff) -> pb::ExponentialBackoff {
    pb::ExponentialBackoff {
        min_backoff: Some(shared::duration(backoff.min())),
        max_backoff: Some(shared::duration(backoff.max())),
        jitter_ratio: backoff.jitter(),
        respect_retry_after_hint: false,
    }
}
