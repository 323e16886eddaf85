//! What a control plane says about itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether the control plane does its work, part by part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether no check failed. Degraded parts leave it ready.
    pub ready: bool,
    /// Every part that can fail.
    pub checks: Vec<Check>,
    /// What is wrong with the manifests; the last good ones stay in force.
    pub problems: Vec<ManifestProblem>,
}

/// One part of a control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which part, such as `store`.
    #[schema(example = "store")]
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// It works.
    Ok,
    /// It works in part; what runs goes on.
    Degraded,
    /// It does not work.
    Failed,
}

/// Something in a manifest that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestProblem {
    /// The file.
    #[schema(example = "policy/web.yaml")]
    pub file: String,
    /// The line, counted from 1, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub line: Option<u32>,
    /// The object, such as `Server default/web`, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub object: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// What is running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The product.
    #[schema(example = "weft")]
    pub product: String,
    /// Its version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The version of this API.
    #[schema(example = "v1")]
    pub api: String,
    /// The schema of the state.
    pub schema: i64,
    /// The mesh's trust domain.
    #[schema(example = "cluster.local")]
    pub trust_domain: String,
}

impl CheckState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}
