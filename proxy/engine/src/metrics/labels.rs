//! What blocks are counted for, as values.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_names::Meta;
use weft_policy::outbound::Endpoint;

use crate::io::Side;

/// How a connection is secured, and with whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Mutual TLS: the peer's identity.
    Mutual(Arc<str>),
    /// TLS that ends here, but the client showed no identity.
    NoIdentity,
    /// TLS that is somebody else's, carried through; with the name it asked for.
    Passthrough(Option<Arc<str>>),
    /// None; with Linkerd's reason (`no_tls_reason`).
    None(&'static str),
}

/// `no_tls_reason`: the client sent plaintext.
pub const NO_TLS_FROM_REMOTE: &str = "no_tls_from_remote";
/// `no_tls_reason`: the port is opaque, TLS was not looked for.
pub const PORT_SKIPPED: &str = "port_skipped";
/// `no_tls_reason`: the endpoint has no identity.
pub const NOT_PROVIDED: &str = "not_provided_by_service_discovery";
/// `no_tls_reason`: the endpoint is this pod, or the connection is the application's own.
pub const LOOPBACK: &str = "loopback";

/// Which end of the proxy a transport is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The client's connection.
    Source,
    /// A connection that the proxy made.
    Destination,
}

/// `tcp_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportLabels {
    /// `direction`.
    pub side: Side,
    /// `peer`.
    pub peer: Peer,
    /// `target_addr`, `target_ip`, `target_port`.
    pub target: SocketAddr,
    /// `tls`, `client_id` or `server_id`, `sni`, `no_tls_reason`.
    pub tls: Tls,
    /// `srv_*`, of inbound clients.
    pub server: Option<Arc<Meta>>,
    /// `dst_*`, of outbound endpoints.
    pub endpoint: Option<Arc<Endpoint>>,
}

/// Outbound `request_total`, `response_total`, `response_latency_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointLabels {
    /// `target_*` and `dst_*`.
    pub endpoint: Arc<Endpoint>,
    /// `tls`, `server_id`, `no_tls_reason`.
    pub tls: Tls,
}

/// `outbound_{http,grpc}_route_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteLabels {
    /// `parent_*`.
    pub parent: Arc<Meta>,
    /// `route_*`.
    pub route: Arc<Meta>,
    /// In the gRPC families, not the HTTP ones.
    pub grpc: bool,
}

/// `outbound_{http,grpc}_route_backend_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteBackendLabels {
    /// `parent_*`, `route_*`.
    pub route: RouteLabels,
    /// `backend_*`.
    pub backend: Arc<Meta>,
}

/// `outbound_tcp_protocol_connections`, `outbound_tcp_detect_http_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParentLabels {
    /// `parent_*`.
    pub parent: Arc<Meta>,
}

/// `outbound_{http,tcp}_balancer_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BalancerLabels {
    /// In the HTTP families, not the TCP ones.
    pub http: bool,
    /// `backend_*`.
    pub backend: Arc<Meta>,
    /// The destination path that is resolved; `concrete` of the TCP families.
    pub path: Arc<str>,
}

/// `inbound_*` families that are counted per server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerLabels {
    /// `srv_*`, `parent_*`.
    pub server: Arc<Meta>,
    /// `target_port`.
    pub port: u16,
}

/// `inbound_{http,grpc}_*` per route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboundRouteLabels {
    /// `parent_*`.
    pub server: Arc<Meta>,
    /// `route_*`.
    pub route: Arc<Meta>,
    /// In the gRPC families, not the HTTP ones.
    pub grpc: bool,
}

/// Inbound `request_total` and the like, `inbound_http_authz_allow_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PermitLabels {
    /// `target_*`.
    pub target: SocketAddr,
    /// `srv_*`.
    pub server: Arc<Meta>,
    /// `route_*`.
    pub route: Arc<Meta>,
    /// `authz_*`.
    pub authorization: Arc<Meta>,
    /// `tls`, `client_id`, `no_tls_reason`.
    pub tls: Tls,
}

/// `inbound_tcp_transport_header_connections`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportHeaderLabels {
    /// `session_protocol`: `http/1`, `http/2` or empty.
    pub session_protocol: &'static str,
    /// `target_port`.
    pub target_port: u16,
    /// `target_name`.
    pub target_name: Option<Arc<str>>,
    /// `client_id`.
    pub client_id: Arc<str>,
}

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerLabels {
    /// From 0.
    pub worker: u32,
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident $label:literal;)*) => {
        /// What went wrong with a connection that could not be answered: a closed set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// All of them, in order of `kind as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];
            /// How many.
            pub const COUNT: usize = Self::ALL.len();

            /// `error` of `{in,out}bound_tcp_errors_total`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }
    };
}

error_kinds! {
    /// No endpoint became ready in time.
    FailFast "failfast";
    /// A bound was met, or there is no backend.
    LoadShed "loadshed";
    /// TLS could not be detected in time.
    TlsDetectTimeout "tls detection timeout";
    /// Connecting failed, a connection broke, or a peer broke the protocol.
    Io "i/o";
    /// Anything else.
    Unexpected "unexpected";
}
