//! What is wrong with a message, and where; and what its fields mean.

mod properties;

use super::*;
use crate::{Meta, outbound, to_pb};
use pb::{
    destination::{self as dst, protocol_hint, tls_identity},
    http_route, inbound as inp, meta as metas, net,
    outbound::{self as out, proxy_protocol as protocol},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

// --- what is wrong, and where

fn default_meta() -> Option<metas::Metadata> {
    Some(metas::Metadata { kind: Some(metas::metadata::Kind::Default("x".into())) })
}

fn backend() -> Option<out::Backend> {
    let meta = Arc::new(Meta::default_named("b"));
    let to =
        outbound::RouteBackend::new(Arc::new(outbound::Backend::balance(meta, "a:1", Default::default())));
    let policy = Policy::new(
        Arc::new(Meta::default_named("p")),
        outbound::Protocol::Http1(outbound::HttpRoutes::from_rule(
            Arc::new(Meta::default_named("r")),
            outbound::HttpRule::new(outbound::Distribution::only(to)),
        )),
    );
    let message = to_pb::outbound(&policy);
    let Some(protocol::Kind::Http1(http)) = message.protocol.and_then(|p| p.kind) else { panic!() };
    let distribution = http.routes[0].rules[0].backends.clone().unwrap();
    let Some(out::http_route::distribution::Kind::FirstAvailable(first)) = distribution.kind else {
        panic!()
    };
    first.backends[0].backend.clone()
}

/// A policy of one rule, changed.
fn rule(change: impl FnOnce(&mut out::http_route::Rule)) -> out::OutboundPolicy {
    use out::http_route::{Distribution, Rule, distribution};
    let empty = distribution::Kind::Empty(distribution::Empty {});
    let mut rule = Rule { backends: Some(Distribution { kind: Some(empty) }), ..Default::default() };
    change(&mut rule);
    let route = out::HttpRoute { metadata: default_meta(), hosts: Vec::new(), rules: vec![rule] };
    let http = protocol::Http1 { routes: vec![route], failure_accrual: None };
    out::OutboundPolicy {
        protocol: Some(out::ProxyProtocol { kind: Some(protocol::Kind::Http1(http)) }),
        metadata: default_meta(),
    }
}

fn filter(kind: out::http_route::filter::Kind) -> out::OutboundPolicy {
    rule(|r| r.filters = vec![out::http_route::Filter { kind: Some(kind) }])
}

fn matching(m: http_route::HttpRouteMatch) -> out::OutboundPolicy {
    rule(|r| r.matches = vec![m])
}

fn accruing(kind: Option<out::failure_accrual::Kind>) -> out::OutboundPolicy {
    let mut message = rule(|_| {});
    let Some(protocol::Kind::Http1(http)) = message.protocol.as_mut().and_then(|p| p.kind.as_mut()) else {
        panic!()
    };
    http.failure_accrual = Some(out::FailureAccrual { ejection: None, kind });
    message
}

fn waits(min: i64, max: i64, jitter_ratio: f32) -> Option<out::ExponentialBackoff> {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    Some(out::ExponentialBackoff {
        min_backoff: seconds(min),
        max_backoff: seconds(max),
        jitter_ratio,
        respect_retry_after_hint: true,
    })
}

fn retrying(start: u32, end: u32, max_retries: u32) -> out::OutboundPolicy {
    use out::http_route::{Retry, retry::Conditions, retry::conditions::StatusRange};
    let conditions = Some(Conditions { status_ranges: vec![StatusRange { start, end }] });
    rule(|r| r.retry = Some(Retry { max_retries, conditions, ..Default::default() }))
}

fn random(weights: &[u32]) -> out::OutboundPolicy {
    use out::http_route::{Distribution, RouteBackend, WeightedRouteBackend, distribution};
    let weighted = |weight: &u32| WeightedRouteBackend {
        backend: Some(RouteBackend { backend: backend(), ..Default::default() }),
        weight: *weight,
    };
    let kind = distribution::RandomAvailable { backends: weights.iter().map(weighted).collect() };
    rule(|r| r.backends = Some(Distribution { kind: Some(distribution::Kind::RandomAvailable(kind)) }))
}

#[test]
fn outbound_policies_that_cannot_be_understood() {
    use http_route::{
        HttpFailureInjector, HttpRouteMatch, PathMatch, Ratio, RequestHeaderModifier, RequestRedirect,
        path_match,
    };
    use out::http_route::filter::Kind;
    let path =
        |kind| matching(HttpRouteMatch { path: Some(PathMatch { kind: Some(kind) }), ..Default::default() });
    let injector = |status, ratio| {
        filter(Kind::FailureInjector(HttpFailureInjector { status, message: String::new(), ratio }))
    };
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let consecutive = |backoff| {
        let kind = out::failure_accrual::ConsecutiveFailures { max_failures: 7, backoff };
        accruing(Some(out::failure_accrual::Kind::ConsecutiveFailures(kind)))
    };
    let unified = |success_rate_threshold| {
        accruing(Some(out::failure_accrual::Kind::Unified(out::failure_accrual::Unified {
            success_rate_threshold,
            backoff: waits(1, 2, 0.0),
            ..Default::default()
        })))
    };
    let bad_name = RequestHeaderModifier { remove: vec!["a b".into()], ..RequestHeaderModifier::default() };
    let detect = protocol::Kind::Detect(protocol::Detect::default());
    let rules = "protocol.http1.routes[0].rules[0]";
    for (message, expect) in [
        (out::OutboundPolicy::default(), "invalid metadata: missing".to_owned()),
        (out::OutboundPolicy { metadata: default_meta(), protocol: None }, "invalid protocol: missing".into()),
        (
            out::OutboundPolicy { metadata: default_meta(), protocol: Some(Default::default()) },
            "invalid protocol: unknown kind".into(),
        ),
        (
            out::OutboundPolicy {
                metadata: default_meta(),
                protocol: Some(out::ProxyProtocol { kind: Some(detect) }),
            },
            "invalid protocol.detect.http1: missing".into(),
        ),
        (rule(|r| r.backends = None), format!("invalid {rules}.backends: missing")),
        (rule(|r| r.backends = Some(Default::default())), format!("invalid {rules}.backends: unknown kind")),
        (random(&[0, 0]), format!("invalid {rules}.backends: all weights are zero")),
        (random(&[]), format!("invalid {rules}.backends: all weights are zero")),
        (rule(|r| r.filters = vec![Default::default()]), format!("invalid {rules}.filters[0]: unknown kind")),
        (injector(99, None), format!("invalid {rules}.filters[0].status: 99 is out of range")),
        (
            injector(503, Some(Ratio { numerator: 1, denominator: 0 })),
            format!("invalid {rules}.filters[0].ratio: not a ratio"),
        ),
        (
            injector(503, Some(Ratio { numerator: 2, denominator: 1 })),
            format!("invalid {rules}.filters[0].ratio: not a ratio"),
        ),
        (
            filter(Kind::RequestHeaderModifier(bad_name)),
            format!("invalid {rules}.filters[0].remove[0].name: not a header or method: \"a b\" is not a header name"),
        ),
        (
            filter(Kind::Redirect(RequestRedirect { status: 200, ..Default::default() })),
            format!("invalid {rules}.filters[0].status: 200 is out of range"),
        ),
        (
            filter(Kind::Redirect(RequestRedirect { port: 65_536, ..Default::default() })),
            format!(
                "invalid {rules}.filters[0].port: not a port: \"65536\" is not a port: a number from 1 to 65535 was expected"
            ),
        ),
        (path(path_match::Kind::Exact("a".into())), format!("invalid {rules}.matches[0].path: not an absolute path")),
        (
            path(path_match::Kind::Regex("(".into())),
            format!("invalid {rules}.matches[0].path: not a regular expression: invalid regular expression \"(\""),
        ),
        (
            rule(|r| r.timeouts = Some(http_route::Timeouts { request: negative, ..Default::default() })),
            format!("invalid {rules}.timeouts.request: not a duration"),
        ),
        (retrying(500, 600, 1), format!("invalid {rules}.retry.conditions.status_ranges[0]: 600 is out of range")),
        (retrying(0, 599, 1), format!("invalid {rules}.retry.conditions.status_ranges[0]: 0 is out of range")),
        (retrying(503, 500, 1), format!("invalid {rules}.retry.conditions.status_ranges[0]: 503 is out of range")),
        (retrying(500, 599, 65_536), format!("invalid {rules}.retry.max_retries: 65536 is out of range")),
        (
            rule(|r| r.retry = Some(Default::default())),
            format!("invalid {rules}.retry.conditions: missing"),
        ),
        (accruing(None), "invalid protocol.http1.failure_accrual: unknown kind".into()),
        (consecutive(None), "invalid protocol.http1.failure_accrual.backoff: missing".into()),
        (
            consecutive(waits(2, 1, 0.0)),
            "invalid protocol.http1.failure_accrual.backoff: not a backoff: the minimum of a backoff must not exceed its \
             maximum"
                .into(),
        ),
        (
            consecutive(waits(0, 0, 0.0)),
            "invalid protocol.http1.failure_accrual.backoff: not a backoff: the maximum of a backoff must not be zero".into(),
        ),
        (
            consecutive(waits(1, 2, f32::NAN)),
            "invalid protocol.http1.failure_accrual.backoff: not a backoff: the jitter of a backoff must be from 0 to 100"
                .into(),
        ),
        (unified(1.5), "invalid protocol.http1.failure_accrual.success_rate_threshold: 1.5 is out of range".into()),
    ] {
        let problem = Policy::from_pb(&message).problem;
        let text = problem.as_deref().unwrap_or("understood");
        // The text of the expression's own error comes last.
        assert!(text == expect || (expect.contains("\"(\"") && text.starts_with(&expect)), "{text}\n{expect}");
    }
}

#[test]
fn what_is_absent_has_a_default() {
    let message = accruing(Some(out::failure_accrual::Kind::Unified(out::failure_accrual::Unified {
        success_rate_threshold: 0.8,
        backoff: waits(1, 60, 0.5),
        ..Default::default()
    })));
    let policy = outbound(&message).unwrap();
    let outbound::Protocol::Http1(routes) = policy.protocol else { panic!() };
    assert!(matches!(
        routes.accrual,
        Some(outbound::Accrual::Unified { window, min_requests: 5, .. }) if window == Duration::from_secs(10)
    ));
}

#[test]
#[expect(deprecated, reason = "the field is what the test is about")]
fn the_old_timeout_counts_where_there_is_no_new_one() {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let request = |old, new| {
        let message = rule(|r| {
            r.request_timeout = old;
            r.timeouts = Some(http_route::Timeouts { request: new, ..Default::default() });
        });
        let outbound::Protocol::Http1(routes) = outbound(&message).unwrap().protocol else { panic!() };
        routes.routes[0].rules[0].timeouts.request
    };
    assert_eq!(request(seconds(1), None), Some(Duration::from_secs(1)));
    assert_eq!(request(seconds(1), seconds(2)), Some(Duration::from_secs(2)));
    assert_eq!(request(seconds(1), seconds(0)), Some(Duration::ZERO), "taken literally");
}

#[test]
fn a_backend_without_a_kind_fails_in_the_words_of_its_filter() {
    use out::http_route::{Distribution, RouteBackend, distribution};
    let fails = |filters| {
        let backend = out::Backend { metadata: default_meta(), queue: None, kind: None };
        let backends = vec![RouteBackend { backend: Some(backend), filters, ..Default::default() }];
        let first = distribution::Kind::FirstAvailable(distribution::FirstAvailable { backends });
        let policy = outbound(&rule(|r| r.backends = Some(Distribution { kind: Some(first) }))).unwrap();
        let backend = Arc::clone(policy.backends().next().unwrap());
        let outbound::Dispatcher::Fail { message } = &backend.dispatcher else { panic!() };
        message.to_string()
    };
    let injector =
        http_route::HttpFailureInjector { status: 500, message: "Service not found x".into(), ratio: None };
    let kind = out::http_route::filter::Kind::FailureInjector(injector);
    assert_eq!(fails(vec![out::http_route::Filter { kind: Some(kind) }]), "Service not found x");
    assert_eq!(fails(vec![]), "backend of an unknown kind");
}

#[test]
fn a_failing_backend_is_told_with_a_filter_that_says_why() {
    let meta = || Arc::new(Meta::default_named("x"));
    let fail = || {
        outbound::Distribution::only(outbound::RouteBackend::new(Arc::new(outbound::Backend::fail(
            meta(),
            "gone",
        ))))
    };
    let grpc =
        outbound::Protocol::Grpc(outbound::GrpcRoutes::from_rule(meta(), outbound::GrpcRule::new(fail())));
    let message = to_pb::outbound(&Policy::new(meta(), grpc));
    let Some(protocol::Kind::Grpc(grpc)) = message.protocol.and_then(|p| p.kind) else { panic!() };
    let kind = grpc.routes[0].rules[0].backends.clone().unwrap().kind.unwrap();
    let out::grpc_route::distribution::Kind::FirstAvailable(first) = kind else { panic!() };
    let out::grpc_route::filter::Kind::FailureInjector(f) =
        first.backends[0].filters[0].kind.clone().unwrap()
    else {
        panic!()
    };
    assert_eq!((f.code, f.message.as_str(), f.ratio), (500, "gone", None));
}

/// Fields told by hand: that each goes where it belongs does not follow from going there and back.
#[test]
fn a_services_policy_as_linkerds_control_plane_sends_it() {
    use out::{backend, http_route as r};
    let ms =
        |ms: i64| Some(prost_types::Duration { seconds: ms / 1000, nanos: (ms % 1000 * 1_000_000) as i32 });
    let service = metas::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: "web".into(),
        namespace: "shop".into(),
        section: String::new(),
        port: 8080,
    };
    let meta = Some(metas::Metadata { kind: Some(metas::metadata::Kind::Resource(service)) });
    let dst = backend::endpoint_discovery::DestinationGet { path: "web.shop.svc.cluster.local:8080".into() };
    let balancer = backend::BalanceP2c {
        discovery: Some(backend::EndpointDiscovery {
            kind: Some(backend::endpoint_discovery::Kind::Dst(dst)),
        }),
        load: Some(backend::balance_p2c::Load::PenaltyPeakEwma(backend::balance_p2c::PenaltyPeakEwma {
            default_rtt: ms(30),
            decay: ms(10_000),
            penalty: ms(5_000),
            max_retry_after: ms(300_000),
            penalty_decay: ms(1),
        })),
    };
    let to = r::RouteBackend {
        backend: Some(out::Backend {
            metadata: meta.clone(),
            queue: Some(out::Queue { capacity: 100, failfast_timeout: ms(3_000) }),
            kind: Some(backend::Kind::Balancer(balancer)),
        }),
        ..Default::default()
    };
    let first = r::distribution::Kind::FirstAvailable(r::distribution::FirstAvailable { backends: vec![to] });
    let mut message = rule(|rule| {
        rule.backends = Some(r::Distribution { kind: Some(first) });
        rule.timeouts = Some(http_route::Timeouts { response: ms(1), request: ms(2), idle: ms(3) });
        let conditions = r::retry::Conditions {
            status_ranges: vec![r::retry::conditions::StatusRange { start: 500, end: 599 }],
        };
        rule.retry = Some(r::Retry {
            max_retries: 3,
            max_request_bytes: 65_536,
            conditions: Some(conditions),
            timeout: ms(4),
            backoff: waits(1, 2, 1.0),
        });
        rule.allow_l5d_request_headers = true;
    });
    message.metadata = meta;
    let policy = outbound(&message).unwrap();
    assert_eq!(policy.parent.to_string(), "core/Service/shop/web:8080");
    let backend = Arc::clone(policy.backends().next().unwrap());
    let outbound::Dispatcher::Balance { path, load } = &backend.dispatcher else { panic!("{backend:?}") };
    assert_eq!(&**path, "web.shop.svc.cluster.local:8080");
    assert_eq!(*load, outbound::Load { penalty: Some(Default::default()), ..Default::default() });
    let outbound::Protocol::Http1(routes) = &policy.protocol else { panic!() };
    let rule = &routes.routes[0].rules[0];
    let millis = |t: Option<Duration>| t.unwrap().as_millis();
    assert_eq!(
        [millis(rule.timeouts.response), millis(rule.timeouts.request), millis(rule.timeouts.idle)],
        [1, 2, 3]
    );
    let retry = rule.retry.as_ref().unwrap();
    assert_eq!((retry.max_retries, retry.max_request_bytes, millis(retry.timeout)), (3, 65_536, 4));
    assert_eq!(retry.conditions.statuses, [(500, 599)]);
    let backoff = retry.backoff.unwrap();
    assert_eq!((backoff.min().as_secs(), backoff.max().as_secs(), backoff.jitter()), (1, 2, 1.0));
    assert!(rule.allow_l5d_request_headers);
}

