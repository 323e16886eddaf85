//! Outbound policies.

use super::{At, Invalid, Problem, each, endpoint, required, route, shared};
use crate::{
    Filter,
    limits::{MAX_BACKENDS, MAX_MATCHES, MAX_ROUTES},
    outbound::{
        Accrual, Backend, Backoff, DEFAULT_DETECT_TIMEOUT, Dispatcher, Distribution, GrpcCodes, GrpcRoute,
        GrpcRoutes, GrpcRule, HttpRoute, HttpRoutes, HttpRule, Load, OpaqueRoute, OpaqueRoutes, Order,
        Penalty, Policy, Protocol, Retry, RetryConditions, RouteBackend, TcpRule, Timeouts, TlsRoute,
        TlsRoutes,
    },
};
use linkerd2_proxy_api::{http_route, outbound as pb};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The policy of a message.
///
/// # Errors
/// The first thing that cannot be understood. [`Policy::from_pb`] makes a policy of that.
pub fn outbound(message: &pb::OutboundPolicy) -> Result<Policy, Problem> {
    use pb::proxy_protocol::Kind;
    let parent = shared::required_meta(&message.metadata)?;
    let protocol = required(&message.protocol, "protocol")?;
    let protocol =
        match protocol.kind.as_ref().ok_or_else(|| Problem::new("protocol", Invalid::UnknownKind))? {
            Kind::Detect(detect) => {
                let http1 = required(&detect.http1, "protocol.detect.http1")?;
                let http2 = required(&detect.http2, "protocol.detect.http2")?;
                Protocol::Detect {
                    timeout: shared::maybe(&detect.timeout, "protocol.detect.timeout")?
                        .unwrap_or(DEFAULT_DETECT_TIMEOUT),
                    http1: http_routes(&http1.routes, &http1.failure_accrual).at("protocol.detect.http1")?,
                    http2: http_routes(&http2.routes, &http2.failure_accrual).at("protocol.detect.http2")?,
                    opaque: opaque_routes(required(&detect.opaque, "protocol.detect.opaque")?)
                        .at("protocol.detect.opaque")?,
                }
            }
            Kind::Http1(http) => {
                Protocol::Http1(http_routes(&http.routes, &http.failure_accrual).at("protocol.http1")?)
            }
            Kind::Http2(http) => {
                Protocol::Http2(http_routes(&http.routes, &http.failure_accrual).at("protocol.http2")?)
            }
            Kind::Grpc(grpc) => {
                Protocol::Grpc(grpc_routes(&grpc.routes, &grpc.failure_accrual).at("protocol.grpc")?)
            }
            Kind::Opaque(opaque) => Protocol::Opaque(opaque_routes(opaque).at("protocol.opaque")?),
            Kind::Tls(tls) => Protocol::Tls(tls_routes(tls).at("protocol.tls")?),
        };
    Ok(Policy::new(parent, protocol))
}

// --- routes and rules

fn http_routes(
    routes: &[pb::HttpRoute],
    failures: &Option<pb::FailureAccrual>,
) -> Result<HttpRoutes, Problem> {
    let routes = each(routes, "routes", MAX_ROUTES, |route| {
        Ok(HttpRoute {
            meta: shared::required_meta(&route.metadata)?,
            hosts: each(&route.hosts, "hosts", MAX_MATCHES, shared::host)?,
            rules: each(&route.rules, "rules", MAX_ROUTES, http_rule)?,
        })
    })?;
    Ok(HttpRoutes { routes, accrual: accrual(failures)?, order: Order::Ranked })
}

fn grpc_routes(
    routes: &[pb::GrpcRoute],
    failures: &Option<pb::FailureAccrual>,
) -> Result<GrpcRoutes, Problem> {
    let routes = each(routes, "routes", MAX_ROUTES, |route| {
        Ok(GrpcRoute {
            meta: shared::required_meta(&route.metadata)?,
            hosts: each(&route.hosts, "hosts", MAX_MATCHES, shared::host)?,
            rules: each(&route.rules, "rules", MAX_ROUTES, grpc_rule)?,
        })
    })?;
    Ok(GrpcRoutes { routes, accrual: accrual(failures)?, order: Order::Ranked })
}

