//! The control plane as a whole: everything opened, bound, wired and ended.
//!
//! | task | one per | ends |
//! |---|---|---|
//! | destination, policy, identity gRPC ([`grpc::serve`](crate::grpc::serve)) | port | with the control plane |
//! | DNS over UDP, over TCP | control plane | with the control plane |
//! | manifests ([`follow`](crate::manifests::follow)) | control plane | with the control plane |
//! | registry sweep | control plane | with the control plane |
//! | admin socket, admin HTTPS, health | control plane | with the control plane |
//! | renewal of own certificates, of the issuer | control plane | with the control plane |
//!
//! A task that ends by itself ends the control plane: a part that silently is not there is worse.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use linkerd2_proxy_api::identity::identity_server::IdentityServer;
use tokio::{
    net::{TcpListener, UdpSocket, UnixListener},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use weft_admin_api::{ADMIN_TOKEN_FILE, require_token};
use weft_model::{Mesh, Problem};
use weft_names::IdentityName;
use weft_store::{OpenError, Pool, Store, StoreError};

use crate::{
    admin_http::{self, AdminTls, AdminTlsError, SocketError},
    config::{self, Config, Options},
    dns::{
        self,
        forward::{Forwarder, UPSTREAM_TIMEOUT},
        zone::Zone,
    },
    grpc::{
        serve::{ListenError, MAX_CONNECTIONS, Server},
        service::Services,
        watch::{Stopping, stopped},
    },
    health::{self, Health},
    identity::{Authority, AuthorityError, IdentityService, Outcomes},
    manifests,
    mesh_tls::{MeshTls, MeshTlsError},
    metrics::Metrics,
    proxies::Proxies,
    registry::{
        self, Moment, Registry, RegistryError, SWEEP_INTERVAL,
        api::{Addresses, Endpoint, Networks},
    },
    views::Shown,
};

/// The socket of admin API and registry, in the state directory.
pub const SOCKET: &str = "admin.sock";

/// How long everything may take to end: 5 s.
const ENDING_GRACE: Duration = Duration::from_secs(5);

/// The service accounts of the control plane. Policy is served under the name of destination, as Linkerd does.
const DESTINATION_ACCOUNT: &str = "linkerd-destination";
const IDENTITY_ACCOUNT: &str = "linkerd-identity";

/// Why the control plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Manifests are bad.
    #[error("{} problems in manifests", .0.len())]
    Manifests(Vec<Problem>),
    /// Ports cannot be listened on.
    #[error("{} ports cannot be listened on", .0.len())]
    Listen(Vec<ListenError>),
    /// The Unix socket cannot be made.
    #[error("no admin socket")]
    Socket(#[source] SocketError),
    /// The state cannot be opened.
    #[error("the state cannot be opened")]
    State(#[source] OpenError),
    /// The trust root or the issuer cannot be used.
    #[error("no certificates can be issued")]
    Authority(#[source] AuthorityError),
    /// The names make no identity.
    #[error("the control plane has no identity: its namespace and trust domain are too long together")]
    Identity,
    /// The control plane has no certificate of its own.
    #[error("no mesh TLS")]
    MeshTls(#[source] MeshTlsError),
    /// The admin API has no certificate.
    #[error("no admin HTTPS")]
    AdminTls(#[source] AdminTlsError),
    /// The trust anchors or the admin token cannot be written.
    #[error("files for the admin API's clients cannot be written to the state directory")]
    AdminFiles(#[source] io::Error),
    /// The registry cannot be read.
    #[error("the registry cannot be taken up")]
    Registry(#[source] RegistryError),
    /// A part ended by itself.
    #[error("{0} ended by itself")]
    Ended(&'static str),
}

/// A control plane that is listening.
pub struct ControlPlane {
    bound: Bound,
    health: Arc<Health>,
    stop: watch::Sender<bool>,
    serving: Arc<AtomicBool>,
    tasks: JoinSet<&'static str>,
    store: Store,
}

/// Where a control plane is listening.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Destination.
    pub destination: SocketAddr,
    /// Policy.
    pub policy: SocketAddr,
    /// Identity.
    pub identity: SocketAddr,
    /// Health and metrics.
    pub metrics: SocketAddr,
    /// DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// Admin API over HTTPS.
    pub admin: Option<SocketAddr>,
    /// Admin API and registry.
    pub socket: PathBuf,
}

/// Runs a control plane until `shutdown`.
///
/// # Errors
/// See [`RunError`]: why it does not start, or what ended.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    ControlPlane::start(config).await?.run_until(shutdown).await
}

impl ControlPlane {
    /// Opens, binds and starts everything. What is returned is ready.
    ///
    /// # Errors
    /// See [`RunError`]. Nothing is left running.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        let (manifests, events) = manifests::load(&config.manifests).map_err(RunError::Manifests)?;
        let now = Moment::now();
        let listeners = Listeners::bind(&config).await.map_err(RunError::Listen)?;
        let store = Store::open(&config.state, &config.holder, now.date).await.map_err(RunError::State)?;
        let authority = Authority::open(store.clone(), config.identity.clone(), now.date).await;
        let authority = Arc::new(authority.map_err(RunError::Authority)?);
        let names = own_names(&authority, &config)?;
        let tls =
            MeshTls::new(authority.clone(), names.to_vec(), now.date).await.map_err(RunError::MeshTls)?;
        let tls = Arc::new(tls);

        let mesh = Mesh::new(config.settings.clone());
        let registry_config = registry_config(&config, &listeners, &names);
        let registry =
            Registry::open(registry_config, store.clone(), authority.clone(), mesh.clone(), now).await;
        let registry = Arc::new(registry.map_err(RunError::Registry)?);
        for service in manifests.services() {
            registry.keep_service(service, now).await.map_err(RunError::Registry)?;
        }
        mesh.apply(events);

        let socket_path = store.directory().path().join(SOCKET);
        let socket = admin_http::bind_unix(&socket_path).map_err(RunError::Socket)?;
        let (stop, stopping) = watch::channel(false);
        let metrics = Arc::new(Metrics::default());
        let outcomes = Arc::new(Outcomes::default());
        let proxies = Proxies::default();
        let serving = Arc::new(AtomicBool::new(false));
        let health = Arc::new(Health {
            mesh: mesh.clone(),
            store: store.clone(),
            authority: authority.clone(),
            outcomes: outcomes.clone(),
            tls: tls.clone(),
            registry: registry.clone(),
            proxies: proxies.clone(),
            metrics: metrics.clone(),
            serving: serving.clone(),
        });
        let bound = listeners.bound(socket_path);
        let mut tasks = Tasks { set: JoinSet::new(), stopping: stopping.clone() };

        let identity = IdentityService::new(authority.clone(), outcomes);
        let services = Services {
            mesh: mesh.clone(),
            domain: config.settings.cluster_domain.clone(),
            metrics: metrics.clone(),
            proxies: proxies.clone(),
            identity: Some(IdentityServer::new(identity)),
            stopping: stopping.clone(),
        };
        let server = Server {
            services: Arc::new(services),
            tls: tls.clone(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        };
        tasks.spawn("destination", server.clone().run(listeners.destination));
        tasks.spawn("policy", server.clone().run(listeners.policy));
        tasks.spawn("identity", server.run(listeners.identity));
        let zone = Zone {
            domain: config.settings.cluster_domain.clone(),
            control_plane_namespace: config.settings.control_plane_namespace.to_string(),
            control_plane: config.advertise,
        };
        let dns = dns::Server {
            mesh: mesh.clone(),
            zone: Arc::new(zone),
            forwarder: Forwarder::new(config.upstreams.clone(), UPSTREAM_TIMEOUT),
            metrics: metrics.clone(),
            stopping: stopping.clone(),
        };
        tasks.spawn("DNS over UDP", dns.clone().run_udp(listeners.dns_udp));
        tasks.spawn("DNS over TCP", dns.run_tcp(listeners.dns_tcp));
        let shown = Shown { mesh: mesh.clone(), registry: registry.clone(), proxies, health: health.clone() };
        tasks.spawn_admin(&config, &store, &authority, shown, &registry, socket, listeners.admin).await?;
        tasks.spawn("health", {
            let stop = until_stopped(stopping.clone());
            admin_http::serve_plain(listeners.metrics, health::router(health.clone()), stop)
        });
        if !config.manifests.is_empty() {
            let follow = manifests::follow(
                manifests,
                config.manifests.clone(),
                mesh,
                registry.clone(),
                metrics.clone(),
                stopping.clone(),
            );
            tasks.spawn("manifests", follow);
        }
        tasks.spawn("leases", sweep(registry, metrics, stopping));
        tasks.spawn_until_stopped("own certificates", async move { tls.keep_renewed().await });
        tasks.spawn_until_stopped("the issuer", async move { authority.keep_maintained().await });
        serving.store(true, Ordering::Relaxed);
        tracing::info!(
            destination = %bound.destination,
            policy = %bound.policy,
            identity = %bound.identity,
            health = %bound.metrics,
            dns = %bound.dns,
            admin = ?bound.admin,
            state = %config.state.display(),
            "the control plane is ready"
        );
        Ok(Self { bound, health, stop, serving, tasks: tasks.set, store })
    }

    /// Where it is listening.
    #[must_use]
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// How its parts are.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Runs until `shutdown`, then ends everything that was started.
    ///
    /// # Errors
    /// [`RunError::Ended`]: a part ended before.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            ended = self.tasks.join_next() => Err(match ended {
                Some(Ok(name)) => RunError::Ended(name),
                Some(Err(error)) => {
                    tracing::error!(%error, "a part of the control plane failed");
                    RunError::Ended("a part of the control plane")
                }
                None => RunError::Ended("the control plane"),
            }),
        };
        self.serving.store(false, Ordering::Relaxed);
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(ENDING_GRACE, all).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
        self.store.close().await;
        ended
    }
}

/// Sockets that are listened on.
struct Listeners {
    destination: TcpListener,
    policy: TcpListener,
    identity: TcpListener,
    metrics: TcpListener,
    dns_udp: UdpSocket,
    dns_tcp: TcpListener,
    admin: Option<TcpListener>,
    addresses: Addressed,
}

/// The addresses the sockets got.
#[derive(Clone, Copy)]
struct Addressed {
    destination: SocketAddr,
    policy: SocketAddr,
    identity: SocketAddr,
    metrics: SocketAddr,
    dns: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Listeners {
    /// Binds all of them, or says which cannot be.
    async fn bind(config: &Config) -> Result<Self, Vec<ListenError>> {
        let mut errors = Vec::new();
        let on = |port| SocketAddr::new(config.listen, port);
        let mut tcp = async |what, option, address| match bind_tcp(address).await {
            Ok(bound) => Some(bound),
            Err(source) => {
                errors.push(ListenError { what, address, option, source });
                None
            }
        };
        let ports = config.ports;
        let destination = tcp("destination", "--destination-port", on(ports.destination)).await;
        let policy = tcp("policy", "--policy-port", on(ports.policy)).await;
        let identity = tcp("identity", "--identity-port", on(ports.identity)).await;
        let metrics = tcp("health", "--metrics-port", on(ports.metrics)).await;
        let admin = match config.admin {
            Some(address) => tcp("admin HTTPS", "--admin-listen", address).await,
            None => None,
        };
        let dns = match dns::bind(on(ports.dns)).await {
            Ok(bound) => Some(bound),
            Err(source) => {
                let address = on(ports.dns);
                errors.push(ListenError { what: "DNS", address, option: "--dns-port", source });
                None
            }
        };
        match (destination, policy, identity, metrics, dns, errors.is_empty()) {
            (
                Some(destination),
                Some(policy),
                Some(identity),
                Some(metrics),
                Some((dns_udp, dns_tcp, dns)),
                true,
            ) => Ok(Self {
                addresses: Addressed {
                    destination: destination.1,
                    policy: policy.1,
                    identity: identity.1,
                    metrics: metrics.1,
                    dns,
                    admin: admin.as_ref().map(|(_, address)| *address),
                },
                destination: destination.0,
                policy: policy.0,
                identity: identity.0,
                metrics: metrics.0,
                dns_udp,
                dns_tcp,
                admin: admin.map(|(listener, _)| listener),
            }),
            _ => Err(errors),
        }
    }

    fn bound(&self, socket: PathBuf) -> Bound {
        let Addressed { destination, policy, identity, metrics, dns, admin } = self.addresses;
        Bound { destination, policy, identity, metrics, dns, admin, socket }
    }
}

async fn bind_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// The identities of destination (and policy) and of identity.
fn own_names(authority: &Authority, config: &Config) -> Result<[IdentityName; 2], RunError> {
    let namespace = &config.settings.control_plane_namespace;
    let name = |account| authority.identity(account, namespace).map_err(|_| RunError::Identity);
    Ok([name(DESTINATION_ACCOUNT)?, name(IDENTITY_ACCOUNT)?])
}

fn registry_config(config: &Config, listeners: &Listeners, names: &[IdentityName; 2]) -> registry::Config {
    let told = |address: SocketAddr| SocketAddr::new(config.advertise, address.port());
    let [destination_name, identity_name] = names;
    let endpoint = |address, name: &IdentityName| Endpoint { address: told(address), name: name.to_string() };
    let addresses = &listeners.addresses;
    let settings = &config.settings;
    registry::Config {
        workloads: Pool { name: "workloads", range: config.workload_network, reserved: config.reserved },
        services: Pool { name: "services", range: config.service_network, reserved: 0 },
        ttl: config.lease_ttl,
        linger: config.service_linger,
        addresses: Addresses {
            destination: endpoint(addresses.destination, destination_name),
            policy: endpoint(addresses.policy, destination_name),
            identity: endpoint(addresses.identity, identity_name),
            dns: told(addresses.dns),
        },
        networks: Networks {
            workloads: config.workload_network.to_string(),
            services: config.service_network.to_string(),
            cluster: settings.cluster_networks.iter().map(ToString::to_string).collect(),
            cluster_domain: settings.cluster_domain.to_string(),
            trust_domain: settings.trust_domain.to_string(),
            control_plane_namespace: settings.control_plane_namespace.to_string(),
        },
    }
}

/// Tasks with names.
struct Tasks {
    set: JoinSet<&'static str>,
    stopping: Stopping,
}

impl Tasks {
    /// A task that ends when the control plane stops.
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// A task that does not know of the end.
    fn spawn_until_stopped(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut stopping = self.stopping.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stopped(&mut stopping) => {}
            }
        });
    }

    /// The admin API: on the Unix socket with the registry, over HTTPS with a token.
    async fn spawn_admin(
        &mut self,
        config: &Config,
        store: &Store,
        authority: &Arc<Authority>,
        shown: Shown,
        registry: &Arc<Registry>,
        socket: UnixListener,
        https: Option<TcpListener>,
    ) -> Result<(), RunError> {
        let shown = Arc::new(shown);
        let local = weft_admin_api::router(shown.clone(), store.clone())
            .merge(registry::http::router(registry.clone()));
        let stop = until_stopped(self.stopping.clone());
        self.spawn("the admin socket", admin_http::serve_unix(socket, local, stop));
        admin_http::anchors_file(authority, store.directory().path()).map_err(RunError::AdminFiles)?;
        let Some(listener) = https else { return Ok(()) };
        let addresses: Vec<IpAddr> =
            config.admin.iter().map(SocketAddr::ip).chain([config.advertise]).collect();
        let tls = AdminTls::new(authority.clone(), &addresses, Moment::now().date).await;
        let tls = Arc::new(tls.map_err(RunError::AdminTls)?);
        let token = store.directory().secret(ADMIN_TOKEN_FILE).map_err(RunError::State)?;
        let router = require_token(weft_admin_api::router(shown, store.clone()), &token);
        let stop = until_stopped(self.stopping.clone());
        self.spawn("admin HTTPS", admin_http::serve_https(listener, tls.clone(), router, stop));
        self.spawn_until_stopped("the certificate of admin HTTPS", async move { tls.keep_renewed().await });
        Ok(())
    }
}

