use super::super::{Authentication, DefaultPolicy, HttpRoute, HttpRoutes, HttpRule, Network};
use super::*;
use crate::{NoHeaders, filter::HttpFailure, matching::PathMatch};
use std::time::Duration;
use weft_names::{Cidr, IdentitySuffix};

const TIMEOUT: Duration = Duration::from_secs(10);

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::default_named(name))
}

fn net(text: &str) -> Network {
    match text.split_once('-') {
        Some((net, except)) => Network { net: net.parse().unwrap(), except: vec![except.parse().unwrap()] },
        None => Network::all_of(text.parse().unwrap()),
    }
}

fn allow(name: &str, networks: &[&str], authentication: Authentication) -> Authorization {
    Authorization { networks: networks.iter().map(|n| net(n)).collect(), authentication, meta: meta(name) }
}

fn identities(exact: &[&str], suffixes: &[&[&str]]) -> Authentication {
    Authentication::TlsAuthenticated {
        identities: exact.iter().map(|i| i.parse().unwrap()).collect(),
        suffixes: suffixes.iter().map(|s| IdentitySuffix::from_parts(s).unwrap()).collect(),
    }
}

fn route(name: &str, path: &str, authorizations: Vec<Authorization>) -> HttpRoute {
    let matches = vec![HttpMatch { path: Some(PathMatch::Prefix(path.into())), ..HttpMatch::default() }];
    HttpRoute {
        meta: meta(name),
        hosts: Vec::new(),
        authorizations,
        rules: vec![HttpRule { matches, filters: Vec::new() }],
    }
}

fn detect(routes: Vec<HttpRoute>, authorizations: Vec<Authorization>) -> ServerPolicy {
    let protocol = Protocol::Detect { timeout: TIMEOUT, routes: HttpRoutes { routes }, rate_limit: None };
    ServerPolicy::new(meta("server"), protocol, authorizations)
}

fn request(path: &str) -> RequestView<'_> {
    RequestView { method: b"GET", authority: b"web", target: path.as_bytes(), headers: &NoHeaders }
}

/// `address` or `address tls` or `address identity`.
fn with_client<R>(text: &str, look: impl FnOnce(&Client<'_>) -> R) -> R {
    let (addr, tls) = text.split_once(' ').unwrap_or((text, ""));
    let identity: Option<IdentityName> = (!matches!(tls, "" | "tls")).then(|| tls.parse().unwrap());
    let tls = match tls {
        "" => ClientTls::None,
        _ => ClientTls::Terminated { identity: identity.as_ref() },
    };
    look(&Client { addr: addr.parse().unwrap(), tls })
}

#[test]
fn networks_and_proof_both_count() {
    let anywhere = &["0.0.0.0/0", "::/0"][..];
    for (authorization, client, expect) in [
        (allow("a", anywhere, Authentication::Unauthenticated), "10.1.1.1", true),
        (allow("a", anywhere, Authentication::Unauthenticated), "fd00::1", true),
        (allow("a", &["10.0.0.0/8"], Authentication::Unauthenticated), "11.1.1.1", false),
        (allow("a", &["10.0.0.0/8"], Authentication::Unauthenticated), "::ffff:10.1.1.1", true),
        (allow("a", &["10.0.0.0/8-10.1.0.0/16"], Authentication::Unauthenticated), "10.1.1.1", false),
        (
            allow("a", &["10.0.0.0/8-10.1.0.0/16", "10.1.1.0/24"], Authentication::Unauthenticated),
            "10.1.1.1",
            true,
        ),
        (allow("a", anywhere, Authentication::TlsUnauthenticated), "10.1.1.1", false),
        (allow("a", anywhere, Authentication::TlsUnauthenticated), "10.1.1.1 tls", true),
        (allow("a", anywhere, Authentication::TlsUnauthenticated), "10.1.1.1 a.b", true),
        (allow("a", anywhere, identities(&["a.b"], &[])), "10.1.1.1 A.B", true),
        (allow("a", anywhere, identities(&["a.b"], &[])), "10.1.1.1 x.b", false),
        (allow("a", anywhere, identities(&["a.b"], &[])), "10.1.1.1 tls", false),
        (allow("a", anywhere, identities(&["a.b"], &[])), "10.1.1.1", false),
        (allow("a", anywhere, identities(&["spiffe://td/a"], &[])), "10.1.1.1 spiffe://td/a", true),
        (allow("a", anywhere, identities(&[], &[&["b", "c"]])), "10.1.1.1 a.b.c", true),
        (allow("a", anywhere, identities(&[], &[&["b", "c"]])), "10.1.1.1 ab.c", false),
        (allow("a", anywhere, Authentication::any_identity()), "10.1.1.1 spiffe://td/a", true),
        (allow("a", anywhere, Authentication::any_identity()), "10.1.1.1 tls", false),
        (allow("a", anywhere, identities(&[], &[])), "10.1.1.1 a.b", false),
        (allow("a", &["10.0.0.0/8"], identities(&["a.b"], &[])), "11.1.1.1 a.b", false),
    ] {
        assert_eq!(with_client(client, |c| authorization.covers(c)), expect, "{authorization:?} {client}");
    }
}

#[test]
fn loopback_is_always_allowed() {
    let server = detect(vec![route("r", "/", Vec::new())], Vec::new());
    for (client, expect) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("127.0.0.2", false),
        ("10.0.0.1", false),
    ] {
        with_client(client, |c| {
            let permit = server.authorize_tcp(c);
            assert_eq!(permit.is_ok(), expect, "{client}");
            if let Ok(permit) = permit {
                assert_eq!((permit.layer, permit.authorization.name()), (Layer::Localhost, "localhost"));
            }
            assert_eq!(server.authorize_http(&request("/"), c).is_ok(), expect, "{client}");
        });
    }
}

