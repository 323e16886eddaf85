//! What a request may and may not say, and what a certificate says whatever the request said.

use super::{DB, WEB, at, config, csr, identity, params};
use crate::identity::{
    Csr, CsrError, Issuer, Lifetime, MAX_CSR_LEN, Serial, issue,
    issuer::{new_issuer, new_root},
    x509::{Validity, hex, pem, unhex},
};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::time::Duration;
use weft_store::{IssuerRow, TrustRoot};
use x509_parser::{
    certification_request::X509CertificationRequest,
    prelude::{FromDer, X509Certificate},
};

fn request(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

fn issuer_at(now: Timestamp) -> Issuer {
    let (root_name, issuer_name) = (config().root_name(), config().issuer_name());
    let authority = new_root(&root_name, now).unwrap();
    let root = TrustRoot { generation: 1, authority, created_at: now, retired_at: None };
    let row = IssuerRow {
        generation: 1,
        root_generation: 1,
        authority: new_issuer(&root, &issuer_name, now).unwrap(),
        created_at: now,
        retired_at: None,
    };
    Issuer::load(&row, &root, &issuer_name).unwrap()
}

#[test]
fn requests_for_exactly_the_identity_pass() {
    let no_subject = {
        let mut params = params(WEB);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    };
    for (what, params, algorithm) in [
        ("as proxies make them", params(WEB), &rcgen::PKCS_ECDSA_P256_SHA256),
        ("no common name", no_subject, &rcgen::PKCS_ECDSA_P256_SHA256),
        ("another case", params(&WEB.to_uppercase()), &rcgen::PKCS_ECDSA_P256_SHA256),
        ("P-384", params(WEB), &rcgen::PKCS_ECDSA_P384_SHA384),
    ] {
        let der = request(&params, &KeyPair::generate_for(algorithm).unwrap());
        let csr = Csr::check(&der, &identity(WEB)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(csr.identity(), &identity(WEB), "{what}");
    }
}

#[test]
fn requests_for_anything_else_are_refused_with_the_reason() {
    let with_names = |names: Vec<SanType>| {
        let mut params = params(WEB);
        params.subject_alt_names = names;
        params
    };
    let dns = |name: &str| SanType::DnsName(name.to_owned().try_into().unwrap());
    let common_name = {
        let mut params = params(WEB);
        params.distinguished_name.push(DnType::CommonName, DB);
        params
    };
    let uri = SanType::URI("spiffe://cluster.local/web".to_owned().try_into().unwrap());
    let mail = SanType::Rfc822Name("web@example.com".to_owned().try_into().unwrap());
    let ecdsa = &rcgen::PKCS_ECDSA_P256_SHA256;
    let cases = [
        (params(DB), ecdsa, "the common name"),
        (with_names(vec![dns(DB)]), ecdsa, "only subject alternative name, and has DNSName(db.default"),
        (with_names(vec![]), ecdsa, "and has none"),
        (with_names(vec![dns(WEB), dns(DB)]), ecdsa, "DNSName(web"),
        (with_names(vec![dns(WEB), dns(WEB)]), ecdsa, "only subject alternative name"),
        (with_names(vec![dns(WEB), SanType::IpAddress([10, 0, 0, 1].into())]), ecdsa, "IPAddress"),
        (with_names(vec![uri]), ecdsa, "URI(spiffe://cluster.local/web)"),
        (with_names(vec![dns(WEB), mail]), ecdsa, "RFC822Name"),
        (with_names((0..9).map(|i| dns(&format!("a{i}.example"))).collect()), ecdsa, "a3.example), ..."),
        (common_name, ecdsa, "the common name \"db.default"),
        (params(WEB), &rcgen::PKCS_ED25519, "the key must be ECDSA"),
        (params(WEB), &rcgen::PKCS_RSA_SHA256, "the key must be ECDSA"),
    ];
    for (params, algorithm, expected) in cases {
        let der = request(&params, &KeyPair::generate_for(algorithm).unwrap());
        let error = Csr::check(&der, &identity(WEB)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let der = csr(WEB);
    let web = identity(WEB);
    assert!(matches!(Csr::check(&[], &web), Err(CsrError::Malformed)));
    assert!(matches!(Csr::check(&[der.clone(), vec![0]].concat(), &web), Err(CsrError::Malformed)));
    assert!(
        matches!(Csr::check(&vec![0x30; MAX_CSR_LEN + 1], &web), Err(CsrError::TooLong(n)) if n == MAX_CSR_LEN + 1)
    );
    let other = csr(WEB);
    let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
    // After tag and length of the outer sequence.
    let signed = 4..4 + parsed.certification_request_info.raw.len();
    assert_eq!(der[signed.clone()], *parsed.certification_request_info.raw);
    for length in 0..der.len() {
        assert!(Csr::check(&der[..length], &web).is_err(), "cut to {length}");
        let mut changed = der.clone();
        changed[length] ^= 0x01;
        let result = Csr::check(&changed, &web);
        // What is outside of the signed part may be read leniently; it is not used either.
        assert!(result.is_err() || !signed.contains(&length), "byte {length} changed");
    }
    // The names of one, the signature of another key.
    let spliced = [&der[..der.len() - 70], &other[other.len() - 70..]].concat();
    assert!(Csr::check(&spliced, &web).is_err());
}

#[test]
fn a_certificate_has_what_we_decide_and_nothing_of_the_request() {
    let mut asked = params(WEB);
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    asked.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    asked.distinguished_name.push(DnType::OrganizationName, "system:masters");
    asked.custom_extensions =
        vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0])];
    let key = KeyPair::generate().unwrap();
    let csr = Csr::check(&request(&asked, &key), &identity(WEB)).unwrap();

    let issuer = issuer_at(at(0));
    let issued = issue(&csr, &issuer, Lifetime::default(), Serial::new([0xab; 16]), at(100)).unwrap();
    let (rest, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
    assert!(rest.is_empty());
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().to_string(), format!("CN={WEB}"));
    assert_eq!(leaf.issuer().to_string(), "CN=identity.linkerd.cluster.local");
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2", "ecdsa-with-SHA256");
    assert_eq!(hex(leaf.raw_serial().strip_prefix(&[0]).unwrap()), issued.serial.to_hex());
    assert_eq!(issued.serial.to_hex(), "ab".repeat(16));

    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.to_string(), "Digital Signature, Key Encipherment");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.code_signing && !extended.any);
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("DNSName({WEB})")]);
    let oids: Vec<_> = leaf.extensions().iter().map(|extension| extension.oid.to_id_string()).collect();
    assert!(!oids.iter().any(|oid| oid.contains("99999")), "{oids:?}");

    let (_, signer) = X509Certificate::from_der(issuer.certificate()).unwrap();
    leaf.verify_signature(Some(signer.public_key())).unwrap();
    assert!(signer.is_ca());
    assert_eq!(signer.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
}

