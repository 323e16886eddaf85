//! What a worker is told once, at its start. Final types only; where the values come from is the proxy's business.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weft_names::PortSet;
use weft_policy::inbound::ServerPolicy;

use crate::limits::Limits;

/// The settings of a worker. Linkerd's variables are named where they exist (without `LINKERD2_PROXY_`).
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of this worker, from 0.
    pub worker: u32,
    /// Bounds.
    pub limits: Limits,
    /// The application's connections into the mesh.
    pub outbound: Outbound,
    /// The mesh's connections to the application.
    pub inbound: Inbound,
    /// How long a client may take to send a head once it has begun one, and the rest of a request that is answered already.
    /// Default: 30 s.
    pub head_timeout: Duration,
    /// How long a peer may take over its part of a TLS handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// How long a connection may wait for its target's policy. Default: 10 s.
    pub discover_timeout: Duration,
    /// How long a connection that is answered and done with waits for the client to notice. Default: 5 s.
    pub discard_timeout: Duration,
    /// How often HTTP/2 peers are asked whether they are there (`*_HTTP2_KEEP_ALIVE_INTERVAL`); none: never.
    /// Default: 10 s, when a stream is open.
    pub keepalive_interval: Option<Duration>,
    /// How long they may take to answer. Default: 3 s.
    pub keepalive_timeout: Duration,
    /// How long an HTTP peer may take nothing of what is for it (a full socket, a window of zero) before it is given up.
    /// Opaque connections may stand still for ever. Default: 5 min.
    pub stall_timeout: Duration,
    /// How long open connections may go on after [`crate::Worker::drain`] (`SHUTDOWN_GRACE_PERIOD`). Default: 2 min.
    pub drain_grace: Duration,
}

/// Settings of the outbound side.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where the proxy itself listens: connections meant for it would go round for ever.
    pub listen: Vec<SocketAddr>,
    /// Carry connections to loopback addresses too. For running without redirection only. Default: false.
    pub allow_loopback: bool,
    /// `OUTBOUND_DETECT_TIMEOUT`. Default: 10 s.
    pub detect_timeout: Duration,
    /// `OUTBOUND_CONNECT_TIMEOUT`, TLS included. Default: 1 s.
    pub connect_timeout: Duration,
    /// `OUTBOUND_CONNECT_EXP_BACKOFF_*`. Default: 100 ms, 60 s, 0.1.
    pub backoff: Backoff,
    /// `OUTBOUND_*_FAILFAST_TIMEOUT`: how long requests and connections wait while no endpoint is ready. Default: 3 s.
    pub failfast_timeout: Duration,
    /// `OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT`. Default: 3 s.
    pub pool_idle: Duration,
    /// `OUTBOUND_DISCOVERY_IDLE_TIMEOUT`. Default: 5 s.
    pub discovery_idle: Duration,
    /// Say why in `l5d-proxy-error` (not `OUTBOUND_DISABLE_INFORMATIONAL_HEADERS`). Default: true.
    pub informational_headers: bool,
}

/// Settings of the inbound side.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The port the proxy listens on. Connections that were meant for it begin with a transport header.
    pub listen_port: u16,
    /// `INBOUND_IPS`: the addresses of this pod; empty: any. Also the endpoints that are this pod itself.
    pub ips: Vec<IpAddr>,
    /// `INBOUND_DETECT_TIMEOUT`, for TLS and transport headers. Default: 10 s.
    pub detect_timeout: Duration,
    /// `INBOUND_CONNECT_TIMEOUT`. Default: 300 ms.
    pub connect_timeout: Duration,
    /// `INBOUND_CONNECT_EXP_BACKOFF_*`. Default: 100 ms, 10 s, 0.1.
    pub backoff: Backoff,
    /// `INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT`. Default: 3 s.
    pub pool_idle: Duration,
    /// `INBOUND_DISCOVERY_IDLE_TIMEOUT`. Default: 90 s.
    pub discovery_idle: Duration,
    /// In force for a port until its policy comes (`INBOUND_DEFAULT_POLICY`).
    pub default_policy: Arc<ServerPolicy>,
    /// The same for `opaque_ports`.
    pub default_opaque_policy: Arc<ServerPolicy>,
    /// `INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION`.
    pub opaque_ports: PortSet,
    /// `INBOUND_PORTS`: asked about at the start and kept for ever.
    pub ports: PortSet,
}

/// How long to wait before trying again: `min`, doubled each time up to `max`, plus a random part of up to `jitter` of
/// it, all together at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// Never more than this.
    pub max: Duration,
    /// Relative to the wait: 0 to 100.
    pub jitter: f64,
}

impl Backoff {
    /// The same for the balancer. What makes no sense becomes Linkerd's default.
    pub(crate) fn checked(self) -> weft_balance::Backoff {
        weft_balance::Backoff::new(self.min, self.max, self.jitter)
            .unwrap_or_else(|_| weft_balance::Backoff::connect())
    }
}

impl Config {
    /// Linkerd's defaults, with this policy for ports of which nothing is known.
    pub fn with_default_policy(policy: Arc<ServerPolicy>) -> Self {
        Self {
            worker: 0,
            limits: Limits::default(),
            outbound: Outbound {
                listen: Vec::new(),
                allow_loopback: false,
                detect_timeout: Duration::from_secs(10),
                connect_timeout: Duration::from_secs(1),
                backoff: Backoff {
                    min: Duration::from_millis(100),
                    max: Duration::from_secs(60),
                    jitter: 0.1,
                },
                failfast_timeout: Duration::from_secs(3),
                pool_idle: Duration::from_secs(3),
                discovery_idle: Duration::from_secs(5),
                informational_headers: true,
            },
            inbound: Inbound {
                listen_port: 4143,
                ips: Vec::new(),
                detect_timeout: Duration::from_secs(10),
                connect_timeout: Duration::from_millis(300),
                backoff: Backoff {
                    min: Duration::from_millis(100),
                    max: Duration::from_secs(10),
                    jitter: 0.1,
                },
                pool_idle: Duration::from_secs(3),
                discovery_idle: Duration::from_secs(90),
                default_opaque_policy: Arc::clone(&policy),
                default_policy: policy,
                opaque_ports: PortSet::default(),
                ports: PortSet::default(),
            },
            head_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            discover_timeout: Duration::from_secs(10),
            discard_timeout: Duration::from_secs(5),
            keepalive_interval: Some(Duration::from_secs(10)),
            keepalive_timeout: Duration::from_secs(3),
            stall_timeout: Duration::from_secs(300),
            drain_grace: Duration::from_secs(120),
        }
    }
}
