//! Cases are small texts: matches of a rule on one side, a request line and fields on the other.

use super::*;
use crate::{
    Meta, Pattern,
    outbound::{Distribution, HttpRoute, HttpRoutes, HttpRule, Rule, TcpRule, TlsRoute, TlsRoutes},
};
use std::sync::Arc;

type Fields = Vec<(String, Vec<u8>)>;

/// `METHOD authority target [name:value ...]`.
fn with_request<R>(text: &str, look: impl FnOnce(&RequestView<'_>) -> R) -> R {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or("");
    let (method, authority, target) = (word(), word(), word());
    let headers: Fields = words
        .map(|f| f.split_once(':').unwrap())
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    look(&RequestView {
        method: method.as_bytes(),
        authority: authority.as_bytes(),
        target: target.as_bytes(),
        headers: &headers,
    })
}

/// `=/exact`, `/prefix`, `~regex`, `@METHOD`, `?name=value`, `?name~regex`, `name:value`, `name:~regex`.
fn http(text: &str) -> HttpMatch {
    let mut m = HttpMatch::default();
    let value = |v: &str| match v.strip_prefix('~') {
        Some(regex) => ValueMatch::Regex(Pattern::new(regex).unwrap()),
        None => ValueMatch::exact(v),
    };
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        match word.split_at(1) {
            ("=", path) => m.path = Some(PathMatch::Exact(path.into())),
            ("/", _) => m.path = Some(PathMatch::Prefix(word.into())),
            ("~", regex) => m.path = Some(PathMatch::Regex(Pattern::new(regex).unwrap())),
            ("@", method) => m.method = Some(method.parse().unwrap()),
            ("?", query) => {
                let (name, is) = query.split_at(query.find(['=', '~']).unwrap());
                let value = value(is.strip_prefix('=').unwrap_or(is));
                m.query.push(QueryMatch { name: name.into(), value });
            }
            _ => {
                let (name, is) = word.split_once(':').unwrap();
                m.headers.push(HeaderMatch { name: name.parse().unwrap(), value: value(is) });
            }
        }
    }
    m
}

/// Routes, one a line: hosts in brackets, then rules between `|`, their matches between `,`.
fn routes(text: &str) -> HttpRoutes {
    let routes = text.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate().map(|(i, line)| {
        let (hosts, rules) = match line.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap(),
            None => ("", line),
        };
        let rules = rules.split('|').map(|rule| {
            let matches = rule.split(',').map(str::trim).filter(|m| !m.is_empty());
            let matches = matches.map(|m| if m == "any" { HttpMatch::default() } else { http(m) });
            HttpRule { matches: matches.collect(), ..Rule::new(Distribution::Empty) }
        });
        HttpRoute {
            meta: Arc::new(Meta::default_named(i.to_string())),
            hosts: hosts.split(' ').filter(|h| !h.is_empty()).map(|h| h.parse().unwrap()).collect(),
            rules: rules.collect(),
        }
    });
    HttpRoutes::new(routes.collect())
}

#[track_caller]
fn check(table: &str, cases: &[(&str, Option<(usize, usize)>)]) {
    let routes = routes(table);
    for (request, expect) in cases {
        let found = with_request(request, |r| routes.find(r).ok().map(|m| (m.route_index, m.rule_index)));
        assert_eq!(found, *expect, "{request} in {table}");
    }
}

#[test]
fn matches_of_one_rule() {
    for (matches, request, expect) in [
        ("", "GET web /", true),
        ("", "OPTIONS web *", true),
        ("", "CONNECT web:80 ", true),
        ("/", "OPTIONS web *", true),
        ("/", "CONNECT web:80 ", true),
        ("=/a", "GET web /a", true),
        ("=/a", "GET web /a?x", true),
        ("=/a", "GET web /a/", false),
        ("=/a", "GET web /A", false),
        ("/a", "GET web /a", true),
        ("/a", "GET web /a/b?x=/c", true),
        ("/a", "GET web /ab", false),
        ("/a/", "GET web /a", true),
        ("/a/", "GET web /a/b", true),
        ("/a/", "GET web /ab", false),
        ("/a", "GET web /", false),
        ("~/[a-z]+", "GET web /abc", true),
        ("~/[a-z]+", "GET web /abc1", false),
        ("~/[a-z]+", "GET web /abc?1", true),
        ("@GET", "GET web /", true),
        ("@GET", "get web /", false),
        ("@PROPFIND", "PROPFIND web /", true),
        ("x-a:1", "GET web / x-a:1", true),
        ("x-a:1", "GET web / x-a:2 x-a:1", true),
        ("x-a:1", "GET web / x-a:11", false),
        ("x-a:1", "GET web /", false),
        ("X-A:~[0-9]+", "GET web / x-a:17", true),
        ("x-a:~[0-9]+", "GET web / x-a:1x", false),
        ("x-a:1 x-b:2", "GET web / x-a:1", false),
        ("?a=1", "GET web /?a=1", true),
        ("?a=1", "GET web /?b=2&a=1&c", true),
        ("?a=1", "GET web /?a=2&a=1", true),
        ("?a=1", "GET web /?a=11", false),
        ("?a=1", "GET web /", false),
        ("?a=", "GET web /?a", true),
        ("?a=x/y", "GET web /?%61=x%2Fy", true),
        ("?a=100%", "GET web /?a=100%", true),
        ("?a=%zz", "GET web /?a=%zz", true),
        ("?a~x.y", "GET web /?a=x+y", true),
        ("?a~[a-z]+", "GET web /?a=x%31", false),
        ("?a=1 ?b=2", "GET web /?b=2", false),
    ] {
        let matched = with_request(request, |r| http(matches).rank(r).is_some());
        assert_eq!(matched, expect, "{matches:?} over {request:?}");
    }
}