#[test]
fn a_long_identity_stands_in_the_alternative_name_alone() {
    let long = format!("{}.default.serviceaccount.identity.linkerd.cluster.local", "a".repeat(60));
    let mut params = CertificateParams::new(vec![long.clone()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = Csr::check(&request(&params, &KeyPair::generate().unwrap()), &identity(&long)).unwrap();
    let issued = issue(&csr, &issuer_at(at(0)), Lifetime::default(), Serial::new([1; 16]), at(0)).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical, "RFC 5280 section 4.1.2.6");
}

#[test]
fn validity_is_skewed_at_both_ends_and_never_longer_than_the_chain() {
    let csr = Csr::check(&csr(WEB), &identity(WEB)).unwrap();
    let issuer = issuer_at(at(0));
    let seconds = |validity, skew| Lifetime {
        validity: Duration::from_secs(validity),
        clock_skew: Duration::from_secs(skew),
    };
    let end = issuer.not_after();
    for (lifetime, now, not_before, not_after) in [
        (Lifetime::default(), at(0), at(-20), at(24 * 3600 + 20)),
        (seconds(5, 1), at(50), at(49), at(56)),
        (seconds(5, 0), at(50), at(50), at(55)),
        (seconds(u64::MAX, u64::MAX), at(0), Timestamp::UNIX_EPOCH, end),
        (Lifetime::default(), end, end - jiff::SignedDuration::from_secs(20), end),
    ] {
        let issued = issue(&csr, &issuer, lifetime, Serial::new([1; 16]), now).unwrap();
        assert_eq!((issued.not_before, issued.not_after), (not_before, not_after), "{lifetime:?}");
        let (_, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
        assert_eq!(leaf.validity().not_before.timestamp(), not_before.as_second());
        assert_eq!(leaf.validity().not_after.timestamp(), not_after.as_second());
    }
}

#[test]
fn fractions_of_a_second_are_cut() {
    let now = at(0) + jiff::SignedDuration::from_millis(999);
    let validity = Validity::new(now, now);
    assert_eq!((validity.not_before, validity.not_after), (at(0), at(0)));
}

#[test]
fn an_issuer_is_replaced_when_a_third_of_its_year_is_left() {
    let issuer = issuer_at(at(0));
    let days = |n: i64| at(n * 24 * 3600);
    assert!(issuer.is_valid(at(0)) && issuer.is_valid(days(364)) && !issuer.is_valid(days(366)));
    assert!(!issuer.is_valid(at(-2 * 3600)));
    assert!(!issuer.is_due(days(240)));
    assert!(issuer.is_due(days(244)));
}

#[test]
fn pem_is_base64_in_lines_of_64() {
    // RFC 4648 section 10.
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("foobar", "Zm9vYmFy"),
    ] {
        let body = if text.is_empty() { String::new() } else { format!("{text}\n") };
        assert_eq!(pem("X", bytes.as_bytes()), format!("-----BEGIN X-----\n{body}-----END X-----\n"));
    }
    let long = pem("X", &[0xff; 100]);
    assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [17, 64, 64, 8, 15]);
    assert_eq!(long.lines().nth(1).unwrap(), "/".repeat(64));
}

#[test]
fn hex_goes_both_ways() {
    assert_eq!(unhex::<4>(&hex(&[0, 1, 0xab, 0xff])), Some([0, 1, 0xab, 0xff]));
    for bad in ["", "0001abf", "0001abff00", "0001ABFF", "0001abfg", "0001ab\u{e9}"] {
        assert_eq!(unhex::<4>(bad), None, "{bad}");
    }
}
