//! What the proxies count and what the load generator counts are the same numbers.

use super::scene::{Observed, Scene, until};
use crate::{
    demo::{metrics::Page, topology::CLIENT},
    load::{Protocol, Tally},
};
use anyhow::ensure;
use std::{collections::BTreeMap, time::Duration};

/// How long the last bytes may take to be counted.
const SETTLED: Duration = Duration::from_secs(3);

const SHOP1: &str = "shop http/1.1";
const SHOP2: &str = "shop http/2";
const UNARY: &str = "prices unary";
const STREAM: &str = "prices stream";
const FEED: &str = "feed websocket";
const STOCK: &str = "stock tcp";
const HALF: &str = "stock half-close";
const GREETER: &str = "greeter tcp";

/// A figure by both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    what: &'static str,
    counted: u64,
    proxies: u64,
}

type Pages = BTreeMap<String, Page>;

pub(super) async fn counters(scene: &mut Scene) -> anyhow::Result<Observed> {
    let before = pages(scene).await?;
    let get = |path: &str| Protocol::Http1 { path: path.to_owned() };
    let load = scene.load(vec![
        scene.target(SHOP1, "shop", get("/price/tea"), 200.0, 3)?.requests(151),
        scene.target(SHOP2, "shop", Protocol::Http2 { path: "/stock/tea".into() }, 100.0, 1)?.requests(77),
        scene.target(UNARY, "prices", Protocol::Unary, 150.0, 3)?.requests(103),
        scene.target(STREAM, "prices", Protocol::Stream { messages: 3 }, 50.0, 1)?.requests(29),
        scene.target(FEED, "feed", Protocol::WebSocket, 100.0, 2)?.requests(61),
        scene.target(STOCK, "stock", Protocol::Stock, 100.0, 2)?.requests(59),
        scene.target(HALF, "stock", Protocol::HalfClose, 50.0, 1)?.requests(23),
        scene.target(GREETER, "greeter", Protocol::Greeter, 50.0, 1)?.requests(31),
    ])?;
    let tallies = load.finish().await?;
    let (well, text) = super::changes::outcome(&tallies);
    ensure!(well, "{text}");
    let (ok, (pairs, samples)) = until(SETTLED, async || {
        let after = pages(scene).await?;
        let samples: usize = after.values().map(Page::len).sum();
        let pairs = pairs(&tallies, &before, &after);
        Ok((pairs.iter().all(|pair| pair.counted == pair.proxies), (pairs, samples)))
    })
    .await?;
    let wrong: Vec<_> = pairs.iter().filter(|pair| pair.counted != pair.proxies).collect();
    let text = if wrong.is_empty() {
        let total: u64 = tallies.values().map(|tally| tally.sent).sum();
        format!(
            "{} pages with {samples} samples; {} figures agree over {total} requests",
            before.len(),
            pairs.len()
        )
    } else {
        let told: Vec<_> = wrong
            .iter()
            .map(|pair| format!("{}: load {}, proxies {}", pair.what, pair.counted, pair.proxies))
            .collect();
        told.join("; ")
    };
    Ok(Observed::new(ok, text))
}

async fn pages(scene: &Scene) -> anyhow::Result<Pages> {
    let mut pages = Pages::new();
    for pod in &scene.mesh.pods {
        pages.insert(pod.spec.name.clone(), scene.metrics(&pod.spec.name).await?);
    }
    Ok(pages)
}

/// What the load generator counted beside what proxies did.
fn pairs(tallies: &BTreeMap<String, Tally>, before: &Pages, after: &Pages) -> Vec<Pair> {
    let sent = |target: &str| tallies.get(target).map_or(0, |tally| tally.sent);
    let connections = |target: &str| tallies.get(target).map_or(0, |tally| tally.connections);
    // Of all pods whose names begin so: a service's replicas.
    let more = |pods: &str, name: &str, labels: &[(&str, &str)]| -> u64 {
        let all = after.iter().filter(|(pod, _)| pod.starts_with(pods));
        all.map(|(pod, page)| {
            let earlier = before.get(pod).map_or(0, |page| page.sum(name, labels));
            page.sum(name, labels).saturating_sub(earlier)
        })
        .sum()
    };
    let inbound = ("direction", "inbound");
    let outbound = ("direction", "outbound");
    let pair = |what, counted, proxies| Pair { what, counted, proxies };
    let http = sent(SHOP1) + sent(SHOP2) + sent(UNARY) + sent(STREAM) + connections(FEED);
    let shop = sent(SHOP1) + sent(SHOP2);
    let prices = sent(SHOP1) + sent(UNARY) + sent(STREAM);
    let stock = connections(STOCK) + connections(HALF) + sent(SHOP2);
    // What reaches the program: proxies keep connections of their own to each other.
    let forwarded = |pods| more(pods, "tcp_open_total", &[inbound, ("peer", "dst")]);
    let opened = connections(STOCK) + connections(HALF);
    let opaque = more(CLIENT, "outbound_tcp_route_open_total", &[]);
    vec![
        pair("requests out of the client", http, more(CLIENT, "request_total", &[outbound])),
        pair("responses to the client", http, more(CLIENT, "response_total", &[outbound])),
        pair(
            "successes to the client",
            http,
            more(CLIENT, "response_total", &[outbound, ("classification", "success")]),
        ),
        pair("requests into the shop", shop, more("shop-", "request_total", &[inbound])),
        pair("responses of the shop", shop, more("shop-", "response_total", &[inbound])),
        pair("permits of the shop", shop, more("shop-", "inbound_http_authz_allow_total", &[inbound])),
        pair("requests out of the shop", sent(SHOP1), more("shop-", "request_total", &[outbound])),
        pair("requests into the price service", prices, more("prices-", "request_total", &[inbound])),
        pair(
            "gRPC status 0 of the price service",
            prices,
            more("prices-", "response_total", &[inbound, ("grpc_status", "0")]),
        ),
        pair("upgrades into the feed", connections(FEED), more("feed-", "request_total", &[inbound])),
        pair("connections into the store", stock, forwarded("stock-")),
        pair("connections into the greeter", connections(GREETER), forwarded("greeter-")),
        pair("TCP connections out of the client", opened + connections(GREETER), opaque),
        pair("latencies of the shop", shop, more("shop-", "response_latency_ms_count", &[inbound])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_differ_are_found() {
        let tally =
            |sent, connections| Tally { requests: sent, sent, ok: sent, connections, ..Tally::default() };
        let tallies = BTreeMap::from([(SHOP1.to_owned(), tally(10, 1)), (FEED.to_owned(), tally(5, 2))]);
        let page = |requests: u64| {
            Page::parse(&format!("request_total{{direction=\"inbound\"}} {requests}\n")).unwrap()
        };
        let before = Pages::from([("shop-0".to_owned(), page(100))]);
        let after =
            |requests| Pages::from([("shop-0".to_owned(), page(requests)), ("shop-1".to_owned(), page(4))]);
        let shop = |after: &Pages| {
            let pairs = pairs(&tallies, &before, after);
            pairs.into_iter().find(|pair| pair.what == "requests into the shop").unwrap()
        };
        assert_eq!(shop(&after(106)), Pair { what: "requests into the shop", counted: 10, proxies: 10 });
        assert_eq!(shop(&after(107)).proxies, 11);
    }
}