#[test]
fn long_encoded_query_values_are_decoded_too() {
    let m = http("?a~[x/]+");
    for n in [10, 1000] {
        let request = format!("GET web /?a={}", "x%2F".repeat(n));
        assert!(with_request(&request, |r| m.rank(r).is_some()));
    }
}

#[test]
fn hosts() {
    for (host, is, expect) in [
        ("web.example", "web.example", Some(HostRank::Exact)),
        ("web.example", "WEB.Example.", Some(HostRank::Exact)),
        ("web.example", "a.web.example", None),
        ("*.example", "web.example", Some(HostRank::Suffix(1))),
        ("*.b.example", "a.B.example.", Some(HostRank::Suffix(2))),
        ("*.example", "a.b.example", Some(HostRank::Suffix(1))),
        ("*.example", "example", None),
        ("*.example", ".example", None),
        ("*.example", "webexample", None),
        ("*", "web", Some(HostRank::Suffix(0))),
        ("*", "", None),
        ("[::1]", "[::1]", Some(HostRank::Exact)),
        ("10.0.0.1", "10.0.0.1", Some(HostRank::Exact)),
    ] {
        let parsed: HostMatch = host.parse().unwrap();
        assert_eq!(parsed.rank(is.as_bytes()), expect, "{host} over {is}");
        assert_eq!(parsed.to_string(), host);
    }
    assert!("*example".parse::<HostMatch>().is_err());
    assert_eq!(HostMatch::from_reverse_labels(&["example", "b"]).unwrap().to_string(), "*.b.example");
    assert!(HostMatch::from_reverse_labels(&["a b"]).is_err());
}

#[test]
fn host_goes_before_everything_else() {
    check(
        "[*.example] =/a @GET x-a:1
         [web.example] /
         [*.b.example] =/a
         /a @GET",
        &[
            ("GET web.example /a x-a:1", Some((1, 0))),
            ("GET web.example:8080 /a x-a:1", Some((1, 0))),
            ("GET a.b.example /a x-a:1", Some((2, 0))),
            ("GET a.c.example /a x-a:1", Some((0, 0))),
            ("GET other /a x-a:1", Some((3, 0))),
            ("GET other /", None),
            // The best host's routes do not match: the next best do.
            ("GET a.b.example /b", None),
            ("GET a.b.example /a/c", Some((3, 0))),
        ],
    );
}

#[test]
fn then_the_length_of_the_path_whichever_kind_it_is() {
    check(
        "/
         /a/b
         =/a/b
         ~/a/.*",
        &[
            ("GET web /x", Some((0, 0))),
            // All three match four bytes: of equals the first listed.
            ("GET web /a/b", Some((1, 0))),
            // The expression matches all of the path, the prefix only a part.
            ("GET web /a/b/c", Some((3, 0))),
        ],
    );
    check("~/.* | =/a", &[("GET web /a", Some((0, 0)))]);
    check("=/a | ~/.*", &[("GET web /a", Some((0, 0)))]);
}

#[test]
fn then_headers_then_query_then_method() {
    check(
        "/a @GET
         /a ?q=1 ?r=1
         /a x-a:1
         /a x-a:1 x-b:1
         /a x-a:1 @GET",
        &[
            ("GET web /a", Some((0, 0))),
            ("GET web /a?q=1&r=1", Some((1, 0))),
            ("GET web /a?q=1&r=1 x-a:1", Some((4, 0))),
            ("PUT web /a?q=1&r=1 x-a:1", Some((2, 0))),
            ("GET web /a?q=1&r=1 x-a:1 x-b:1", Some((3, 0))),
            ("PUT web /a", None),
        ],
    );
}

#[test]
fn ties_go_to_the_first_listed() {
    check("/a | /a", &[("GET web /a", Some((0, 0)))]);
    check("/b\n/a\n/a", &[("GET web /a", Some((1, 0)))]);
}

#[test]
fn the_best_match_of_a_rule_counts() {
    check("/, /a/b | /a", &[("GET web /a/b", Some((0, 0))), ("GET web /a/c", Some((0, 1)))]);
}

