//! Certificate signing requests: two things are taken from one, its public key and the assurance that it asks for
//! the one name it may ask for.
//!
//! Everything else a request may carry (basic constraints, key usages, further extensions) is read past: the
//! certificate's contents are decided in [`issue`](super::issue()), so a request cannot ask for more.
//! Stricter than Linkerd: the request's own signature is verified, which proves that the sender has the key.

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use thiserror::Error;
use weft_names::IdentityName;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// Longest request in bytes: 16 KiB. A usual one has 300 to 400 bytes.
pub const MAX_CSR_LEN: usize = 16 * 1024;

/// A request that passed every check.
#[derive(Debug)]
pub struct Csr {
    identity: IdentityName,
    key: SubjectPublicKeyInfo,
}

/// Why a request is refused.
#[derive(Debug, Error)]
pub enum CsrError {
    /// Longer than [`MAX_CSR_LEN`].
    #[error("the request has {0} bytes, at most {MAX_CSR_LEN} are accepted")]
    TooLong(usize),
    /// Not PKCS#10 in DER, or something follows it.
    #[error("not a certificate signing request in DER")]
    Malformed,
    /// Not signed by the key it is for.
    #[error("the request is not signed by the key it contains")]
    Signature,
    /// The key is not ECDSA on P-256 or P-384.
    #[error("the key must be ECDSA on P-256 or P-384")]
    Key,
    /// There must be exactly one DNS name and no other name.
    #[error("the request must have the identity as its only subject alternative name, and has {0}")]
    Names(String),
    /// The common name is neither empty nor the identity.
    #[error("the common name {0:?} is neither empty nor the identity")]
    CommonName(String),
}

/// `id-ecPublicKey` (RFC 5480 section 2.1.1).
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

/// Most names of a refused request that are told.
const MAX_NAMES_TOLD: usize = 4;

impl Csr {
    /// Reads a request in DER and checks it against the identity that it should be for.
    pub fn check(der: &[u8], identity: &IdentityName) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_LEN {
            return Err(CsrError::TooLong(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let info = &request.certification_request_info;
        if info.subject_pki.algorithm.algorithm.to_id_string() != EC_PUBLIC_KEY {
            return Err(CsrError::Key);
        }
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| CsrError::Key)?;
        request.verify_signature().map_err(|_| CsrError::Signature)?;

        for name in info.subject.iter_common_name() {
            let name = name.as_str().unwrap_or("something that is not text");
            if !name.is_empty() && !identity.matches_dns_san(name.as_bytes()) {
                return Err(CsrError::CommonName(name.to_owned()));
            }
        }
        let extensions = request.requested_extensions();
        let names: Vec<&GeneralName<'_>> = extensions
            .into_iter()
            .flatten()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .collect();
        match names.as_slice() {
            [GeneralName::DNSName(name)] if identity.matches_dns_san(name.as_bytes()) => {}
            others => return Err(CsrError::Names(told(others))),
        }
        Ok(Self { identity: identity.clone(), key })
    }

    /// Whose certificate is asked for.
    pub fn identity(&self) -> &IdentityName {
        &self.identity
    }

    /// The key it is for.
    pub(super) fn key(&self) -> &impl PublicKeyData {
        &self.key
    }
}

fn told(names: &[&GeneralName<'_>]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names.iter().take(MAX_NAMES_TOLD).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES_TOLD {
        text.push_str(", ...");
    }
    text
}
