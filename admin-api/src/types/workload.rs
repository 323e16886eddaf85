//! Workloads: processes that are in the mesh.

use super::{page::page, service::Port};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A workload: one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Namespace.
    #[schema(example = "default")]
    pub namespace: String,
    /// Name.
    #[schema(example = "web-0")]
    pub name: String,
    /// The service it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "web")]
    pub service: Option<String>,
    /// The service account its identity is made of.
    #[schema(example = "web")]
    pub service_account: String,
    /// Its identity.
    #[schema(example = "web.default.serviceaccount.identity.linkerd.cluster.local")]
    pub identity: String,
    /// Its address.
    #[schema(example = "10.1.0.5")]
    pub address: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// It is removed at this time unless it is renewed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false, required = false)]
    pub lease_until: Option<Timestamp>,
    /// When it was first registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false, required = false)]
    pub created_at: Option<Timestamp>,
}

page!(WorkloadPage of Workload, "workloads, by namespace and name");
