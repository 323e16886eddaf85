//! Arbitrary models, of which all can be told in messages.

use crate::{
    Filter, HeaderName, HeaderValue, Meta, Method, Pattern,
    filter::{GrpcFailure, HeaderEdit, HttpFailure, Ratio, Redirect, RewritePath},
    inbound::{self, Authentication, Authorization, Network, RateLimit, RateLimitOverride, ServerPolicy},
    matching::{
        Condition, GrpcMatch, HeaderMatch, HostMatch, HttpMatch, PathMatch, QueryMatch, ResponseCondition,
        RpcMatch, ValueMatch,
    },
    outbound::{
        Accrual, Backend, Backoff, Dispatcher, Distribution, Endpoint, EndpointTls, GrpcCodes, Hint,
        Http2FlowControl, Http2Internals, Http2KeepAlive, Http2Params, Labels, Load, OpaqueRoute,
        OpaqueRoutes, Order, Penalty, Policy, Profile, ProfileRoute, ProfileTarget, Protocol, ResponseClass,
        Retry, RetryBudget, RetryConditions, Route, RouteBackend, Routes, Rule, TcpRule, Timeouts, TlsRoute,
        TlsRoutes,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};
use weft_names::{Authority, Cidr, DnsName, IdentityName, IdentitySuffix, Port, ResourceRef};

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{0,5}".prop_map(Arc::from)
}

fn few<S: Strategy>(item: S) -> impl Strategy<Value = Vec<S::Value>>
where
    S::Value: Clone,
{
    vec(item, 0..3)
}

fn duration() -> impl Strategy<Value = Duration> {
    (0u64..100_000, 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))
}

fn port() -> impl Strategy<Value = Port> {
    (1u16..).prop_map(|p| Port::new(p).unwrap())
}

fn meta() -> impl Strategy<Value = Arc<Meta>> {
    let default = text().prop_map(Meta::default_named);
    let resource = (text(), text(), text(), text(), option::of("[a-z]{1,3}"), option::of(port())).prop_map(
        |(group, kind, namespace, name, section, port)| {
            Meta::Resource(ResourceRef {
                section: section.map(Arc::from),
                port,
                ..ResourceRef::new(group, kind, namespace, name)
            })
        },
    );
    prop_oneof![default, resource].prop_map(Arc::new)
}

/// What labels of three names can say.
fn label_meta() -> impl Strategy<Value = Arc<Meta>> {
    let resource =
        ("[a-z.]{0,5}", "[a-z]{1,5}", "[a-z]{1,5}").prop_map(|(g, k, n)| ResourceRef::new(g, k, "", n));
    prop_oneof!["[a-z-]{1,9}".prop_map(Meta::default_named), resource.prop_map(Meta::Resource)]
        .prop_map(Arc::new)
}

fn dns_name() -> impl Strategy<Value = DnsName> {
    "[a-z]{1,4}(\\.[a-z]{1,3}){0,2}".prop_map(|n| n.parse().unwrap())
}

fn identity() -> impl Strategy<Value = IdentityName> {
    prop_oneof![
        dns_name().prop_map(IdentityName::from),
        "spiffe://[a-z]{1,4}(/[A-Z]{1,3}){0,2}".prop_map(|id| id.parse().unwrap()),
    ]
}

fn authority() -> impl Strategy<Value = Authority> {
    prop_oneof![
        (dns_name(), option::of(port())).prop_map(|(name, port)| Authority::new(name.into(), port)),
        any::<SocketAddr>().prop_map(Authority::from),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (any::<std::net::IpAddr>(), 0u8..=32).prop_map(|(ip, prefix)| Cidr::new(ip, prefix).unwrap())
}

pub(crate) fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), port()).prop_map(|(ip, port)| SocketAddr::new(ip, port.get()))
}

// --- matches

