//! What makes a peer's certificate good.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;
use weft_names::IdentityName;
use x509_parser::extensions::GeneralName;

use super::chains::Chains;
use super::crypto::SIGNATURES;
use super::roots::Roots;
use super::sessions;

/// The most names of a refused certificate that are told.
const MAX_NAMES_TOLD: usize = 4;

/// A client's view of a server: the chain, and the one identity that is expected.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) chain: Arc<ServerChain>,
    pub(super) expected: IdentityName,
}

/// The part of it that all targets share.
#[derive(Debug)]
pub(super) struct ServerChain {
    pub(super) roots: Roots,
    pub(super) verified: Chains,
}

/// A server's view of clients: a certificate is asked for; whether it must come depends on the port.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) chain: Arc<ClientChain>,
    pub(super) mandatory: bool,
}

/// The part of it that all ports share.
#[derive(Debug)]
pub(super) struct ClientChain {
    pub(super) webpki: Arc<dyn ClientCertVerifier>,
    pub(super) verified: Chains,
}

impl ClientChain {
    pub(super) fn new(roots: &Roots) -> Result<Self, rustls::server::VerifierBuilderError> {
        let webpki =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots.store()), super::provider())
                .build()?;
        Ok(Self { webpki, verified: Chains::default() })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        noting(Check::Chain, leaf, || {
            let verified = &self.chain.verified;
            let mut until = verified.knows(leaf, intermediates, now);
            if until.is_none() {
                verify_server_cert_signed_by_trust_anchor(
                    &ParsedCertificate::try_from(leaf)?,
                    self.chain.roots.store(),
                    intermediates,
                    now,
                    SIGNATURES.all,
                )?;
                until = verified.remember(leaf, intermediates, now);
            }
            sessions::proved(until);
            if has_name(leaf, &self.expected) {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(CertificateError::NotValidForName.into())
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &SIGNATURES)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        noting(Check::Proof, certificate, || {
            verify_tls13_signature(message, certificate, signature, &SIGNATURES)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        noting(Check::Chain, leaf, || {
            let verified = &self.chain.verified;
            let mut until = verified.knows(leaf, intermediates, now);
            if until.is_none() {
                self.chain.webpki.verify_client_cert(leaf, intermediates, now)?;
                until = verified.remember(leaf, intermediates, now);
            }
            sessions::proved(until);
            Ok(ClientCertVerified::assertion())
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        noting(Check::Proof, certificate, || {
            self.chain.webpki.verify_tls13_signature(message, certificate, signature)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.webpki.supported_verify_schemes()
    }
}

/// The identity that a certificate proves: its first DNS or URI name that is one. The common name never counts.
pub(super) fn identity_of(leaf: &CertificateDer<'_>) -> Option<IdentityName> {
    let parsed = EndEntityCert::try_from(leaf).ok()?;
    let dns = || parsed.valid_dns_names().find_map(|name| IdentityName::from_dns_san(name.as_bytes()).ok());
    let uri = || parsed.valid_uri_names().find_map(|name| IdentityName::from_uri_san(name.as_bytes()).ok());
    match (dns(), uri()) {
        // Rare: only then their order in the certificate matters, and that takes the slower parser.
        (Some(dns), Some(uri)) => Some(if uri_comes_first(leaf, &dns, &uri) { uri } else { dns }),
        (dns, uri) => dns.or(uri),
    }
}

fn uri_comes_first(leaf: &CertificateDer<'_>, dns: &IdentityName, uri: &IdentityName) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::DNSName(name) if dns.matches_dns_san(name.as_bytes()) => Some(false),
            GeneralName::URI(name) if uri.matches_uri_san(name.as_bytes()) => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}

/// Whether a certificate has exactly this identity among its names.
pub(super) fn has_name(leaf: &CertificateDer<'_>, name: &IdentityName) -> bool {
    EndEntityCert::try_from(leaf).is_ok_and(|parsed| {
        parsed.valid_dns_names().any(|dns| name.matches_dns_san(dns.as_bytes()))
            || parsed.valid_uri_names().any(|uri| name.matches_uri_san(uri.as_bytes()))
    })
}

/// A certificate that has just been refused.
pub(super) struct Refused {
    /// Whom it names.
    pub(super) names: Box<str>,
    /// At which check.
    pub(super) check: Check,
}

/// What is checked of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Who issued it, when and what for it is valid, whom it names.
    Chain,
    /// That the peer has its key.
    Proof,
}

thread_local! {
    /// The certificate that was refused last on this thread. rustls calls a verifier in the middle of processing
    /// records and drops what it was about; the connection takes it from here right after.
    static REFUSED: RefCell<Option<Refused>> = const { RefCell::new(None) };
}

/// The certificate that has just been refused, if it was that.
pub(super) fn take_refused() -> Option<Refused> {
    REFUSED.take()
}

fn noting<T>(
    check: Check,
    leaf: &CertificateDer<'_>,
    verify: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    verify().inspect_err(|_| REFUSED.set(Some(Refused { names: names(leaf), check })))
}

/// The names of a certificate, for a log line.
fn names(leaf: &CertificateDer<'_>) -> Box<str> {
    let Ok(parsed) = EndEntityCert::try_from(leaf) else { return "a malformed certificate".into() };
    let all: Vec<&str> =
        parsed.valid_dns_names().chain(parsed.valid_uri_names()).take(MAX_NAMES_TOLD).collect();
    if all.is_empty() { "a certificate without a name".into() } else { all.join(", ").into_boxed_str() }
}
