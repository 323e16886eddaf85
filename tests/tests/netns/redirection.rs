//! What is redirected and what is not, with real proxies at the other end.

use crate::scene::{FAMILIES, Family, PROXY, Pods, RULES, ask_as, init};
use std::io::{Read, Write};
use tokio::io::AsyncWriteExt;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::identity,
    client::{Client, connect, get_once, read_exactly, read_to_end, try_connect},
    pair::APP_PORT,
    place::APP_UID,
    policy::{self, Speaks},
    proxy::Proxy,
    wait::soon,
};

const GET: &str = "GET /name HTTP/1.1\\r\\nhost: server\\r\\nconnection: close\\r\\n\\r\\n";
const MARK: u32 = 0x77;

async fn opened(proxy: &Proxy, direction: &str) -> f64 {
    proxy.metrics().await.sum("tcp_open_total", &[("direction", direction), ("peer", "src")])
}

/// Without a policy of its own an address is what the application meant by it (SO_ORIGINAL_DST).
#[tokio::test(flavor = "multi_thread")]
async fn from_a_meshed_client_to_a_server_without_a_proxy() {
    let pods = Pods::start().await;
    let app = HttpApp::start(&pods.outside, APP_PORT, "outside").await;
    for family in FAMILIES {
        let address = (family.of(&pods.outside), APP_PORT).into();
        let reply = get_once(pods.client.place(), address, "http://outside/name").await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "outside"), "{family:?}");
        assert_eq!(app.last().header("host"), "outside");
    }
    let page = pods.client.metrics().await;
    let labels = [("direction", "outbound"), ("tls", "true")];
    assert_eq!(page.sum("request_total", &labels), 0.0);
    assert_eq!(
        page.sum("request_total", &[("direction", "outbound")]),
        2.0,
        "{}",
        page.describe("request_total")
    );
}

/// The server's proxy learns the port that was meant, and that nobody proved who they are.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_client_without_a_proxy_to_a_meshed_server() {
    let pods = Pods::start().await;
    let app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let _other = HttpApp::start(pods.server.place(), 9090, "other").await;
    for family in FAMILIES {
        for (port, name) in [(APP_PORT, "server"), (9090, "other")] {
            let reply = get_once(&pods.outside, pods.server_at(family, port), "http://server/name").await;
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, name), "{family:?}");
        }
        assert_eq!(app.last().header("l5d-client-id"), "");
    }
    let page = pods.server.metrics().await;
    assert_eq!(page.sum("request_total", &[("direction", "inbound"), ("tls", "true")]), 0.0);
    assert_eq!(
        page.sum("request_total", &[("direction", "inbound"), ("tls", "no_identity")]),
        4.0,
        "{}",
        page.describe("request_total")
    );
}

/// A policy that lets in meshed clients only does so.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_proxy_is_refused_where_identity_is_asked_for() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(Family::V4, Speaks::Detect);
    pods.control.script(|script| {
        let detect = policy::inbound_detect().protocol.unwrap().kind.unwrap();
        let server = policy::inbound_server("strict", detect, vec![policy::only(&[&identity("client")])]);
        script.inbound.insert(("server-0".into(), APP_PORT), server);
    });
    let labels = [("srv_name", "strict")];
    // Until the policy has arrived, another one is in force.
    weft_tests::wait::until("the strict policy", || async {
        let _ = get_once(pods.client.place(), address, "http://server/name").await;
        (pods.server.metrics().await.sum("request_total", &labels) > 0.0).then_some(())
    })
    .await;
    let reply = get_once(&pods.outside, pods.server_at(Family::V4, APP_PORT), "http://server/name").await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let reply = get_once(pods.client.place(), address, "http://server/name").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "server"));
}

/// A connection straight to the inbound port has the proxy itself as its destination: nothing goes round in circles.
#[tokio::test(flavor = "multi_thread")]
async fn straight_to_the_proxys_ports_nothing_loops() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    for family in FAMILIES {
        let mut stream = connect(&pods.outside, pods.server_at(family, 4143)).await;
        // The proxy may have hung up by now.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n").await;
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let own = if let Ok(mut stream) = try_connect(pods.server.place(), ([127, 0, 0, 1], 4140).into()).await {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n").await;
        read_to_end(&mut stream).await
    } else {
        Vec::new()
    };
    assert!(!own.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&own));
    // Each was one connection, not a chain of them.
    let page = pods.server.metrics().await;
    assert!(page.sum("tcp_open_total", &[("peer", "src")]) <= 4.0, "{}", page.describe("tcp_open_total"));
    // And it works as before.
    let reply = get_once(&pods.outside, pods.server_at(Family::V4, APP_PORT), "http://server/name").await;
    assert_eq!(reply.text(), "server");
}

