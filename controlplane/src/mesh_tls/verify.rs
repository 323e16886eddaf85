//! Verification of one connection's client certificate, remembering whom it was for.

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::sync::{Arc, OnceLock};
use weft_names::IdentityName;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Most names of a certificate that are told in an error.
const MAX_NAMES_TOLD: usize = 4;

/// The chain is checked by rustls-webpki against the mesh's anchors; the names are only read.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    seen: OnceLock<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Names as text, for errors.
    names: String,
    identity: Option<IdentityName>,
    verified: bool,
}

impl ClientVerifier {
    pub(super) fn new(chain: Arc<dyn ClientCertVerifier>) -> Self {
        Self { chain, seen: OnceLock::new() }
    }

    /// The identity that was proved: the first DNS or URI name of a verified certificate that is one.
    pub(super) fn proved(&self) -> Option<IdentityName> {
        self.seen.get().filter(|seen| seen.verified).and_then(|seen| seen.identity.clone())
    }

    /// The names in the certificate that was shown, good or not.
    pub(super) fn shown(&self) -> Option<&str> {
        self.seen.get().map(|seen| seen.names.as_str())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = self.chain.verify_client_cert(leaf, intermediates, now);
        let (names, identity) = read(leaf);
        // Called once in a handshake.
        let _ = self.seen.set(Seen { names, identity, verified: result.is_ok() });
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The names of a certificate, and the identity among them.
fn read(leaf: &[u8]) -> (String, Option<IdentityName>) {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return ("something that is not X.509".to_owned(), None);
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return ("nobody".to_owned(), None);
    };
    let names = &names.value.general_names;
    let identity = names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => IdentityName::from_dns_san(name.as_bytes()).ok(),
        GeneralName::URI(name) => IdentityName::from_uri_san(name.as_bytes()).ok(),
        _ => None,
    });
    let told = names
        .iter()
        .take(MAX_NAMES_TOLD)
        .map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).escape_debug().to_string(),
            other => other.to_string(),
        })
        .collect::<Vec<_>>()
        .join(", ");
    (told, identity)
}
