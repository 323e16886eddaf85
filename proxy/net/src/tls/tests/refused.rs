//! Peers and connections that must fail, and what is told about it.

use super::*;

/// Bad certificates: what is wrong, who issues what, and what it is refused as by a client and by a server.
fn bad_certificates(ca: &Ca, other: &Ca) -> Vec<(&'static str, Issued, Failure)> {
    use rcgen::date_time_ymd as date;
    let without_issuer = |mut issued: Issued| {
        issued.chain.truncate(1);
        issued
    };
    vec![
        ("another root of the same name", other.issue(&Leaf::new(API)), Failure::UntrustedIssuer),
        ("no issuer sent", without_issuer(ca.issue(&Leaf::new(API))), Failure::UntrustedIssuer),
        ("expired", ca.issue(&leaf(API, |l| l.params.not_after = date(2029, 12, 31))), Failure::Expired),
        (
            "not yet valid",
            ca.issue(&leaf(API, |l| l.params.not_before = date(2030, 1, 2))),
            Failure::NotYetValid,
        ),
        (
            "for another use",
            ca.issue(&leaf(API, |l| {
                l.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping]
            })),
            Failure::BadCertificate,
        ),
    ]
}

#[test]
fn servers_with_bad_certificates_are_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let web = ca.identity(WEB);
    let mut cases = bad_certificates(&ca, &other);
    cases.extend([
        ("another name", ca.issue(&Leaf::new(WEB)), Failure::WrongName),
        ("no name at all", ca.issue(&Leaf::new("")), Failure::WrongName),
        (
            "a wildcard",
            ca.issue(&Leaf::new("*.default.serviceaccount.identity.linkerd.cluster.local")),
            Failure::WrongName,
        ),
        ("the name as a URI", ca.issue(&Leaf::new("spiffe://api.default")), Failure::WrongName),
    ]);
    for (case, issued, failure) in cases {
        let mut server = raw_server(issued);
        let mut client = client(&web, API, Offer::Plain);
        let talk = handshake(&mut client, &mut server);
        let error = talk.client.expect_err(case);
        assert_eq!(error.failure(), failure, "{case}: {error}");
        assert_eq!(error.ours(), Some(web.name()), "{case}");
        let told = talk.server.expect_err("the alert arrives");
        assert_eq!(told.failure(), Failure::RefusedByPeer, "{case}: {told}");
    }
}

#[test]
fn clients_with_bad_certificates_are_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let api = ca.identity(API);
    for (case, issued, failure) in bad_certificates(&ca, &other) {
        let mut client = raw_client(Some(issued), &[]);
        let mut server = server(&api, Offer::Plain);
        let talk = handshake(&mut client, &mut server);
        let error = talk.server.expect_err(case);
        assert_eq!(error.failure(), failure, "{case}: {error}");
        assert_eq!((error.peer(), error.ours()), (API, Some(api.name())), "{case}");
        let told = talk.client.expect_err("the alert arrives");
        assert_eq!(told.failure(), Failure::RefusedByPeer, "{case}: {told}");
    }
}

#[test]
fn an_error_names_both_sides() {
    let ca = Ca::new();
    let web = ca.identity(WEB);
    let mut server = raw_server(ca.issue(&Leaf::new("other.default")));
    let mut client = client(&web, API, Offer::Plain);
    let error = handshake(&mut client, &mut server).client.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the certificate does not match the expected identity (peer: other.default; this proxy: {WEB})"
        )
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn any_of_several_names_may_be_the_expected_one() {
    let ca = Ca::new();
    let web = ca.identity(WEB);
    let spiffe = "spiffe://cluster.local/ns/default/sa/api";
    let both = leaf(API, |l| l.params.subject_alt_names.push(san(spiffe)));
    for expected in [API, spiffe] {
        let mut server = raw_server(ca.issue(&both));
        let mut client = client(&web, expected, Offer::Plain);
        handshake(&mut client, &mut server).client.unwrap();
        assert_eq!(client.peer(), Some(&id(expected)));
    }
}

