//! Certificates as identities, renewal, roots.

use super::*;

#[test]
fn certificates_that_peers_would_refuse_are_no_identity() {
    let (ca, other) = (Ca::new(), Ca::new());
    let p384 = Leaf { key: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), ..Leaf::new(API) };
    let ed25519 = Leaf { key: KeyPair::generate_for(&PKCS_ED25519).unwrap(), ..Leaf::new(API) };
    let with_key = |key: Vec<u8>| Issued { key, ..ca.issue(&Leaf::new(API)) };
    let client_only = leaf(API, |l| l.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let expired = leaf(API, |l| l.params.not_after = rcgen::date_time_ymd(2029, 12, 31));
    let cases = [
        ("good", ca.issue(&Leaf::new(API)), None),
        ("Ed25519", ca.issue(&ed25519), None),
        ("empty", Issued { chain: vec![], key: vec![] }, Some("the certificate chain is empty")),
        (
            "no certificate",
            Issued { chain: vec![vec![1, 2, 3]], key: vec![] },
            Some("the certificate is malformed"),
        ),
        ("expired", ca.issue(&expired), Some("the certificate has expired")),
        (
            "another root",
            other.issue(&Leaf::new(API)),
            Some("the certificate does not chain to the trust anchors as a server certificate"),
        ),
        (
            "not for servers",
            ca.issue(&client_only),
            Some("the certificate does not chain to the trust anchors as a server certificate"),
        ),
        (
            "another name",
            ca.issue(&Leaf::new(WEB)),
            Some("the certificate is not for api.default.serviceaccount.identity.linkerd.cluster.local"),
        ),
        ("no key", with_key(vec![]), Some("the private key is not usable")),
        ("another curve", ca.issue(&p384), Some("the private key must be ECDSA P-256 or Ed25519")),
        (
            "another key",
            with_key(KeyPair::generate().unwrap().serialize_der()),
            Some("the private key does not belong to the certificate"),
        ),
    ];
    for (case, issued, expected) in cases {
        let result = Identity::new(id(API), sni(), issued, ca.roots(), clock());
        assert_eq!(result.map(drop).map_err(|error| error.to_string()).err().as_deref(), expected, "{case}");
    }
}

#[test]
fn what_an_identity_tells() {
    let ca = Ca::new();
    let api = ca.identity(API);
    assert_eq!(api.name(), &id(API));
    assert_eq!(api.expires().as_secs(), NOW + 2 * DAY);
    assert_eq!((api.chain().count(), api.roots().len()), (2, 1));
    assert!(api.is_asked_for(Some("Proxy.Test")) && api.is_asked_for(Some("proxy.test.")));
    assert!(!api.is_asked_for(Some("other.test")) && !api.is_asked_for(None));
    let shown = format!("{api:?}");
    assert!(shown.contains(API) && !shown.to_lowercase().contains("key"), "{shown}");
}

#[test]
fn bundles_of_roots() {
    let (a, b) = (Ca::new(), Ca::new());
    let two = format!("# first\n{}\n{}", a.root_pem(), b.root_pem());
    assert_eq!(Roots::from_pem(two.as_bytes()).unwrap().len(), 2);
    assert!(matches!(Roots::from_pem(b""), Err(RootsError::Empty)));
    assert!(matches!(Roots::from_pem(b"no PEM"), Err(RootsError::Empty)));
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(Roots::from_pem(broken.as_bytes()), Err(RootsError::Pem(_))));
    let second = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", a.root_pem());
    assert!(matches!(Roots::from_pem(second.as_bytes()), Err(RootsError::Certificate { number: 2, .. })));
}

/// While roots are rotated, proxies trust both and show certificates of either.
#[test]
fn roots_are_rotated_with_both_in_the_bundle() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = Roots::from_pem(format!("{}{}", old.root_pem(), new.root_pem()).as_bytes()).unwrap();
    let issued =
        |ca: &Ca, name| Identity::new(id(name), sni(), ca.issue(&Leaf::new(name)), both.clone(), clock());
    let (web, api) = (issued(&old, WEB).unwrap(), issued(&new, API).unwrap());
    let (mut client, mut server) = (client(&web, API, Offer::Plain), server(&api, Offer::Plain));
    let talk = handshake(&mut client, &mut server);
    assert!(talk.client.is_ok() && talk.server.is_ok(), "{talk:?}");
}

#[test]
fn connections_outlive_the_certificate_they_began_with() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let (web, api) = (
        ca.identity_at(WEB, WallClock::Set(Arc::clone(&seconds))),
        ca.identity_at(API, WallClock::Set(Arc::clone(&seconds))),
    );
    let target = web.target(id(API), &sni(), Offer::Plain).unwrap();
    let (mut old_client, mut old_server) = (TlsConn::client(&target).unwrap(), server(&api, Offer::Plain));
    handshake(&mut old_client, &mut old_server).server.unwrap();

    // Both certificates are replaced, the old ones expire, the old identities are dropped.
    let renewed = leaf(API, |l| l.params.not_after = rcgen::date_time_ymd(2030, 12, 1));
    let clock = WallClock::Set(Arc::clone(&seconds));
    let new_api = Identity::new(id(API), sni(), ca.issue(&renewed), ca.roots(), clock).unwrap();
    seconds.store(NOW + 3 * DAY, Ordering::Relaxed);
    drop(api);
    assert_eq!(exchange(&mut old_client, &mut old_server, b"still", 7), b"still");
    assert_eq!(exchange(&mut old_server, &mut old_client, b"alive", 7), b"alive");

    // A new connection sees the new server certificate; the client's own has not been renewed and is refused.
    let (mut client, mut server) = (TlsConn::client(&target).unwrap(), server(&new_api, Offer::Plain));
    let talk = handshake(&mut client, &mut server);
    assert_eq!(talk.server.unwrap_err().failure(), Failure::Expired);
}

#[test]
fn the_identity_service_is_met_without_a_certificate() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let target = Target::anonymous(&ca.roots(), &clock(), id(API), &sni()).unwrap();
    let (mut client, mut server) = (TlsConn::client(&target).unwrap(), server(&api, Offer::Plain));
    let talk = handshake(&mut client, &mut server);
    assert!(talk.client.is_ok() && talk.server.is_ok(), "{talk:?}");
    assert_eq!((client.peer(), server.peer()), (Some(&id(API)), None));
}
