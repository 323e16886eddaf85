//! A pod: a place, a proxy, a registration, and the program in it.

use super::{
    environment::{Environment, Listen},
    lease::Lease,
    names::{self, Names},
    place::Place,
    proxy::{Proxy, ProxyError},
    registry::{Registry, RegistryError},
    site::{Ground, Site},
};
use crate::machine::{MachineError, Program, Running, network::MachineRedirectError, privilege::Exempt};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, Instant},
};
use weft_controlplane::registry::api::{Answer, Registration};
use weft_init::{Plan, PortRange, Redirection};

/// How long a proxy may take to get its certificate.
const PROXY_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a port that is not open yet.
const POLL: Duration = Duration::from_millis(10);
/// Ports that Linkerd leaves alone from the start: those of clustered databases' own replication.
const SKIPPED: [u16; 2] = [4567, 4568];

/// What a pod is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Namespace.
    pub namespace: String,
    /// Name, such as `web-0`.
    pub name: String,
    /// What is said to the registry.
    pub registration: Registration,
    /// Filter of the proxy's log; the injector's if not given.
    pub proxy_log: Option<String>,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// What it is.
    pub spec: Spec,
    /// What the control plane said.
    pub answer: Answer,
    /// Where it is.
    pub place: Place,
    /// Its proxy.
    pub proxy: Proxy,
    /// Its registration.
    pub lease: Lease,
    /// What runs in it.
    pub program: Option<Running>,
    _names: Option<Names>,
    log: PathBuf,
    variables: Vec<(String, String)>,
}

/// A registration that is kept alive.
#[derive(Debug)]
pub struct Registered {
    /// What the control plane said.
    pub answer: Answer,
    lease: Lease,
}

impl Registered {
    /// Registers a pod that is to be.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn new(registry: &Registry, spec: &Spec) -> Result<Self, RegistryError> {
        // Tokens of an earlier run nobody has any more. Nobody is sent here before it works.
        let first = Registration { issue_token: true, ready: false, ..spec.registration.clone() };
        let answer = registry.register(&spec.namespace, &spec.name, &first).await?;
        let kept = Registration { issue_token: false, ip: Some(answer.ip), ..first };
        let lease = Lease::keep(registry.clone(), &spec.namespace, &spec.name, kept, answer.ttl);
        Ok(Self { answer, lease })
    }

    /// Takes it back.
    pub async fn withdraw(self) {
        // Its lease would run out anyway.
        let _ = self.lease.end().await;
    }
}

