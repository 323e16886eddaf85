//! The end of a proxy: nobody who was served notices, and it ends in time.

use http::Version;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::identity,
    client::{Client, connect, grpc, read_exactly, read_to_end, try_connect},
    pair::{APP_PORT, Pair, Security, virtual_address},
    place::Place,
    policy::{self, Speaks},
    proxy::{Builder, INBOUND, Proxy},
    wait::{soon, until},
};

async fn pair(speaks: Speaks) -> Pair {
    Pair::start(speaks, Security::Mutual).await
}

/// Waits until the proxy is draining.
async fn draining(proxy: &mut Proxy) {
    proxy.terminate();
    proxy.wait_for_line(&["draining", "SIGTERM"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_answered_and_nobody_new_is_let_in() {
    let mut pair = pair(Speaks::Detect).await;
    let _app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let place = pair.client.place().clone();
    let entrance = pair.entrance();
    let mut idle = Client::http1(&place, entrance).await;
    assert_eq!(idle.get("http://server/name").await.status, 200);
    let mut clients = vec![Client::http1(&place, entrance).await, Client::http2(&place, entrance).await];
    let mut waiting: Vec<_> = Vec::new();
    for mut client in clients.drain(..) {
        waiting.push(tokio::spawn(async move { client.get("http://server/slow/2500").await }));
    }
    pair.client.wait_for_metrics("weft_worker_held", |page| page.held("exchanges") == 2.0).await;
    let start = Instant::now();
    draining(&mut pair.client).await;
    // Idle connections end at once, and there is no way in any more.
    idle.closed().await;
    until("a closed port", async || try_connect(&place, entrance).await.err()).await;
    for client in waiting {
        let reply = soon("an answer", client).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "at last"));
    }
    let ended = pair.client.ended().await;
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("drained"), "{}", ended.text());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_finished_on_the_inbound_side() {
    let mut pair = pair(Speaks::Detect).await;
    let _app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let mut client = Client::http2(pair.client.place(), pair.entrance()).await;
    let mut call = grpc::open(&mut client, "http://server/test.Echo/Echo").await.unwrap();
    call.send(b"before").await;
    assert_eq!(call.receive().await.unwrap().unwrap(), "before");
    draining(&mut pair.server).await;
    for n in 0..5 {
        let message = format!("after {n}");
        call.send(message.as_bytes()).await;
        assert_eq!(call.receive().await.unwrap().unwrap(), message);
    }
    call.end();
    assert!(call.receive().await.unwrap().is_none());
    assert_eq!(call.status(), Some(0));
    assert_eq!(pair.server.ended().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_connections_go_on_until_they_end_by_themselves() {
    let mut pair = pair(Speaks::Opaque).await;
    let _app = tcp::echo(pair.app_place(), APP_PORT).await;
    let mut stream = connect(pair.client.place(), pair.entrance()).await;
    stream.write_all(b"before").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 6).await, b"before");
    draining(&mut pair.client).await;
    draining(&mut pair.server).await;
    stream.write_all(b"after").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 5).await, b"after");
    assert!(pair.client.process().ended().is_none());
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"\n11 bytes\n");
    assert_eq!(pair.client.ended().await.code(), 0);
    assert_eq!(pair.server.ended().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_when_the_grace_period_is_over() {
    let mut pair = Pair::with(
        Speaks::Opaque,
        Security::Plain,
        |client| client.set("SHUTDOWN_GRACE_PERIOD", "1s"),
        |server| server,
    )
    .await;
    let _app = tcp::echo(pair.app_place(), APP_PORT).await;
    let mut stream = connect(pair.client.place(), pair.entrance()).await;
    stream.write_all(b"before").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 6).await, b"before");
    let start = Instant::now();
    draining(&mut pair.client).await;
    assert_eq!(read_to_end(&mut stream).await, b"");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    let ended = pair.client.ended().await;
    assert_eq!(ended.code(), 0, "{}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_shut_down_is_as_good_as_a_signal() {
    let pair = Pair::with(
        Speaks::Detect,
        Security::Plain,
        |client| client.set("SHUTDOWN_ENDPOINT_ENABLED", "true"),
        |s| s,
    )
    .await;
    let mut client = Client::http1(pair.client.place(), pair.client.admin()).await;
    assert_eq!(client.get("http://proxy/shutdown").await.status, 405);
    let reply = client.post("http://proxy/shutdown", "").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "shutdown\n"));
    let ended = pair.client.ended().await;
    assert_eq!(ended.code(), 0);
    assert!(ended.text().contains("/shutdown"), "{}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_is_a_signal_too_and_a_proxy_that_is_not_ready_ends_as_well() {
    let control = weft_tests::control::ControlPlane::stopped(&Place::loopback());
    let mut proxy = Builder::new(&Place::loopback(), &control, "web").start();
    proxy.wait_for_line(&["not certified"]).await;
    proxy.process().signal(rustix::process::Signal::INT);
    let ended = proxy.ended().await;
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("SIGINT"), "{}", ended.text());
}

