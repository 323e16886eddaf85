//! Each protocol, from the client's program through both proxies to the server's.

use super::scene::{Observed, Scene};
use crate::load::client::{grpc, http, lines, websocket};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How many requests show that it works.
const REQUESTS: u32 = 20;
/// A body that fits in no buffer.
const BODY: usize = 300_000;
/// How long a server that may not answer yet is watched.
const SILENCE: Duration = Duration::from_millis(200);
/// A greeting that comes later was waited for by somebody.
const GREETING: Duration = Duration::from_secs(1);

pub(super) async fn http1(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut sender = scene.http1("shop").await?;
    let authority = scene.authority("shop")?;
    for _ in 0..REQUESTS {
        let response = http::get(&mut sender, &authority, "/price/tea").await?;
        ensure!(response.status().is_success(), "/price/tea: {}", response.status());
        let price: serde_json::Value = serde_json::from_slice(response.body())?;
        ensure!(price.get("item").is_some_and(|item| item == "tea"), "/price/tea: {price}");
    }
    let version = version(&mut sender, &authority).await?;
    let body = vec![b'x'; BODY];
    let request = ::http::Request::post("/echo").header("host", &authority);
    let request = request.body(Full::new(Bytes::from(body.clone())).boxed_unsync())?;
    let echo = http::whole(sender.send(request).await?).await?;
    ensure!(*echo.body() == body, "/echo sent back {} of {BODY} bytes", echo.body().len());
    Ok(Observed::new(
        version == "HTTP/1.1",
        format!("{REQUESTS} requests and {BODY} bytes echoed on one connection; the server saw {version}"),
    ))
}

pub(super) async fn http2(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut sender = scene.http2("shop").await?;
    let authority = scene.authority("shop")?;
    let requests = (0..REQUESTS).map(|_| {
        let http::Sender::Http2(sender) = &sender else { return None };
        Some((http::Sender::Http2(sender.clone()), authority.clone()))
    });
    let requests = requests
        .flatten()
        .map(|(mut sender, authority)| async move { http::get(&mut sender, &authority, "/wait/50").await });
    let begun = Instant::now();
    let mut answered = 0;
    for response in futures_util::future::join_all(requests).await {
        ensure!(response?.status().is_success(), "/wait/50 failed");
        answered += 1;
    }
    let took = begun.elapsed();
    let version = version(&mut sender, &authority).await?;
    // One after the other they would take a second.
    let at_once = took < Duration::from_millis(50) * REQUESTS / 2;
    let text = format!(
        "{answered} requests of 50 ms in {} ms on one connection; the server saw {version}",
        took.as_millis()
    );
    Ok(Observed::new(version == "HTTP/2.0" && at_once, text))
}

/// The HTTP version with which a request reached the server.
async fn version(sender: &mut http::Sender, authority: &str) -> anyhow::Result<String> {
    let response = http::get(sender, authority, "/whoami").await?;
    let whoami: serde_json::Value = serde_json::from_slice(response.body())?;
    Ok(whoami.get("version").and_then(|version| version.as_str()).unwrap_or("no version").to_owned())
}

pub(super) async fn grpc_unary(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut sender = scene.http2("prices").await?;
    let authority = scene.authority("prices")?;
    let mut by: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let reply = grpc::quote(&mut sender, &authority, "coffee").await?;
        *by.entry(reply.replica).or_default() += 1;
    }
    let shares: Vec<_> = by.iter().map(|(replica, count)| format!("{replica} {count}")).collect();
    // One connection of the client, but every request may go to another replica.
    Ok(Observed::new(by.len() > 1, format!("{REQUESTS} calls on one connection, by {}", shares.join(", "))))
}

pub(super) async fn grpc_stream(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut sender = scene.http2("prices").await?;
    let watched = grpc::watch(&mut sender, &scene.authority("prices")?, REQUESTS).await?;
    let status = crate::apps::grpc::status(&watched.trailers).context("no grpc-status in the trailers")?;
    let count = watched.replies.len();
    Ok(Observed::new(
        status == 0 && count == REQUESTS as usize,
        format!("{count} messages each way in turn, trailers grpc-status {status} and x-quotes {count}"),
    ))
}

pub(super) async fn websocket(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut socket = websocket::open(scene.connect("feed").await?, &scene.authority("feed")?).await?;
    for number in 0..REQUESTS {
        websocket::echo(&mut socket, &format!("message {number}")).await?;
    }
    websocket::say(&mut socket, "subscribe").await?;
    let mut ticks = Vec::new();
    for _ in 0..3 {
        ticks.push(websocket::next(&mut socket).await?);
    }
    Ok(Observed::new(
        ticks == ["tick 1", "tick 2", "tick 3"],
        format!("{REQUESTS} echoes, then {}", ticks.join(", ")),
    ))
}

pub(super) async fn tcp(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut lines = lines::Connection::new(scene.connect("stock").await?);
    for _ in 0..REQUESTS {
        lines::stock(&mut lines).await?;
    }
    Ok(Observed::new(true, format!("{} lines each way on one connection", 2 * REQUESTS)))
}

pub(super) async fn tcp_half_close(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut lines = lines::Connection::new(scene.connect("stock").await?);
    lines::send_load(&mut lines, 1000).await?;
    let silent = lines.is_silent(SILENCE).await;
    lines::end_load(&mut lines, 1000).await?;
    let before = if silent { "nothing before" } else { "something before" };
    Ok(Observed::new(silent, format!("1000 items counted after our end of file, {before}")))
}

pub(super) async fn server_first(scene: &mut Scene) -> anyhow::Result<Observed> {
    let begun = Instant::now();
    let mut lines = lines::Connection::new(scene.connect("greeter").await?);
    let greeting = lines.greeting().await?;
    let took = begun.elapsed();
    lines::answer_greeting(&mut lines).await?;
    Ok(Observed::new(took < GREETING, format!("{greeting:?} after {} ms", took.as_millis())))
}