/// Why there is no pod.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The control plane.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The namespace or a file.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Its name server.
    #[error("could not listen for questions about names")]
    Names(#[from] std::io::Error),
    /// Redirection.
    #[error("could not redirect connections to the proxy")]
    Redirect(#[from] MachineRedirectError),
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The control plane gave an address that cannot be used.
    #[error("the control plane gave the address {0}, expected an IPv4 address")]
    Address(IpAddr),
    /// The control plane did not give a token.
    #[error("the control plane gave no join token")]
    NoToken,
}

impl Pod {
    /// Makes it, up to a proxy that runs; [`Pod::ready`] waits until it has its certificate.
    ///
    /// # Errors
    /// See [`PodError`]. What was made until then is removed again.
    pub async fn create(
        site: &Site,
        spec: Spec,
        registered: Registered,
        listen: impl FnOnce(Ipv4Addr) -> Listen,
    ) -> Result<Self, PodError> {
        let Registered { answer, lease } = registered;
        let made = Self::make(site, &spec, &answer, listen);
        match made {
            Ok((place, names, proxy, log, variables)) => {
                Ok(Self { spec, answer, place, proxy, lease, program: None, _names: names, log, variables })
            }
            Err(error) => {
                // Its lease would run out anyway.
                let _ = lease.end().await;
                Err(error)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of the one caller's value")]
    fn make(
        site: &Site,
        spec: &Spec,
        answer: &Answer,
        listen: impl FnOnce(Ipv4Addr) -> Listen,
    ) -> Result<(Place, Option<Names>, Proxy, PathBuf, Vec<(String, String)>), PodError> {
        let IpAddr::V4(ip) = answer.ip else { return Err(PodError::Address(answer.ip)) };
        let place = place(site, spec, answer, ip)?;
        let names = match &place {
            Place::Namespace(member) => Some(Names::start(member.namespace(), answer.addresses.dns)?),
            Place::Loopback(_) => None,
        };
        let directory = site.directory(&spec.name)?;
        let token = directory.join("token");
        site.secret(&token, answer.join_token.as_deref().ok_or(PodError::NoToken)?)?;
        let log = site.directory("log")?.join(format!("{}.log", spec.name));
        let identity = site.directory(&format!("{}/identity", spec.name))?;
        let environment = Environment {
            answer,
            ports: &spec.registration.ports,
            ips: place.ips(site.ipv6),
            listen: listen(ip),
            token,
            identity,
            exempt: site.exempt(),
            node: &site.node,
            log: spec.proxy_log.as_deref(),
        };
        let variables = environment.variables();
        let proxy = Proxy::start(&place, variables.clone(), site.exempt(), &log)?;
        Ok((place, names, proxy, log, variables))
    }

    /// Waits until the proxy has its certificate.
    ///
    /// # Errors
    /// It ended, or took too long.
    pub async fn ready(&mut self) -> Result<(), PodError> {
        Ok(self.proxy.ready(&self.place, PROXY_PATIENCE).await?)
    }

    /// Starts the program.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn start(&mut self, program: Program) -> Result<(), PodError> {
        self.program = Some(self.place.spawn(program)?);
        Ok(())
    }

    /// Waits until the program has opened all ports, then says that it may take traffic. False if it ended before, or
    /// not all ports are open in time.
    pub async fn serve(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        let ports: Vec<u16> = self.spec.registration.ports.iter().map(|port| port.port).collect();
        for port in ports {
            while !self.is_open(port).await {
                let ended = self.program.as_ref().is_none_or(|program| program.ended().is_some());
                if ended || start.elapsed() > patience {
                    return false;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        self.set_ready(true).await;
        true
    }

    /// Whether something listens on a port, on the address that the proxy will connect to.
    pub async fn is_open(&self, port: u16) -> bool {
        self.place.is_open(port).await
    }

    /// Says whether it may take traffic.
    pub async fn set_ready(&self, ready: bool) {
        self.lease.change(|registration| registration.ready = ready).await;
    }

    /// Starts another proxy in place of one that has ended.
    ///
    /// # Errors
    /// See [`PodError`].
    pub async fn restart_proxy(&mut self, site: &Site) -> Result<(), PodError> {
        self.proxy = Proxy::start(&self.place, self.variables.clone(), site.exempt(), &self.log)?;
        self.ready().await
    }

    /// Ends it: no more traffic, then the proxy, once what is on its way is answered, then the program. How that ended.
    pub async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        // Away or not: the lease runs out.
        let _ = self.lease.end().await;
        self.proxy.drain(grace).await;
        let program = self.program.as_mut()?;
        program.signal(nix::sys::signal::Signal::SIGTERM);
        match tokio::time::timeout(grace, program.wait()).await {
            Ok(status) => Some(status),
            Err(_) => Some(program.kill().await),
        }
    }
}

/// The namespace, with rules and a name server; or just the address.
fn place(site: &Site, spec: &Spec, answer: &Answer, ip: Ipv4Addr) -> Result<Place, PodError> {
    let Ground::Namespaces(network, exempt) = site.ground() else { return Ok(Place::Loopback(ip)) };
    let mut member = network.add(&spec.name, ip)?;
    member.redirect(&Plan::new(&redirection(*exempt, site.ipv6)))?;
    // Programs may serve ports below 1024 without being root.
    member.set_sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
    let mut owner = site.owner();
    let (namespace, domain) = (&answer.namespace, &answer.networks.cluster_domain);
    let search = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    member.use_dns(&owner, names::ADDRESS.into(), &search.each_ref().map(String::as_str))?;
    member.publish(&mut owner)?;
    Ok(Place::Namespace(member))
}

/// What Linkerd's init container is told.
fn redirection(exempt: Exempt, ipv6: bool) -> Redirection {
    let (uid, mark) = match exempt {
        Exempt::User(uid) => (Some(uid), None),
        Exempt::Mark(mark) => (None, Some(mark)),
    };
    let own = [super::environment::CONTROL_PORT, super::environment::ADMIN_PORT];
    Redirection {
        exempt_uid: uid,
        exempt_mark: mark,
        skip_inbound_ports: own.into_iter().chain(SKIPPED).map(PortRange::one).collect(),
        skip_outbound_ports: SKIPPED.into_iter().map(PortRange::one).collect(),
        ipv6,
        ..Redirection::standard()
    }
}
