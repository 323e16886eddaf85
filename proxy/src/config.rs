//! The proxy's configuration: `LINKERD2_PROXY_*` as a stock injector sets them, parsed once into final types.
//!
//! [`Config::from_env`] reads every variable before it answers, so that all problems are reported at once. Nothing else in
//! the proxy reads the environment.

pub mod parse;
pub mod problems;
mod read;

use parse::ControlAddr;
pub use problems::{Problem, Problems};
use std::{net::IpAddr, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};
use weft_names::{Cidr, DnsName, IdentityName, PortSet};

/// Every variable starts with this.
pub const PREFIX: &str = "LINKERD2_PROXY_";

/// Where variables come from: the process's environment, or a map in tests.
pub trait Env {
    /// The value of `variable`, if it is set.
    fn get(&self, variable: &str) -> Option<String>;
    /// The names of all variables that start with [`PREFIX`].
    fn names(&self) -> Vec<String>;
}

/// The environment of this process.
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, variable: &str) -> Option<String> {
        std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
    }
    fn names(&self) -> Vec<String> {
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(PREFIX)).collect()
    }
}

impl Env for std::collections::BTreeMap<String, String> {
    fn get(&self, variable: &str) -> Option<String> {
        std::collections::BTreeMap::get(self, variable).cloned()
    }
    fn names(&self) -> Vec<String> {
        self.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect()
    }
}

/// Everything the proxy is told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Log filter and format.
    pub log: Log,
    /// Data threads; from `CORES`, `CORES_MIN`, `CORES_MAX`, `CORES_MAX_RATIO`, capped to the host's CPUs. Default 1.
    pub cores: NonZeroUsize,
    /// How long connections may take to end after SIGTERM. Default 2 minutes.
    pub shutdown_grace: Duration,
    /// Whether `POST /shutdown` is answered. Default no.
    pub shutdown_endpoint: bool,
    /// The admin server's address. Default `127.0.0.1:4191`.
    pub admin_listen: SocketAddr,
    /// Outbound side.
    pub outbound: Outbound,
    /// Inbound side.
    pub inbound: Inbound,
    /// HTTP/2 windows of both sides.
    pub http2: Http2,
    /// Who this proxy is and how it gets its certificate.
    pub identity: Identity,
    /// Control-plane services.
    pub control: Control,
    /// Mark of the connections we make, so that redirect rules can let them pass where there is no uid of our own
    /// (`WEFT_SOCKET_MARK`, ours). Default: none.
    pub socket_mark: Option<u32>,
    /// Outbound listeners for one target each (`WEFT_OUTBOUND_TARGETS`, ours): for machines where nothing can be redirected.
    /// Default: none.
    pub outbound_targets: Vec<(SocketAddr, SocketAddr)>,
    /// Carry outbound connections to loopback addresses (`WEFT_ALLOW_LOOPBACK`, ours): where everything is on loopback, without
    /// redirection. Default: no.
    pub allow_loopback: bool,
    /// Variables that start with [`PREFIX`] and mean nothing to this proxy, for a warning.
    pub unknown: Vec<String>,
}

/// Log settings.
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives. Default `warn,linkerd=info,weft=info`.
    pub filter: String,
    /// JSON instead of plain lines.
    pub json: bool,
}

/// Socket and queue settings common to both sides.
#[derive(Clone, Debug)]
pub struct Side {
    /// Listening addresses.
    pub listen: Vec<SocketAddr>,
    /// Listen backlog; the system's default when unset.
    pub backlog: Option<u32>,
    /// TCP keepalive of accepted connections.
    pub accept_keepalive: Option<Duration>,
    /// TCP keepalive of connections we make.
    pub connect_keepalive: Option<Duration>,
    /// `TCP_USER_TIMEOUT` of accepted connections.
    pub accept_user_timeout: Option<Duration>,
    /// `TCP_USER_TIMEOUT` of connections we make.
    pub connect_user_timeout: Option<Duration>,
    /// How long a connect may take, handshake excluded.
    pub connect_timeout: Duration,
    /// Wait between attempts to reach an endpoint.
    pub connect_backoff: Backoff,
    /// How long a protocol may take to show itself. Default 10 s.
    pub detect_timeout: Duration,
    /// Requests that may wait for an endpoint. Default 10,000.
    pub queue_capacity: usize,
    /// How long requests may wait before the queue fails fast. Default 3 s outbound, 1 s inbound.
    pub failfast_timeout: Duration,
    /// Requests in flight per accepted connection. Default 100,000.
    pub max_in_flight: usize,
    /// Idle HTTP/1 connections kept per endpoint. Default 10,000.
    pub max_idle_per_endpoint: usize,
    /// How long an idle HTTP/1 connection is kept. Default 3 s.
    pub pool_idle_timeout: Duration,
    /// How long discovery results stay after the last use. Default 5 s outbound, 90 s inbound.
    pub discovery_idle_timeout: Duration,
    /// PING keepalive of accepted HTTP/2 connections.
    pub http2_keep_alive: Option<KeepAlive>,
}

/// Exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// First wait.
    pub min: Duration,
    /// Longest wait.
    pub max: Duration,
    /// Random addition, as a ratio of the wait.
    pub jitter: f64,
}

/// HTTP/2 PING keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Between PINGs.
    pub interval: Duration,
    /// For the answer.
    pub timeout: Duration,
}

/// Outbound settings.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Shared settings.
    pub side: Side,
    /// Leave `l5d-proxy-error` out of responses.
    pub disable_informational_headers: bool,
    /// Networks whose addresses are looked up as service profiles. Empty: none.
    pub profile_networks: Vec<Cidr>,
    /// Add the request's host to route metrics.
    pub hostname_labels: bool,
    /// Ingress mode, which this version refuses.
    pub ingress_mode: bool,
}

/// Inbound settings.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Shared settings.
    pub side: Side,
    /// What is allowed until the control plane has spoken. Default `all-unauthenticated`.
    pub default_policy: weft_policy::inbound::DefaultPolicy,
    /// What `cluster-*` policies mean by the cluster.
    pub cluster_networks: Vec<Cidr>,
    /// Ports whose policy is watched from the start.
    pub ports: PortSet,
    /// Ports that are opaque until the control plane has spoken.
    pub opaque_ports: PortSet,
    /// Addresses of this pod; empty means any. They also mark outbound endpoints that are this very pod.
    pub ips: Vec<IpAddr>,
    /// Names eligible for inbound profile lookup.
    pub profile_suffixes: Vec<DnsName>,
}

/// HTTP/2 settings.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Default 65,535.
    pub initial_stream_window: u32,
    /// Default 1 MiB.
    pub initial_connection_window: u32,
    /// Concurrent streams accepted per connection; unset leaves weft's own limit.
    pub max_concurrent_streams: Option<u32>,
}

/// Identity settings.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who we are.
    pub local: IdentityName,
    /// The SNI by which peers reach us.
    pub server_name: DnsName,
    /// PEM bundle of trust anchors.
    pub trust_anchors: String,
    /// Holds `key.p8` and `csr.der`; made in memory where the files are not there.
    pub dir: Option<PathBuf>,
    /// Read again for each certificate request.
    pub token_file: PathBuf,
    /// Shortest wait before a renewal. Default 10 s.
    pub min_refresh: Duration,
    /// Longest wait before a renewal. Default 1 day.
    pub max_refresh: Duration,
}

/// A control-plane service: where it is and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlService {
    /// Where to connect.
    pub addr: ControlAddr,
    /// The identity it must prove; `None` only on loopback.
    pub name: Option<DnsName>,
}

/// Control-plane clients.
#[derive(Clone, Debug)]
pub struct Control {
    /// Destination.Get and GetProfile.
    pub destination: ControlService,
    /// OutboundPolicies and InboundServerPolicies.
    pub policy: ControlService,
    /// Identity.Certify.
    pub identity: ControlService,
    /// Sent verbatim with destination requests.
    pub destination_context: String,
    /// Sent verbatim with policy requests.
    pub policy_workload: String,
    /// Wait for the first message of a stream.
    pub stream_initial_timeout: Option<Duration>,
    /// Longest silence of a stream.
    pub stream_idle_timeout: Option<Duration>,
    /// Longest life of a stream.
    pub stream_lifetime: Option<Duration>,
    /// How long an inbound profile may take before requests go on without it. Default 500 ms.
    pub profile_initial_timeout: Duration,
}

#[cfg(test)]
mod tests;
