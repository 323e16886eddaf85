//! The ClientHello reader, beside rustls: what rustls accepts is read, and the same is read from it, whatever the records
//! it comes in.
//!
//! Input: a byte for the length of the records, two for the version of the record layer and the split of the first, then
//! the handshake message from its type on; or, if the first byte is 255, everything that follows as it is.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, server::Acceptor};
use weft_net::detect::{ClientHelloFacts, MAX_CLIENT_HELLO_LEN, Tls, detect_tls};

use crate::input::Input;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    if how == 255 {
        compare(input.rest());
        return;
    }
    let message = input.rest();
    let whole = in_records(message, 16_384);
    let verdict = detect_tls(&whole);
    compare(&whole);
    // The record layer does not matter, as long as all of it is within the bound.
    let length = [1, 2, 5, 40, 700][usize::from(how) % 5];
    let split = in_records(message, length);
    if split.len() < MAX_CLIENT_HELLO_LEN && whole.len() < MAX_CLIENT_HELLO_LEN {
        let other = detect_tls(&split);
        assert_eq!(other, verdict, "in records of {length}");
    }
    if let Tls::Hello(facts) = verdict {
        check(&facts);
    }
}

fn check(facts: &ClientHelloFacts) {
    if let Some(name) = &facts.sni {
        assert!((1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()), "{name}");
        assert!(!name.bytes().any(|b| b.is_ascii_uppercase()), "{name}");
    }
    assert!(facts.alpn.iter().map(|p| p.len() + 1).sum::<usize>() <= MAX_CLIENT_HELLO_LEN);
    assert!(facts.alpn.iter().all(|protocol| facts.offers(protocol)));
}

/// Whatever rustls takes for a ClientHello is one, of which the same is told.
fn compare(bytes: &[u8]) {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let used = bytes.len() - rest.len();
                if used > MAX_CLIENT_HELLO_LEN {
                    return;
                }
                let hello = accepted.client_hello();
                let Tls::Hello(facts) = detect_tls(bytes) else {
                    if has_odd_version(bytes) {
                        return;
                    }
                    panic!("rustls takes this for a ClientHello: {bytes:x?}");
                };
                check(&facts);
                if let Some(name) = hello.server_name() {
                    assert_eq!(facts.sni.as_deref(), Some(name));
                }
                let theirs: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
                let ours: Vec<&[u8]> = facts.alpn.iter().map(|p| &p[..]).collect();
                assert_eq!(ours, theirs);
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Whether a record has a version that there never was. Rustls does not look at it (RFC 8446 section 5.1); who detects
/// protocols does, to tell others from TLS.
fn has_odd_version(mut bytes: &[u8]) -> bool {
    while let Some(([_, major, minor, hi, lo], rest)) = bytes.split_first_chunk() {
        if (*major, *minor) > (3, 4) {
            return true;
        }
        bytes = rest.get(usize::from(u16::from_be_bytes([*hi, *lo]))..).unwrap_or_default();
    }
    false
}

/// A handshake message in records of at most `length` bytes.
fn in_records(message: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in message.chunks(length) {
        bytes.extend_from_slice(&[22, 3, 1]);
        bytes.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// What clients of rustls say, in one record each.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let hello = |versions: &[&'static rustls::SupportedProtocolVersion], name: &str, alpn: &[&[u8]]| {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    };
    let tls13 = &[&rustls::version::TLS13][..];
    vec![
        hello(tls13, "web.default.serviceaccount.identity.linkerd.cluster.local", &[b"transport.l5d.io/v1"]),
        hello(tls13, "10.1.2.3", &[b"h2", b"http/1.1"]),
        hello(tls13, "a.example", &[]),
    ]
}

/// ClientHellos.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (how, record) in records().into_iter().enumerate() {
        seeds.push([&[how as u8], record.get(5..).unwrap_or_default()].concat());
        seeds.push([&[255], &record[..]].concat());
    }
    // Without extensions, and with a name of two entries.
    let mut old = vec![1, 0, 0, 41, 3, 3];
    old.extend_from_slice(&[7; 32]);
    old.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    seeds.push([&[3], &old[..]].concat());
    old[3] = 41 + 2 + 20;
    old.extend_from_slice(&[0, 20, 0, 0, 0, 16, 0, 14, 0, 0, 3, b'A', b'.', b'b', 1, 0, 1, 0, 0, 0, 1, b'c']);
    seeds.push([&[2], &old[..]].concat());
    seeds
}