/// Removes what is not renewed, until the control plane stops.
async fn sweep(registry: Arc<Registry>, metrics: Arc<Metrics>, mut stopping: Stopping) {
    let mut sweeps = interval(SWEEP_INTERVAL);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweeps.tick() => {}
            () = stopped(&mut stopping) => return,
        }
        for workload in registry.expire(Moment::now()).await {
            metrics.leases_expired.increment();
            tracing::warn!(%workload, "a workload was removed: it did not renew its lease");
        }
    }
}

async fn until_stopped(mut stopping: Stopping) {
    stopped(&mut stopping).await;
}

impl RunError {
    /// The exit code of a program that ends so, by sysexits.h: 64 where what it was given makes no sense, 66 without a state
    /// volume, 73 where it cannot be written, 77 where it is another user's; else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Manifests(_) => 64,
            Self::State(OpenError::NotMounted { .. }) => 66,
            Self::State(OpenError::ReadOnly { .. }) => 73,
            Self::State(OpenError::OfAnother { .. }) => 77,
            _ => 1,
        }
    }

    /// The error as a person should read it: with all its parts, causes and advice, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Manifests(problems) => problems.iter().map(ToString::to_string).collect(),
            Self::Listen(errors) => errors.iter().map(listen_line).collect(),
            Self::State(error) => vec![chain(self), error.advice()],
            Self::Registry(RegistryError::Store(error)) | Self::Authority(AuthorityError::Store(error)) => {
                vec![chain(self), StoreError::advice(error).to_owned()]
            }
            _ => vec![chain(self)],
        }
    }
}

fn listen_line(error: &ListenError) -> String {
    let advice = match error.source.kind() {
        io::ErrorKind::PermissionDenied if error.address.port() < 1024 => "; ports below 1024 are for root",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    format!("{}{advice}", chain(error))
}

/// Everything that is wrong with what a program was given: its options, and its manifests too.
#[must_use]
pub fn usage_problems(options: &Options, problems: &config::Problems) -> Vec<String> {
    let manifests = manifests::load(&options.manifests).err().unwrap_or_default();
    let options = problems.0.iter().map(ToString::to_string);
    options.chain(manifests.iter().map(ToString::to_string)).collect()
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
