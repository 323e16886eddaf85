//! Authorities and identities, good and bad, made once for all runs.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use weft_net::tls::{Identity, Issued, Offer, Roots, TlsConn, WallClock};

use crate::{CLIENT, SERVER, STRANGER};

pub(crate) struct Pki {
    pub(crate) client: Arc<Identity>,
    pub(crate) server: Arc<Identity>,
    /// The server's certificate, renewed.
    pub(crate) renewed: Arc<Identity>,
    /// Somebody else in the same mesh.
    pub(crate) stranger: Arc<Identity>,
    /// Says to be the server, by another authority.
    pub(crate) forged: Arc<Identity>,
    /// Was the server, long ago.
    pub(crate) expired: Arc<Identity>,
    /// ClientHellos for names that are nobody's here: the first is routed, the second is not.
    pub(crate) hellos: [Vec<u8>; 2],
}

/// 2030-01-01, and seven months earlier.
const NOW: u64 = 1_893_456_000;
const BEFORE: u64 = NOW - 220 * 24 * 60 * 60;

/// The name that TLS routes know, and one that they do not.
pub(crate) const KNOWN: &str = "known.sim";
const UNKNOWN: &str = "unknown.sim";

/// Signatures of one length: sizes on the wire depend on the seed only.
fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "root");
    root.serial_number = Some(SerialNumber::from(1_u64));
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.not_before = date_time_ymd(2025, 1, 1);
    root.not_after = date_time_ymd(2035, 1, 1);
    CertifiedIssuer::self_signed(root, key()).unwrap()
}

fn clock(seconds: u64) -> WallClock {
    WallClock::Set(Arc::new(AtomicU64::new(seconds)))
}

/// An identity by `issuer`, as of `now`; its owner trusts all `roots`.
fn identity(
    name: &str,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    roots: &[&CertifiedIssuer<'static, KeyPair>],
    now: u64,
) -> Arc<Identity> {
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.serial_number = Some(SerialNumber::from(7_u64));
    let year = if now == NOW { 2029 } else { 2028 };
    leaf.not_before = date_time_ymd(year, 1, 1);
    leaf.not_after = date_time_ymd(year + 1, 11, 1);
    let key = key();
    let certificate = leaf.signed_by(&key, issuer).unwrap();
    let issued = Issued { chain: vec![certificate.der().to_vec()], key: key.serialize_der() };
    let roots = Roots::from_der(roots.iter().map(|r| r.der().to_vec())).unwrap();
    let identity = Identity::new(name.parse().unwrap(), name.parse().unwrap(), issued, roots, clock(now));
    Arc::new(identity.unwrap())
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let (root, other) = (authority(), authority());
        let good = |name| identity(name, &root, &[&root], NOW);
        let client = good(CLIENT);
        let server: weft_names::IdentityName = SERVER.parse().unwrap();
        let hello = |name: &str| {
            let target = client.target(server.clone(), &name.parse().unwrap(), Offer::Plain).unwrap();
            let mut bytes = Vec::new();
            TlsConn::client(&target).unwrap().take_ciphertext(&mut bytes);
            bytes
        };
        Pki {
            server: good(SERVER),
            renewed: good(SERVER),
            stranger: good(STRANGER),
            forged: identity(SERVER, &other, &[&root, &other], NOW),
            expired: identity(SERVER, &root, &[&root], BEFORE),
            hellos: [hello(KNOWN), hello(UNKNOWN)],
            client,
        }
    })
}
