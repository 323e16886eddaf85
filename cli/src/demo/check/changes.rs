//! What may happen under load without a request failing.

use super::scene::{Observed, Scene, until};
use crate::{
    demo::{load_run::LoadRun, topology},
    load::{Protocol, Tally, client::http},
};
use anyhow::{Context as _, ensure};
use std::{collections::BTreeMap, time::Duration};

/// How long a new endpoint may take to get its first request.
const LEARNT: Duration = Duration::from_secs(10);
/// How long load runs on after a change.
const AFTER: Duration = Duration::from_millis(1500);
/// How long a proxy may take to drain.
const DRAINED: Duration = Duration::from_secs(10);
/// The slow replica's part is below one in so many.
const SMALL_SHARE: u64 = 6;
/// Requests that show shares.
const SHARES: u64 = 400;

const UNARY: &str = "prices unary";
const STREAM: &str = "prices stream";
const SHOP: &str = "shop";

/// Calls, streams and requests that lead to calls of the price service; and new connections.
fn load(scene: &Scene) -> anyhow::Result<LoadRun> {
    let get = Protocol::Http1 { path: "/price/tea".into() };
    scene.load(vec![
        scene.target(UNARY, "prices", Protocol::Unary, 80.0, 4)?,
        scene.target(STREAM, "prices", Protocol::Stream { messages: 5 }, 10.0, 1)?,
        scene.target(SHOP, "shop", get, 40.0, 4)?,
        // A new connection each time, and its name looked up for it.
        scene.target("greeter", "greeter", Protocol::Greeter, 10.0, 1)?,
    ])
}

/// Waits until an endpoint has answered.
async fn answered(load: &LoadRun, replica: &str) -> bool {
    let mut reports = load.reports();
    let has = |report: &crate::load::Report| {
        report.targets.get(UNARY).is_some_and(|tally| tally.by.contains_key(replica))
    };
    tokio::time::timeout(LEARNT, reports.wait_for(has)).await.is_ok_and(|report| report.is_ok())
}

/// "1234 requests, 0 failed", and whether none failed.
pub(super) fn outcome(tallies: &BTreeMap<String, Tally>) -> (bool, String) {
    let requests: u64 = tallies.values().map(|tally| tally.requests).sum();
    let failed: u64 = tallies.values().map(Tally::failed_requests).sum();
    let reasons: Vec<_> = tallies.iter().filter(|(_, tally)| tally.failed_requests() > 0).collect();
    let reasons: Vec<_> =
        reasons.iter().map(|(target, tally)| format!("{target}: {}", tally.reasons())).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    (requests > 0 && failed == 0, format!("{requests} requests, {failed} failed{why}"))
}

pub(super) async fn slow_replica(scene: &mut Scene) -> anyhow::Result<Observed> {
    let target = scene.target(UNARY, "prices", Protocol::Unary, 150.0, 8)?.requests(SHARES);
    let tallies = scene.load(vec![target])?.finish().await?;
    let (well, text) = outcome(&tallies);
    let by = tallies.get(UNARY).map(|tally| tally.by.clone()).unwrap_or_default();
    let slow = by.get("prices-2").copied().unwrap_or(0);
    let shares: Vec<_> = by.iter().map(|(replica, count)| format!("{replica} {count}")).collect();
    let ok = well && slow * SMALL_SHARE < SHARES && by.len() >= 2;
    Ok(Observed::new(
        ok,
        format!("{text}; {}; prices-2 takes {} ms longer", shares.join(", "), topology::SLOW_MS),
    ))
}

pub(super) async fn replica_change(scene: &mut Scene) -> anyhow::Result<Observed> {
    let load = load(scene)?;
    ensure!(load.wait_for(UNARY, 40, LEARNT).await >= 40, "the load does not start");
    scene.add(&topology::prices(3, 0)).await?;
    let used = answered(&load, "prices-3").await;
    scene.mesh.remove("prices-1").await?;
    tokio::time::sleep(AFTER).await;
    let earlier = load.report().targets;
    tokio::time::sleep(AFTER).await;
    let tallies = load.stop().await?;
    let (well, text) = outcome(&tallies);
    let late = |replica: &str| {
        let (all, earlier) = (tallies.get(UNARY), earlier.get(UNARY));
        let since = all.zip(earlier).map(|(all, earlier)| all.since(earlier));
        since.and_then(|tally| tally.by.get(replica).copied()).unwrap_or(0)
    };
    let (added, removed) = (late("prices-3"), late("prices-1"));
    let learnt = if used { "used" } else { "not used" };
    Ok(Observed::new(
        well && used && removed == 0,
        format!(
            "{text}; prices-3 added and {learnt}; at the end prices-3 answers {added}, the removed prices-1 {removed}"
        ),
    ))
}