#[expect(deprecated, reason = "older control planes send only this timeout")]
fn http_rule(rule: &pb::http_route::Rule) -> Result<HttpRule, Problem> {
    Ok(HttpRule {
        matches: route::http_matches(&rule.matches)?,
        filters: each(&rule.filters, "filters", MAX_MATCHES, http_filter)?,
        backends: http_distribution(&rule.backends)?,
        timeouts: timeouts(&rule.timeouts, &rule.request_timeout)?,
        retry: rule.retry.as_ref().map(http_retry).transpose().at("retry")?,
        allow_l5d_request_headers: rule.allow_l5d_request_headers,
        profile: None,
    })
}

#[expect(deprecated, reason = "older control planes send only this timeout")]
fn grpc_rule(rule: &pb::grpc_route::Rule) -> Result<GrpcRule, Problem> {
    Ok(GrpcRule {
        matches: route::grpc_matches(&rule.matches)?,
        filters: each(&rule.filters, "filters", MAX_MATCHES, grpc_filter)?,
        backends: grpc_distribution(&rule.backends)?,
        timeouts: timeouts(&rule.timeouts, &rule.request_timeout)?,
        retry: rule.retry.as_ref().map(grpc_retry).transpose().at("retry")?,
        allow_l5d_request_headers: rule.allow_l5d_request_headers,
        profile: None,
    })
}

fn opaque_routes(opaque: &pb::proxy_protocol::Opaque) -> Result<OpaqueRoutes, Problem> {
    let routes = each(&opaque.routes, "routes", MAX_ROUTES, |route| {
        let rules = each(&route.rules, "rules", MAX_ROUTES, |rule| {
            Ok(TcpRule {
                filters: each(&rule.filters, "filters", MAX_MATCHES, opaque_filter)?,
                backends: opaque_distribution(&rule.backends)?,
            })
        })?;
        Ok(OpaqueRoute { meta: shared::required_meta(&route.metadata)?, rules })
    })?;
    Ok(OpaqueRoutes { routes })
}

fn tls_routes(tls: &pb::proxy_protocol::Tls) -> Result<TlsRoutes, Problem> {
    let routes = each(&tls.routes, "routes", MAX_ROUTES, |route| {
        let rules = each(&route.rules, "rules", MAX_ROUTES, |rule| {
            Ok(TcpRule {
                filters: each(&rule.filters, "filters", MAX_MATCHES, tls_filter)?,
                backends: tls_distribution(&rule.backends)?,
            })
        })?;
        Ok(TlsRoute {
            meta: shared::required_meta(&route.metadata)?,
            snis: each(&route.snis, "snis", MAX_MATCHES, shared::sni)?,
            rules,
        })
    })?;
    Ok(TlsRoutes { routes })
}

// --- filters

fn http_filter(filter: &pb::http_route::Filter) -> Result<Filter, Problem> {
    use pb::http_route::filter::Kind;
    match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::FailureInjector(f) => route::http_failure(f),
        Kind::RequestHeaderModifier(m) => route::request_headers(m),
        Kind::Redirect(r) => route::redirect(r),
        Kind::ResponseHeaderModifier(m) => route::response_headers(m),
    }
}

fn grpc_filter(filter: &pb::grpc_route::Filter) -> Result<Filter, Problem> {
    use pb::grpc_route::filter::Kind;
    match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::FailureInjector(f) => route::grpc_failure(f),
        Kind::RequestHeaderModifier(m) => route::request_headers(m),
    }
}

fn opaque_filter(filter: &pb::opaque_route::Filter) -> Result<Filter, Problem> {
    use pb::opaque_route::filter::Kind;
    Ok(match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::Invalid(invalid) => Filter::Invalid { message: Arc::from(invalid.message.as_str()) },
        Kind::Forbidden(_) => Filter::Forbidden,
    })
}

fn tls_filter(filter: &pb::tls_route::Filter) -> Result<Filter, Problem> {
    use pb::tls_route::filter::Kind;
    Ok(match filter.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::Invalid(invalid) => Filter::Invalid { message: Arc::from(invalid.message.as_str()) },
        Kind::Forbidden(_) => Filter::Forbidden,
    })
}

// --- distributions and backends

