//! The trust anchors.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The certificates whose issued chains are believed: at least one.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

/// Why a bundle of trust anchors is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It is not PEM.
    #[error("the trust anchors are not PEM certificates")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// One of the certificates is malformed.
    #[error("trust anchor {number} of the bundle is not a certificate")]
    Certificate {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// There is none.
    #[error("the bundle has no trust anchor")]
    Empty,
}

impl Roots {
    /// From a PEM bundle, as in `LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS`. Sections that are no certificates are skipped.
    ///
    /// # Errors
    /// See [`RootsError`].
    pub fn from_pem(bundle: &[u8]) -> Result<Self, RootsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
        Self::new(certificates.map_err(RootsError::Pem)?)
    }

    /// From DER certificates.
    ///
    /// # Errors
    /// See [`RootsError`].
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, RootsError> {
        Self::new(certificates.into_iter().map(CertificateDer::from))
    }

    fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            store.add(certificate).map_err(|source| RootsError::Certificate { number: index + 1, source })?;
        }
        if store.is_empty() { Err(RootsError::Empty) } else { Ok(Self(Arc::new(store))) }
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.0
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}