#[test]
fn a_rule_without_matches_is_a_prefix_of_one_slash() {
    check(" | / x-a:1 | =/", &[("GET web /x", Some((0, 0))), ("GET web / x-a:1", Some((0, 1)))]);
    check(" | =/", &[("GET web /", Some((0, 0)))]);
    check("", &[("GET web /", None)]);
}

#[test]
fn profiles_take_the_first_that_matches() {
    let mut table = routes("/a\n/a/b\n/");
    table.order = crate::outbound::Order::First;
    for (request, expect) in [("GET web /a/b", 0), ("GET web /c", 2)] {
        assert_eq!(with_request(request, |r| table.find(r).unwrap().route_index), expect);
    }
}

#[test]
fn conditions() {
    let path = |p: &str| Condition::Path(Pattern::new(p).unwrap());
    let get = Condition::Method("GET".parse().unwrap());
    for (condition, request, expect) in [
        (Condition::All(vec![]), "GET web /", true),
        (Condition::Any(vec![]), "GET web /", false),
        (path("/a/[^/]*"), "GET web /a/b?c=/d", true),
        (path("/a"), "GET web /a/b", false),
        (Condition::All(vec![get.clone(), path("/a")]), "GET web /a", true),
        (Condition::All(vec![get.clone(), path("/a")]), "PUT web /a", false),
        (Condition::Any(vec![get.clone(), path("/a")]), "PUT web /a", true),
        (Condition::Not(Box::new(get)), "GET web /a", false),
    ] {
        assert_eq!(with_request(request, |r| condition.matches(r)), expect, "{condition:?} {request}");
    }
    let range = |min, max| ResponseCondition::Status { min, max };
    let some =
        ResponseCondition::All(vec![range(500, 599), ResponseCondition::Not(Box::new(range(503, 503)))]);
    for (status, expect) in [(499, false), (500, true), (503, false), (599, true), (600, false)] {
        assert_eq!(some.matches(status), expect, "{status}");
    }
    assert!(ResponseCondition::Any(vec![range(1, 2), range(7, 9)]).matches(8));
}

#[test]
fn grpc_calls() {
    let rule = |service: &str, method: &str, headers: &str| {
        let named = |s: &str| (!s.is_empty()).then(|| Arc::from(s));
        GrpcMatch {
            rpc: Some(RpcMatch { service: named(service), method: named(method) }),
            headers: http(headers).headers,
        }
    };
    let rank = |m: &GrpcMatch, request: &str| with_request(request, |r| m.rank(r));
    for (m, request, expect) in [
        (rule("shop.Cart", "Add", ""), "POST web /shop.Cart/Add", Some((9, 3, 0))),
        (rule("shop.Cart", "", ""), "POST web /shop.Cart/Add", Some((9, 0, 0))),
        (rule("", "Add", "a:1"), "POST web /shop.Cart/Add a:1", Some((0, 3, 1))),
        (rule("", "", ""), "POST web /shop.Cart/Add", Some((0, 0, 0))),
        (GrpcMatch::default(), "POST web /shop.Cart/Add", Some((0, 0, 0))),
        (rule("", "", ""), "GET web /shop.Cart/Add", None),
        (rule("", "", ""), "POST web /shop.Cart", None),
        (rule("", "", ""), "POST web /shop.Cart/Add/More", None),
        (rule("", "", ""), "POST web //Add", None),
        (rule("", "", ""), "POST web /shop.Cart/", None),
        (rule("shop.cart", "", ""), "POST web /shop.Cart/Add", None),
        (rule("", "", "a:1"), "POST web /shop.Cart/Add", None),
    ] {
        let got = rank(&m, request).map(|r| (r.service, r.method, r.headers));
        assert_eq!(got, expect, "{m:?} over {request}");
    }
    assert!(
        rank(&rule("shop.Cart", "", ""), "POST web /shop.Cart/Add")
            > rank(&rule("", "Add", "a:1"), "POST web /shop.Cart/Add a:1")
    );
}

#[test]
fn tls_routes_by_name() {
    let route = |snis: &[&str]| TlsRoute {
        meta: Arc::new(Meta::default_named("r")),
        snis: snis.iter().map(|s| s.parse().unwrap()).collect(),
        rules: vec![TcpRule::default()],
    };
    let routes = TlsRoutes {
        routes: vec![
            route(&["*.example"]),
            route(&["*.b.example", "web.example"]),
            route(&["web.example"]),
            route(&[]),
        ],
    };
    for (sni, expect) in [("web.example", 1), ("a.b.example", 1), ("a.c.example", 0), ("other", 3), ("", 3)] {
        assert_eq!(routes.find(sni.as_bytes()).unwrap().route_index, expect, "{sni}");
    }
    assert!(TlsRoutes { routes: vec![route(&["web"])] }.find(b"other").is_err());
}
