//! Two proxies with a foreign server behind the second, and what both must say of the traffic afterwards.

use crate::program::Program;
use std::{net::SocketAddr, time::Duration};
use weft_tests::{
    ca::identity,
    metrics::Page,
    pair::{APP_PORT, Pair, Security},
    policy::Speaks,
    wait::until,
};

/// What a proxy may take more for somebody who reads slowly, in bytes. The windows of a connection and its buffers are well below.
const ROOM: u64 = 24 * 1024 * 1024;

/// The pair, and the ways in and out.
pub(crate) struct Scene {
    /// The proxies.
    pub(crate) pair: Pair,
    memory: [u64; 2],
}

impl Scene {
    /// Starts the proxies; what is spoken is to be found out.
    pub(crate) async fn start() -> Self {
        Self { pair: Pair::start(Speaks::Detect, Security::Mutual).await, memory: [0; 2] }
    }

    /// Where a client connects.
    pub(crate) fn entrance(&self) -> SocketAddr {
        self.pair.entrance()
    }

    /// The same as a URL without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.entrance())
    }

    /// Where a server listens.
    pub(crate) fn exit(&self) -> SocketAddr {
        self.pair.app_place().at(APP_PORT)
    }

    /// Who the server is told its client is.
    pub(crate) fn client_id() -> String {
        identity("client")
    }

    /// Labels of traffic that was meshed, on both sides.
    fn sides() -> [[(&'static str, String); 3]; 2] {
        let tls = ("tls", "true".to_owned());
        [
            [("direction", "outbound".to_owned()), tls.clone(), ("server_id", identity("server"))],
            [("direction", "inbound".to_owned()), tls, ("client_id", identity("client"))],
        ]
    }

    /// The sum of a family on both sides, of traffic that was meshed.
    pub(crate) async fn both(&self, family: &str, more: &[(&str, &str)]) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for ((proxy, side), sum) in
            [&self.pair.client, &self.pair.server].into_iter().zip(Self::sides()).zip(&mut sums)
        {
            *sum = meshed(&proxy.metrics().await, family, &side, more);
        }
        sums
    }

    /// Both proxies have counted so many requests, all of them meshed, each with its response, and hold nothing any more.
    pub(crate) async fn counted(&self, requests: usize) {
        let requests = number(requests);
        for (proxy, side) in [&self.pair.client, &self.pair.server].into_iter().zip(Self::sides()) {
            let page = proxy
                .wait_for_metrics("response_total", |page| {
                    meshed(page, "response_total", &side, &[]) >= requests && page.held("exchanges") == 0.0
                })
                .await;
            let [direction, ..] = &side;
            let all = page.sum("request_total", &[(direction.0, &direction.1)]);
            let found = meshed(&page, "request_total", &side, &[]);
            assert_eq!((found, all), (requests, requests), "{}", page.describe("request_total"));
            let found = meshed(&page, "response_total", &side, &[]);
            assert_eq!(found, requests, "{}", page.describe("response_total"));
        }
        self.nothing_is_held().await;
    }

    /// No exchange and no byte is left in either proxy.
    pub(crate) async fn nothing_is_held(&self) {
        for proxy in [&self.pair.client, &self.pair.server] {
            proxy
                .wait_for_metrics("weft_worker_held", |page| {
                    ["exchanges", "buffered_bytes", "queued"].iter().all(|what| page.held(what) == 0.0)
                })
                .await;
        }
    }

    /// Notes what the proxies take now.
    pub(crate) fn weigh(&mut self) {
        self.memory =
            [self.pair.client.process().resident_bytes(), self.pair.server.process().resident_bytes()];
    }

    /// Waits until no byte moves any more, and looks at what the proxies take then. Tells how many bytes the server's proxy has
    /// read from its application.
    pub(crate) async fn stalled(&mut self) -> f64 {
        let read = async || {
            let page = self.pair.server.metrics().await;
            page.sum("tcp_read_bytes_total", &[("direction", "inbound"), ("peer", "dst")])
        };
        let mut before = -1.0;
        let bytes = until("bytes that stand still", async || {
            let now = read().await;
            let same = now == before;
            before = now;
            tokio::time::sleep(Duration::from_millis(500)).await;
            same.then_some(now)
        })
        .await;
        let before = self.memory;
        self.weigh();
        for (now, before) in self.memory.iter().zip(before) {
            assert!(now.saturating_sub(before) < ROOM, "{before} bytes became {now}");
        }
        bytes
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn server(&self, name: &str, command: &mut std::process::Command) -> Program {
        let mut server = Program::start(name, command);
        server.listening().await;
        server
    }
}

fn meshed(page: &Page, family: &str, side: &[(&'static str, String)], more: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = side.iter().map(|(key, value)| (*key, value.as_str())).collect();
    page.sum(family, &[&labels[..], more].concat())
}

/// A count as metrics have it.
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The body that everybody can make and check: see README.md.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(7).wrapping_add((i >> 8).wrapping_mul(13)) & 255) as u8).collect()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
