//! Links and proxies that fail.

use crate::scene::{Family, Pods, output};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use weft_tests::{
    app::HttpApp,
    ca::identity,
    client::{Client, connect, get_once, read_to_end, try_connect},
    metrics::Page,
    pair::APP_PORT,
    policy::Speaks,
    proxy::Builder,
    wait::until,
};

/// Rules without a proxy: nothing gets past it in plaintext, and a new proxy is used at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_lets_nothing_through_until_there_is_another() {
    let Pods { client, server, outside: _outside, control, network: _network } = {
        let pods = Pods::start().await;
        pods.service(Family::V4, Speaks::Detect);
        pods
    };
    let app = HttpApp::start(server.place(), APP_PORT, "server").await;
    let address = Family::V4.service(80);
    assert_eq!(get_once(client.place(), address, "http://server/name").await.text(), "server");

    let (client_place, server_place) = (client.place().clone(), server.place().clone());
    let mut client = client;
    client.process().signal(Signal::KILL);
    drop(client);
    // Connections are still redirected, and nobody is there.
    assert!(try_connect(&client_place, address).await.is_err());
    let direct = (server_place.ip(), APP_PORT).into();
    assert!(try_connect(&client_place, direct).await.is_err());

    let client = Builder::new(&client_place, &control, "client").ready().await;
    assert_eq!(get_once(&client_place, address, "http://server/name").await.text(), "server");

    let mut server = server;
    server.process().signal(Signal::KILL);
    drop(server);
    let reply = get_once(&client_place, address, "http://server/name").await;
    assert!(reply.status.is_server_error(), "{reply:?}");
    let seen = app.seen().len();
    let _server =
        Builder::new(&server_place, &control, "server").set("INBOUND_PORTS", APP_PORT).ready().await;
    until("an answer through the new proxy", || async {
        let reply = get_once(&client_place, address, "http://server/name").await;
        (reply.status == 200).then_some(())
    })
    .await;
    assert!(app.seen().len() > seen);
    assert_eq!(app.last().header("l5d-client-id"), identity("client"));
    drop(client);
}

/// A cable that is pulled for a moment: what was on its way arrives afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_down_for_a_moment_loses_nothing() {
    let pods = Pods::start().await;
    let app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(Family::V4, Speaks::Detect);
    let mut client = Client::http1(pods.client.place(), address).await;
    assert_eq!(client.get("http://server/name").await.text(), "server");
    // The bridge's end of the server's link: the second that was made.
    let set = |state: &str| output(pods.network.bridge().command("ip").args(["link", "set", "veth2", state]));
    set("down");
    let family = "request_total";
    let requests = |page: &Page| page.sum(family, &[("direction", "outbound")]);
    let before = requests(&pods.client.metrics().await);
    let waiting = tokio::spawn(async move { client.get("http://server/name").await });
    pods.client.wait_for_metrics(family, |page| requests(page) > before).await;
    assert_eq!(app.seen().len(), 1);
    set("up");
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "server"));
    assert_eq!(app.seen().len(), 2);
}

/// The control plane's connections are meshed too, and its absence stops no traffic.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_traffic_goes_on() {
    let pods = Pods::start().await;
    let _app = HttpApp::start(pods.server.place(), APP_PORT, "server").await;
    let address = pods.service(Family::V6, Speaks::Detect);
    assert_eq!(get_once(pods.client.place(), address, "http://server/name").await.text(), "server");
    pods.control.stop();
    for _ in 0..20 {
        assert_eq!(get_once(pods.client.place(), address, "http://server/name").await.text(), "server");
    }
    // Who comes in from outside is let in as before.
    let mut stream = connect(&pods.outside, pods.server_at(Family::V4, APP_PORT)).await;
    stream.write_all(b"GET /name HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with(b"server"));
    pods.control.restart().await;
    let count = || pods.control.counts().open.sum();
    until("streams that are open again", || async { (count() >= 2).then_some(()) }).await;
    assert_eq!(get_once(pods.client.place(), address, "http://server/name").await.text(), "server");
}
