//! What is measured: pairs of proxies, each one process with one worker, set up for the same job.

mod envoy;
mod haproxy;
mod weft;

pub(crate) use weft::register;

use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{ChildStdin, Stdio},
    time::Duration,
};

use crate::{
    backend,
    load::{Held, Job, Load, Outcome},
    pki::Pki,
    process::{self, Running, resident, wait_until},
    site::{PROXY_USER, Redirect, Site},
};

/// A way from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// No proxy.
    Direct,
    /// [`crate::relay`], twice.
    Relay,
    /// haproxy with mutual TLS between the two: HTTP/1 carried as HTTP/1, gRPC as HTTP/2.
    Haproxy,
    /// Envoy with mutual TLS between the two: HTTP carried as HTTP/2 over one connection per port.
    Envoy,
    /// Our proxies, with identity, discovery and policy from our control plane.
    Weft,
}

/// Where programs and files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Our programs, where every user may run them.
    pub programs: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
    /// This run's files.
    pub work: PathBuf,
}

/// Two proxies between two namespaces, and what is behind them.
#[derive(Debug)]
pub struct Pair {
    /// Which.
    pub peer: Peer,
    site: Site,
    _backend: Running,
    outbound: Option<Running>,
    inbound: Option<Running>,
    support: Option<weft::Support>,
    /// Where clients connect to.
    target: Ipv4Addr,
    /// The generator.
    generator: PathBuf,
    log: PathBuf,
}

/// Resident memory of both proxies, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Of the client's.
    pub outbound: u64,
    /// Of the server's.
    pub inbound: u64,
}

impl Peer {
    /// All, in the order of tables.
    pub const ALL: [Self; 5] = [Self::Direct, Self::Relay, Self::Haproxy, Self::Envoy, Self::Weft];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Haproxy => "haproxy mTLS",
            Self::Envoy => "Envoy mTLS",
            Self::Weft => "weft",
        }
    }

    fn redirect(self) -> Redirect {
        match self {
            Self::Direct => Redirect::Nothing,
            Self::Relay | Self::Weft => Redirect::ToOnePort,
            Self::Haproxy | Self::Envoy => Redirect::ByPort,
        }
    }
}

