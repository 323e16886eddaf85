//! Services: names that workloads are reached by.

use super::page::page;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Namespace.
    #[schema(example = "default")]
    pub namespace: String,
    /// Name.
    #[schema(example = "web")]
    pub name: String,
    /// The DNS name.
    #[schema(example = "web.default.svc.cluster.local")]
    pub host: String,
    /// The virtual address, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "10.96.0.2")]
    pub address: Option<String>,
    /// The ports.
    pub ports: Vec<Port>,
    /// How many endpoints it has.
    pub endpoints: u32,
    /// How many of them take traffic.
    pub ready_endpoints: u32,
    /// When it was first registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false, required = false)]
    pub created_at: Option<Timestamp>,
}

/// A port of a service or a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The number.
    #[schema(minimum = 1, example = 8080)]
    pub port: u16,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "http")]
    pub name: Option<String>,
    /// What the proxies take it for.
    pub protocol: Protocol,
}

/// What a proxy takes the bytes of a port for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Found out from the first bytes of each connection.
    #[default]
    Detect,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// TLS that is not ours, passed on by its server name.
    Tls,
    /// Bytes, passed on.
    Opaque,
}

page!(ServicePage of Service, "services, by namespace and name");

impl Protocol {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tls => "tls",
            Self::Opaque => "opaque",
        }
    }
}
