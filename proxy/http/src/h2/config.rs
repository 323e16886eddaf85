//! What a connection is made with.

use std::time::Duration;

use super::settings;
use crate::limits;

/// Settings of connections, shared by all of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub(super) limits: limits::Http2,
    pub(super) head: limits::Head,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) connect_protocol: bool,
}

/// When to ask a silent peer whether it is there (PING), and how long to wait for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before a PING is sent. Default: 10 s.
    pub interval: Duration,
    /// Silence after it before the connection is given up. Default: 3 s.
    pub timeout: Duration,
    /// Also when no stream is open. Default: true.
    pub while_idle: bool,
}

impl Default for Keepalive {
    /// As Linkerd's charts set it.
    fn default() -> Self {
        Keepalive { interval: Duration::from_secs(10), timeout: Duration::from_secs(3), while_idle: true }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new(limits::Http2::default(), limits::Head::default())
    }
}

impl Config {
    /// With these bounds, keep-alive as by default, and extended CONNECT allowed. Values that the protocol
    /// cannot express are brought into its range.
    #[must_use]
    pub fn new(limits: limits::Http2, head: limits::Head) -> Self {
        Config {
            limits: settings::in_range(limits),
            head,
            keepalive: Some(Keepalive::default()),
            connect_protocol: true,
        }
    }

    /// With another keep-alive, or none.
    #[must_use]
    pub fn with_keepalive(self, keepalive: Option<Keepalive>) -> Self {
        Config { keepalive, ..self }
    }

    /// Whether a server allows extended CONNECT (RFC 8441).
    #[must_use]
    pub fn with_connect_protocol(self, allowed: bool) -> Self {
        Config { connect_protocol: allowed, ..self }
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &limits::Http2 {
        &self.limits
    }
}
