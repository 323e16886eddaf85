//! Two meshed proxies below one root and a third that is below another, made once. The keys are random: what targets check
//! must not depend on them.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use weft_net::tls::{Identity, Issued, Roots, WallClock};

/// The identity of [`Pki::client`].
pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
/// The identity of [`Pki::server`].
pub(crate) const SERVER: &str = "server.default.serviceaccount.identity.linkerd.cluster.local";

pub(crate) struct Pki {
    pub(crate) client: Identity,
    pub(crate) server: Identity,
    /// Has the client's name and trusts the root of both, but is below another one.
    pub(crate) stranger: Identity,
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let authority = || {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(root, key()).unwrap()
    };
    let (root, other) = (authority(), authority());
    let identity = |name: &str,
                    issuer: &CertifiedIssuer<'static, KeyPair>,
                    roots: &[&CertifiedIssuer<'static, KeyPair>]| {
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = key();
        let certificate = leaf.signed_by(&key, issuer).unwrap();
        let issued = Issued { chain: vec![certificate.der().to_vec()], key: key.serialize_der() };
        let roots = Roots::from_der(roots.iter().map(|root| root.der().to_vec())).unwrap();
        Identity::new(name.parse().unwrap(), name.parse().unwrap(), issued, roots, WallClock::System).unwrap()
    };
    Pki {
        client: identity(CLIENT, &root, &[&root]),
        server: identity(SERVER, &root, &[&root]),
        stranger: identity(CLIENT, &other, &[&root, &other]),
    }
});

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}
