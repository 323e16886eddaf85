mod cache;
mod identities;
mod refused;
mod resumed;
mod transfer;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType};
use rustls::client::Resumption;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::conn::Side;
use super::sessions::Session;
use super::testing::*;
use super::*;

fn server(identity: &Identity, offer: Offer) -> TlsConn {
    TlsConn::server(identity, offer).unwrap()
}

fn client(identity: &Identity, expected: &str, offer: Offer) -> TlsConn {
    TlsConn::client(&identity.target(id(expected), &sni(), offer).unwrap()).unwrap()
}

/// Sends everything, writing in between as the bound demands.
fn exchange(from: &mut TlsConn, to: &mut TlsConn, data: &[u8], piece: usize) -> Vec<u8> {
    let (mut rest, mut out, mut wire) = (data, Vec::new(), Vec::new());
    loop {
        let sent = from.send(&[IoSlice::new(rest)]).unwrap();
        rest = &rest[sent..];
        wire.clear();
        from.take_ciphertext(&mut wire);
        for piece in wire.chunks(piece) {
            to.receive(piece, &mut out).unwrap();
        }
        if rest.is_empty() {
            return out;
        }
    }
}

#[test]
fn both_sides_prove_who_they_are() {
    let ca = Ca::new();
    for (web, api) in
        [(WEB, API), ("spiffe://cluster.local/ns/a/sa/web", "spiffe://cluster.local/ns/a/sa/api")]
    {
        let (web, api) = (ca.identity(web), ca.identity(api));
        for offer in [Offer::Plain, Offer::Tagged] {
            let mut client = client(&web, api.name().as_str(), offer);
            let mut server = server(&api, offer);
            assert!(client.peer().is_none() && server.peer().is_none());
            let talk = handshake(&mut client, &mut server);
            assert!(talk.client.is_ok() && talk.server.is_ok(), "{talk:?}");
            assert_eq!(client.peer(), Some(api.name()));
            assert_eq!(server.peer(), Some(web.name()));
            assert_eq!(server.require_peer().unwrap(), web.name());
            assert_eq!(
                (client.is_tagged(), server.is_tagged()),
                (offer == Offer::Tagged, offer == Offer::Tagged)
            );
            assert_eq!(exchange(&mut client, &mut server, b"ping", 1), b"ping");
            assert_eq!(exchange(&mut server, &mut client, b"pong", 1), b"pong");
        }
    }
}

#[test]
fn a_post_quantum_group_and_the_cheapest_suite_by_default() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let (mut client, mut server) = (client(&web, API, Offer::Plain), server(&api, Offer::Plain));
    handshake(&mut client, &mut server).client.unwrap();
    let expected = Some(("TLS13_AES_128_GCM_SHA256", "X25519MLKEM768"));
    assert_eq!((client.parameters(), server.parameters()), (expected, expected));
}

/// A peer that can do one suite and one group only is still met, older proxies among them.
#[test]
fn every_listed_suite_and_group_can_be_negotiated() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let suites = [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    let groups = [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    for suite in suites {
        for group in groups {
            let mut provider = (*provider()).clone();
            provider.cipher_suites = vec![suite];
            provider.kx_groups = vec![group];
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer))
                .with_no_client_auth();
            let name = ServerName::try_from("proxy.test").unwrap();
            let mut client = TlsConn::new(client_side(config, name), None, None, Session::default());
            let mut server = server(&api, Offer::Plain);
            let talk = handshake(&mut client, &mut server);
            assert!(talk.server.is_ok(), "{suite:?} {group:?}: {talk:?}");
            let names = (suite.suite().as_str().unwrap(), group.name().as_str().unwrap());
            assert_eq!(server.parameters(), Some(names));
        }
    }
}

/// Changes a leaf for `name` before it is issued.
fn leaf(name: &str, change: impl FnOnce(&mut Leaf)) -> Leaf {
    let mut leaf = Leaf::new(name);
    change(&mut leaf);
    leaf
}

// === peers that follow no rules

/// A client that shows any certificate and believes any server.
fn raw_client(issued: Option<Issued>, alpn: &[&[u8]]) -> TlsConn {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match issued {
        Some(issued) => builder.with_client_auth_cert(chain(&issued), key(issued)).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from("proxy.test").unwrap();
    TlsConn::new(client_side(config, name), None, None, Session::default())
}

fn client_side(config: ClientConfig, name: ServerName<'static>) -> Side {
    Side::Client(UnbufferedClientConnection::new(Arc::new(config), name).unwrap())
}

/// A server that shows any certificate and asks for none.
fn raw_server(issued: Issued) -> TlsConn {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(&issued), key(issued))
        .unwrap();
    TlsConn::new(
        Side::Server(UnbufferedServerConnection::new(Arc::new(config)).unwrap()),
        None,
        None,
        Session::default(),
    )
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    issued.chain.iter().cloned().map(CertificateDer::from).collect()
}

fn key(issued: Issued) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(issued.key).into()
}

#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