/// The four kinds of routes have messages of their own for the same distribution.
macro_rules! distribution {
    ($name:ident, $kind:ident, $filter:ident) => {
        fn $name(distribution: &Option<pb::$kind::Distribution>) -> Result<Distribution, Problem> {
            use pb::$kind::distribution::Kind;
            fn route_backend(backend: &pb::$kind::RouteBackend) -> Result<RouteBackend, Problem> {
                let filters = each(&backend.filters, "filters", MAX_MATCHES, $filter)?;
                let backend =
                    self::backend(required(&backend.backend, "backend")?, &filters).at("backend")?;
                Ok(RouteBackend { backend: Arc::new(backend), filters })
            }
            let distribution = required(distribution, "backends")?;
            let kind =
                distribution.kind.as_ref().ok_or_else(|| Problem::new("backends", Invalid::UnknownKind))?;
            match kind {
                Kind::Empty(_) => Ok(Distribution::Empty),
                Kind::FirstAvailable(first) => {
                    let backends = each(&first.backends, "backends", MAX_BACKENDS, route_backend)?;
                    Ok(Distribution::FirstAvailable(backends))
                }
                Kind::RandomAvailable(random) => {
                    let backends = each(&random.backends, "backends", MAX_BACKENDS, |weighted| {
                        Ok((route_backend(required(&weighted.backend, "backend")?)?, weighted.weight))
                    })?;
                    if backends.iter().all(|(_, weight)| *weight == 0) {
                        return Err(Problem::new("backends", Invalid::NoWeight));
                    }
                    Ok(Distribution::RandomAvailable(backends))
                }
            }
        }
    };
}

distribution!(http_distribution, http_route, http_filter);
distribution!(grpc_distribution, grpc_route, grpc_filter);
distribution!(opaque_distribution, opaque_route, opaque_filter);
distribution!(tls_distribution, tls_route, tls_filter);

/// A backend without a kind fails, in the words of the filters that come with it.
fn backend(backend: &pb::Backend, filters: &[Filter]) -> Result<Backend, Problem> {
    use pb::backend::Kind;
    let dispatcher = match &backend.kind {
        None => Dispatcher::Fail { message: failure(filters) },
        Some(Kind::Forward(addr)) => {
            Dispatcher::Forward(Arc::new(endpoint::endpoint(addr, &HashMap::new()).at("forward")?))
        }
        Some(Kind::Balancer(balancer)) => {
            use pb::backend::endpoint_discovery::Kind::Dst;
            let discovery = required(&balancer.discovery, "balancer.discovery")?;
            let Some(Dst(dst)) = &discovery.kind else {
                return Err(Problem::new("balancer.discovery", Invalid::UnknownKind));
            };
            if dst.path.is_empty() {
                return Err(Problem::new("balancer.discovery.dst.path", Invalid::Missing));
            }
            Dispatcher::Balance {
                path: Arc::from(dst.path.as_str()),
                load: load(&balancer.load).at("balancer.load")?,
            }
        }
    };
    Ok(Backend { meta: shared::required_meta(&backend.metadata)?, dispatcher })
}

fn failure(filters: &[Filter]) -> Arc<str> {
    let message = filters.iter().find_map(|filter| match filter {
        Filter::FailHttp(f) => Some(&f.message),
        Filter::FailGrpc(f) => Some(&f.message),
        Filter::Invalid { message } => Some(message),
        _ => None,
    });
    message.cloned().unwrap_or_else(|| Arc::from("backend of an unknown kind"))
}

fn load(load: &Option<pb::backend::balance_p2c::Load>) -> Result<Load, Problem> {
    use pb::backend::balance_p2c::Load as Kind;
    let default = Load::default();
    let (default_rtt, decay, penalty) = match load {
        None => return Ok(default),
        Some(Kind::PeakEwma(ewma)) => (&ewma.default_rtt, &ewma.decay, None),
        Some(Kind::PenaltyPeakEwma(ewma)) => {
            let default = Penalty::default();
            let penalty = Penalty {
                penalty: shared::maybe(&ewma.penalty, "penalty")?.unwrap_or(default.penalty),
                max_retry_after: shared::maybe(&ewma.max_retry_after, "max_retry_after")?
                    .unwrap_or(default.max_retry_after),
            };
            (&ewma.default_rtt, &ewma.decay, Some(penalty))
        }
    };
    Ok(Load {
        default_rtt: shared::maybe(default_rtt, "default_rtt")?.unwrap_or(default.default_rtt),
        decay: shared::maybe(decay, "decay")?.unwrap_or(default.decay),
        penalty,
    })
}

// --- timeouts, retries, accrual