#[test]
fn tcp_by_protocol() {
    let all = || vec![allow("all", &["0.0.0.0/0"], Authentication::Unauthenticated)];
    let none = HttpRoutes { routes: Vec::new() };
    for (protocol, tcp, http) in [
        (
            Protocol::Detect { timeout: TIMEOUT, routes: HttpRoutes::anything(meta("r")), rate_limit: None },
            true,
            true,
        ),
        (Protocol::Opaque, true, false),
        (Protocol::Tls, true, false),
        (Protocol::Http1 { routes: HttpRoutes::anything(meta("r")), rate_limit: None }, false, true),
        (Protocol::Http2 { routes: HttpRoutes::anything(meta("r")), rate_limit: None }, false, true),
        (Protocol::Http2 { routes: none, rate_limit: None }, false, false),
        (Protocol::Grpc { routes: Routes::anything(meta("r")) }, false, false),
    ] {
        let server = ServerPolicy::new(meta("server"), protocol, all());
        with_client("10.0.0.1", |c| {
            assert_eq!(server.authorize_tcp(c).is_ok(), tcp, "{server:?}");
            assert_eq!(server.authorize_http(&request("/"), c).is_ok(), http, "{server:?}");
        });
    }
}

#[test]
fn grpc_servers_look_for_calls() {
    let all = vec![allow("all", &["0.0.0.0/0"], Authentication::Unauthenticated)];
    let server = ServerPolicy::new(meta("s"), Protocol::Grpc { routes: Routes::anything(meta("r")) }, all);
    let call = RequestView { method: b"POST", ..request("/a.B/C") };
    with_client("10.0.0.1", |c| {
        assert_eq!(server.authorize_http(&call, c).unwrap().route.unwrap().name(), "r");
        let refusal = server.authorize_http(&request("/a.B/C"), c).unwrap_err();
        assert_eq!(refusal.failure(), FailureKind::RouteNotFound);
    });
}

