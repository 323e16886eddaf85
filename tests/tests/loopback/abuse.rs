//! Peers that behave badly, on both sides of a pair: each time the bound that holds, the metric that shows it, the answer that is
//! given, and a good client that is served meanwhile.

mod connections;
mod http1;
mod http2;
mod servers;

use http::Version;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinHandle,
};
use weft_tests::{
    app::HttpApp,
    ca::{Leaf, Validity, identity},
    client::{
        Client, connect,
        mesh::{Peer, Session},
    },
    pair::{APP_PORT, Pair, Security},
    policy::Speaks,
    process::Process,
    proxy::Proxy,
    wait::soon,
};

const MIB: u64 = 1024 * 1024;

/// Where the bad client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// It is the application of the client's proxy.
    Outbound,
    /// It is a mesh peer of the server's proxy.
    Inbound,
}

const DOORS: [Door; 2] = [Door::Outbound, Door::Inbound];

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Scene {
    pair: Pair,
    app: HttpApp,
    leaf: Leaf,
    memory: u64,
}

impl Scene {
    async fn start() -> Self {
        let mut pair = Pair::start(Speaks::Detect, Security::Mutual).await;
        let app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
        let leaf = pair.control.ca().leaf(&identity("attacker"), Validity::DAY);
        // Everything is set up before anything is measured.
        let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
        assert_eq!(client.get("http://server/name").await.status, 200);
        let memory = [pair.client.process().resident_bytes(), pair.server.process().resident_bytes()];
        Self { pair, app, leaf, memory: memory.into_iter().max().unwrap() }
    }

    /// A connection of the bad client.
    async fn attack(&self, door: Door, session: Session) -> Box<dyn Stream> {
        match door {
            Door::Outbound => Box::new(connect(self.pair.client.place(), self.pair.entrance()).await),
            Door::Inbound => {
                let name = identity("server");
                let peer = Peer::good(self.pair.control.ca(), &self.leaf, &name);
                let inbound = self.pair.server.inbound();
                Box::new(peer.open(self.pair.client.place(), inbound, APP_PORT, session).await.unwrap())
            }
        }
    }

    /// The proxy that is attacked.
    fn proxy(&self, door: Door) -> &Proxy {
        match door {
            Door::Outbound => &self.pair.client,
            Door::Inbound => &self.pair.server,
        }
    }

    fn process(&mut self, door: Door) -> &mut Process {
        match door {
            Door::Outbound => self.pair.client.process(),
            Door::Inbound => self.pair.server.process(),
        }
    }

    /// How much more memory the attacked proxy holds than before.
    fn grown(&mut self, door: Door) -> u64 {
        let before = self.memory;
        self.process(door).resident_bytes().saturating_sub(before)
    }

    /// A client that makes requests all the time, each of which must be answered.
    fn good_client(&self) -> Good {
        let (place, entrance) = (self.pair.client.place().clone(), self.pair.entrance());
        let (stop, stopped) = watch::channel(false);
        let requests = tokio::spawn(async move {
            let mut served = 0;
            while !*stopped.borrow() {
                for version in [Version::HTTP_11, Version::HTTP_2] {
                    let mut client = Client::over(connect(&place, entrance).await, version).await;
                    for _ in 0..5 {
                        let reply = client.get("http://server/name").await;
                        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "server"));
                        served += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            served
        });
        Good { stop, requests }
    }

    /// Waits until one more connection of a peer that broke the protocol is counted.
    async fn broken(&self, door: Door, before: f64) {
        let family = Self::errors(door);
        self.proxy(door)
            .wait_for_metrics(family, |page| page.sum(family, &[("error", "i/o")]) > before)
            .await;
    }

    fn errors(door: Door) -> &'static str {
        match door {
            Door::Outbound => "outbound_tcp_errors_total",
            Door::Inbound => "inbound_tcp_errors_total",
        }
    }

    async fn errors_now(&self, door: Door) -> f64 {
        self.proxy(door).metrics().await.sum(Self::errors(door), &[("error", "i/o")])
    }

    /// Waits until nothing of anybody is left in the proxies.
    async fn all_is_gone(&self) {
        for proxy in [&self.pair.client, &self.pair.server] {
            proxy
                .wait_for_metrics("weft_worker_held", |page| {
                    ["exchanges", "buffered_bytes", "queued", "discovering"]
                        .iter()
                        .all(|what| page.held(what) == 0.0)
                })
                .await;
        }
    }
}

struct Good {
    stop: watch::Sender<bool>,
    requests: JoinHandle<u32>,
}

impl Good {
    /// Ends it; it was served so often.
    async fn served(self) -> u32 {
        // It has gone already when a request failed, which the next line tells.
        let _ = self.stop.send(true);
        let served = soon("the good client", self.requests).await.unwrap();
        assert!(served >= 10, "the good client got {served} answers only");
        served
    }
}
