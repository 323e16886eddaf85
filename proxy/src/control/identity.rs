//! Our certificate: key and request made at start, certified by the identity service, renewed for ever.

use super::{
    Shared,
    schedule::{Attempts, renewal},
};
use crate::{config, readiness::Readiness};
use linkerd2_proxy_api::identity::{CertifyRequest, CertifyResponse, identity_client::IdentityClient};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tonic::{Status, transport::Channel};
use weft_names::IdentityName;
use weft_net::tls::{Identity, IdentityError, Issued, Roots, WallClock};

/// How long the identity service may take to answer.
const CERTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest token read, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// The private key and the request to certify it. The key lives as long as the process.
pub struct KeyAndRequest {
    /// PKCS#8 DER.
    key: Vec<u8>,
    /// PKCS#10 DER.
    csr: Vec<u8>,
}

/// Why there is no key or request.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file is there and cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Only one of the two files is there.
    #[error("{dir} holds only one of key.p8 and csr.der; put both there, or neither to have them made")]
    Half {
        /// The directory.
        dir: PathBuf,
    },
    /// Making the key or the request failed.
    #[error("making a key and a certificate request")]
    Make(#[from] rcgen::Error),
}

/// Why a certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The token cannot be read.
    #[error("reading the token {path}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The service refused or could not be reached.
    #[error("the identity service answered {code:?}: {message}")]
    Refused {
        /// gRPC status.
        code: tonic::Code,
        /// Its reason.
        message: String,
    },
    /// The service did not answer.
    #[error("the identity service did not answer within {CERTIFY_TIMEOUT:?}")]
    Timeout,
    /// The answer has no certificate that we could use.
    #[error("the identity service sent a certificate that cannot be used")]
    Unusable(#[source] IdentityError),
}

impl KeyAndRequest {
    /// From `key.p8` and `csr.der` where an init helper has left them, else made now, in memory only.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load_or_make(config: &config::Identity) -> Result<Self, KeyError> {
        if let Some(dir) = &config.dir {
            let read = |name: &str| match fs::read(dir.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(KeyError::Read { path: dir.join(name), source }),
            };
            match (read("key.p8")?, read("csr.der")?) {
                (Some(key), Some(csr)) => return Ok(Self { key, csr }),
                (None, None) => {}
                _ => return Err(KeyError::Half { dir: dir.clone() }),
            }
        }
        Ok(Self::make(&config.local)?)
    }

    /// A P-256 key, and a request with the identity as common name and only name.
    fn make(name: &IdentityName) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = match name {
            IdentityName::Dns(name) => CertificateParams::new([name.as_str().to_owned()])?,
            IdentityName::Spiffe(id) => {
                let mut params = CertificateParams::default();
                params.subject_alt_names.push(rcgen::SanType::URI(id.to_string().try_into()?));
                params
            }
        };
        params.distinguished_name.push(DnType::CommonName, name.to_string());
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { key: key.serialize_der(), csr })
    }
}

/// For the metrics page.
#[derive(Debug, Default)]
pub struct IdentityStats {
    /// When the certificate expires, seconds since 1970; 0 before there is one.
    pub expires: AtomicU64,
    /// When it was last renewed.
    pub refreshed: AtomicU64,
    /// Certificates got.
    pub succeeded: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
}

/// Certifies, installs, waits, renews. Never returns.
pub async fn keep_certified(
    config: config::Identity,
    material: KeyAndRequest,
    roots: Roots,
    channel: Channel,
    backoff: config::Backoff,
    shared: Arc<Shared>,
    readiness: Arc<Readiness>,
) {
    let mut client = IdentityClient::new(channel);
    let mut attempts = Attempts::new(backoff);
    let mut expires: Option<Duration> = None;
    readiness.waiting("the first certificate from the identity service");
    loop {
        let outcome = certify(&config, &material, &roots, &mut client).await;
        let wait = match outcome {
            Ok(identity) => {
                attempts.succeeded();
                let remaining = identity.expires().saturating_sub(unix_now());
                expires = Some(identity.expires());
                shared.identity_stats.expires.store(identity.expires().as_secs(), Relaxed);
                shared.identity_stats.refreshed.store(unix_now().as_secs(), Relaxed);
                shared.identity_stats.succeeded.fetch_add(1, Relaxed);
                let wait = renewal(remaining, config.min_refresh, config.max_refresh);
                tracing::info!(id = %identity.name(), expires_in = ?remaining, renewal_in = ?wait, "certified");
                shared.install(identity);
                readiness.ready();
                wait
            }
            Err(error) => {
                shared.identity_stats.failed.fetch_add(1, Relaxed);
                let error = crate::error_chain(&error);
                let wait = match expires {
                    // The old certificate goes on: as far from its end as a renewal would be.
                    Some(expires) => {
                        renewal(expires.saturating_sub(unix_now()), config.min_refresh, config.max_refresh)
                    }
                    None => attempts.failed(rand::random()),
                };
                tracing::warn!(%error, retry_in = ?wait, "not certified");
                readiness.waiting(format!(
                    "the first certificate from the identity service; last attempt: {error}"
                ));
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn certify(
    config: &config::Identity,
    material: &KeyAndRequest,
    roots: &Roots,
    client: &mut IdentityClient<Channel>,
) -> Result<Identity, CertifyError> {
    let token = read_token(&config.token_file)
        .map_err(|source| CertifyError::Token { path: config.token_file.clone(), source })?;
    let request = CertifyRequest {
        identity: config.local.to_string(),
        token,
        certificate_signing_request: material.csr.clone(),
    };
    let response = tokio::time::timeout(CERTIFY_TIMEOUT, client.certify(request))
        .await
        .map_err(|_| CertifyError::Timeout)?;
    let CertifyResponse { leaf_certificate, intermediate_certificates, .. } =
        response.map_err(|status| refused(&status))?.into_inner();
    let chain = std::iter::once(leaf_certificate).chain(intermediate_certificates).collect();
    let issued = Issued { chain, key: material.key.clone() };
    Identity::new(config.local.clone(), config.server_name.clone(), issued, roots.clone(), WallClock::System)
        .map_err(CertifyError::Unusable)
}

fn refused(status: &Status) -> CertifyError {
    CertifyError::Refused { code: status.code(), message: super::status_text(status) }
}

/// Tokens are renewed in place, so each request reads the file again.
fn read_token(path: &std::path::Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut token = Vec::new();
    fs::File::open(path)?.take(MAX_TOKEN).read_to_end(&mut token)?;
    while token.last().is_some_and(u8::is_ascii_whitespace) {
        token.pop();
    }
    if token.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    Ok(token)
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_for_both_forms_of_names() {
        for name in ["web.default.serviceaccount.identity.linkerd.cluster.local", "spiffe://root.linkerd/web"]
        {
            let made = KeyAndRequest::make(&name.parse().unwrap()).unwrap();
            let csr = rcgen::CertificateSigningRequestParams::from_der(&made.csr.into()).unwrap();
            assert_eq!(csr.params.subject_alt_names.len(), 1, "{name}");
        }
    }

    #[test]
    fn a_token_is_trimmed_and_must_not_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "abc\n").unwrap();
        assert_eq!(read_token(&path).unwrap(), b"abc");
        fs::write(&path, "\n").unwrap();
        assert!(read_token(&path).is_err());
    }
}