fn timeouts(
    timeouts: &Option<http_route::Timeouts>,
    deprecated: &Option<prost_types::Duration>,
) -> Result<Timeouts, Problem> {
    let deprecated = shared::maybe(deprecated, "request_timeout")?;
    let Some(t) = timeouts else { return Ok(Timeouts { request: deprecated, ..Timeouts::default() }) };
    Ok(Timeouts {
        request: shared::maybe(&t.request, "timeouts.request")?.or(deprecated),
        response: shared::maybe(&t.response, "timeouts.response")?,
        idle: shared::maybe(&t.idle, "timeouts.idle")?,
    })
}

fn http_retry(retry: &pb::http_route::Retry) -> Result<Retry, Problem> {
    let conditions = required(&retry.conditions, "conditions")?;
    let statuses = each(&conditions.status_ranges, "conditions.status_ranges", MAX_MATCHES, |range| {
        let status = |n: u32| {
            let status = u16::try_from(n).ok().filter(|s| (1..=599).contains(s));
            status.ok_or_else(|| Problem::from(Invalid::Range(n.into())))
        };
        let (start, end) = (status(range.start)?, status(range.end)?);
        if start > end { Err(Invalid::Range(start.into()).into()) } else { Ok((start, end)) }
    })?;
    Ok(Retry {
        max_retries: max_retries(retry.max_retries)?,
        max_request_bytes: retry.max_request_bytes,
        conditions: RetryConditions { statuses, grpc: GrpcCodes::default() },
        timeout: shared::maybe(&retry.timeout, "timeout")?,
        backoff: retry.backoff.as_ref().map(backoff).transpose().at("backoff")?,
    })
}

fn grpc_retry(retry: &pb::grpc_route::Retry) -> Result<Retry, Problem> {
    let conditions = required(&retry.conditions, "conditions")?;
    let grpc = GrpcCodes {
        cancelled: conditions.cancelled,
        deadline_exceeded: conditions.deadine_exceeded,
        resource_exhausted: conditions.resource_exhausted,
        internal: conditions.internal,
        unavailable: conditions.unavailable,
    };
    Ok(Retry {
        max_retries: max_retries(retry.max_retries)?,
        max_request_bytes: retry.max_request_bytes,
        conditions: RetryConditions { statuses: Vec::new(), grpc },
        timeout: shared::maybe(&retry.timeout, "timeout")?,
        backoff: retry.backoff.as_ref().map(backoff).transpose().at("backoff")?,
    })
}

fn max_retries(n: u32) -> Result<u16, Problem> {
    u16::try_from(n).map_err(|_| Invalid::Range(n.into())).at("max_retries")
}

fn accrual(accrual: &Option<pb::FailureAccrual>) -> Result<Option<Accrual>, Problem> {
    use pb::failure_accrual::Kind;
    let Some(accrual) = accrual else { return Ok(None) };
    let field = "failure_accrual";
    let kind = accrual.kind.as_ref().ok_or_else(|| Problem::new(field, Invalid::UnknownKind))?;
    let waits = |b: &Option<pb::ExponentialBackoff>| backoff(required(b, "backoff")?).at("backoff");
    Ok(Some(match kind {
        Kind::ConsecutiveFailures(c) => {
            Accrual::Consecutive { max_failures: c.max_failures, backoff: waits(&c.backoff).at(field)? }
        }
        Kind::Unified(u) => {
            let threshold = u.success_rate_threshold;
            if !(0.0..=1.0).contains(&threshold) {
                return Err(Problem::new("success_rate_threshold", Invalid::Range(threshold)).within(field));
            }
            let window = shared::maybe(&u.decay, "decay").at(field)?;
            Accrual::Unified {
                success_rate_threshold: threshold,
                window: window.unwrap_or(Accrual::DEFAULT_WINDOW).max(Accrual::MIN_WINDOW),
                min_requests: match u.min_requests {
                    0 => Accrual::DEFAULT_MIN_REQUESTS,
                    n => n.min(Accrual::MAX_MIN_REQUESTS),
                },
                max_consecutive_failures: u.max_consecutive_failures,
                backoff: waits(&u.backoff).at(field)?,
            }
        }
    }))
}

fn backoff(backoff: &pb::ExponentialBackoff) -> Result<Backoff, Problem> {
    let time = |field: &Option<prost_types::Duration>, name: &str| -> Result<Duration, Problem> {
        shared::duration(required(field, name)?).at(name)
    };
    let (min, max) = (time(&backoff.min_backoff, "min_backoff")?, time(&backoff.max_backoff, "max_backoff")?);
    Ok(Backoff::new(min, max, backoff.jitter_ratio).map_err(Invalid::Backoff)?)
}