fn host() -> impl Strategy<Value = HostMatch> {
    prop_oneof![
        dns_name().prop_map(|n| HostMatch::Exact(n.into())),
        any::<std::net::IpAddr>().prop_map(|ip| HostMatch::Exact(ip.into())),
        option::of(dns_name()).prop_map(HostMatch::Suffix),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    select(vec!["", "a|b", "/[a-z]+(/.*)?", "(?i)x"]).prop_map(|p| Pattern::new(p).unwrap())
}

fn method() -> impl Strategy<Value = Method> {
    select(vec!["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "HEAD", "TRACE", "PURGE"])
        .prop_map(|m| m.parse().unwrap())
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    "[a-z][a-z-]{0,5}".prop_map(|n| n.parse().unwrap())
}

fn header() -> impl Strategy<Value = HeaderMatch> {
    let value = prop_oneof![
        vec(any::<u8>(), 0..4).prop_map(ValueMatch::exact),
        pattern().prop_map(ValueMatch::Regex)
    ];
    (header_name(), value).prop_map(|(name, value)| HeaderMatch { name, value })
}

fn query() -> impl Strategy<Value = QueryMatch> {
    let value = prop_oneof![
        "\\PC{0,4}".prop_map(|v: String| ValueMatch::exact(v)),
        pattern().prop_map(ValueMatch::Regex)
    ];
    (text(), value).prop_map(|(name, value)| QueryMatch { name, value })
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        "/[a-z/]{0,5}".prop_map(|p| PathMatch::Exact(p.into())),
        "/[a-z/]{0,5}".prop_map(|p| PathMatch::Prefix(p.into())),
        pattern().prop_map(PathMatch::Regex),
    ];
    (option::of(path), few(header()), few(query()), option::of(method())).prop_map(
        |(path, headers, query, method)| HttpMatch { path, headers, query, method, condition: None },
    )
}

fn grpc_match() -> impl Strategy<Value = GrpcMatch> {
    let name = || option::of("[a-z.]{1,5}".prop_map(Arc::from));
    (name(), name(), few(header())).prop_map(|(service, method, headers)| {
        let rpc = RpcMatch { service, method };
        GrpcMatch { rpc: (rpc != RpcMatch::default()).then_some(rpc), headers }
    })
}

// --- filters

fn ratio() -> impl Strategy<Value = Option<Ratio>> {
    option::of((0u32..9, 0u32..9).prop_map(|(n, more)| Ratio::new(n, n + more + 1).unwrap()))
}

fn edit() -> impl Strategy<Value = HeaderEdit> {
    let field = || (header_name(), vec(b' '..b'~', 0..4).prop_map(|v| HeaderValue::new(&v).unwrap()));
    (few(field()), few(field()), few(header_name())).prop_map(|(add, set, remove)| HeaderEdit {
        add,
        set,
        remove,
    })
}

fn http_failure() -> impl Strategy<Value = Filter> {
    (100u16..=599, text(), ratio())
        .prop_map(|(status, message, ratio)| Filter::FailHttp(HttpFailure { status, message, ratio }))
}

fn redirect() -> impl Strategy<Value = Filter> {
    let path = prop_oneof![text().prop_map(RewritePath::Full), text().prop_map(RewritePath::Prefix)];
    let scheme = select(vec!["http", "https", "ws+x"]).prop_map(Arc::from);
    let parts = (
        option::of(scheme),
        option::of(dns_name()),
        option::of(path),
        option::of(port()),
        option::of(300u16..400),
    );
    parts.prop_map(|(scheme, host, path, port, status)| {
        Filter::Redirect(Redirect { scheme, host: host.map(Into::into), path, port, status })
    })
}

fn inbound_http_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![http_failure(), redirect(), edit().prop_map(Filter::RequestHeaders)]
}

fn http_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![inbound_http_filter(), edit().prop_map(Filter::ResponseHeaders)]
}

fn grpc_filter() -> impl Strategy<Value = Filter> {
    let failure = (0u32..20, text(), ratio())
        .prop_map(|(code, message, ratio)| Filter::FailGrpc(GrpcFailure { code, message, ratio }));
    prop_oneof![failure, edit().prop_map(Filter::RequestHeaders)]
}

fn tcp_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![Just(Filter::Forbidden), text().prop_map(|message| Filter::Invalid { message })]
}

// --- endpoints, backends

fn labels() -> impl Strategy<Value = Labels> {
    few((text(), text())).prop_map(|labels| labels.into_iter().collect())
}

fn http2() -> impl Strategy<Value = Http2Params> {
    let set = || option::of(1u32..);
    let flow = (set(), set(), any::<bool>()).prop_map(|(connection, stream, adaptive)| Http2FlowControl {
        initial_connection_window_size: connection,
        initial_stream_window_size: stream,
        adaptive,
    });
    let ping = (option::of(duration()), option::of(duration()), any::<bool>())
        .prop_map(|(interval, timeout, while_idle)| Http2KeepAlive { interval, timeout, while_idle });
    let limits = (set(), set(), set()).prop_map(|(resets, frame, buffer)| Http2Internals {
        max_concurrent_reset_streams: resets,
        max_frame_size: frame,
        max_send_buf_size: buffer,
    });
    (option::of(flow), option::of(ping), option::of(limits))
        .prop_map(|(flow_control, keep_alive, internals)| Http2Params { flow_control, keep_alive, internals })
}

