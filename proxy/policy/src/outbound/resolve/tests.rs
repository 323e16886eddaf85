use super::*;
use crate::{
    NoHeaders, Pattern, RequestView,
    matching::{Condition, ResponseCondition},
    outbound::{Dispatcher, GrpcRoutes, ProfileRoute, ProfileTarget, ResponseClass, RetryBudget, TlsRoutes},
};
use std::time::Duration;

fn target() -> SocketAddr {
    "10.9.0.1:8080".parse().unwrap()
}

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::default_named(name))
}

fn backend(name: &str) -> Arc<Backend> {
    Arc::new(Backend::balance(meta(name), name, Load::default()))
}

/// A policy whose backends are named after the protocol.
fn policy(kind: &str) -> Arc<Policy> {
    let http = |name| HttpRoutes::to_backend(meta("http"), backend(name));
    let opaque = OpaqueRoutes::to_backend(meta("opaq"), backend("policy-opaque"));
    let protocol = match kind {
        "detect" => Protocol::Detect {
            timeout: Duration::from_secs(7),
            http1: http("policy-http1"),
            http2: http("policy-http2"),
            opaque,
        },
        "http1" => Protocol::Http1(http("policy-http1")),
        "http2" => Protocol::Http2(http("policy-http2")),
        "grpc" => Protocol::Grpc(GrpcRoutes::to_backend(meta("grpc"), backend("policy-grpc"))),
        "opaque" => Protocol::Opaque(opaque),
        "tls" => Protocol::Tls(TlsRoutes::default()),
        _ => unreachable!(),
    };
    Arc::new(Policy::new(meta("parent"), protocol))
}

fn profile() -> Profile {
    Profile { name: Some("web.default.svc.cluster.local".parse().unwrap()), ..Profile::default() }
}

fn with_route(profile: Profile) -> Profile {
    let route = ProfileRoute {
        condition: Condition::Path(Pattern::new("/books/.*").unwrap()),
        classes: vec![ResponseClass {
            condition: ResponseCondition::Status { min: 404, max: 404 },
            is_failure: true,
        }],
        labels: [("route", "books")].into_iter().collect(),
        retryable: true,
        timeout: Some(Duration::from_secs(1)),
    };
    let object = ResourceRef::new("linkerd.io", "ServiceProfile", "default", "web.default.svc.cluster.local");
    Profile {
        routes: vec![route],
        retry_budget: RetryBudget::new(Duration::from_secs(10), 0.2, 10),
        profile: Some(Arc::new(object.into())),
        ..profile
    }
}

fn with_targets(profile: Profile) -> Profile {
    let to = |authority: &str, weight| ProfileTarget {
        authority: authority.parse().unwrap(),
        weight,
        backend: None,
    };
    Profile { targets: vec![to("a.svc:80", 9), to("b.svc:80", 1)], ..profile }
}

fn opaque(profile: Profile) -> Profile {
    Profile { opaque: true, ..profile }
}

/// Where each protocol's connections go.
fn summary(policy: &Policy) -> String {
    let place = |b: &RouteBackend| match &b.backend.dispatcher {
        Dispatcher::Forward(endpoint) => endpoint.addr.to_string(),
        Dispatcher::Balance { path, .. } => path.to_string(),
        Dispatcher::Fail { message } => format!("fail {message}"),
    };
    let places = |d: &Distribution| d.backends().map(place).collect::<Vec<_>>().join("+");
    let http = |r: &HttpRoutes| places(&r.routes[0].rules[0].backends);
    let opaque = |r: &OpaqueRoutes| places(&r.routes[0].rules[0].backends);
    match &policy.protocol {
        Protocol::Detect { http1, http2, opaque: o, .. } => {
            format!("detect {} {} {}", http(http1), http(http2), opaque(o))
        }
        Protocol::Http1(r) => format!("http1 {}", http(r)),
        Protocol::Http2(r) => format!("http2 {}", http(r)),
        Protocol::Grpc(r) => format!("grpc {}", places(&r.routes[0].rules[0].backends)),
        Protocol::Opaque(r) => format!("opaque {}", opaque(r)),
        Protocol::Tls(_) => "tls".to_owned(),
    }
}

