//! Servers that behave badly: what their clients are told.

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_tests::{
    app::bad,
    client::{self, Client, connect, read_to_end},
    pair::{APP_PORT, Pair, Security},
    policy::Speaks,
    wait::soon,
};

struct Scene {
    pair: Pair,
}

impl Scene {
    async fn start(security: Security) -> Self {
        Self { pair: Pair::start(Speaks::Detect, security).await }
    }

    /// A GET on a connection of its own, as bytes.
    async fn get(&self) -> String {
        let request = b"GET /name HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n";
        let answer = client::raw(self.pair.client.place(), self.pair.entrance(), request).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request, and the status that comes back.
    async fn is_told(&self, what: &str, status: u16) {
        let answer = self.get().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there() {
    for security in [Security::Mutual, Security::Plain] {
        let scene = Scene::start(security).await;
        let answer = scene.get().await;
        // Refused by the server's own proxy, or by nobody being there, for which the balancer waits a while.
        assert!(answer.starts_with("HTTP/1.1 502 ") || answer.starts_with("HTTP/1.1 504 "), "{answer:?}");
        let page = scene.pair.client.metrics().await;
        let failures = page.sum("response_total", &[("direction", "outbound")])
            + page.sum("outbound_http_errors_total", &[]);
        assert!(failures >= 1.0, "{}", page.describe("outbound_http_errors_total"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_accepts() {
    let scene = Scene::start(Security::Mutual).await;
    let _app = bad::never_accepting(scene.pair.app_place(), APP_PORT).await;
    let start = Instant::now();
    scene.is_told("never accepting", 504).await;
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let labels = [("direction", "inbound"), ("kind", "connect_timeout")];
    assert!(scene.pair.server.metrics().await.sum("weft_http_failures_total", &labels) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_answer_with_no_answer() {
    for security in [Security::Mutual, Security::Plain] {
        let scene = Scene::start(security).await;
        let place = scene.pair.app_place().clone();
        {
            let _app = bad::resetting(&place, APP_PORT).await;
            scene.is_told("reset", 502).await;
        }
        {
            let _app = bad::garbage(&place, APP_PORT).await;
            scene.is_told("noise", 502).await;
        }
        for (what, answer) in [
            ("nothing at all", b"".as_slice()),
            ("half a head", b"HTTP/1.1 200 OK\r\ncontent-len"),
            ("no status", b"HTTP/1.1 abc OK\r\n\r\n"),
            (
                "both framings",
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd"),
            ("a NUL", b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"),
            ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ] {
            let _app = bad::says(&place, APP_PORT, answer).await;
            scene.is_told(what, 502).await;
        }
        let page = scene.pair.client.metrics().await;
        assert_eq!(page.held("exchanges"), 0.0, "{}", page.describe("weft_worker_held"));
    }
}

/// An answer that is cut short must not look whole.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_cut_short_are_seen_to_be() {
    for security in [Security::Mutual, Security::Plain] {
        let scene = Scene::start(security).await;
        for (what, answer) in [
            ("a length", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".as_slice()),
            ("chunks", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this"),
            (
                "chunks without a last one",
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
            ),
            (
                "a chunk that is none",
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
            ),
        ] {
            let _app = bad::says(scene.pair.app_place(), APP_PORT, answer).await;
            let mut client = Client::http1(scene.pair.client.place(), scene.pair.entrance()).await;
            let reply = client.try_send(client::get("http://server/")).await;
            assert!(reply.is_err(), "{security:?} {what}: {reply:?}");
            let mut client = Client::http2(scene.pair.client.place(), scene.pair.entrance()).await;
            let reply = client.try_send(client::get("http://server/")).await;
            // Towards HTTP/2 the server is asked in HTTP/2, which it does not speak.
            assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 502), "{security:?} {what}");
        }
        // Until the end of the connection is until the end of the connection.
        let _app = bad::says(scene.pair.app_place(), APP_PORT, b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
        let mut client = Client::http1(scene.pair.client.place(), scene.pair.entrance()).await;
        assert_eq!(client.get("http://server/").await.text(), "all of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_the_limit_does_not_go_on() {
    let scene = Scene::start(Security::Mutual).await;
    let mut head = String::from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
    for n in 0..300 {
        head.push_str(&format!("x-{n}: {}\r\n", "v".repeat(1000)));
    }
    head.push_str("\r\n");
    let head: &'static str = Box::leak(head.into_boxed_str());
    let _app = bad::says(scene.pair.app_place(), APP_PORT, head.as_bytes()).await;
    scene.is_told("300 KB of head", 502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_on_a_mute_server_leaves_nothing_behind() {
    let scene = Scene::start(Security::Mutual).await;
    let app = bad::mute(scene.pair.app_place(), APP_PORT).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(scene.pair.client.place(), scene.pair.entrance()).await;
        stream.write_all(b"GET /name HTTP/1.1\r\nhost: server\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    scene.pair.server.wait_for_metrics("weft_worker_held", |page| page.held("exchanges") == 50.0).await;
    assert!(app.open() >= 50);
    streams.into_iter().for_each(bad::reset);
    for proxy in [&scene.pair.client, &scene.pair.server] {
        proxy
            .wait_for_metrics("weft_worker_held", |page| {
                page.held("exchanges") == 0.0 && page.held("buffered_bytes") == 0.0
            })
            .await;
    }
    weft_tests::wait::until("the server's connections to be closed", async || {
        (app.open() == 0).then_some(())
    })
    .await;
}

/// What a deaf server does not take, is not taken from its client.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_read_stops_its_client() {
    let mut scene = Scene::start(Security::Mutual).await;
    let _app = bad::deaf(scene.pair.app_place(), APP_PORT).await;
    let before = scene.pair.client.process().resident_bytes();
    let mut writer = connect(scene.pair.client.place(), scene.pair.entrance()).await;
    writer.write_all(b"POST / HTTP/1.1\r\nhost: server\r\ncontent-length: 100000000\r\n\r\n").await.unwrap();
    let piece = vec![7; 1 << 16];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), writer.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 60_000_000, "{sent} bytes were taken, and nobody reads them");
    }
    let grown = scene.pair.client.process().resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_connections_are_reset_when_the_server_resets() {
    let pair = Pair::start(Speaks::Opaque, Security::Mutual).await;
    let _app = bad::resetting(pair.app_place(), APP_PORT).await;
    let mut stream = connect(pair.client.place(), pair.entrance()).await;
    stream.write_all(b"hello").await.unwrap();
    let mut all = Vec::new();
    let ended = soon("the end", stream.read_to_end(&mut all)).await;
    assert!(ended.is_err(), "a reset is not an end");
    // And one that was half closed before it.
    let mut stream = connect(pair.client.place(), pair.entrance()).await;
    stream.write_all(b"hello").await.unwrap();
    let _ = stream.shutdown().await;
    read_to_end(&mut stream).await;
    for proxy in [&pair.client, &pair.server] {
        proxy.wait_for_metrics("weft_worker_held", |page| page.held("accepted_connections") == 0.0).await;
    }
}