#[test]
fn authorizations_of_the_route_go_first_then_those_of_the_server() {
    let server = detect(
        vec![
            route("probe", "/live", vec![allow("probes", &["10.9.0.0/16"], Authentication::Unauthenticated)]),
            route("rest", "/", Vec::new()),
        ],
        vec![allow("mesh", &["0.0.0.0/0"], identities(&["a.b"], &[]))],
    );
    for (path, client, expect) in [
        ("/live", "10.9.0.1", Some(("probe", "probes", Layer::Route))),
        ("/live", "10.9.0.1 a.b", Some(("probe", "probes", Layer::Route))),
        ("/live", "10.8.0.1 a.b", Some(("probe", "mesh", Layer::Server))),
        ("/live", "10.8.0.1", None),
        ("/x", "10.9.0.1", None),
        ("/x", "10.9.0.1 a.b", Some(("rest", "mesh", Layer::Server))),
    ] {
        with_client(client, |c| {
            let permit = server.authorize_http(&request(path), c).ok();
            let got = permit.map(|p| (p.route.unwrap().name(), p.authorization.name(), p.layer));
            assert_eq!(got, expect, "{path} {client}");
        });
    }
    with_client("10.9.0.1 a.b", |c| {
        assert_eq!(server.authorize_http(&request("/x"), c).unwrap().indices, (1, 0));
    });
}

#[test]
fn refusals_say_everything() {
    let server = detect(
        vec![route("rest", "/api", Vec::new())],
        vec![allow("mesh", &["0.0.0.0/0"], identities(&["a.b"], &[]))],
    );
    let opaque = ServerPolicy::new(meta("server"), Protocol::Opaque, Vec::new());
    let http = ServerPolicy::new(
        meta("server"),
        Protocol::Http1 { routes: HttpRoutes::anything(meta("r")), rate_limit: None },
        Vec::new(),
    );
    let check = |got: Result<Permit<'_>, Refusal>, kind: FailureKind, text: &str| {
        let refusal = got.unwrap_err();
        assert_eq!((refusal.failure(), refusal.to_string().as_str()), (kind, text));
        assert!(crate::HeaderValue::new(refusal.to_string().as_bytes()).is_ok());
    };
    with_client("10.0.0.1 x.y", |c| {
        check(
            server.authorize_http(&request("/api"), c),
            FailureKind::Unauthorized,
            "unauthorized request on route default/rest of server default/server: client 10.0.0.1 with identity x.y is \
             covered by none of 1 authorizations",
        );
        check(
            server.authorize_http(&request("/"), c),
            FailureKind::RouteNotFound,
            "no route found for request: no rule of server default/server matches it",
        );
    });
    with_client("::ffff:10.0.0.1", |c| {
        check(
            server.authorize_tcp(c),
            FailureKind::Unauthorized,
            "unauthorized connection on server default/server: client 10.0.0.1 without identity is covered by none of 1 \
             authorizations",
        );
        check(
            opaque.authorize_tcp(c),
            FailureKind::Unauthorized,
            "unauthorized connection on server default/server: client 10.0.0.1 without identity, and nobody is authorized",
        );
        check(
            opaque.authorize_http(&request("/"), c),
            FailureKind::RouteNotFound,
            "no route found for request: server default/server is not for HTTP",
        );
        check(
            http.authorize_tcp(c),
            FailureKind::Unauthorized,
            "unauthorized connection: server default/server is for HTTP only",
        );
    });
}

#[test]
fn policies_that_cannot_be_understood_refuse_before_they_fail() {
    let server = ServerPolicy::invalid("protocol: missing");
    with_client("10.0.0.1 a.b", |c| {
        assert_eq!(server.authorize_tcp(c).unwrap_err().failure(), FailureKind::Unauthorized);
        assert_eq!(server.authorize_http(&request("/"), c).unwrap_err().failure(), FailureKind::Unauthorized);
    });
    with_client("127.0.0.1", |c| {
        let permit = server.authorize_http(&request("/"), c).unwrap();
        let verdict = crate::filter::decide(permit.filters, &request("/"), "http", permit.path, &mut || 0);
        assert_eq!(verdict.failure(), Some(FailureKind::InvalidPolicy));
    });
}

