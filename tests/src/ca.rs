//! A certificate authority for one test: a root, an issuer below it as Linkerd has one, and whatever certificates a test wants
//! to see refused.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What the whole trust domain's identities end with.
pub const SUFFIX: &str = "serviceaccount.identity.linkerd.cluster.local";
/// Linkerd's protocol between proxies.
pub const TRANSPORT_ALPN: &[u8] = b"transport.l5d.io/v1";

/// The identity of a service account in namespace `default`.
pub fn identity(account: &str) -> String {
    format!("{account}.default.{SUFFIX}")
}

/// A root and an issuer.
pub struct Ca {
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
    issuer_der: Vec<u8>,
}

/// A certificate with its chain and key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub key: Vec<u8>,
}

/// From when to when a certificate is valid, relative to now: negative is the past.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Seconds from now to the beginning.
    pub from: i64,
    /// Seconds from now to the end.
    pub to: i64,
}

impl Validity {
    /// From a minute ago, for so long.
    pub fn lasting(lifetime: Duration) -> Self {
        Self { from: -60, to: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX) }
    }
    /// A day.
    pub const DAY: Self = Self { from: -60, to: 86_400 };
    /// Over for an hour.
    pub const EXPIRED: Self = Self { from: -7200, to: -3600 };
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl Ca {
    /// A new one, unlike every other.
    ///
    /// # Panics
    /// When keys cannot be made.
    pub fn new() -> Self {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let root = CertifiedIssuer::self_signed(authority("root.linkerd.cluster.local", 1), root_key)
            .expect("a root");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = authority("identity.linkerd.cluster.local", 0);
        let issuer_der = params.signed_by(&key, &root).expect("an issuer").der().to_vec();
        Self { root, issuer: Issuer::new(params, key), issuer_der }
    }

    /// The root, as a proxy is given it.
    pub fn anchors(&self) -> String {
        self.root.pem()
    }

    /// Signs a certificate request for the names in it: leaf, then issuer.
    ///
    /// # Errors
    /// When the request is none.
    pub fn sign(&self, csr: &[u8], validity: Validity) -> Result<Vec<Vec<u8>>, rcgen::Error> {
        let mut request = CertificateSigningRequestParams::from_der(&csr.to_vec().into())?;
        complete(&mut request.params, validity);
        let leaf = request.signed_by(&self.issuer)?;
        Ok(vec![leaf.der().to_vec(), self.issuer_der.clone()])
    }

    /// A certificate for a DNS identity.
    ///
    /// # Panics
    /// When the name is none.
    pub fn leaf(&self, name: &str, validity: Validity) -> Leaf {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        complete(&mut params, validity);
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf { chain: vec![leaf.der().to_vec(), self.issuer_der.clone()], key: key.serialize_der() }
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add(self.root.der().clone()).expect("a root");
        Arc::new(store)
    }

    /// A mesh client's TLS: trusts this root, shows `leaf` if given, offers `alpn`.
    ///
    /// # Panics
    /// When the certificate does not fit its key.
    pub fn client(&self, leaf: Option<&Leaf>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(self.store());
        let mut config = match leaf {
            Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.key()).expect("a certificate"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// A mesh server's TLS: shows `leaf`, asks for a certificate below this root, selects `alpn`.
    ///
    /// # Panics
    /// When the certificate does not fit its key.
    pub fn server(&self, leaf: &Leaf, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let clients = WebPkiClientVerifier::builder_with_provider(self.store(), provider())
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(leaf.chain(), leaf.key())
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

impl Leaf {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().map(|der| der.clone().into()).collect()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority(name: &str, below: u8) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(-86_400);
    params.not_after = at(86_400 * 365);
    params
}

fn complete(params: &mut CertificateParams, validity: Validity) {
    params.not_before = at(validity.from);
    params.not_after = at(validity.to);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
}

/// Seconds from now, as rcgen wants times.
fn at<T: From<SystemTime>>(seconds: i64) -> T {
    let now = SystemTime::now();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { now - distance } else { now + distance }.into()
}