/// A replica goes while requests are made all the time: its endpoint is withdrawn as its proxy is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_taken_away_under_load_without_a_failed_request() {
    let control = weft_tests::control::ControlPlane::start(&Place::loopback()).await;
    let target = virtual_address();
    let mut replicas = Vec::new();
    for name in ["server-a", "server-b"] {
        let proxy = Builder::new(&Place::loopback(), &control, name).ready().await;
        let app = HttpApp::start(proxy.place(), APP_PORT, name).await;
        replicas.push((proxy, app));
    }
    let endpoint =
        |proxy: &Proxy| policy::meshed(proxy.place().at(APP_PORT), &proxy.identity(), INBOUND, false);
    let both = replicas.iter().map(|(proxy, _)| endpoint(proxy)).collect();
    control.script(|script| {
        script.outbound.insert(target, policy::service("server", Speaks::Detect, policy::balancer("server")));
        script.endpoints.insert(policy::path("server"), both);
    });
    let client = Builder::new(&Place::loopback(), &control, "client").target(target).ready().await;
    let entrance = client.to(target);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut load = Vec::new();
    for version in [Version::HTTP_11, Version::HTTP_11, Version::HTTP_2, Version::HTTP_2] {
        let mut client = Client::over(connect(client.place(), entrance).await, version).await;
        let stopped = stopped.clone();
        load.push(tokio::spawn(async move {
            let mut count = 0_u32;
            while !*stopped.borrow() {
                let reply = client.post("http://server/echo", "x".repeat(1000)).await;
                assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 1000), "{reply:?}");
                count += 1;
            }
            count
        }));
    }
    let (gone, stays) = (replicas.remove(0), replicas.remove(0));
    until("load on both", async || (gone.1.count() > 50 && stays.1.count() > 50).then_some(())).await;
    let rest = vec![endpoint(&stays.0)];
    control.script(|script| {
        script.endpoints.insert(policy::path("server"), rest);
    });
    gone.0.terminate();
    assert_eq!(gone.0.ended().await.code(), 0);
    let before = stays.1.count();
    until("load on the other", async || (stays.1.count() > before + 200).then_some(())).await;
    stop.send(true).unwrap();
    let mut sent = 0;
    for client in load {
        sent += soon("the end of the load", client).await.unwrap();
    }
    let served = gone.1.count() + stays.1.count();
    assert_eq!(usize::try_from(sent).unwrap(), served);
    let (name, labels) = (identity("server-a"), [("direction", "outbound"), ("status_code", "200")]);
    let page = client.metrics().await;
    assert_eq!(page.sum("response_total", &labels), f64::from(sent));
    assert!(page.sum("response_total", &[("server_id", name.as_str())]) > 0.0);
}