#[test]
fn filters_and_limits_come_with_the_permit() {
    let failure = Filter::FailHttp(HttpFailure { status: 418, message: "no".into(), ratio: None });
    let mut r = route("r", "/", Vec::new());
    r.rules[0].filters = vec![failure.clone()];
    let limit = RateLimit {
        meta: meta("limit"),
        total: std::num::NonZeroU32::new(5),
        identity: None,
        overrides: Vec::new(),
    };
    let protocol =
        Protocol::Http1 { routes: HttpRoutes { routes: vec![r] }, rate_limit: Some(Arc::new(limit.clone())) };
    let server = ServerPolicy::new(
        meta("s"),
        protocol,
        vec![allow("all", &["0.0.0.0/0"], Authentication::Unauthenticated)],
    );
    with_client("10.0.0.1", |c| {
        let permit = server.authorize_http(&request("/a"), c).unwrap();
        assert_eq!(permit.filters, std::slice::from_ref(&failure));
        assert_eq!(permit.rate_limit.map(|l| &**l), Some(&limit));
        assert!(!permit.audit);
    });
}

#[test]
fn default_policies() {
    let cluster: Vec<Cidr> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    // Clients: outside, outside with identity, inside, inside with identity.
    let clients = ["203.0.113.1", "203.0.113.1 a.b", "10.0.0.1", "fd00::1 a.b"];
    for (policy, expect) in [
        ("all-unauthenticated", [true, true, true, true]),
        ("all-authenticated", [false, true, false, true]),
        ("cluster-unauthenticated", [false, false, true, true]),
        ("cluster-authenticated", [false, false, false, true]),
        ("deny", [false, false, false, false]),
        ("audit", [true, true, true, true]),
    ] {
        let parsed: DefaultPolicy = policy.parse().unwrap();
        assert_eq!(parsed.to_string(), policy);
        for opaque in [false, true] {
            let server = parsed.server(&cluster, opaque, TIMEOUT);
            assert_eq!(server.meta.to_string(), format!("default/{policy}"));
            assert_eq!(matches!(server.protocol, Protocol::Opaque), opaque);
            for (client, expect) in clients.iter().zip(expect) {
                with_client(client, |c| {
                    let permit = server.authorize_tcp(c);
                    assert_eq!(permit.is_ok(), expect, "{policy} {client}");
                    assert!(permit.is_ok_and(|p| p.audit) == (policy == "audit"));
                    if !opaque {
                        assert_eq!(
                            server.authorize_http(&request("/"), c).is_ok(),
                            expect,
                            "{policy} {client}"
                        );
                    }
                });
            }
        }
    }
    assert!("all".parse::<DefaultPolicy>().is_err());
    assert!(DefaultPolicy::ALL.iter().all(|p| !p.authenticated().name().contains("unauthenticated")));
}

#[test]
fn rate_limits_by_client() {
    use super::super::{RateLimitFor, RateLimitOverride};
    let id = |s: &str| -> IdentityName { s.parse().unwrap() };
    let limit = |identity| RateLimit {
        meta: meta("limit"),
        total: None,
        identity: std::num::NonZeroU32::new(identity),
        overrides: vec![
            RateLimitOverride { limit: None, clients: vec![id("a.b")] },
            RateLimitOverride { limit: None, clients: vec![id("c.d"), id("a.b")] },
        ],
    };
    for (identity, client, expect) in [
        (5, Some("a.b"), RateLimitFor::Override(0)),
        (5, Some("c.d"), RateLimitFor::Override(1)),
        (5, Some("e.f"), RateLimitFor::Identity),
        (5, None, RateLimitFor::Identity),
        (0, Some("e.f"), RateLimitFor::None),
        (0, Some("c.d"), RateLimitFor::Override(1)),
    ] {
        let client = client.map(id);
        assert_eq!(limit(identity).for_client(client.as_ref()), expect, "{client:?}");
    }
}
