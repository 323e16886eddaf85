//! One authority and the identities of both proxies, made once for all runs.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};
use weft_net::tls::{Identity, Issued, Roots, WallClock};

pub(crate) struct Pki {
    pub(crate) client: Arc<Identity>,
    pub(crate) server: Arc<Identity>,
    /// The server's certificate, renewed.
    pub(crate) renewed: Arc<Identity>,
}

/// Signatures of one length: sizes on the wire depend on the seed only.
fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "root");
        root.serial_number = Some(SerialNumber::from(1_u64));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(root, key()).unwrap();
        let identity = |name: &str| {
            let mut leaf = CertificateParams::default();
            leaf.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            leaf.serial_number = Some(SerialNumber::from(7_u64));
            let key = key();
            let certificate = leaf.signed_by(&key, &root).unwrap();
            let issued = Issued { chain: vec![certificate.der().to_vec()], key: key.serialize_der() };
            let roots = Roots::from_der([root.der().to_vec()]).unwrap();
            let identity =
                Identity::new(name.parse().unwrap(), name.parse().unwrap(), issued, roots, WallClock::System);
            Arc::new(identity.unwrap())
        };
        Pki {
            client: identity(crate::CLIENT),
            server: identity(crate::SERVER),
            renewed: identity(crate::SERVER),
        }
    })
}