pub(crate) fn endpoint() -> impl Strategy<Value = Arc<Endpoint>> {
    let tls =
        (identity(), dns_name()).prop_map(|(server_id, server_name)| EndpointTls { server_id, server_name });
    let authority = authority().prop_map(|a| Arc::from(a.to_string()));
    let hint = select(vec![Hint::Unknown, Hint::H2, Hint::Opaque]);
    let about = (option::of(authority), http2(), any::<u32>(), option::of(meta()));
    (socket_addr(), labels(), option::of(tls), hint, option::of(1..u16::MAX), about).prop_map(
        |(addr, labels, tls, hint, opaque_transport_port, (authority_override, http2, weight, resource))| {
            Arc::new(Endpoint {
                addr,
                labels,
                tls,
                hint,
                opaque_transport_port,
                authority_override,
                http2,
                weight,
                resource,
                local: false,
            })
        },
    )
}

fn backend() -> impl Strategy<Value = Arc<Backend>> {
    let penalty =
        (duration(), duration()).prop_map(|(penalty, max)| Penalty { penalty, max_retry_after: max });
    let load = (duration(), duration(), option::of(penalty)).prop_map(|(default_rtt, decay, penalty)| Load {
        default_rtt,
        decay,
        penalty,
    });
    let dispatcher = prop_oneof![
        endpoint().prop_map(Dispatcher::Forward),
        ("[a-z.:0-9]{1,9}", load).prop_map(|(path, load)| Dispatcher::Balance { path: path.into(), load }),
    ];
    (meta(), dispatcher).prop_map(|(meta, dispatcher)| Arc::new(Backend { meta, dispatcher }))
}

/// A backend that fails has a filter that says the same.
fn route_backend(filter: BoxedStrategy<Filter>) -> impl Strategy<Value = RouteBackend> {
    let works =
        (backend(), few(filter.clone())).prop_map(|(backend, filters)| RouteBackend { backend, filters });
    let fails = (meta(), filter).prop_filter_map("a filter that tells why", |(meta, filter)| {
        let message = match &filter {
            Filter::FailHttp(f) => Arc::clone(&f.message),
            Filter::FailGrpc(f) => Arc::clone(&f.message),
            Filter::Invalid { message } => Arc::clone(message),
            _ => return None,
        };
        Some(RouteBackend { backend: Arc::new(Backend::fail(meta, message)), filters: vec![filter] })
    });
    prop_oneof![4 => works, 1 => fails]
}

fn distribution(filter: BoxedStrategy<Filter>) -> impl Strategy<Value = Distribution> {
    let first = few(route_backend(filter.clone())).prop_map(Distribution::FirstAvailable);
    let random = vec((route_backend(filter), 0u32..5), 1..3)
        .prop_filter("some weight", |backends| backends.iter().any(|(_, weight)| *weight > 0))
        .prop_map(Distribution::RandomAvailable);
    prop_oneof![Just(Distribution::Empty), first, random]
}

// --- outbound

fn backoff() -> impl Strategy<Value = Backoff> {
    (0u64..1000, 1u64..1000, 0.0f32..100.0).prop_map(|(min, more, jitter)| {
        Backoff::new(Duration::from_millis(min), Duration::from_millis(min + more), jitter).unwrap()
    })
}

fn accrual() -> impl Strategy<Value = Accrual> {
    let unified = (0.0f64..=1.0, 10u64..99_999, 1u32..=1_000_000, any::<u32>(), backoff()).prop_map(
        |(threshold, window, min_requests, max_consecutive_failures, backoff)| Accrual::Unified {
            success_rate_threshold: threshold,
            window: Duration::from_millis(window),
            min_requests,
            max_consecutive_failures,
            backoff,
        },
    );
    let consecutive = (any::<u32>(), backoff())
        .prop_map(|(max_failures, backoff)| Accrual::Consecutive { max_failures, backoff });
    prop_oneof![unified, consecutive]
}