// --- inbound

fn labels(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
}

fn anywhere() -> inp::Network {
    inp::Network { net: Some(weft_names::Cidr::ANY_V4.net().into()), except: Vec::new() }
}

fn opaque_server(change: impl FnOnce(&mut inp::Server)) -> inp::Server {
    let kind = inp::proxy_protocol::Kind::Opaque(inp::proxy_protocol::Opaque {});
    let mut server = inp::Server {
        protocol: Some(inp::ProxyProtocol { kind: Some(kind) }),
        labels: labels(&[("group", ""), ("kind", "default"), ("name", "all-unauthenticated")]),
        ..Default::default()
    };
    change(&mut server);
    server
}

fn authz() -> inp::Authz {
    let permit = inp::authn::Permit::Unauthenticated(inp::authn::PermitUnauthenticated {});
    inp::Authz {
        networks: vec![anywhere()],
        authentication: Some(inp::Authn { permit: Some(permit) }),
        labels: labels(&[("kind", "authorizationpolicy"), ("group", "policy.linkerd.io"), ("name", "mine")]),
        metadata: None,
    }
}

#[test]
fn labels_say_where_servers_and_authorizations_come_from() {
    for (given, expect) in [
        (&[("group", ""), ("kind", "default"), ("name", "deny")][..], Some("default/deny")),
        (
            &[("group", "policy.linkerd.io"), ("kind", "server"), ("name", "web")],
            Some("policy.linkerd.io/server//web"),
        ),
        (&[("name", "default:deny")], Some("default/deny")),
        (&[("name", "web")], Some("///web")),
        (&[("kind", "server")], None),
        (&[], None),
    ] {
        let policy = server(&opaque_server(|s| s.labels = labels(given)));
        assert_eq!(policy.ok().map(|p| p.meta.to_string()).as_deref(), expect, "{given:?}");
    }
    let policy = server(&opaque_server(|s| s.authorizations = vec![authz()])).unwrap();
    assert_eq!(policy.authorizations[0].meta.to_string(), "policy.linkerd.io/authorizationpolicy//mine");
    let named = inp::Authz { metadata: default_meta(), ..authz() };
    let policy = server(&opaque_server(|s| s.authorizations = vec![named])).unwrap();
    assert_eq!(policy.authorizations[0].meta.to_string(), "default/x");
}

