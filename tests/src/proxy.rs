//! A `weft-proxy`, told by its environment what a stock injector tells it, and nothing else.

use crate::{
    binaries,
    ca::identity,
    client::{Client, Reply, get},
    control::ControlPlane,
    metrics::Page,
    place::{PROXY_UID, Place},
    process::{Ended, Process},
    wait::until,
};
use rustix::process::Signal;
use std::{collections::BTreeMap, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf};
use tempfile::TempDir;

/// Where a proxy accepts what its application sends.
pub const OUTBOUND: u16 = 4140;
/// Where it accepts what is for its application.
pub const INBOUND: u16 = 4143;
/// Probes and metrics.
pub const ADMIN: u16 = 4191;
/// Where our own variable makes it listen for the first target, where nothing is redirected.
const FIRST_TARGET: u16 = 15_001;

/// A proxy yet to be started.
pub struct Builder {
    place: Place,
    account: String,
    variables: BTreeMap<String, String>,
    targets: Vec<SocketAddr>,
    files: TempDir,
}

/// A running proxy. Dropping it kills it.
pub struct Proxy {
    place: Place,
    account: String,
    process: Process,
    targets: Vec<SocketAddr>,
    files: TempDir,
}

impl Builder {
    /// For a workload of service account `account`, with the variables that a stock injector sets.
    ///
    /// # Panics
    /// When no files can be made.
    pub fn new(place: &Place, control: &ControlPlane, account: &str) -> Self {
        let files = TempDir::with_prefix("weft-test-proxy-").expect("a directory");
        // The proxy's own user reads what is in it, and writes its key there.
        std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        std::fs::write(files.path().join("token"), format!("token of {account}")).expect("a file");
        let identity_dir = files.path().join("identity");
        std::fs::create_dir(&identity_dir).expect("a directory");
        let mut builder = Self {
            place: place.clone(),
            account: account.to_owned(),
            variables: BTreeMap::new(),
            targets: Vec::new(),
            files,
        };
        let listen = |port: u16| -> SocketAddr {
            if place.is_namespace() { ([0_u16; 8], port).into() } else { place.at(port) }
        };
        let (outbound, ips) = if place.is_namespace() {
            ("127.0.0.1:4140,[::1]:4140".to_owned(), format!("{},{}", place.ip(), place.ip6()))
        } else {
            (place.at(OUTBOUND).to_string(), place.ip().to_string())
        };
        let workload = format!("{{\"ns\":\"default\", \"pod\":\"{account}-0\"}}\n");
        let networks = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";
        for (name, value) in [
            ("CORES", "1"),
            ("CORES_MIN", "1"),
            ("SHUTDOWN_ENDPOINT_ENABLED", "false"),
            ("LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
            ("LOG_FORMAT", "plain"),
            ("DESTINATION_PROFILE_NETWORKS", networks),
            ("POLICY_WORKLOAD", &workload),
            ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
            ("POLICY_CLUSTER_NETWORKS", networks),
            ("CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
            ("CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
            ("CONTROL_STREAM_LIFETIME", "1h"),
            ("INBOUND_CONNECT_TIMEOUT", "100ms"),
            ("OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
            ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
            ("INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
            ("CONTROL_LISTEN_ADDR", &listen(4190).to_string()),
            ("ADMIN_LISTEN_ADDR", &listen(ADMIN).to_string()),
            ("OUTBOUND_LISTEN_ADDR", outbound.split(',').next().unwrap_or_default()),
            ("OUTBOUND_LISTEN_ADDRS", &outbound),
            ("INBOUND_LISTEN_ADDR", &listen(INBOUND).to_string()),
            ("INBOUND_IPS", &ips),
            ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
            ("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
            ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
            ("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
            ("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
            ("OUTBOUND_METRICS_HOSTNAME_LABELS", "false"),
            ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
            ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
            ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
            ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
            ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306,4444,5432,6379,9300,11211"),
            ("DESTINATION_CONTEXT", "{\"ns\":\"default\", \"nodeName\":\"test\", \"pod\":\"test\"}\n"),
            ("IDENTITY_LOCAL_NAME", &identity(account)),
        ] {
            builder = builder.set(name, value);
        }
        let (token, directory) = (builder.token_file(), identity_dir.display().to_string());
        builder = builder.set("IDENTITY_TOKEN_FILE", token.display()).set("IDENTITY_DIR", directory);
        builder.variables.extend(control.environment());
        if !place.is_namespace() {
            builder.variables.insert("WEFT_ALLOW_LOOPBACK".into(), "true".into());
        }
        builder
    }

    /// The file with the token that proves who it is.
    pub fn token_file(&self) -> PathBuf {
        self.files.path().join("token")
    }

    /// Sets `LINKERD2_PROXY_` and this.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(format!("LINKERD2_PROXY_{name}"), value.to_string());
        self
    }

    /// Takes `LINKERD2_PROXY_` and this away.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Self {
        self.variables.remove(&format!("LINKERD2_PROXY_{name}"));
        self
    }

    /// A way to this address through the proxy, without redirection: see [`Proxy::to`].
    #[must_use]
    pub fn target(mut self, target: SocketAddr) -> Self {
        self.targets.push(target);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Proxy {
        let fixed: Vec<_> = (FIRST_TARGET..)
            .zip(&self.targets)
            .map(|(port, target)| format!("{}={target}", self.place.at(port)))
            .collect();
        if !fixed.is_empty() {
            self.variables.insert("WEFT_OUTBOUND_TARGETS".into(), fixed.join(","));
        }
        let mut program = binaries::path("weft-proxy");
        if self.place.is_namespace() {
            if !binaries::is_for_all(&program) {
                let copy = self.files.path().join("weft-proxy");
                std::fs::copy(&program, &copy).expect("a copy");
                program = copy;
            }
            let user = Some(PROXY_UID);
            std::os::unix::fs::chown(self.files.path().join("identity"), user, user).expect("root");
        }
        let mut command = self.place.command_as(PROXY_UID, program);
        command.env_clear().envs(&self.variables);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let process = Process::spawn(&format!("proxy of {}", self.account), &mut command);
        Proxy { place: self.place, account: self.account, process, targets: self.targets, files: self.files }
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Proxy {
        let mut proxy = self.start();
        proxy.wait_until_ready().await;
        proxy
    }
}

impl Proxy {
    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its identity.
    pub fn identity(&self) -> String {
        identity(&self.account)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The file with the token that proves who it is.
    pub fn token_file(&self) -> PathBuf {
        self.files.path().join("token")
    }

    /// Where to connect to reach a target through it.
    ///
    /// # Panics
    /// When it was not told of the target.
    pub fn to(&self, target: SocketAddr) -> SocketAddr {
        let at =
            self.targets.iter().position(|known| *known == target).expect("a target it was started with");
        self.place.at(FIRST_TARGET + u16::try_from(at).expect("a few targets"))
    }

    /// Where it accepts mesh connections.
    pub fn inbound(&self) -> SocketAddr {
        self.place.at(INBOUND)
    }

    /// Where its admin server is, seen from its own place.
    pub fn admin(&self) -> SocketAddr {
        self.place.at(ADMIN)
    }

    /// Waits until `/ready` says so.
    ///
    /// # Panics
    /// When it does not in time, or the proxy ends.
    pub async fn wait_until_ready(&mut self) {
        let (place, admin) = (self.place.clone(), self.admin());
        let process = &mut self.process;
        until("a proxy that is ready", || {
            assert!(process.ended().is_none(), "the proxy has ended: {}", process.lines().join("\n"));
            let place = place.clone();
            async move { (probe(&place, admin, "/ready").await?.status == 200).then_some(()) }
        })
        .await;
    }

    /// Asks its admin server; none while nobody listens.
    pub async fn ask(&self, path: &str) -> Option<Reply> {
        probe(&self.place, self.admin(), path).await
    }

    /// Its metrics page.
    ///
    /// # Panics
    /// When there is none, or it cannot be read.
    pub async fn metrics(&self) -> Page {
        let reply = self.ask("/metrics").await.expect("an admin server");
        Page::parse(&reply.text()).unwrap_or_else(|wrong| panic!("{wrong}\n{}", reply.text()))
    }

    /// Waits until its metrics are as they should be.
    ///
    /// # Panics
    /// When they do not become so, showing the page's samples of `name`.
    pub async fn wait_for_metrics(&self, name: &str, mut look: impl FnMut(&Page) -> bool) -> Page {
        let deadline = std::time::Instant::now() + crate::wait::PATIENCE;
        loop {
            let page = self.metrics().await;
            if look(&page) {
                return page;
            }
            let late = std::time::Instant::now() >= deadline;
            assert!(!late, "{} is not as it should be:\n{}", name, page.describe(name));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        tokio::task::spawn_blocking(move || self.process.wait()).await.expect("no panic")
    }

    /// Waits for a line of its log with all of `parts`.
    ///
    /// # Panics
    /// When none comes.
    pub async fn wait_for_line(&mut self, parts: &[&str]) -> String {
        let process = &self.process;
        let line = until(format!("a line with {parts:?}"), || async { process.line(parts) });
        line.await
    }
}

async fn probe(place: &Place, admin: SocketAddr, path: &str) -> Option<Reply> {
    let stream = crate::client::try_connect(place, admin).await.ok()?;
    let mut client = Client::over(stream, http::Version::HTTP_11).await;
    client.try_send(get(&format!("http://{admin}{path}"))).await.ok()
}
