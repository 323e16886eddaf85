//! `io.linkerd.proxy.identity.Identity/Certify`: the gRPC shell around [`Authority::certify`].

use super::authority::{Authority, Certified, CertifyError, Request};
use crate::mesh_tls::Peer;
use jiff::Timestamp;
use linkerd2_proxy_api::identity::{CertifyRequest, CertifyResponse, identity_server::Identity};
use prost_types::Timestamp as PbTimestamp;
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Semaphore;
use tonic::{Response, Status};

/// Most requests worked on at once; a further one is answered with `Unavailable`: 256. A proxy tries again.
pub const MAX_CERTIFY_AT_ONCE: usize = 256;

/// The service, for `IdentityServer::new`.
#[derive(Debug)]
pub struct IdentityService {
    authority: Arc<Authority>,
    outcomes: Arc<Outcomes>,
    pub(super) permits: Semaphore,
}

/// What became of a request; a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A certificate was issued.
    Issued,
    /// A field was empty or no identity.
    BadRequest,
    /// The certificate signing request was refused.
    BadCsr,
    /// The join token was refused.
    BadToken,
    /// The issuer, the state or the system failed.
    Failed,
    /// [`MAX_CERTIFY_AT_ONCE`] was reached.
    Busy,
}

/// How many requests ended how.
#[derive(Debug, Default)]
pub struct Outcomes([AtomicU64; Outcome::ALL.len()]);

impl IdentityService {
    /// A service for this authority that counts into `outcomes`.
    pub fn new(authority: Arc<Authority>, outcomes: Arc<Outcomes>) -> Self {
        Self { authority, outcomes, permits: Semaphore::new(MAX_CERTIFY_AT_ONCE) }
    }

    async fn answer(&self, request: &CertifyRequest, peer: &str) -> Result<Certified, Status> {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.outcomes.count(Outcome::Busy);
            return Err(Status::unavailable("too many certificates are being issued, try again"));
        };
        let CertifyRequest { identity, token, certificate_signing_request } = request;
        let request = Request { identity, token, csr: certificate_signing_request, requester: peer };
        match self.authority.certify(request, Timestamp::now()).await {
            Ok(certified) => {
                self.outcomes.count(Outcome::Issued);
                tracing::info!(
                    peer,
                    identity,
                    serial = certified.issued.serial.to_hex(),
                    not_after = %certified.issued.not_after,
                    "issued a certificate"
                );
                Ok(certified)
            }
            Err(error) => {
                self.outcomes.count(error.outcome());
                let reason = reason(&error);
                tracing::warn!(peer, identity, reason, "refused a certificate");
                Err(Status::new(error.code(), reason))
            }
        }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn certify(
        &self,
        request: tonic::Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let peer =
            request.extensions().get::<Peer>().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let Certified { issued, intermediates } = self.answer(request.get_ref(), &peer).await?;
        Ok(Response::new(CertifyResponse {
            leaf_certificate: issued.leaf,
            intermediate_certificates: intermediates,
            valid_until: Some(PbTimestamp { seconds: issued.not_after.as_second(), nanos: 0 }),
        }))
    }
}

/// The error and its causes in one line, with what to do where it is known.
fn reason(error: &CertifyError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if let CertifyError::Store(error) = error {
        text.push_str("; ");
        text.push_str(error.advice());
    }
    text
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome, in order of declaration.
    pub const ALL: [Self; 6] =
        [Self::Issued, Self::BadRequest, Self::BadCsr, Self::BadToken, Self::Failed, Self::Busy];

    /// The word in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::BadRequest => "bad_request",
            Self::BadCsr => "bad_csr",
            Self::BadToken => "bad_token",
            Self::Failed => "failed",
            Self::Busy => "busy",
        }
    }
}

impl CertifyError {
    /// How it is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Missing(_) | Self::Identity(..) => Outcome::BadRequest,
            Self::Csr { .. } => Outcome::BadCsr,
            Self::Token { .. } => Outcome::BadToken,
            Self::IssuerNotValid { .. } | Self::Store(_) | Self::Sign(_) | Self::Random(_) => Outcome::Failed,
        }
    }
}

// === impl Outcomes ===

impl Outcomes {
    fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests ended so.
    pub fn value(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
