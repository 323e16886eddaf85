//! What the checks are made on: the mesh, a capture of its wire, a connection that is open all the time.

use crate::{
    demo::{
        load_run::LoadRun,
        mesh::{Mesh, Options},
        metrics::Page,
        topology::{self, CLIENT},
        wire::{Capture, Wire},
    },
    load::{
        Plan, Target,
        client::{http::Sender, websocket},
    },
};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// From the start to the first meshed request.
const FIRST_REQUEST: Duration = Duration::from_secs(3);
/// Between two looks at something that is to change.
const POLL: Duration = Duration::from_millis(20);

/// What was seen of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) ok: bool,
    pub(super) text: String,
}

/// The mesh that is checked.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) mesh: Mesh,
    pub(super) capture: Option<Capture>,
    /// What is looked for on the wire.
    pub(super) marker: String,
    /// Open from the beginning on.
    pub(super) long_lived: Option<Box<websocket::Socket>>,
    /// When the demo was started.
    pub(super) started: Instant,
}

impl Observed {
    pub(super) fn new(ok: bool, text: impl Into<String>) -> Self {
        Self { ok, text: text.into() }
    }
}

impl Scene {
    /// Starts the mesh, with a capture where there is a wire.
    pub(super) async fn new(options: &Options, started: Instant) -> anyhow::Result<Self> {
        let marker = format!("marker-{:032x}", rand::random::<u128>());
        let mesh = Mesh::start(options, |_| {}).await?;
        let capture = match mesh.site.network() {
            Some(network) => {
                let wire = Wire::new(mesh.ips(), &marker);
                let capture = Capture::start(network.hub(), wire);
                Some(capture.context("could not capture what is on the wire")?)
            }
            None => None,
        };
        Ok(Self { mesh, capture, marker, long_lived: None, started })
    }

    /// The first request, timed; and the connection that stays open.
    pub(super) async fn start(&mut self) -> anyhow::Result<Observed> {
        let mut sender = self.http1("shop").await?;
        let (authority, path) = (self.authority("shop")?, "/price/tea");
        let response = crate::load::client::http::get(&mut sender, &authority, path).await?;
        let took = self.started.elapsed();
        ensure!(response.status().is_success(), "the first request was answered with {}", response.status());
        let feed = websocket::open(self.connect("feed").await?, &self.authority("feed")?).await?;
        self.long_lived = Some(Box::new(feed));
        Ok(Observed::new(took <= FIRST_REQUEST, format!("after {:.2} s", took.as_secs_f64())))
    }

    /// Connects as the client's programs do.
    pub(super) async fn connect(&self, service: &str) -> anyhow::Result<TcpStream> {
        self.connect_from(CLIENT, service).await
    }

    /// Connects as a workload's programs do.
    pub(super) async fn connect_from(&self, pod: &str, service: &str) -> anyhow::Result<TcpStream> {
        let address = self.mesh.target(pod, service)?;
        let stream = self.mesh.pod(pod)?.place.connect(address).await;
        stream.with_context(|| format!("connecting from {pod} to {service} at {address}"))
    }

    /// HTTP/1.1 to a service.
    pub(super) async fn http1(&self, service: &str) -> anyhow::Result<Sender> {
        Ok(Sender::http1(self.connect(service).await?).await?)
    }

    /// HTTP/2 to a service.
    pub(super) async fn http2(&self, service: &str) -> anyhow::Result<Sender> {
        Ok(Sender::http2(self.connect(service).await?).await?)
    }

    /// What requests to a service say they are for.
    pub(super) fn authority(&self, service: &str) -> anyhow::Result<String> {
        let addresses = self.mesh.client_addresses()?;
        addresses.get(service).cloned().with_context(|| format!("no service {service}"))
    }

    /// A workload's metrics.
    pub(super) async fn metrics(&self, pod: &str) -> anyhow::Result<Page> {
        let found = self.mesh.pod(pod)?;
        let page = found.proxy.page(&found.place, "/metrics").await;
        let (status, text) = page.with_context(|| format!("the metrics page of {pod}"))?;
        ensure!(status.is_success(), "the metrics page of {pod} answers {status}");
        Page::parse(&text).with_context(|| format!("the metrics page of {pod}"))
    }

    /// Starts a load generator in the client's workload.
    pub(super) fn load(&self, targets: Vec<Target>) -> anyhow::Result<LoadRun> {
        Ok(LoadRun::start(&self.mesh.pod(CLIENT)?.place, &Plan { targets })?)
    }

    /// A target of the load generator.
    pub(super) fn target(
        &self,
        name: &str,
        service: &str,
        protocol: crate::load::Protocol,
        rate: f64,
        connections: u32,
    ) -> anyhow::Result<Target> {
        Ok(Target::new(name, self.authority(service)?, protocol, rate).connections(connections))
    }

    /// Starts another workload and watches its wire.
    pub(super) async fn add(&mut self, workload: &topology::Workload) -> anyhow::Result<()> {
        let ipv6 = self.mesh.site.ipv6;
        let pod = self.mesh.add(workload).await?;
        if let Some(capture) = &self.capture {
            capture.add(pod.place.ips(ipv6));
        }
        Ok(())
    }
}

/// Looks until something is so, or time is up. The last look's answer.
pub(super) async fn until<T>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<(bool, T)>,
) -> anyhow::Result<(bool, T)> {
    let deadline = Instant::now() + patience;
    loop {
        let (so, seen) = look().await?;
        if so || Instant::now() > deadline {
            return Ok((so, seen));
        }
        tokio::time::sleep(POLL).await;
    }
}
