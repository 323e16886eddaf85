//! Proxies: who is connected to this control plane.

use super::page::page;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A proxy that has at least one stream open to this control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Namespace of its workload.
    #[schema(example = "default")]
    pub namespace: String,
    /// Name of its workload.
    #[schema(example = "web-0")]
    pub name: String,
    /// The identity it proved, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "web.default.serviceaccount.identity.linkerd.cluster.local")]
    pub identity: Option<String>,
    /// Where it connects from.
    #[schema(example = "10.1.0.5:40112")]
    pub address: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false, required = false)]
    pub connected_at: Option<Timestamp>,
    /// Open discovery streams (endpoints and profiles).
    pub destination_streams: u32,
    /// Open policy streams.
    pub policy_streams: u32,
    /// The certificate issued to its identity last, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub certificate: Option<ProxyCertificate>,
}

/// The certificate a proxy should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyCertificate {
    /// Its serial number.
    pub serial: String,
    /// Valid until.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
}

page!(ProxyPage of Proxy, "proxies, by namespace and name");