#[test]
fn server_policies_that_cannot_be_understood() {
    let with = |change: fn(&mut inp::Authz)| {
        let mut authz = authz();
        change(&mut authz);
        opaque_server(|s| s.authorizations = vec![authz])
    };
    let identities = |name: &str, part: &str| {
        use inp::authn::{Permit, PermitMeshTls, permit_mesh_tls};
        let clients = permit_mesh_tls::PermitClientIdentities {
            identities: vec![inp::Identity { name: name.into() }],
            suffixes: vec![inp::IdentitySuffix { parts: vec![part.into()] }],
        };
        let tls = PermitMeshTls { clients: Some(permit_mesh_tls::Clients::Identities(clients)) };
        let authz =
            inp::Authz { authentication: Some(inp::Authn { permit: Some(Permit::MeshTls(tls)) }), ..authz() };
        opaque_server(|s| s.authorizations = vec![authz])
    };
    for (message, expect) in [
        (opaque_server(|s| s.protocol = None), "invalid protocol: missing"),
        (opaque_server(|s| s.protocol = Some(Default::default())), "invalid protocol: unknown kind"),
        (with(|a| a.networks.clear()), "invalid authorizations[0].networks: missing"),
        (with(|a| a.networks[0].net = None), "invalid authorizations[0].networks[0].net: missing"),
        (
            with(|a| a.networks[0].net.as_mut().unwrap().prefix_len = 33),
            "invalid authorizations[0].networks[0].net: not an address",
        ),
        (with(|a| a.authentication = None), "invalid authorizations[0].authentication: missing"),
        (
            with(|a| a.authentication = Some(Default::default())),
            "invalid authorizations[0].authentication: unknown kind",
        ),
        (
            identities("a b", "c"),
            "invalid authorizations[0].authentication.identities[0]: not an identity: not a DNS-like identity: a DNS name must \
             consist of letters, digits, '-', '_' and '.'",
        ),
        (
            identities("a.b", "c d"),
            "invalid authorizations[0].authentication.suffixes[0]: not a name: a DNS name must consist of letters, digits, \
             '-', '_' and '.'",
        ),
    ] {
        let policy = ServerPolicy::from_pb(&message);
        assert_eq!(policy.problem.as_deref(), Some(expect));
        assert!(policy.authorizations.is_empty());
    }
}

