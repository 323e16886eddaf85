//! Everything an application may speak, between two pods, and nothing but TLS 1.3 between them.

use crate::scene::{FAMILIES, Family, Pods};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Version;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::identity,
    client::{Client, connect, grpc, read_exactly, read_to_end},
    pair::APP_PORT,
    place::Place,
    policy::Speaks,
    wait::{soon, until},
    wire::Wire,
};

/// Sent in every test; not to be seen on the wire.
const MARKER: &str = "the-marker-that-nobody-may-see";

async fn http1(place: &Place, address: SocketAddr) {
    let mut client = Client::http1(place, address).await;
    for _ in 0..3 {
        let reply = client.post("http://server/echo", MARKER).await;
        assert_eq!(
            (reply.status.as_u16(), reply.version, reply.text().as_str()),
            (200, Version::HTTP_11, MARKER)
        );
    }
}

async fn http2(place: &Place, address: SocketAddr) {
    let mut client = Client::http2(place, address).await;
    for _ in 0..3 {
        let reply = client.post("http://server/echo", MARKER).await;
        assert_eq!(
            (reply.status.as_u16(), reply.version, reply.text().as_str()),
            (200, Version::HTTP_2, MARKER)
        );
    }
}

async fn grpc(place: &Place, address: SocketAddr) {
    let mut client = Client::http2(place, address).await;
    let mut call = grpc::open(&mut client, "http://server/test.Echo/Echo").await.unwrap();
    for n in 0..5 {
        let message = format!("{MARKER} {n}");
        call.send(message.as_bytes()).await;
        assert_eq!(call.receive().await.unwrap().unwrap(), Bytes::from(message));
    }
    call.end();
    assert!(call.receive().await.unwrap().is_none());
    assert_eq!(call.status(), Some(0));
}

async fn websocket(place: &Place, address: SocketAddr) {
    let stream = connect(place, address).await;
    let (mut socket, response) =
        soon("a handshake", tokio_tungstenite::client_async("ws://server/ws", stream)).await.unwrap();
    assert_eq!(response.status(), 101);
    for n in 0..5 {
        let message = Message::text(format!("{MARKER} {n}"));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(soon("an echo", socket.next()).await.unwrap().unwrap(), message);
    }
}

/// The client ends its half first and still gets everything.
async fn half_close(place: &Place, address: SocketAddr) {
    let mut stream = connect(place, address).await;
    let line = format!("\x00 {MARKER}\r\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    assert_eq!(read_exactly(&mut stream, line.len()).await, line.as_bytes());
    stream.shutdown().await.unwrap();
    let rest = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert_eq!(rest, format!("\n{} bytes\n", line.len()));
}

async fn greeted(place: &Place, address: SocketAddr) {
    let mut stream = connect(place, address).await;
    assert_eq!(read_exactly(&mut stream, tcp::GREETING.len()).await, tcp::GREETING);
    stream.write_all(MARKER.as_bytes()).await.unwrap();
    assert_eq!(read_exactly(&mut stream, MARKER.len()).await, MARKER.as_bytes());
}

/// HTTP of every kind, found out by the proxies.
async fn http(family: Family) {
    let pods = Pods::start().await;
    let wire = Wire::of(&pods.network);
    let app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(family, Speaks::Detect);
    let place = pods.client.place();
    http1(place, address).await;
    http2(place, address).await;
    grpc(place, address).await;
    websocket(place, address).await;
    assert_eq!(app.last().header("l5d-client-id"), identity("client"));
    judge(&pods, &wire, "request_total").await;
}

/// Not HTTP, which the proxies find out.
async fn detected_tcp(family: Family) {
    let pods = Pods::start().await;
    let wire = Wire::of(&pods.network);
    let _app = tcp::echo(pods.server.place(), APP_PORT).await;
    let address = pods.service(family, Speaks::Detect);
    half_close(pods.client.place(), address).await;
    judge(&pods, &wire, "tcp_open_total").await;
}

/// A port that is marked opaque: the server may speak first.
async fn opaque(family: Family) {
    let pods = Pods::start().await;
    let wire = Wire::of(&pods.network);
    let _app = tcp::greeter(pods.server.place(), APP_PORT).await;
    let address = pods.service(family, Speaks::Opaque);
    greeted(pods.client.place(), address).await;
    judge(&pods, &wire, "tcp_open_total").await;
}

/// Nothing but TLS 1.3 went between the pods, and each knew the other.
async fn judge(pods: &Pods, wire: &Wire, metric: &str) {
    // What the proxies count and what the kernel captures may be a moment behind what the client has read.
    let server_id = identity("server");
    let labels = [("direction", "outbound"), ("tls", "true"), ("server_id", &server_id)];
    pods.client.wait_for_metrics(metric, |page| page.sum(metric, &labels) >= 1.0).await;
    let client_id = identity("client");
    let labels = [("direction", "inbound"), ("tls", "true"), ("client_id", &client_id)];
    pods.server.wait_for_metrics(metric, |page| page.sum(metric, &labels) >= 1.0).await;
    let addresses = pods.addresses();
    until("a connection on the wire", || async {
        wire.between(&addresses).iter().any(|flow| !flow.answered.is_empty()).then_some(())
    })
    .await;
    wire.assert_tls13(&addresses);
    assert_eq!(wire.plaintext(&addresses, MARKER.as_bytes()), 0);
}

macro_rules! families {
    ($($name:ident: $check:ident $family:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $check(Family::$family).await;
        }
    )*};
}

families! {
    http_ipv4: http V4;
    http_ipv6: http V6;
    tcp_with_half_close_ipv4: detected_tcp V4;
    tcp_with_half_close_ipv6: detected_tcp V6;
    server_first_on_an_opaque_port_ipv4: opaque V4;
    server_first_on_an_opaque_port_ipv6: opaque V6;
}

/// The capture does see plaintext where there is some: without it the tests above could not fail.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_seen_where_there_is_no_proxy() {
    let pods = Pods::start().await;
    let wire = Wire::of(&pods.network);
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    for family in FAMILIES {
        http1(&pods.outside, pods.server_at(family, APP_PORT)).await;
        let addresses = [family.of(&pods.outside), family.of(pods.server.place())];
        until("the marker on the wire", || async {
            (wire.plaintext(&addresses, MARKER.as_bytes()) == 1).then_some(())
        })
        .await;
    }
}

/// Bodies of many packets, over links that carry less than usual.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_over_a_small_mtu() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    // The least that IPv6 works with (RFC 8200 5).
    crate::scene::output(pods.server.place().command("ip").args(["link", "set", "eth0", "mtu", "1280"]));
    let body: Vec<u8> = (0..=250).cycle().take(8_000_000).collect();
    for family in FAMILIES {
        let address = pods.service(family, Speaks::Detect);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut client = Client::over(connect(pods.client.place(), address).await, version).await;
            let reply = client.post("http://server/echo", body.clone()).await;
            assert!(reply.body == body, "{family:?} {version:?}: {} bytes came back", reply.body.len());
        }
    }
}

/// Hundreds of connections at once, each of them redirected twice.
#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once() {
    let pods = Pods::start().await;
    let app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(Family::V4, Speaks::Detect);
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Client::http1(pods.client.place(), address).await);
    }
    for round in 0..2 {
        for client in &mut clients {
            let reply = client.get("http://server/name").await;
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "server"), "round {round}");
        }
    }
    assert_eq!(app.seen().len(), 600);
}