#[test]
fn a_client_is_its_first_name() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let spiffe = "spiffe://cluster.local/ns/default/sa/web";
    let cases: &[(&[&str], Option<&str>)] = &[
        (&[WEB], Some(WEB)),
        (&[spiffe], Some(spiffe)),
        (&[WEB, spiffe], Some(WEB)),
        (&[spiffe, WEB], Some(spiffe)),
        (&["*.wild.example", WEB], Some(WEB)),
        (&["*.wild.example"], None),
        (&[], None),
    ];
    for (names, expected) in cases {
        let leaf = leaf("", |l| {
            // The common name does not count, whatever it says.
            l.params.distinguished_name.push(rcgen::DnType::CommonName, WEB);
            l.params.subject_alt_names = names.iter().copied().map(san).collect();
            if names.is_empty() {
                l.params.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
            }
        });
        let mut client = raw_client(Some(ca.issue(&leaf)), &[]);
        let mut server = server(&api, Offer::Plain);
        handshake(&mut client, &mut server).server.unwrap();
        assert_eq!(server.peer().map(ToString::to_string).as_deref(), *expected, "{names:?}");
        if expected.is_none() {
            assert_eq!(server.require_peer().unwrap_err().failure(), Failure::NoClientCertificate);
        }
    }
}

#[test]
fn clients_without_a_certificate() {
    let ca = Ca::new();
    let api = ca.identity(API);
    // Elsewhere they are nobody in particular.
    let (mut client, mut server_) = (raw_client(None, &[]), server(&api, Offer::Plain));
    let talk = handshake(&mut client, &mut server_);
    assert!(talk.server.is_ok() && talk.client.is_ok(), "{talk:?}");
    assert_eq!(server_.peer(), None);
    // On the proxy's own port they are refused, and told why.
    let (mut client, mut server_) =
        (raw_client(None, &[b"transport.l5d.io/v1"]), server(&api, Offer::Tagged));
    let talk = handshake(&mut client, &mut server_);
    assert_eq!(talk.server.unwrap_err().failure(), Failure::NoClientCertificate);
    assert_eq!(talk.client.unwrap_err().failure(), Failure::RefusedByPeer);
}

#[test]
fn protocols() {
    let ca = Ca::new();
    let api = ca.identity(API);
    type Case = (&'static [&'static [u8]], Offer, Result<bool, Failure>);
    let cases: &[Case] = &[
        (&[b"transport.l5d.io/v1"], Offer::Tagged, Ok(true)),
        (&[b"h2", b"transport.l5d.io/v1"], Offer::Tagged, Ok(true)),
        (&[], Offer::Tagged, Ok(false)),
        (&[b"h2"], Offer::Tagged, Err(Failure::NoProtocol)),
        // other ports offer none, whatever is asked for
        (&[b"h2"], Offer::Plain, Ok(false)),
        (&[b"transport.l5d.io/v1"], Offer::Plain, Ok(false)),
    ];
    for (alpn, offer, expected) in cases {
        let mut client = raw_client(Some(ca.issue(&Leaf::new(WEB))), alpn);
        let mut server = server(&api, *offer);
        let talk = handshake(&mut client, &mut server);
        let result = talk.server.map(|()| server.is_tagged()).map_err(|error| error.failure());
        assert_eq!(result, *expected, "{alpn:?} {offer:?}");
    }
}

#[test]
fn older_versions_are_refused() {
    let api = Ca::new().identity(API);
    // A ClientHello that offers TLS 1.2 only: no supported_versions.
    let hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x00\x00\x02\xc0\x2b\x01\x00\x00\x00";
    let mut server = server(&api, Offer::Plain);
    let error = server.receive(hello, &mut Vec::new()).unwrap_err();
    assert_eq!(error.failure(), Failure::NothingInCommon, "{error:?}");
    assert!(server.wants_write(), "an alert");
}

#[test]
fn garbage() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let inputs: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x17\x03\x03\x00\x02\x00\x00",
        &[0x16, 0x03, 0x03, 0xff, 0xff],
        &[0xff; 100],
    ];
    for input in inputs {
        for mut conn in [server(&api, Offer::Plain), client(&web, API, Offer::Plain)] {
            let error = conn.receive(input, &mut Vec::new()).unwrap_err();
            assert_eq!(error.failure(), Failure::Malformed, "{input:?}: {error:?}");
            let again = conn.receive(input, &mut Vec::new()).unwrap_err();
            assert_eq!(again.failure(), Failure::Malformed, "it stays failed");
            assert!(conn.send(&[IoSlice::new(b"x")]).map_or(true, |sent| sent == 0));
        }
    }
}