// --- endpoints and profiles

fn addr(port: u32) -> dst::WeightedAddr {
    let ip = net::IpAddress { ip: Some(net::ip_address::Ip::Ipv4(0x0a00_0001)) };
    dst::WeightedAddr { addr: Some(net::TcpAddress { ip: Some(ip), port }), ..Default::default() }
}

#[test]
fn endpoints_that_cannot_be_understood_are_left_out() {
    use tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
    let tls = |strategy, server_name: Option<&str>| {
        let server_name = server_name.map(|name| DnsLikeIdentity { name: name.into() });
        dst::WeightedAddr { tls_identity: Some(dst::TlsIdentity { strategy, server_name }), ..addr(80) }
    };
    let dns = |name: &str| Some(Strategy::DnsLikeIdentity(DnsLikeIdentity { name: name.into() }));
    let uri = |uri: &str| Some(Strategy::UriLikeIdentity(UriLikeIdentity { uri: uri.into() }));
    for (endpoint, expect) in [
        (dst::WeightedAddr::default(), Err("invalid add.addrs[0].addr: missing")),
        (addr(0), Err("invalid add.addrs[0].addr.port: not a port")),
        (addr(65_536), Err("invalid add.addrs[0].addr.port: not a port")),
        (addr(80), Ok(None)),
        (tls(dns("a.b"), None), Ok(Some(("a.b", "a.b")))),
        (tls(dns("A.b"), Some("c.d")), Ok(Some(("a.b", "c.d")))),
        (tls(uri("spiffe://td/a"), Some("c.d")), Ok(Some(("spiffe://td/a", "c.d")))),
        (tls(uri("spiffe://td/a"), None), Err("invalid add.addrs[0].tls_identity.server_name: missing")),
        (tls(dns("a b"), None), Err("invalid add.addrs[0].tls_identity.strategy: not an identity")),
        (tls(None, Some("c.d")), Err("invalid add.addrs[0].tls_identity: unknown kind")),
    ] {
        let set = dst::WeightedAddrSet { addrs: vec![endpoint], metric_labels: HashMap::new() };
        let (change, problems) = update(&dst::Update { update: Some(dst::update::Update::Add(set)) });
        let Some(Change::Add(endpoints)) = change else { panic!() };
        match expect {
            Ok(tls) => {
                let got = endpoints[0].tls.as_ref().map(|t| (t.server_id.as_str(), t.server_name.as_str()));
                assert_eq!((got, problems.len()), (tls, 0));
            }
            Err(text) => {
                assert!(endpoints.is_empty());
                assert!(problems[0].text().starts_with(text), "{}", problems[0].text());
            }
        }
    }
    assert_eq!(update(&dst::Update { update: None }).0, None);
}