/// A pod that calls the service it is an endpoint of.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_own_service_comes_back() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    for family in FAMILIES {
        let address = pods.service(family, Speaks::Detect);
        let reply = get_once(pods.server.place(), address, "http://server/name").await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "server"), "{family:?}: {reply:?}");
    }
    // Its own address is not redirected at all.
    let before = opened(&pods.server, "outbound").await;
    for family in FAMILIES {
        let reply =
            get_once(pods.server.place(), pods.server_at(family, APP_PORT), "http://server/name").await;
        assert_eq!(reply.text(), "server");
    }
    assert_eq!(opened(&pods.server, "outbound").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_skipped_do_not_meet_a_proxy() {
    let pods = Pods::with(&["--outbound-ports-to-ignore", "5999"], |c| c, |s| s).await;
    let _skipped = tcp::greeter(pods.server.place(), 4567).await;
    let _outside = tcp::greeter(&pods.outside, 5999).await;
    for family in FAMILIES {
        for (from, to) in [
            (&pods.outside, pods.server_at(family, 4567)),
            (pods.client.place(), (family.of(&pods.outside), 5999).into()),
        ] {
            let mut stream = connect(from, to).await;
            assert_eq!(read_exactly(&mut stream, tcp::GREETING.len()).await, tcp::GREETING);
        }
    }
    assert_eq!(opened(&pods.client, "outbound").await, 0.0);
    assert_eq!(opened(&pods.server, "inbound").await, 0.0);
}

/// Who runs as the proxy's user, or has its mark, goes past it; nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_user_and_mark_are_exempt() {
    let mark = format!("{MARK}");
    let pods = Pods::with(&["--proxy-mark", &mark], |c| c, |s| s).await;
    let _app = HttpApp::start(&pods.outside, APP_PORT, "outside").await;
    for family in FAMILIES {
        let address = (family.of(&pods.outside), APP_PORT).into();
        let place = pods.client.place().clone();
        for (uid, by_proxy) in [(PROXY, 0.0), (APP_UID, 1.0), (0, 1.0)] {
            let before = opened(&pods.client, "outbound").await;
            let place = place.clone();
            let text = tokio::task::spawn_blocking(move || ask_as(uid, &place, address, GET)).await.unwrap();
            assert!(text.ends_with("outside"), "{uid}: {text}");
            assert_eq!(opened(&pods.client, "outbound").await - before, by_proxy, "{family:?} {uid}");
        }
        for (mark, by_proxy) in [(MARK, 0.0), (MARK + 1, 1.0)] {
            let before = opened(&pods.client, "outbound").await;
            let place = place.clone();
            let asking = tokio::task::spawn_blocking(move || {
                place.enter(|| {
                    let domain = socket2::Domain::for_address(address);
                    let mut socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                    socket.set_mark(mark).unwrap();
                    socket.connect(&address.into()).unwrap();
                    socket.write_all(GET.replace("\\r\\n", "\r\n").as_bytes()).unwrap();
                    let mut text = String::new();
                    socket.read_to_string(&mut text).unwrap();
                    text
                })
            });
            let text = soon("an answer", asking).await.unwrap();
            assert!(text.ends_with("outside"), "{mark}: {text}");
            assert_eq!(opened(&pods.client, "outbound").await - before, by_proxy, "{family:?} mark {mark}");
        }
    }
}

/// The same mesh on the rules of each back end.
#[tokio::test(flavor = "multi_thread")]
async fn every_back_end_redirects() {
    for backend in ["nft-netlink", "iptables-nft", "iptables-legacy"] {
        let pods = Pods::with(&["--backend", backend], |c| c, |s| s).await;
        let app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
        for family in FAMILIES {
            let address = pods.service(family, Speaks::Detect);
            let reply = get_once(pods.client.place(), address, "http://server/name").await;
            assert_eq!(
                (reply.status.as_u16(), reply.text().as_str()),
                (200, "server"),
                "{backend} {family:?}"
            );
            assert_eq!(app.last().header("l5d-client-id"), identity("client"), "{backend} {family:?}");
        }
    }
}

/// Rules that are put in force again, as when an init container is started twice, cut nothing.
#[tokio::test(flavor = "multi_thread")]
async fn rules_applied_again_leave_connections_alone() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(Family::V4, Speaks::Detect);
    let mut client = Client::http1(pods.client.place(), address).await;
    for _ in 0..5 {
        assert_eq!(client.get("http://server/name").await.text(), "server");
        init(pods.client.place(), &RULES);
        init(pods.server.place(), &RULES);
        let reply = get_once(pods.client.place(), address, "http://server/name").await;
        assert_eq!(reply.text(), "server");
    }
}