impl Pair {
    /// Starts everything and waits until all ports answer through it.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn start(peer: Peer, paths: &Paths) -> Self {
        let n = peer as u8 + 1;
        let site = Site::new(n, peer.redirect());
        let name = peer.name().replace(' ', "-");
        let log = paths.work.join(format!("{name}.log"));
        let generator = paths.programs.join("weft-bench");
        let arguments = ["backend".to_owned(), site.server_ip.to_string()];
        let backend = Running::start(&site.server, 1000, &generator, &arguments, &[], &log);
        let mut pair = Self {
            peer,
            target: site.server_ip,
            site,
            _backend: backend,
            outbound: None,
            inbound: None,
            support: None,
            generator,
            log,
        };
        match peer {
            Peer::Direct => {}
            Peer::Relay => {
                let relay = |ip: &str| ["relay".to_owned(), ip.to_owned()];
                let program = pair.generator.clone();
                pair.run(&program, &relay("127.0.0.1:4140"), &relay("0.0.0.0:4143"), &[], &[]);
            }
            Peer::Haproxy => {
                let (outbound, inbound) = haproxy::configure(&directory(paths, &name), pair.site.server_ip);
                pair.run(Path::new("/usr/sbin/haproxy"), &outbound, &inbound, &[], &[]);
            }
            Peer::Envoy => {
                let (outbound, inbound) = envoy::configure(&directory(paths, &name), pair.site.server_ip);
                pair.run(&paths.envoy, &outbound, &inbound, &[], &[]);
            }
            Peer::Weft => {
                let support =
                    weft::Support::start(&directory(paths, &name), &paths.programs, &pair.site, &pair.log);
                let (outbound, inbound) = (support.outbound.clone(), support.inbound.clone());
                pair.target = support.service;
                pair.support = Some(support);
                pair.run(&paths.programs.join("weft-proxy"), &[], &[], &outbound, &inbound);
            }
        }
        pair.wait_until_ready();
        pair
    }

    fn run(
        &mut self,
        program: &Path,
        outbound: &[String],
        inbound: &[String],
        outbound_environment: &[(String, String)],
        inbound_environment: &[(String, String)],
    ) {
        let start = |place, arguments, environment| {
            Some(Running::start(place, PROXY_USER, program, arguments, environment, &self.log))
        };
        self.inbound = start(&self.site.server, inbound, inbound_environment);
        self.outbound = start(&self.site.client, outbound, outbound_environment);
    }

    fn wait_until_ready(&mut self) {
        for load in [
            Load::Http1 { connections: 1, body: backend::SMALL },
            Load::Grpc { connections: 1, streams: 1 },
            Load::GrpcStream { connections: 1 },
            Load::Connect { clients: 1 },
            Load::Http1 { connections: 1, body: backend::LARGE },
        ] {
            let what = format!("{load:?} through {} (its log: {})", self.peer.name(), self.log.display());
            wait_until(&what, Duration::from_secs(20), || {
                let gone =
                    [&mut self.outbound, &mut self.inbound].into_iter().flatten().any(|p| !p.is_alive());
                assert!(!gone, "{} has ended; its log: {}", self.peer.name(), self.log.display());
                self.measure(load, 0.1, 0.0).is_ok_and(|o| o.errors == 0 && o.units > 0)
            });
        }
    }

    /// Puts a load on it and measures.
    ///
    /// # Errors
    /// The generator could not do it.
    pub fn measure(&self, load: Load, seconds: f64, warm_up: f64) -> anyhow::Result<Outcome> {
        let mut child = self.generator(load, seconds, warm_up, Stdio::null())?;
        let mut text = String::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_string(&mut text)?;
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "the generator of {load:?} ended with {status}");
        Ok(serde_json::from_str(text.trim())?)
    }

    fn generator(
        &self,
        load: Load,
        seconds: f64,
        warm_up: f64,
        stdin: Stdio,
    ) -> anyhow::Result<std::process::Child> {
        let job = Job {
            load,
            target: (IpAddr::from(self.target), load.port()).into(),
            warm_up,
            seconds,
            pids: self.pids(),
        };
        let arguments = ["load".to_owned(), serde_json::to_string(&job)?];
        let mut command = process::inside(&self.site.client, 0, &self.generator, &arguments);
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        Ok(command.stdin(stdin).stdout(Stdio::piped()).stderr(log).spawn()?)
    }

    /// The proxies' process ids.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        [&self.outbound, &self.inbound].into_iter().flatten().map(Running::pid).collect()
    }

    /// Resident memory of both proxies, now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let of = |p: &Option<Running>| p.as_ref().map_or(0, |p| resident(p.pid()));
        Memory { outbound: of(&self.outbound), inbound: of(&self.inbound) }
    }

    /// Opens connections that do one exchange and then nothing, and keeps them until the value is dropped.
    ///
    /// # Errors
    /// Not all of them could be opened.
    pub fn hold(&self, connections: usize, what: Held) -> anyhow::Result<Holding> {
        let mut child = self.generator(Load::Hold { connections, what }, 0.0, 0.0, Stdio::piped())?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let holding = Holding { _stdin: stdin, _child: Running::child(child) };
        anyhow::ensure!(
            line.trim() == format!("held {connections}"),
            "{} of {connections} wanted",
            line.trim()
        );
        Ok(holding)
    }
}

/// Connections that are kept.
#[derive(Debug)]
pub struct Holding {
    _stdin: Option<ChildStdin>,
    _child: Running,
}

impl Load {
    /// The backend's port for it.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Http1 { body: backend::LARGE, .. } => backend::HTTP1_LARGE,
            Self::Http1 { .. } | Self::Http1Paced { .. } | Self::Hold { what: Held::Http1, .. } => {
                backend::HTTP1
            }
            Self::Grpc { .. } | Self::GrpcPaced { .. } | Self::Hold { what: Held::Http2, .. } => {
                backend::GRPC
            }
            Self::GrpcStream { .. } => backend::STREAM,
            Self::Down { .. }
            | Self::Up { .. }
            | Self::Connect { .. }
            | Self::Hold { what: Held::Tcp, .. } => backend::TCP,
        }
    }
}

/// A directory with certificates in it that a proxy's user can read.
fn directory(paths: &Paths, name: &str) -> PathBuf {
    // The same peer may have been started before, and is to remember nothing of it.
    let is_free = |directory: &PathBuf| !directory.exists();
    let directory =
        (0..).map(|n| paths.work.join(format!("{name}-{n}"))).find(is_free).expect("one that is free");
    std::fs::create_dir_all(&directory).expect("a directory");
    Pki::new().write(&directory);
    directory
}
