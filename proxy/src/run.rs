//! The life of the process: configuration, listeners, control thread, data threads, signals, drain.

use crate::{
    admin::{self, Admin},
    config::{self, Config, Problems, ProcessEnv},
    control::{self, identity::KeyAndRequest},
    error_chain, log,
    readiness::Readiness,
    runtime::{self, Listeners, Runtime},
    telemetry::{RuntimeCounters, Source, Telemetry},
};
use std::{num::NonZeroUsize, process::ExitCode, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use weft_engine::{Worker, metrics::Registry};
use weft_net::{
    socket::StreamOptions,
    tls::{Identity, Roots},
};

/// Exit code when the environment is wrong (`EX_USAGE`, as Linkerd's).
pub const EXIT_USAGE: u8 = 64;
/// Between reminders that there is no certificate yet.
const REMIND: Duration = Duration::from_secs(15);

/// The whole program: reads the environment, runs until told to stop. 0 after a drain, 64 for a wrong environment, 1 for
/// anything else.
pub fn main() -> ExitCode {
    let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let config = match Config::from_env(&ProcessEnv, cpus) {
        Ok(config) => config,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let handle = match log::start(&config.log.filter, config.log.json) {
        Ok(handle) => handle,
        Err(error) => {
            eprintln!("weft-proxy: {}LOG={:?}: {error}", config::PREFIX, config.log.filter);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    // The control thread: nothing on it is on the request path.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match tokio {
        Ok(tokio) => tokio.block_on(run(config, handle)),
        Err(source) => Err(RunError::Tokio(source)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "weft-proxy ends");
            eprintln!("weft-proxy: {}", error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn print_problems(problems: &Problems) {
    let count = problems.0.len();
    eprintln!(
        "weft-proxy: {count} {} wrong in the environment:",
        if count == 1 { "variable is" } else { "variables are" }
    );
    for problem in &problems.0 {
        eprintln!("  {problem}");
    }
}

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime of the control thread.
    #[error("starting the control thread")]
    Tokio(#[source] std::io::Error),
    /// A port of the data path.
    #[error("{variable} cannot be used")]
    Bind {
        /// Where the address comes from.
        variable: &'static str,
        /// Which, and why not.
        #[source]
        source: runtime::BindError,
    },
    /// The admin port.
    #[error("cannot listen on {address}, from LINKERD2_PROXY_ADMIN_LISTEN_ADDR")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The trust anchors.
    #[error("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS cannot be used")]
    Roots(#[source] weft_net::tls::RootsError),
    /// Key or certificate request.
    #[error(transparent)]
    Key(#[from] control::identity::KeyError),
    /// A control-plane address.
    #[error("a control-plane address cannot be used")]
    Control(#[source] tonic::transport::Error),
    /// The data threads.
    #[error("starting the data threads")]
    Threads(#[source] std::io::Error),
    /// Signal handlers.
    #[error("listening for signals")]
    Signals(#[source] std::io::Error),
}

/// Runs the proxy until SIGTERM, SIGINT or `/shutdown`, then drains.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(config: Config, log: log::LogHandle) -> Result<(), RunError> {
    let roots = Roots::from_pem(config.identity.trust_anchors.as_bytes()).map_err(RunError::Roots)?;
    let mut stop = Stop::new()?;

    // Ports first: one that is taken is told before anything else happens.
    let settings = runtime_config(&config);
    let listeners = Listeners::bind(&settings)
        .map_err(|source| RunError::Bind { variable: listen_variable(&config, &source), source })?;
    let admin_listener = TcpListener::bind(config.admin_listen)
        .await
        .map_err(|source| RunError::Admin { address: config.admin_listen, source })?;
    announce(&config, &listeners, &admin_listener);

    let registry = Arc::new(Registry::default());
    let shared = Arc::new(control::Shared::new(&config, &roots).map_err(RunError::Control)?);
    let (mut threads, questions) = start_workers(&config, &settings, listeners, &registry)?;
    shared.serve(threads.handle());
    tokio::spawn(Arc::clone(&shared).answer(questions));

    let readiness = Arc::new(Readiness::default());
    let counters: Arc<dyn Source> = Arc::new(RuntimeCounters(threads.counters().to_vec()));
    let admin = Admin {
        readiness: Arc::clone(&readiness),
        telemetry: Arc::new(Telemetry::new(registry, vec![Arc::clone(&shared) as Arc<dyn Source>, counters])),
        log,
        shutdown_enabled: config.shutdown_endpoint,
        shutdown: stop.by_request(),
        tls: admin_tls(shared.identity()),
    };
    tokio::spawn(admin::serve(Arc::new(admin), admin_listener));

    let certified = control::identity::keep_certified(
        config.identity.clone(),
        KeyAndRequest::load_or_make(&config.identity)?,
        roots.clone(),
        shared.identity_channel(&config, &roots).map_err(RunError::Control)?,
        config.outbound.side.connect_backoff,
        Arc::clone(&shared),
        Arc::clone(&readiness),
    );
    tokio::spawn(certified);
    tokio::spawn(remind(readiness));

    let why = stop.wait().await;
    drain(&mut threads, why, config.shutdown_grace).await;
    Ok(())
}

/// The variable that a listening address comes from.
fn listen_variable(config: &Config, error: &runtime::BindError) -> &'static str {
    if !error.outbound {
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR"
    } else if config.outbound_targets.iter().any(|(listen, _)| *listen == error.address) {
        "WEFT_OUTBOUND_TARGETS"
    } else {
        "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS (or _ADDR)"
    }
}

/// One worker per data thread.
fn start_workers(
    config: &Config,
    settings: &runtime::Config,
    listeners: Listeners,
    registry: &Arc<Registry>,
) -> Result<(Runtime, runtime::Questions), RunError> {
    let template = engine_config(config);
    let registry = Arc::clone(registry);
    let build = move |number, shell: &mut runtime::Shell| {
        let config = weft_engine::Config { worker: number, ..template.clone() };
        Worker::new(config, Arc::clone(&registry), shell)
    };
    runtime::start(settings, listeners, build).map_err(RunError::Threads)
}

async fn drain(threads: &mut Runtime, why: &str, grace: Duration) {
    tracing::info!(why, ?grace, "draining: no new connections; those open may finish");
    threads.handle().drain();
    match tokio::time::timeout(grace, threads.finished()).await {
        Ok(()) => tracing::info!("drained"),
        Err(_) => tracing::warn!(?grace, "connections still open are cut: the grace period is over"),
    }
}

/// Linkerd's tools look for these lines.
fn announce(config: &Config, listeners: &Listeners, admin: &TcpListener) {
    if let Ok(address) = admin.local_addr() {
        tracing::info!("Admin interface on {address}");
    }
    for address in listeners.inbound() {
        tracing::info!("Inbound interface on {address}");
    }
    for address in listeners.outbound() {
        tracing::info!("Outbound interface on {address}");
    }
    tracing::info!("Local identity is {}", config.identity.local);
    for (what, service) in [
        ("Identity", &config.control.identity),
        ("Destinations", &config.control.destination),
        ("Policies", &config.control.policy),
    ] {
        let name = service.name.as_ref().map_or_else(|| "no TLS".to_owned(), ToString::to_string);
        tracing::info!("{what} resolved via {} ({name})", service.addr.authority());
    }
    for name in &config.unknown {
        tracing::warn!("{name} is not a variable of this proxy and has no effect");
    }
}

/// Says what the proxy waits for until it is ready.
async fn remind(readiness: Arc<Readiness>) {
    loop {
        tokio::time::sleep(REMIND).await;
        match readiness.check() {
            Ok(()) => return,
            Err(what) => tracing::warn!("Waiting for identity to be initialized: {what}"),
        }
    }
}

/// The admin server's TLS follows the certificate.
fn admin_tls(
    mut identity: watch::Receiver<Option<Arc<Identity>>>,
) -> watch::Receiver<Option<Arc<rustls::ServerConfig>>> {
    let config =
        |identity: &Option<Arc<Identity>>| identity.as_ref().map(|identity| identity.server_config());
    let (sender, receiver) = watch::channel(config(&identity.borrow_and_update()));
    tokio::spawn(async move {
        while identity.changed().await.is_ok() {
            sender.send_replace(config(&identity.borrow_and_update()));
        }
    });
    receiver
}

/// What ends the process.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    requests: mpsc::Receiver<()>,
    request: mpsc::Sender<()>,
}

impl Stop {
    fn new() -> Result<Self, RunError> {
        let (request, requests) = mpsc::channel(1);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(RunError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(RunError::Signals)?,
            requests,
            request,
        })
    }

    fn by_request(&self) -> mpsc::Sender<()> {
        self.request.clone()
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.requests.recv() => "a request to /shutdown",
        }
    }
}

fn runtime_config(config: &Config) -> runtime::Config {
    let side = |side: &config::Side| runtime::Side {
        listen: side.listen.clone(),
        fixed: Vec::new(),
        backlog: side.backlog,
        accept: StreamOptions {
            keepalive: side.accept_keepalive,
            user_timeout: side.accept_user_timeout,
            ..StreamOptions::default()
        },
        connect: StreamOptions {
            keepalive: side.connect_keepalive,
            user_timeout: side.connect_user_timeout,
            mark: config.socket_mark,
        },
    };
    let mut settings =
        runtime::Config::new(config.cores, side(&config.outbound.side), side(&config.inbound.side));
    settings.outbound.fixed.clone_from(&config.outbound_targets);
    settings.drain_limit = config.shutdown_grace.saturating_add(Duration::from_secs(5));
    settings
}

fn engine_config(config: &Config) -> weft_engine::Config {
    let backoff = |backoff: config::Backoff| weft_engine::Backoff {
        min: backoff.min,
        max: backoff.max,
        jitter: backoff.jitter,
    };
    let (outbound, inbound) = (&config.outbound, &config.inbound);
    let policy = inbound.default_policy;
    let server =
        |opaque| Arc::new(policy.server(&inbound.cluster_networks, opaque, inbound.side.detect_timeout));
    let mut engine = weft_engine::Config::with_default_policy(server(false));
    engine.drain_grace = config.shutdown_grace;
    engine.keepalive_interval =
        inbound.side.http2_keep_alive.map(|keep_alive| keep_alive.interval).or(engine.keepalive_interval);
    engine.keepalive_timeout =
        inbound.side.http2_keep_alive.map_or(engine.keepalive_timeout, |keep_alive| keep_alive.timeout);
    engine.limits.exchanges = outbound.side.max_in_flight.max(inbound.side.max_in_flight);
    engine.limits.queue = outbound.side.queue_capacity;
    engine.limits.idle_connections =
        outbound.side.max_idle_per_endpoint.max(inbound.side.max_idle_per_endpoint);
    engine.limits.http.http2.stream_window_bytes = config.http2.initial_stream_window;
    engine.limits.http.http2.connection_window_bytes = config.http2.initial_connection_window;
    if let Some(streams) = config.http2.max_concurrent_streams {
        engine.limits.http.http2.max_concurrent_streams = streams;
    }
    engine.outbound = weft_engine::Outbound {
        listen: outbound.side.listen.clone(),
        detect_timeout: outbound.side.detect_timeout,
        connect_timeout: outbound.side.connect_timeout,
        backoff: backoff(outbound.side.connect_backoff),
        failfast_timeout: outbound.side.failfast_timeout,
        pool_idle: outbound.side.pool_idle_timeout,
        discovery_idle: outbound.side.discovery_idle_timeout,
        informational_headers: !outbound.disable_informational_headers,
        allow_loopback: config.allow_loopback,
    };
    engine.inbound = weft_engine::Inbound {
        listen_port: inbound.side.listen.first().map_or(4143, std::net::SocketAddr::port),
        ips: inbound.ips.clone(),
        detect_timeout: inbound.side.detect_timeout,
        connect_timeout: inbound.side.connect_timeout,
        backoff: backoff(inbound.side.connect_backoff),
        pool_idle: inbound.side.pool_idle_timeout,
        discovery_idle: inbound.side.discovery_idle_timeout,
        default_policy: server(false),
        default_opaque_policy: server(true),
        opaque_ports: inbound.opaque_ports.clone(),
        ports: inbound.ports.clone(),
    };
    engine
}
