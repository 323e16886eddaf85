//! Certificates for the peers, of the same kind as the mesh's: P-256, a root, an issuer, leaves for a day.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::{fs, path::Path};

/// The name on the client's proxy's certificate.
pub const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
/// The name on the server's proxy's certificate.
pub const SERVER: &str = "server.default.serviceaccount.identity.linkerd.cluster.local";

/// What a proxy has.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Leaf and issuer.
    pub chain: Vec<rcgen::Certificate>,
    /// The leaf's key, PKCS#8.
    pub key: Vec<u8>,
    key_pem: String,
}

/// A root and what it stands for.
#[derive(Debug)]
pub struct Pki {
    /// The root.
    pub root: rcgen::Certificate,
    /// [`CLIENT`].
    pub client: Leaf,
    /// [`SERVER`].
    pub server: Leaf,
}

impl Pki {
    /// New keys for everybody.
    ///
    /// # Panics
    /// Never: what is asked for can be done.
    #[must_use]
    pub fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let root = CertifiedIssuer::self_signed(authority("root"), key()).expect("a root");
        let issuer = CertifiedIssuer::signed_by(authority("issuer"), key(), &root).expect("an issuer");
        let leaf = |name: &str| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = key();
            let certificate = params.signed_by(&key, &issuer).expect("a leaf");
            let issuer: &rcgen::Certificate = issuer.as_ref();
            Leaf {
                chain: vec![certificate, issuer.clone()],
                key: key.serialize_der(),
                key_pem: key.serialize_pem(),
            }
        };
        let root_certificate: &rcgen::Certificate = root.as_ref();
        Self { client: leaf(CLIENT), server: leaf(SERVER), root: root_certificate.clone() }
    }

    /// Writes `root.pem`, and for both sides `SIDE.crt`, `SIDE.key` and `SIDE.pem` with both in it.
    ///
    /// # Panics
    /// When the directory cannot be written to.
    pub fn write(&self, directory: &Path) {
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("a file");
        write("root.pem", &self.root.pem());
        for (side, leaf) in [("client", &self.client), ("server", &self.server)] {
            let chain: String = leaf.chain.iter().map(rcgen::Certificate::pem).collect();
            write(&format!("{side}.crt"), &chain);
            write(&format!("{side}.key"), &leaf.key_pem);
            write(&format!("{side}.pem"), &format!("{chain}{}", leaf.key_pem));
        }
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}