#[test]
fn the_whole_matrix() {
    let web = "web.default.svc.cluster.local:8080";
    let nothing = Profile::default;
    let endpoint = || Profile {
        endpoint: Some(Arc::new(Endpoint::plain("10.1.0.1:8080".parse().unwrap()))),
        ..Profile::default()
    };
    let here = "10.9.0.1:8080";
    let there = "10.1.0.1:8080";
    for (policy_kind, profile, expect) in [
        // No policy.
        ("", None, format!("detect {here} {here} {here}")),
        ("", Some(nothing()), format!("detect {here} {here} {here}")),
        ("", Some(endpoint()), format!("detect {there} {there} {there}")),
        ("", Some(opaque(endpoint())), format!("opaque {there}")),
        ("", Some(opaque(nothing())), format!("opaque {here}")),
        ("", Some(with_route(profile())), format!("detect {web} {web} {here}")),
        // No profile that says anything.
        ("detect", None, "detect policy-http1 policy-http2 policy-opaque".to_owned()),
        ("detect", Some(profile()), "detect policy-http1 policy-http2 policy-opaque".to_owned()),
        ("detect", Some(endpoint()), "detect policy-http1 policy-http2 policy-opaque".to_owned()),
        ("grpc", Some(profile()), "grpc policy-grpc".to_owned()),
        // Opaque profiles.
        ("detect", Some(opaque(profile())), "opaque policy-opaque".to_owned()),
        ("opaque", Some(opaque(profile())), "opaque policy-opaque".to_owned()),
        ("http1", Some(opaque(profile())), format!("opaque {web}")),
        ("grpc", Some(opaque(endpoint())), format!("opaque {there}")),
        ("tls", Some(opaque(nothing())), format!("opaque {here}")),
        ("detect", Some(opaque(with_targets(profile()))), "opaque a.svc:80+b.svc:80".to_owned()),
        ("detect", Some(opaque(with_route(profile()))), "opaque policy-opaque".to_owned()),
        // Profiles with routes.
        ("detect", Some(with_route(profile())), format!("detect {web} {web} policy-opaque")),
        ("http1", Some(with_route(profile())), format!("http1 {web}")),
        ("http2", Some(with_route(profile())), format!("http2 {web}")),
        ("grpc", Some(with_route(profile())), format!("http2 {web}")),
        ("opaque", Some(with_route(profile())), "opaque policy-opaque".to_owned()),
        ("tls", Some(with_route(profile())), "tls".to_owned()),
        // Profiles with targets.
        (
            "detect",
            Some(with_targets(profile())),
            "detect a.svc:80+b.svc:80 a.svc:80+b.svc:80 a.svc:80+b.svc:80".to_owned(),
        ),
        ("http1", Some(with_targets(with_route(profile()))), "http1 a.svc:80+b.svc:80".to_owned()),
        ("opaque", Some(with_targets(profile())), "opaque a.svc:80+b.svc:80".to_owned()),
    ] {
        let found = (!policy_kind.is_empty()).then(|| policy(policy_kind));
        let lookup = found.as_ref().map_or(PolicyLookup::Absent, PolicyLookup::Found);
        let resolved = Policy::resolve(target(), profile.as_ref(), lookup);
        assert_eq!(summary(&resolved), expect, "{policy_kind} with {profile:?}");
    }
}

#[test]
fn what_is_made_up_has_a_name() {
    let name = |profile: Option<&Profile>| {
        Policy::resolve(target(), profile, PolicyLookup::Absent).parent.to_string()
    };
    assert_eq!(name(None), "default/fallback");
    let endpoint = Some(Arc::new(Endpoint::plain(target())));
    assert_eq!(name(Some(&Profile { endpoint, ..Profile::default() })), "default/endpoint");
}

#[test]
fn policies_that_cannot_be_understood_stay_what_they_are() {
    let invalid = Arc::new(Policy::invalid("missing protocol"));
    let profile = opaque(with_targets(with_route(profile())));
    let resolved = Policy::resolve(target(), Some(&profile), PolicyLookup::Found(&invalid));
    assert!(Arc::ptr_eq(&resolved, &invalid));
    assert_eq!(resolved.problem.as_deref(), Some("missing protocol"));
}

#[test]
fn what_does_not_change_is_not_copied() {
    let base = policy("detect");
    for profile in [None, Some(profile())] {
        let resolved = Policy::resolve(target(), profile.as_ref(), PolicyLookup::Found(&base));
        assert!(Arc::ptr_eq(&resolved, &base));
    }
}

#[test]
fn routes_of_profiles() {
    let resolved =
        Policy::resolve(target(), Some(&with_route(profile())), PolicyLookup::Found(&policy("http1")));
    let Protocol::Http1(routes) = &resolved.protocol else { panic!("{resolved:?}") };
    let find = |path: &'static str| {
        let request =
            RequestView { method: b"GET", authority: b"web", target: path.as_bytes(), headers: &NoHeaders };
        routes.find(&request).unwrap()
    };
    let books = find("/books/1");
    assert_eq!(
        books.route.meta.to_string(),
        "linkerd.io/ServiceProfile/default/web.default.svc.cluster.local#books"
    );
    let asks = books.rule.profile.as_ref().unwrap();
    assert_eq!(&*asks.dst, "web.default.svc.cluster.local:8080");
    assert_eq!(asks.labels.get("route"), Some("books"));
    assert_eq!((asks.timeout, asks.retry_budget.is_some()), (Some(Duration::from_secs(1)), true));
    assert!(asks.is_failure(404) && asks.is_failure(500) && !asks.is_failure(403));
    let edits: Vec<_> = crate::filter::request_edits(&books.rule.filters).flat_map(|e| &e.set).collect();
    assert_eq!(edits.len(), 1);
    assert_eq!(edits[0].0.as_str(), "l5d-dst-canonical");
    assert_eq!(edits[0].1.as_bytes(), b"web.default.svc.cluster.local:8080");
    // Everything else is one route more.
    let rest = find("/authors");
    assert_eq!((rest.route_index, rest.route.meta.section()), (1, ""));
    let asks = rest.rule.profile.as_ref().unwrap();
    assert!(asks.labels.is_empty() && asks.timeout.is_none() && asks.retry_budget.is_none());
}

#[test]
fn only_retryable_routes_have_the_budget() {
    let mut profile = with_route(profile());
    profile.routes[0].retryable = false;
    let resolved = Policy::resolve(target(), Some(&profile), PolicyLookup::Found(&policy("http1")));
    let Protocol::Http1(routes) = &resolved.protocol else { panic!("{resolved:?}") };
    assert!(routes.routes[0].rules[0].profile.as_ref().unwrap().retry_budget.is_none());
}

#[test]
fn classes_in_order() {
    let class = |min, max, is_failure| ResponseClass {
        condition: ResponseCondition::Status { min, max },
        is_failure,
    };
    let rule = ProfileRule {
        dst: "x".into(),
        labels: Default::default(),
        classes: vec![class(503, 503, false), class(400, 503, true)],
        timeout: None,
        retry_budget: None,
    };
    for (status, expect) in [(200, false), (400, true), (500, true), (503, false), (504, true)] {
        assert_eq!(rule.is_failure(status), expect, "{status}");
    }
}
