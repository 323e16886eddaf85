//! A certificate authority, and a wire between two connections.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use weft_names::{DnsName, IdentityName};

use super::*;

/// 2030-01-01.
pub(crate) const NOW: u64 = 1_893_456_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const API: &str = "api.default.serviceaccount.identity.linkerd.cluster.local";

/// A root and an issuer below it. All roots have the same name, as they do in practice.
pub(crate) struct Ca {
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a leaf says; changed by tests that want a bad one.
pub(crate) struct Leaf {
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}

impl Ca {
    pub(crate) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
        let issuer =
            CertifiedIssuer::signed_by(authority("issuer"), KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, issuer }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_der([self.root.der().to_vec()]).unwrap()
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let certificate = leaf.params.signed_by(&leaf.key, &self.issuer).unwrap();
        Issued {
            chain: vec![certificate.der().to_vec(), self.issuer.der().to_vec()],
            key: leaf.key.serialize_der(),
        }
    }

    /// A good identity under this authority.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        self.identity_at(name, clock())
    }

    pub(crate) fn identity_at(&self, name: &str, clock: WallClock) -> Identity {
        let issued = self.issue(&Leaf::new(name));
        Identity::new(name.parse().unwrap(), sni(), issued, self.roots(), clock).unwrap()
    }
}

impl Leaf {
    /// For a DNS-like name or a SPIFFE ID, valid for the first two days of 2030.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        if !name.is_empty() {
            params.subject_alt_names = vec![san(name)];
        }
        params.not_before = date_time_ymd(2029, 12, 31);
        params.not_after = date_time_ymd(2030, 1, 3);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { params, key: KeyPair::generate().unwrap() }
    }
}

pub(crate) fn san(name: &str) -> SanType {
    let text = name.try_into().unwrap();
    if name.starts_with("spiffe:") { SanType::URI(text) } else { SanType::DnsName(text) }
}

pub(crate) fn clock() -> WallClock {
    clock_at(NOW)
}

pub(crate) fn clock_at(seconds: u64) -> WallClock {
    WallClock::Set(Arc::new(AtomicU64::new(seconds)))
}

pub(crate) fn id(name: &str) -> IdentityName {
    name.parse().unwrap()
}

pub(crate) fn sni() -> DnsName {
    "proxy.test".parse().unwrap()
}

/// What became of a client and a server that talked until neither had anything to send.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) client: Result<(), TlsError>,
    pub(crate) server: Result<(), TlsError>,
}

/// Moves ciphertext in pieces of at most `piece` bytes until both sides are silent; each side's plaintext is appended to
/// the vector next to it. A side that fails still gets its alert out.
pub(crate) fn talk(
    (client, to_client): (&mut TlsConn, &mut Vec<u8>),
    (server, to_server): (&mut TlsConn, &mut Vec<u8>),
    piece: usize,
) -> Talk {
    let mut talk = Talk { client: Ok(()), server: Ok(()) };
    loop {
        let mut wire = Vec::new();
        client.take_ciphertext(&mut wire);
        let from_client = !wire.is_empty();
        deliver(&wire, piece, server, to_server, &mut talk.server);

        wire.clear();
        server.take_ciphertext(&mut wire);
        let from_server = !wire.is_empty();
        deliver(&wire, piece, client, to_client, &mut talk.client);
        if !from_client && !from_server {
            return talk;
        }
    }
}

fn deliver(
    wire: &[u8],
    piece: usize,
    to: &mut TlsConn,
    plaintext: &mut Vec<u8>,
    result: &mut Result<(), TlsError>,
) {
    for piece in wire.chunks(piece) {
        if result.is_ok() {
            *result = to.receive(piece, plaintext).map(drop);
        }
    }
}

/// A handshake between two identities.
pub(crate) fn handshake(client: &mut TlsConn, server: &mut TlsConn) -> Talk {
    talk((client, &mut Vec::new()), (server, &mut Vec::new()), usize::MAX)
}
