//! What the control plane says, and what changes of it: routes, protocols, endpoints, while connections are open.

use http::{Request, Version};
use linkerd2_proxy_api::{destination::DestinationProfile, http_route, http_types, inbound, outbound};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tonic::Status;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::{Validity, identity},
    client::{
        Client, Reply, connect, empty, grpc,
        mesh::{Peer, Session},
        read_exactly, read_to_end,
    },
    control::{ControlPlane, Service},
    pair::{APP_PORT, Pair, Security, virtual_address},
    place::Place,
    policy::{self, Speaks, balancer, duration, forward, plain, prefix},
    proxy::{Builder, Proxy},
    wait::{PATIENCE, soon, until},
};

/// A client's proxy and a control plane.
struct Outbound {
    control: ControlPlane,
    proxy: Proxy,
}

impl Outbound {
    async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let control = ControlPlane::start(&Place::loopback()).await;
        let builder = Builder::new(&Place::loopback(), &control, "client").target(virtual_address());
        let proxy = change(builder).ready().await;
        Self { control, proxy }
    }

    fn policy(&self, policy: outbound::OutboundPolicy) {
        self.control.script(|script| {
            script.outbound.insert(virtual_address(), policy);
        });
    }

    fn endpoints(&self, apps: &[&Place]) {
        let endpoints = apps.iter().map(|place| plain(place.at(APP_PORT))).collect();
        self.control.script(|script| {
            script.endpoints.insert(policy::path("server"), endpoints);
        });
    }

    async fn client(&self, version: Version) -> Client {
        Client::over(connect(self.proxy.place(), self.proxy.to(virtual_address())).await, version).await
    }

    /// Asks, each time on a connection of its own, until the answer is as it should be.
    async fn get_until(&self, path: &str, good: impl Fn(&Reply) -> bool) -> Reply {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.client(Version::HTTP_11).await.get(&format!("http://server{path}")).await;
            if good(&reply) {
                return reply;
            }
            assert!(Instant::now() < deadline, "the last answer was {reply:?}");
        }
    }
}

/// Asks on one connection until the answer is as it should be. Every answer must be a 200.
async fn all_good_until(client: &mut Client, good: impl Fn(&Reply) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = client.get("http://server/name").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        if good(&reply) {
            return;
        }
        assert!(Instant::now() < deadline, "the last answer was {reply:?}");
    }
}

async fn app(name: &str) -> (Place, HttpApp) {
    let place = Place::loopback();
    let app = HttpApp::start(&place, APP_PORT, name).await;
    (place, app)
}

type Rule = outbound::http_route::Rule;

fn routed(rules: Vec<Rule>) -> outbound::OutboundPolicy {
    let mut route = policy::http_route(balancer("server"));
    route.rules = rules;
    policy::http_service("server", Speaks::Detect, balancer("server"), vec![route])
}

fn rule(path: &str) -> Rule {
    let mut rule = policy::http_route(balancer("server")).rules.remove(0);
    rule.matches = vec![prefix(path)];
    rule
}

