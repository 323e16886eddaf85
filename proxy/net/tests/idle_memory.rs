//! What an idle TLS connection keeps. A process of its own, because it looks at the memory of the whole process.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::IoSlice;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use weft_net::tls::{Identity, Issued, Offer, Roots, TlsConn, WallClock};

const CONNECTIONS: usize = 1000;

/// Both ends of a connection live in this process.
const MAX_BYTES_PER_CONNECTION: usize = 10 * 1024;

const NAME: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

fn identity() -> Identity {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &ca).unwrap();
    let issued = Issued { chain: vec![leaf.der().to_vec(), ca.der().to_vec()], key: key.serialize_der() };
    let roots = Roots::from_der([ca.der().to_vec()]).unwrap();
    Identity::new(NAME.parse().unwrap(), NAME.parse().unwrap(), issued, roots, WallClock::System).unwrap()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Carries ciphertext both ways until there is none; the same vectors serve all connections, as a worker's do.
struct Wire {
    ciphertext: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Wire {
    fn settle(&mut self, a: &mut TlsConn, b: &mut TlsConn) {
        while a.wants_write() || b.wants_write() {
            self.carry(a, b);
            self.carry(b, a);
        }
    }

    fn carry(&mut self, from: &mut TlsConn, to: &mut TlsConn) {
        self.ciphertext.clear();
        self.plaintext.clear();
        from.take_ciphertext(&mut self.ciphertext);
        to.receive(&self.ciphertext, &mut self.plaintext).unwrap();
    }
}

#[test]
fn an_idle_connection_is_small() {
    let identity = identity();
    let target = identity.target(NAME.parse().unwrap(), identity.server_name(), Offer::Tagged).unwrap();
    let mut wire = Wire { ciphertext: Vec::new(), plaintext: Vec::new() };
    let bulk = vec![1; 60_000];
    let mut make = || {
        let mut client = TlsConn::client(&target).unwrap();
        let mut server = TlsConn::server(&identity, Offer::Tagged).unwrap();
        wire.settle(&mut client, &mut server);
        // Busy once, both ways: what grew has to shrink again.
        client.send(&[IoSlice::new(&bulk)]).unwrap();
        server.send(&[IoSlice::new(&bulk)]).unwrap();
        wire.settle(&mut client, &mut server);
        (client, server)
    };
    drop((0..50).map(|_| make()).collect::<Vec<_>>()); // caches, arenas
    let before = resident_bytes();
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| make()).collect();
    let each = (resident_bytes() - before) / CONNECTIONS / 2;
    println!("{each} bytes per connection");
    assert!(each <= MAX_BYTES_PER_CONNECTION, "{each} bytes per connection");
    drop(connections);
}