#[test]
fn labels_of_the_set_are_overridden_by_the_endpoints_own() {
    let set = dst::WeightedAddrSet {
        addrs: vec![dst::WeightedAddr { metric_labels: labels(&[("a", "1"), ("b", "1")]), ..addr(80) }],
        metric_labels: labels(&[("b", "2"), ("c", "2")]),
    };
    let change = Change::from_pb(&dst::Update { update: Some(dst::update::Update::Add(set)) });
    let Some(Change::Add(endpoints)) = change else { panic!() };
    assert_eq!(endpoints[0].labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "1"), ("c", "2")]);
}

#[test]
fn hints_out_of_range_are_no_hints() {
    use protocol_hint::OpaqueTransport;
    for (inbound_port, expect) in
        [(0, None), (1, Some(1)), (4143, Some(4143)), (65_534, Some(65_534)), (65_535, None), (70_000, None)]
    {
        let hint =
            dst::ProtocolHint { opaque_transport: Some(OpaqueTransport { inbound_port }), protocol: None };
        let set = dst::WeightedAddrSet {
            addrs: vec![dst::WeightedAddr { protocol_hint: Some(hint), ..addr(80) }],
            metric_labels: HashMap::new(),
        };
        let change = Change::from_pb(&dst::Update { update: Some(dst::update::Update::Add(set)) });
        let Some(Change::Add(endpoints)) = change else { panic!() };
        assert_eq!(endpoints[0].opaque_transport_port, expect);
    }
}