fn filtered(path: &str, kind: outbound::http_route::filter::Kind) -> Rule {
    Rule { filters: vec![outbound::http_route::Filter { kind: Some(kind) }], ..rule(path) }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_come_and_go_without_a_failed_request() {
    let scene = Outbound::start().await;
    let ((a, app_a), (b, _app_b), (c, _app_c)) = (app("a").await, app("b").await, app("c").await);
    scene.policy(policy::service("server", Speaks::Detect, balancer("server")));
    scene.endpoints(&[&a]);
    let mut client = scene.client(Version::HTTP_2).await;
    all_good_until(&mut client, |reply| reply.text() == "a").await;
    scene.endpoints(&[&a, &b]);
    all_good_until(&mut client, |reply| reply.text() == "b").await;
    scene.endpoints(&[&b, &c]);
    all_good_until(&mut client, |reply| reply.text() == "c").await;
    // An answer has come from the new set: nothing goes to the old any more.
    let before = app_a.count();
    for _ in 0..50 {
        assert_eq!(client.get("http://server/name").await.status, 200);
    }
    assert_eq!(app_a.count(), before);
    scene.endpoints(&[]);
    // Nobody is left: requests wait for somebody, then fail fast and say so.
    let reply = scene.get_until("/name", |reply| reply.status != 200).await;
    assert!([503, 504].contains(&reply.status.as_u16()), "{reply:?}");
    assert!(!reply.header("l5d-proxy-error").is_empty(), "{reply:?}");
    scene.endpoints(&[&a]);
    assert_eq!(scene.get_until("/name", |reply| reply.status == 200).await.text(), "a");
    let page = scene.proxy.metrics().await;
    let family = "outbound_http_balancer_p2c_updates_total";
    let updates = |op| page.sum(family, &[("op", op)]);
    assert!(updates("Add") >= 4.0 && updates("Remove") >= 3.0, "{}", page.describe(family));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_slow_gets_the_small_share() {
    let scene = Outbound::start().await;
    let ((a, app_a), (b, app_b), slow) = (app("a").await, app("b").await, Place::loopback());
    // The same server behind a delay.
    let fast = HttpApp::start(&slow, 9090, "slow").await;
    let behind = slow.at(9090);
    let _delayed = weft_tests::app::listen(&slow, APP_PORT, move |mut near| async move {
        let mut far = tokio::net::TcpStream::connect(behind).await.expect("the server");
        let mut buffer = vec![0; 64 * 1024];
        loop {
            use tokio::io::AsyncReadExt;
            let Ok(n @ 1..) = near.read(&mut buffer).await else { return };
            tokio::time::sleep(Duration::from_millis(40)).await;
            if far.write_all(&buffer[..n]).await.is_err() {
                return;
            }
            let Ok(n @ 1..) = far.read(&mut buffer).await else { return };
            if near.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    })
    .await;
    scene.policy(policy::service("server", Speaks::Http1, balancer("server")));
    scene.endpoints(&[&a, &b, &slow]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = scene.client(Version::HTTP_11).await;
        clients.push(tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(client.get("http://server/name").await.status, 200);
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let (a, b, slow) = (app_a.count(), app_b.count(), fast.count());
    assert_eq!(a + b + slow, 400);
    // A third would be fair without looking.
    assert!((1..60).contains(&slow), "{a} {b} {slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_change_under_an_open_connection() {
    use outbound::http_route::filter::Kind;
    let scene = Outbound::start().await;
    let (place, server) = app("server").await;
    scene.endpoints(&[&place]);
    scene.policy(routed(vec![rule("/old")]));
    let mut client = scene.client(Version::HTTP_11).await;
    assert_eq!(client.get("http://server/old").await.status, 200);
    let reply = client.get("http://server/new").await;
    assert_eq!((reply.status.as_u16(), reply.header("l5d-proxy-error")), (404, "no route found for request"));

    let header = |name: &str, value: &str| http_types::Headers {
        headers: vec![http_types::headers::Header { name: name.into(), value: value.into() }],
    };
    let redirect = http_route::RequestRedirect {
        host: "elsewhere.test".into(),
        status: 302,
        path: Some(http_route::PathModifier {
            replace: Some(http_route::path_modifier::Replace::Prefix("/there".into())),
        }),
        ..http_route::RequestRedirect::default()
    };
    let request_headers = http_route::RequestHeaderModifier {
        add: Some(header("x-added", "1")),
        set: Some(header("x-set", "2")),
        remove: vec!["x-removed".into()],
    };
    let response_headers = http_route::ResponseHeaderModifier {
        set: Some(header("x-answered", "3")),
        ..http_route::ResponseHeaderModifier::default()
    };
    scene.policy(routed(vec![
        rule("/new"),
        filtered("/teapot", Kind::FailureInjector(policy::failure(418, "short and stout"))),
        filtered("/moved", Kind::Redirect(redirect)),
        filtered("/changed", Kind::RequestHeaderModifier(request_headers)),
        filtered("/answered", Kind::ResponseHeaderModifier(response_headers)),
    ]));
    until("the new routes", async || (client.get("http://server/new").await.status == 200).then_some(()))
        .await;
    assert_eq!(client.get("http://server/old").await.status, 404);
    let reply = client.get("http://server/teapot").await;
    assert_eq!((reply.status.as_u16(), reply.header("l5d-proxy-error")), (418, "short and stout"));
    let reply = client.get("http://server/moved/here?q=1").await;
    assert_eq!(reply.status, 302);
    assert_eq!(reply.header("location"), "http://elsewhere.test/there/here?q=1");
    let request = Request::get("http://server/changed").header("x-set", "0").header("x-removed", "0");
    assert_eq!(client.send(request.body(empty()).unwrap()).await.status, 200);
    let seen = server.last();
    assert_eq!((seen.header("x-added"), seen.header("x-set"), seen.header("x-removed")), ("1", "2", ""));
    assert_eq!(client.get("http://server/answered").await.header("x-answered"), "3");
    // gRPC has statuses of its own.
    let mut client = scene.client(Version::HTTP_2).await;
    let answer = grpc::call(&mut client, "http://server/nowhere/At", &[b"x"]).await.unwrap();
    assert_eq!((answer.status, answer.message.as_str()), (Some(5), "no route found for request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_can_become_opaque() {
    let scene = Outbound::start().await;
    let (place, server) = app("server").await;
    scene.endpoints(&[&place]);
    scene.policy(policy::service("server", Speaks::Detect, balancer("server")));
    let mut before = scene.client(Version::HTTP_11).await;
    assert_eq!(before.get("http://server/name").await.text(), "server");
    scene.policy(policy::service("server", Speaks::Opaque, balancer("server")));
    until("opaque connections", async || {
        assert_eq!(scene.client(Version::HTTP_11).await.get("http://server/name").await.text(), "server");
        let page = scene.proxy.metrics().await;
        let labels = [("protocol", "opaq")];
        (page.sum("outbound_tcp_protocol_connections_total", &labels) > 0.0).then_some(())
    })
    .await;
    // The connection that was HTTP goes on.
    assert_eq!(before.get("http://server/name").await.text(), "server");
    assert!(server.count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_policy_is_known_of_goes_where_it_was_going() {
    let control = ControlPlane::start(&Place::loopback()).await;
    let (place, server) = app("unknown").await;
    let target = place.at(APP_PORT);
    let proxy = Builder::new(&Place::loopback(), &control, "client").target(target).ready().await;
    let mut client = Client::over(connect(proxy.place(), proxy.to(target)).await, Version::HTTP_11).await;
    assert_eq!(client.get("http://whoever/name").await.text(), "unknown");
    assert_eq!(server.last().header("l5d-client-id"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_may_name_the_endpoint() {
    let target = virtual_address();
    let (place, _server) = app("by profile").await;
    let scene = Outbound::start().await;
    scene.control.script(|script| {
        let profile = DestinationProfile {
            endpoint: Some(plain(place.at(APP_PORT))),
            fully_qualified_name: "pod.example".into(),
            ..DestinationProfile::default()
        };
        script.profiles.insert(target.to_string(), profile);
    });
    let mut client = scene.client(Version::HTTP_11).await;
    assert_eq!(client.get("http://pod/name").await.text(), "by profile");
    // And may say that it is not HTTP.
    scene.control.script(|script| {
        script.profiles.entry(target.to_string()).and_modify(|profile| profile.opaque_protocol = true);
    });
    until("an opaque connection", async || {
        assert_eq!(scene.get_until("/name", |reply| reply.status == 200).await.text(), "by profile");
        let page = scene.proxy.metrics().await;
        (page.sum("outbound_tcp_route_open_total", &[]) > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_that_is_refused_closes_the_connection_and_says_why() {
    let mut scene = Outbound::start().await;
    scene.control.script(|script| {
        script.refusals.insert(Service::Outbound, Status::invalid_argument("no such thing"));
    });
    let mut stream = connect(scene.proxy.place(), scene.proxy.to(virtual_address())).await;
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(read_to_end(&mut stream).await, b"");
    let line = scene.proxy.wait_for_line(&["connection failed", "no such thing"]).await;
    assert!(line.contains("10.96.0.10:80") && line.contains("outbound"), "{line}");
    let page = scene.proxy.metrics().await;
    assert!(page.sum("outbound_tcp_errors_total", &[]) >= 1.0);
    // A refusal is not remembered longer than need be.
    let (place, _server) = app("server").await;
    scene.control.script(|script| script.refusals.clear());
    scene.policy(policy::service("server", Speaks::Detect, forward(plain(place.at(APP_PORT)))));
    until("another attempt", async || {
        let mut stream = connect(scene.proxy.place(), scene.proxy.to(virtual_address())).await;
        let request = b"GET /name HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        read_to_end(&mut stream).await.ends_with(b"server").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_makes_no_sense_is_told_to_every_request() {
    let scene = Outbound::start().await;
    let mut bad = policy::service("server", Speaks::Detect, balancer("server"));
    bad.protocol = None;
    scene.policy(bad);
    let reply = scene.client(Version::HTTP_11).await.get("http://server/").await;
    assert_eq!(reply.status, 500);
    assert!(reply.header("l5d-proxy-error").contains("invalid client policy configuration"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_ask_once_and_what_is_not_used_is_forgotten() {
    let scene = Outbound::with(|builder| builder.set("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "300ms")).await;
    let (place, _server) = app("server").await;
    scene.endpoints(&[&place]);
    scene.policy(policy::service("server", Speaks::Detect, balancer("server")));
    scene.control.script(|script| script.delay = Duration::from_millis(300));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let connecting = connect(scene.proxy.place(), scene.proxy.to(virtual_address()));
            async { Client::over(connecting.await, Version::HTTP_11).await.get("http://server/name").await }
        })
        .collect();
    let replies = soon("50 answers", futures_util::future::join_all(requests)).await;
    assert!(replies.iter().all(|reply| reply.text() == "server"));
    let counts = scene.control.counts();
    for service in [Service::Outbound, Service::Endpoints] {
        assert_eq!(counts.opened.get(service), 1, "{service:?}");
    }
    until("no open stream", async || {
        let open = [Service::Outbound, Service::Endpoints].map(|service| counts.open.get(service));
        (open == [0, 0]).then_some(())
    })
    .await;
    let page = scene
        .proxy
        .wait_for_metrics("weft_control_subjects", |page| page.sum("weft_control_subjects", &[]) == 0.0)
        .await;
    assert_eq!(page.held("policies"), 0.0, "{}", page.describe("weft_worker_held"));
    assert_eq!(scene.client(Version::HTTP_11).await.get("http://server/name").await.text(), "server");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_take_too_long_are_told_so() {
    let scene = Outbound::start().await;
    let (place, _server) = app("server").await;
    scene.endpoints(&[&place]);
    let timeouts = |timeouts| Rule { timeouts: Some(timeouts), ..rule("/") };
    let limit = Some(duration(Duration::from_millis(200)));
    for (which, kind) in [
        (http_route::Timeouts { request: limit, ..http_route::Timeouts::default() }, "REQUEST_TIMEOUT"),
        (
            http_route::Timeouts { response: limit, ..http_route::Timeouts::default() },
            "RESPONSE_STREAM_TIMEOUT",
        ),
        (http_route::Timeouts { idle: limit, ..http_route::Timeouts::default() }, "IDLE_TIMEOUT"),
    ] {
        scene.policy(routed(vec![timeouts(which)]));
        until(kind, async || {
            let reply = scene.get_until("/slow/3000", |reply| reply.status == 504).await;
            assert!(reply.header("l5d-proxy-error").contains("timed out"), "{reply:?}");
            let labels = [("http_status", "504"), ("error", kind)];
            let page = scene.proxy.metrics().await;
            (page.sum("outbound_http_route_request_statuses_total", &labels) >= 1.0).then_some(())
        })
        .await;
        // The connection is not to blame.
        let mut client = scene.client(Version::HTTP_11).await;
        assert_eq!(client.get("http://server/slow/3000").await.status, 504);
        assert_eq!(client.get("http://server/name").await.text(), "server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_retried_as_the_route_says() {
    use outbound::http_route::retry::{Conditions, conditions::StatusRange};
    let scene = Outbound::start().await;
    let (place, server) = app("server").await;
    scene.endpoints(&[&place]);
    let retry = outbound::http_route::Retry {
        max_retries: 2,
        max_request_bytes: 64 * 1024,
        conditions: Some(Conditions { status_ranges: vec![StatusRange { start: 500, end: 599 }] }),
        timeout: None,
        backoff: None,
    };
    scene.policy(routed(vec![Rule { retry: Some(retry), ..rule("/") }]));
    let mut client = scene.client(Version::HTTP_11).await;
    // Every third is good: it takes two retries.
    assert_eq!(client.post("http://server/flaky/3", "content").await.status, 200);
    assert_eq!(server.count(), 3);
    // Every fourth would take one more than there is.
    assert_eq!(client.post("http://server/flaky/4", "content").await.status, 503);
    assert_eq!(server.count(), 6);
    let page = scene.proxy.metrics().await;
    let sum = |name: &str| page.sum(&format!("outbound_http_route_retry_{name}_total"), &[]);
    assert_eq!((sum("requests"), sum("successes"), sum("limit_exceeded")), (4.0, 1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_required_is_insisted_on() {
    let pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let server = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    for (wanted, status) in [(identity("server"), 200), (identity("other"), 502)] {
        let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
        let request =
            Request::get("http://server/name").header("l5d-require-id", &wanted).body(empty()).unwrap();
        assert_eq!(client.send(request).await.status, status, "{wanted}");
    }
    assert_eq!(server.count(), 1);
    assert_eq!(server.last().header("l5d-require-id"), "");
    let page = pair.client.metrics().await;
    assert_eq!(page.sum("outbound_http_errors_total", &[("error", "identity required")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_own_tls_passes_untouched() {
    for security in [Security::Mutual, Security::Plain] {
        let pair = Pair::start(Speaks::Detect, security).await;
        let ca = weft_tests::ca::Ca::new();
        let leaf = ca.leaf("shop.example", Validity::DAY);
        let acceptor = tokio_rustls::TlsAcceptor::from(ca.server(&leaf, &[b"h2"]));
        let _app = weft_tests::app::listen(pair.app_place(), APP_PORT, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            }
        })
        .await;
        let connector = tokio_rustls::TlsConnector::from(ca.client(None, &[b"h2"]));
        let stream = connect(pair.client.place(), pair.entrance()).await;
        let name = "shop.example".try_into().unwrap();
        let mut stream = soon("a handshake", connector.connect(name, stream)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(b"secret").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 6).await, b"secret");
    }
}

// === inbound ===

fn server(protocol: inbound::proxy_protocol::Kind) -> inbound::Server {
    policy::inbound_server("server", protocol, vec![policy::everybody()])
}

fn inbound_http(
    routes: Vec<inbound::HttpRoute>,
    limit: Option<inbound::HttpLocalRateLimit>,
) -> inbound::Server {
    server(inbound::proxy_protocol::Kind::Detect(inbound::proxy_protocol::Detect {
        timeout: Some(duration(Duration::from_secs(10))),
        http_routes: routes,
        http_local_rate_limit: limit,
    }))
}

impl Inbound for Pair {
    fn inbound(&self, server: inbound::Server) {
        self.control.script(|script| {
            script.inbound.insert(("server-0".into(), APP_PORT), server);
        });
    }
}

trait Inbound {
    fn inbound(&self, server: inbound::Server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_routes_change_under_an_open_connection() {
    let mut pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
    assert_eq!(client.get("http://server/a").await.status, 200);
    pair.inbound(inbound_http(vec![policy::inbound_route("only-b", vec![prefix("/b")])], None));
    until("the new route", async || (client.get("http://server/a").await.status == 404).then_some(())).await;
    assert_eq!(client.get("http://server/b").await.status, 200);
    assert_eq!(app.last().uri.path(), "/b");
    // The application is told why, by its own proxy, which has it from the other.
    let reply = client.get("http://server/a").await;
    assert_eq!(reply.status, 404);
    let why = reply.header("l5d-proxy-error");
    assert!(why.starts_with("no route found for request") && why.contains("server"), "{why}");
    // Any proxy is told.
    let leaf = pair.control.ca().leaf(&identity("peer"), Validity::DAY);
    let name = identity("server");
    let peer = Peer::good(pair.control.ca(), &leaf, &name);
    let stream =
        peer.open(pair.client.place(), pair.server.inbound(), APP_PORT, Session::Http1).await.unwrap();
    let reply = Client::over(stream, Version::HTTP_11).await.get("http://server/a").await;
    assert_eq!(reply.status, 404);
    let why = reply.header("l5d-proxy-error");
    assert!(why.starts_with("no route found for request") && why.contains("server"), "{why}");
    pair.server
        .wait_for_line(&["request failed", "no route found", "inbound", ":8080", "route_not_found"])
        .await;
    let page = pair.server.metrics().await;
    let labels = [("srv_name", "server"), ("target_port", "8080")];
    assert!(page.sum("inbound_http_route_not_found_total", &labels) >= 3.0);
    assert_eq!(page.sum("inbound_http_authz_allow_total", &[("route_name", "only-b")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_kept_and_told() {
    let pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let limit = inbound::HttpLocalRateLimit {
        metadata: Some(policy::resource("httplocalratelimitpolicy", "five")),
        total: Some(inbound::http_local_rate_limit::Limit { requests_per_second: 5 }),
        ..inbound::HttpLocalRateLimit::default()
    };
    pair.inbound(inbound_http(vec![policy::inbound_route("default", vec![prefix("/")])], Some(limit)));
    let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
    // Until the policy is there, everything passes.
    let mut refused = 0;
    until("a refusal", async || {
        let status = client.get("http://server/").await.status;
        (status == 429).then(|| refused += 1)
    })
    .await;
    let (start, before) = (Instant::now(), app.count());
    for _ in 0..200 {
        match client.get("http://server/").await.status.as_u16() {
            200 => {}
            429 => refused += 1,
            status => panic!("{status}"),
        }
    }
    // What was refused did not arrive, and no more than five a second did.
    let passed = app.count() - before;
    let most = 5 * usize::try_from(start.elapsed().as_secs() + 2).unwrap();
    assert!(passed <= most, "{passed} of 200 in {:?}", start.elapsed());
    let page = pair.server.metrics().await;
    let counted = page.sum("inbound_http_local_ratelimit_total", &[("srv_name", "server")]);
    assert_eq!(counted, f64::from(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_can_become_opaque() {
    let pair = Pair::start(Speaks::Opaque, Security::Mutual).await;
    let _app = tcp::greeter(pair.app_place(), APP_PORT).await;
    pair.inbound(policy::inbound_opaque());
    let mut stream = connect(pair.client.place(), pair.entrance()).await;
    assert_eq!(read_exactly(&mut stream, tcp::GREETING.len()).await, tcp::GREETING);
    let page = pair.server.metrics().await;
    assert_eq!(page.sum("inbound_tcp_authz_allow_total", &[("target_port", "8080")]), 1.0);
}