pub(super) async fn control_plane(scene: &mut Scene) -> anyhow::Result<Observed> {
    let load = load(scene)?;
    ensure!(load.wait_for(UNARY, 40, LEARNT).await >= 40, "the load does not start");
    let before = load.report().targets.get(UNARY).map_or(0, |tally| tally.requests);
    scene.mesh.control_plane.kill().await;
    // New connections too: the load's own are all open by now.
    tokio::time::sleep(AFTER).await;
    let fresh = http::get(&mut scene.http1("shop").await?, &scene.authority("shop")?, "/").await?;
    let without = load.wait_for(UNARY, before + 150, LEARNT).await - before;
    scene.mesh.control_plane.restart().await?;
    scene.add(&topology::prices(4, 0)).await?;
    let learnt = answered(&load, "prices-4").await;
    tokio::time::sleep(AFTER).await;
    let tallies = load.stop().await?;
    let (well, text) = outcome(&tallies);
    let word = if learnt { "learnt" } else { "not learnt" };
    Ok(Observed::new(
        well && learnt && without >= 150 && fresh.status().is_success(),
        format!(
            "{text}; {without} calls and a new connection ({}) without a control plane; afterwards prices-4 is {word}",
            fresh.status().as_u16()
        ),
    ))
}

pub(super) async fn drain(scene: &mut Scene) -> anyhow::Result<Observed> {
    let load = load(scene)?;
    ensure!(load.wait_for(UNARY, 40, LEARNT).await >= 40, "the load does not start");
    scene.mesh.pod("prices-0")?.proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let pod = scene.mesh.pod_mut("prices-0")?;
    let ended = tokio::time::timeout(DRAINED, pod.proxy.ended()).await;
    tokio::time::sleep(AFTER).await;
    let tallies = load.stop().await?;
    let (well, text) = outcome(&tallies);
    let flight = in_flight(scene).await?;
    for name in ["prices-0", "shop-0"] {
        restart_proxy(scene, name).await?;
    }
    let code = ended.ok().and_then(|status| status.code());
    let exit = code.map_or_else(|| "did not end".to_owned(), |code| format!("ended with {code}"));
    let ok = well && code == Some(0) && flight == Some(200);
    let flight = flight.map_or_else(|| "broke".to_owned(), |status| format!("was answered with {status}"));
    Ok(Observed::new(
        ok,
        format!("{text}; the proxy of prices-0 {exit}; a request of 700 ms to shop-0 in flight {flight}"),
    ))
}

/// A request that is being answered when its server's proxy is told to end. Its status.
async fn in_flight(scene: &mut Scene) -> anyhow::Result<Option<u16>> {
    let authority = scene.authority("shop")?;
    let mut sender = scene.http1("shop").await?;
    let before = scene.metrics("shop-0").await?.sum("request_total", &[("direction", "inbound")]);
    let request = tokio::spawn(async move { http::get(&mut sender, &authority, "/wait/700").await });
    let (there, _) = until(LEARNT, async || {
        let now = scene.metrics("shop-0").await?.sum("request_total", &[("direction", "inbound")]);
        Ok((now > before, now))
    })
    .await?;
    ensure!(there, "the request did not reach the server's proxy");
    scene.mesh.pod("shop-0")?.proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let answer = request.await.context("the request's task")?;
    let pod = scene.mesh.pod_mut("shop-0")?;
    tokio::time::timeout(DRAINED, pod.proxy.ended()).await.context("the proxy of shop-0 did not end")?;
    Ok(answer.ok().map(|response| response.status().as_u16()))
}

async fn restart_proxy(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    let at = scene.mesh.pods.iter().position(|pod| pod.spec.name == name).context("no such workload")?;
    let mut pod = scene.mesh.pods.remove(at);
    let restarted = pod.restart_proxy(&scene.mesh.site).await;
    scene.mesh.pods.insert(at, pod);
    Ok(restarted?)
}
