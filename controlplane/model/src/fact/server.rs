//! `Server`: a port of some workloads that has a policy of its own.

use std::{fmt, sync::Arc};

use weft_policy::inbound::DefaultPolicy;

use super::{Id, Labels, Selector};
use crate::problem::Source;

/// A `Server` of `policy.linkerd.io`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name.
    pub id: Id,
    /// Its labels, by which ServerAuthorizations may select it.
    pub labels: Labels,
    /// `creationTimestamp`: of two Servers for one port the older wins. `None` is younger than any.
    pub created: Option<Arc<str>>,
    /// Whose port. `None`: Servers for external workloads select nothing here.
    pub pods: Option<Selector>,
    /// Which port.
    pub port: PortRef,
    /// What is spoken there.
    pub protocol: ServerProtocol,
    /// Who may connect without any authorization that names the Server.
    pub access: DefaultPolicy,
    /// Where it was written.
    pub source: Source,
}

/// A port by number, or by the name that the workload gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(Arc<str>),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => write!(f, "{port}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `spec.proxyProtocol` of a Server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerProtocol {
    /// `unknown`: detected per connection.
    #[default]
    Unknown,
    /// `HTTP/1`
    Http1,
    /// `HTTP/2`
    Http2,
    /// `gRPC`
    Grpc,
    /// `opaque`: bytes, never looked at.
    Opaque,
    /// `TLS`: TLS of the application's own, passed through.
    Tls,
}
