//! Certificate authorities: the self-made trust root and the issuer below it.

use super::x509::{Validity, fingerprint};
use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use weft_store::{IssuerRow, NewAuthority, PrivateKey, TrustRoot};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A root is valid for 10 years, as `linkerd install` makes them.
const ROOT_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// An issuer is valid for a year, as `linkerd install` makes them.
const ISSUER_VALIDITY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Both are valid from a little before they are made, for clocks that differ.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// An issuer ready to sign, checked against its root when it was loaded.
#[derive(Debug)]
pub struct Issuer {
    generation: i64,
    certificate: Vec<u8>,
    signer: rcgen::Issuer<'static, KeyPair>,
    not_before: Timestamp,
    /// The earliest end in the chain.
    not_after: Timestamp,
}

/// Why an issuer cannot be used or made.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// The certificate does not parse.
    #[error("the {0} certificate is not X.509")]
    Certificate(&'static str),
    /// The private key does not parse.
    #[error("the {0} private key is not PKCS#8 with an ECDSA P-256 key")]
    Key(&'static str, #[source] rcgen::Error),
    /// The private key belongs to another certificate.
    #[error("the {0} private key does not belong to its certificate")]
    KeyMismatch(&'static str),
    /// It may not sign certificates.
    #[error("the issuer certificate is not one of a certificate authority")]
    NotAnAuthority,
    /// It is not signed by the root.
    #[error("the issuer certificate is not signed by the trust root")]
    NotSignedByRoot,
    /// It is for another control plane.
    #[error("the state is of a mesh whose {what} is {found}; this control plane's is {wanted}")]
    OtherName {
        /// `trust root` or `issuer`.
        what: &'static str,
        /// The name in the state.
        found: String,
        /// The name that follows from the configuration.
        wanted: String,
    },
    /// Signing failed.
    #[error("a certificate authority could not be made")]
    Make(#[source] rcgen::Error),
}

impl Issuer {
    /// Loads the issuer of the store and checks that it may sign, and that the root signed it.
    pub fn load(row: &IssuerRow, root: &TrustRoot, name: &str) -> Result<Self, IssuerError> {
        const WHAT: &str = "issuer";
        let authority = &row.authority;
        if authority.name != name {
            return Err(IssuerError::OtherName {
                what: WHAT,
                found: authority.name.clone(),
                wanted: name.to_owned(),
            });
        }
        let (_, certificate) =
            X509Certificate::from_der(&authority.certificate).map_err(|_| IssuerError::Certificate(WHAT))?;
        let (_, root_certificate) = X509Certificate::from_der(&root.authority.certificate)
            .map_err(|_| IssuerError::Certificate("root"))?;
        if !certificate.is_ca() {
            return Err(IssuerError::NotAnAuthority);
        }
        certificate
            .verify_signature(Some(root_certificate.public_key()))
            .map_err(|_| IssuerError::NotSignedByRoot)?;
        Ok(Self {
            generation: row.generation,
            signer: signer(WHAT, authority)?,
            certificate: authority.certificate.clone(),
            not_before: authority.not_before.max(root.authority.not_before),
            not_after: authority.not_after.min(root.authority.not_after),
        })
    }

    /// Its number in the store.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The certificate, DER: the only intermediate in a chain.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The earliest end of validity in its chain.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether its chain is valid now.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether a new one should take its place: less than a third of its validity is left.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.due()
    }

    /// When [`Issuer::is_due`] becomes true.
    pub fn due(&self) -> Timestamp {
        let third = self.not_after.duration_since(self.not_before) / 3;
        self.not_after.saturating_sub(third).unwrap_or(self.not_after)
    }

    pub(super) fn signer(&self) -> &rcgen::Issuer<'static, KeyPair> {
        &self.signer
    }
}

/// Makes a self-signed root.
pub(super) fn new_root(name: &str, now: Timestamp) -> Result<NewAuthority, IssuerError> {
    let validity = Validity::new(before(now), after(now, ROOT_VALIDITY));
    let key = generate()?;
    let params = params(name, BasicConstraints::Unconstrained, &validity)?;
    let certificate = params.self_signed(&key).map_err(IssuerError::Make)?;
    Ok(authority(name, &certificate, &key, &validity))
}

/// Makes an issuer that the root signs: a certificate authority that cannot make further ones (path length 0).
pub(super) fn new_issuer(root: &TrustRoot, name: &str, now: Timestamp) -> Result<NewAuthority, IssuerError> {
    let validity = Validity::new(before(now), after(now, ISSUER_VALIDITY).min(root.authority.not_after));
    let key = generate()?;
    let mut params = params(name, BasicConstraints::Constrained(0), &validity)?;
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &signer("root", &root.authority)?).map_err(IssuerError::Make)?;
    Ok(authority(name, &certificate, &key, &validity))
}

fn before(now: Timestamp) -> Timestamp {
    now.saturating_sub(BACKDATED).unwrap_or(now)
}

fn after(now: Timestamp, validity: SignedDuration) -> Timestamp {
    now.saturating_add(validity).unwrap_or(Timestamp::MAX)
}

fn generate() -> Result<KeyPair, IssuerError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(IssuerError::Make)
}

fn params(
    name: &str,
    constraints: BasicConstraints,
    validity: &Validity,
) -> Result<CertificateParams, IssuerError> {
    // The name also as DNS name: Linkerd's own checks look for it there.
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(IssuerError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity.apply(&mut params);
    Ok(params)
}

fn authority(
    name: &str,
    certificate: &rcgen::Certificate,
    key: &KeyPair,
    validity: &Validity,
) -> NewAuthority {
    NewAuthority {
        name: name.to_owned(),
        fingerprint: fingerprint(certificate.der()),
        certificate: certificate.der().to_vec(),
        private_key: PrivateKey::new(key.serialize_der()),
        not_before: validity.not_before,
        not_after: validity.not_after,
    }
}

fn signer(
    what: &'static str,
    authority: &NewAuthority,
) -> Result<rcgen::Issuer<'static, KeyPair>, IssuerError> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(authority.private_key.pkcs8().to_vec()),
        &rcgen::PKCS_ECDSA_P256_SHA256,
    )
    .map_err(|error| IssuerError::Key(what, error))?;
    let (_, certificate) =
        X509Certificate::from_der(&authority.certificate).map_err(|_| IssuerError::Certificate(what))?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(IssuerError::KeyMismatch(what));
    }
    rcgen::Issuer::from_ca_cert_der(&CertificateDer::from(authority.certificate.clone()), key)
        .map_err(|_| IssuerError::Certificate(what))
}