fn rule<M: std::fmt::Debug + Clone + 'static>(
    matches: BoxedStrategy<M>,
    filter: BoxedStrategy<Filter>,
    conditions: BoxedStrategy<RetryConditions>,
) -> impl Strategy<Value = Rule<M>> {
    let time = || option::of(duration());
    let timeouts =
        (time(), time(), time()).prop_map(|(request, response, idle)| Timeouts { request, response, idle });
    let retry = (any::<u16>(), any::<u32>(), conditions, time(), option::of(backoff())).prop_map(
        |(max_retries, max_request_bytes, conditions, timeout, backoff)| Retry {
            max_retries,
            max_request_bytes,
            conditions,
            timeout,
            backoff,
        },
    );
    let parts =
        (few(matches), few(filter.clone()), distribution(filter), timeouts, option::of(retry), any::<bool>());
    parts.prop_map(|(matches, filters, backends, timeouts, retry, allow_l5d_request_headers)| Rule {
        matches,
        filters,
        backends,
        timeouts,
        retry,
        allow_l5d_request_headers,
        profile: None,
    })
}

fn routes<M: std::fmt::Debug + Clone + 'static>(
    rule: impl Strategy<Value = Rule<M>>,
) -> impl Strategy<Value = Routes<M>> {
    let route =
        (meta(), few(host()), few(rule)).prop_map(|(meta, hosts, rules)| Route { meta, hosts, rules });
    (few(route), option::of(accrual())).prop_map(|(routes, accrual)| Routes {
        routes,
        accrual,
        order: Order::Ranked,
    })
}

fn http_routes() -> impl Strategy<Value = Routes<HttpMatch>> {
    let statuses = few((1u16..300, 0u16..300).prop_map(|(from, more)| (from, from + more)));
    let conditions = statuses.prop_map(|statuses| RetryConditions { statuses, grpc: GrpcCodes::default() });
    routes(rule(http_match().boxed(), http_filter().boxed(), conditions.boxed()))
}

fn grpc_routes() -> impl Strategy<Value = Routes<GrpcMatch>> {
    let codes = any::<[bool; 5]>().prop_map(
        |[cancelled, deadline_exceeded, resource_exhausted, internal, unavailable]| {
            let grpc = GrpcCodes { cancelled, deadline_exceeded, resource_exhausted, internal, unavailable };
            RetryConditions { statuses: Vec::new(), grpc }
        },
    );
    routes(rule(grpc_match().boxed(), grpc_filter().boxed(), codes.boxed()))
}

fn tcp_rules() -> impl Strategy<Value = Vec<TcpRule>> {
    few((few(tcp_filter()), distribution(tcp_filter().boxed()))
        .prop_map(|(filters, backends)| TcpRule { filters, backends }))
}

fn opaque_routes() -> impl Strategy<Value = OpaqueRoutes> {
    few((meta(), tcp_rules()).prop_map(|(meta, rules)| OpaqueRoute { meta, rules }))
        .prop_map(|routes| OpaqueRoutes { routes })
}

fn tls_routes() -> impl Strategy<Value = TlsRoutes> {
    few((meta(), few(host()), tcp_rules()).prop_map(|(meta, snis, rules)| TlsRoute { meta, snis, rules }))
        .prop_map(|routes| TlsRoutes { routes })
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let detect = (duration(), http_routes(), http_routes(), opaque_routes())
        .prop_map(|(timeout, http1, http2, opaque)| Protocol::Detect { timeout, http1, http2, opaque });
    let protocol = prop_oneof![
        detect,
        http_routes().prop_map(Protocol::Http1),
        http_routes().prop_map(Protocol::Http2),
        grpc_routes().prop_map(Protocol::Grpc),
        opaque_routes().prop_map(Protocol::Opaque),
        tls_routes().prop_map(Protocol::Tls),
    ];
    (meta(), protocol).prop_map(|(parent, protocol)| Policy::new(parent, protocol))
}

// --- profiles

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![pattern().prop_map(Condition::Path), method().prop_map(Condition::Method)];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..2).prop_map(Condition::All),
            vec(inner.clone(), 0..2).prop_map(Condition::Any),
            inner.prop_map(|c| Condition::Not(Box::new(c))),
        ]
    })
}

fn response_condition() -> impl Strategy<Value = ResponseCondition> {
    let leaf =
        (100u16..300, 0u16..300).prop_map(|(min, more)| ResponseCondition::Status { min, max: min + more });
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..2).prop_map(ResponseCondition::All),
            vec(inner.clone(), 0..2).prop_map(ResponseCondition::Any),
            inner.prop_map(|c| ResponseCondition::Not(Box::new(c))),
        ]
    })
}

pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    let class = (response_condition(), any::<bool>())
        .prop_map(|(condition, is_failure)| ResponseClass { condition, is_failure });
    let time = duration().prop_filter("zero is none", |t| !t.is_zero());
    let route = (condition(), few(class), labels(), any::<bool>(), option::of(time)).prop_map(
        |(condition, classes, labels, retryable, timeout)| ProfileRoute {
            condition,
            classes,
            labels,
            retryable,
            timeout,
        },
    );
    let budget = (1000u64..=60_000, 0.0f32..=1000.0, any::<u32>())
        .prop_map(|(ttl, ratio, min)| RetryBudget::new(Duration::from_millis(ttl), ratio, min).unwrap());
    let target = (authority(), 1u32.., option::of(meta()))
        .prop_map(|(authority, weight, backend)| ProfileTarget { authority, weight, backend });
    let refs = (option::of(meta()), option::of(meta()));
    let parts = (
        option::of(dns_name()),
        any::<bool>(),
        option::of(endpoint()),
        few(target),
        few(route),
        option::of(budget),
        refs,
    );
    parts.prop_map(|(name, opaque, endpoint, targets, routes, retry_budget, (parent, profile))| Profile {
        name,
        opaque,
        endpoint,
        targets,
        routes,
        retry_budget,
        parent,
        profile,
    })
}

// --- inbound

fn authorization() -> impl Strategy<Value = Authorization> {
    let network = (cidr(), few(cidr())).prop_map(|(net, except)| Network { net, except });
    let suffix = prop_oneof![Just(IdentitySuffix::any()), dns_name().prop_map(|n| IdentitySuffix::below(&n))];
    let authentication = prop_oneof![
        Just(Authentication::Unauthenticated),
        Just(Authentication::TlsUnauthenticated),
        (few(identity()), few(suffix))
            .prop_map(|(identities, suffixes)| Authentication::TlsAuthenticated { identities, suffixes }),
    ];
    (vec(network, 1..3), authentication, meta()).prop_map(|(networks, authentication, meta)| Authorization {
        networks,
        authentication,
        meta,
    })
}

fn inbound_routes<M: std::fmt::Debug + Clone + 'static>(
    matches: BoxedStrategy<M>,
    filter: BoxedStrategy<Filter>,
) -> impl Strategy<Value = inbound::Routes<M>> {
    let rule = (few(matches), few(filter)).prop_map(|(matches, filters)| inbound::Rule { matches, filters });
    let route = (meta(), few(host()), few(authorization()), few(rule)).prop_map(
        |(meta, hosts, authorizations, rules)| inbound::Route { meta, hosts, authorizations, rules },
    );
    few(route).prop_map(|routes| inbound::Routes { routes })
}

pub(crate) fn server() -> impl Strategy<Value = ServerPolicy> {
    let rate = || option::of(any::<NonZeroU32>());
    let over = (rate(), few(identity())).prop_map(|(limit, clients)| RateLimitOverride { limit, clients });
    let limit = (meta(), rate(), rate(), few(over)).prop_map(|(meta, total, identity, overrides)| {
        Arc::new(RateLimit { meta, total, identity, overrides })
    });
    let limit = option::of(limit).boxed();
    let http = inbound_routes(http_match().boxed(), inbound_http_filter().boxed()).boxed();
    let grpc = inbound_routes(grpc_match().boxed(), grpc_filter().boxed());
    let protocol = prop_oneof![
        (duration(), http.clone(), limit.clone()).prop_map(|(timeout, routes, rate_limit)| {
            inbound::Protocol::Detect { timeout, routes, rate_limit }
        }),
        (http.clone(), limit.clone())
            .prop_map(|(routes, rate_limit)| inbound::Protocol::Http1 { routes, rate_limit }),
        (http, limit).prop_map(|(routes, rate_limit)| inbound::Protocol::Http2 { routes, rate_limit }),
        grpc.prop_map(|routes| inbound::Protocol::Grpc { routes }),
        Just(inbound::Protocol::Opaque),
        Just(inbound::Protocol::Tls),
    ];
    (label_meta(), protocol, few(authorization()))
        .prop_map(|(meta, protocol, authorizations)| ServerPolicy::new(meta, protocol, authorizations))
}