#[test]
fn profiles_lose_only_what_cannot_be_understood() {
    use dst::{PathMatch, RequestMatch, RetryBudget, Route, WeightedDst, request_match::Match};
    let path =
        |regex: &str| Some(RequestMatch { r#match: Some(Match::Path(PathMatch { regex: regex.into() })) });
    let mut deep = path("/").unwrap();
    for _ in 0..=crate::limits::MAX_CONDITION_DEPTH {
        deep = RequestMatch { r#match: Some(Match::Not(Box::new(deep))) };
    }
    let route = |condition| Route { condition, ..Default::default() };
    let to = |authority: &str| WeightedDst { authority: authority.into(), weight: 1, backend_ref: None };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let message = dst::DestinationProfile {
        fully_qualified_name: "web.svc".into(),
        routes: vec![route(path("(")), route(path("/a")), route(None), route(Some(deep))],
        dst_overrides: vec![to("a b"), to("a.svc:80")],
        retry_budget: Some(RetryBudget { retry_ratio: -1.0, min_retries_per_second: 1, ttl: seconds(10) }),
        endpoint: Some(addr(0)),
        ..Default::default()
    };
    let (kept, problems) = profile(&message);
    assert_eq!((kept.routes.len(), kept.targets.len()), (1, 1));
    assert!(kept.retry_budget.is_none() && kept.endpoint.is_none());
    assert_eq!(kept.name.unwrap().as_str(), "web.svc");
    let fields: Vec<&str> = problems.iter().map(|p| p.path.split(".not").next().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "endpoint.addr.port",
            "dst_overrides[0]",
            "routes[0].condition.path",
            "routes[2].condition",
            "routes[3].condition",
            "retry_budget",
        ]
    );
    let (empty, problems) = profile(&dst::DestinationProfile::default());
    assert_eq!((empty, problems.len()), (Profile::default(), 0));
}

#[test]
fn targets_without_weight_are_none() {
    let to = dst::WeightedDst { authority: "a:1".into(), weight: 0, backend_ref: None };
    let message = dst::DestinationProfile { dst_overrides: vec![to], ..Default::default() };
    let (kept, problems) = profile(&message);
    assert_eq!((kept.targets.len(), problems.len()), (0, 1));
}

#[test]
fn lists_are_bounded() {
    let message = rule(|r| r.matches = vec![Default::default(); crate::limits::MAX_MATCHES + 1]);
    let problem = Policy::from_pb(&message).problem.unwrap();
    assert_eq!(&*problem, "invalid protocol.http1.routes[0].rules[0].matches: more than 1024");
    let set = dst::WeightedAddrSet {
        addrs: vec![addr(80); crate::limits::MAX_ENDPOINTS + 1],
        metric_labels: HashMap::new(),
    };
    let (change, problems) = update(&dst::Update { update: Some(dst::update::Update::Add(set)) });
    let Some(Change::Add(endpoints)) = change else { panic!() };
    assert_eq!((endpoints.len(), problems.len()), (crate::limits::MAX_ENDPOINTS, 1));
}
