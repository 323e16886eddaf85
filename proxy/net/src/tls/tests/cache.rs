//! The cache of verified chains.

use super::*;

#[test]
fn a_remembered_chain_is_forgotten_in_time() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let api = ca.identity_at(API, WallClock::Set(Arc::clone(&seconds)));
    // Good for 30 seconds more.
    let web = ca.issue(&leaf(WEB, |l| {
        l.params.not_after = rcgen::date_time_ymd(2030, 1, 1) + std::time::Duration::from_secs(30);
    }));
    let connect = |chain: &Issued| {
        let issued = Issued { chain: chain.chain.clone(), key: chain.key.clone() };
        let (mut client, mut server) = (raw_client(Some(issued), &[]), server(&api, Offer::Plain));
        handshake(&mut client, &mut server).server.map_err(|error| error.failure())
    };
    assert_eq!(connect(&web), Ok(()));
    seconds.store(NOW + 29, Ordering::Relaxed);
    assert_eq!(connect(&web), Ok(()));
    seconds.store(NOW + 31, Ordering::Relaxed);
    assert_eq!(connect(&web), Err(Failure::Expired), "no longer than its certificates");
}

/// A client that shows a good chain, which the server remembers, but has another key.
#[test]
fn a_remembered_chain_proves_nothing_without_its_key() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let web = ca.issue(&Leaf::new(WEB));
    let thief = Issued { chain: web.chain.clone(), key: KeyPair::generate().unwrap().serialize_der() };
    let (mut client, mut server_) = (raw_client(Some(web), &[]), server(&api, Offer::Plain));
    handshake(&mut client, &mut server_).server.unwrap();

    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key(Issued {
        chain: vec![],
        key: thief.key.clone(),
    }))
    .unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain(&thief), key);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let name = ServerName::try_from("proxy.test").unwrap();
    let mut client = TlsConn::new(client_side(config, name), None, None, Session::default());
    let mut server_ = server(&api, Offer::Plain);
    let error = handshake(&mut client, &mut server_).server.unwrap_err();
    assert_eq!((error.failure(), error.peer()), (Failure::BadCertificate, WEB));
    assert_eq!(server_.peer(), None);
}

/// The cache of one server is not asked about its servers, and expects the name each time.
#[test]
fn a_remembered_server_must_still_be_the_expected_one() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    for (expected, good) in [(API, true), (WEB, false), (API, true)] {
        let (mut client, mut server) = (client(&web, expected, Offer::Plain), server(&api, Offer::Plain));
        assert_eq!(handshake(&mut client, &mut server).client.is_ok(), good, "{expected}");
    }
}

#[test]
fn what_the_cache_holds_is_bounded() {
    use super::chains::Chains;
    use rustls_pki_types::UnixTime;
    use std::time::Duration;

    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let ca = Ca::new();
    let real = chain(&ca.issue(&Leaf::new(API)));
    let (leaf, rest) = real.split_first().unwrap();
    let chains = Chains::default();
    let knows = |chains: &Chains, leaf, rest: &[_], now| chains.knows(leaf, rest, now).is_some();
    // Different chains of valid certificates: the issuer repeated.
    let long = |n: usize| vec![rest[0].clone(); n];
    assert!(!knows(&chains, leaf, rest, at(NOW)));
    assert_eq!(chains.remember(leaf, rest, at(NOW)), Some(NOW + 60));
    assert!(knows(&chains, leaf, rest, at(NOW)) && knows(&chains, leaf, rest, at(NOW + 59)));
    assert!(!knows(&chains, leaf, rest, at(NOW + 60)), "a minute");
    assert!(!knows(&chains, leaf, &[], at(NOW)) && !knows(&chains, leaf, &long(2), at(NOW)), "exactly these");
    assert!(!knows(&chains, &rest[0], rest, at(NOW)));

    let too_many = MAX_CACHED_CHAIN_LEN / rest[0].len() + 1;
    assert_eq!(chains.remember(leaf, &long(too_many), at(NOW)), None);
    assert_eq!(chains.len(), 1, "too long to keep");

    let key = KeyPair::generate().unwrap();
    let mut others = (0..MAX_CACHED_CHAINS).map(|n| {
        let mut params = Leaf::new(API).params;
        params.serial_number = Some((n as u64).into());
        params.self_signed(&key).unwrap().der().clone()
    });
    for other in others.by_ref().take(MAX_CACHED_CHAINS - 1) {
        chains.remember(&other, &[], at(NOW + 30));
    }
    assert_eq!(chains.len(), MAX_CACHED_CHAINS);
    let last = others.next().unwrap();
    chains.remember(&last, &[], at(NOW + 31));
    assert!(!knows(&chains, &last, &[], at(NOW + 31)), "full: not remembered");
    chains.remember(&last, &[], at(NOW + 61));
    assert!(knows(&chains, &last, &[], at(NOW + 61)), "the first one has expired and made room");
    assert_eq!(chains.len(), MAX_CACHED_CHAINS);
}
