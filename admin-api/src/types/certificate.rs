//! Certificates, from the ledger.

use super::page::page;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The serial number, 32 hex digits.
    #[schema(example = "5f0e3c1b7d8a49e2b6c4d0f1a2938475", pattern = "^[0-9a-f]{32}$")]
    pub serial: String,
    /// Whose it is.
    #[schema(example = "web.default.serviceaccount.identity.linkerd.cluster.local")]
    pub identity: String,
    /// Whether it is valid now.
    pub state: CertificateState,
    /// Valid from.
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    /// Valid until.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// The number of the issuer that signed it.
    pub issuer_generation: i64,
    /// Who asked for it.
    #[schema(example = "10.1.0.5:40112")]
    pub requester: String,
    /// The join token that allowed it; none for the control plane's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token_id: Option<String>,
    /// SHA-256 of its DER, 64 hex digits.
    pub fingerprint: String,
}

/// Whether a certificate is valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// Now is in its validity.
    Valid,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
}

page!(CertificatePage of Certificate, "certificates, newest first");

impl CertificateState {
    /// The state at `now` of a certificate with this validity, both ends inclusive.
    pub fn at(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Self {
        if now < not_before {
            Self::NotYetValid
        } else if now > not_after {
            Self::Expired
        } else {
            Self::Valid
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
        }
    }
}
