use super::*;
use proptest::prelude::*;

fn id(s: &str) -> IdentityName {
    s.parse().unwrap()
}

#[test]
fn dns_identities_compare_in_lower_case() {
    let web = id("WEB.default.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(web, id("web.default.serviceaccount.identity.linkerd.cluster.local"));
    assert_eq!(web, id("web.default.serviceaccount.identity.linkerd.cluster.local."));
    assert!(web.matches_dns_san(b"Web.Default.serviceaccount.identity.linkerd.cluster.local"));
    assert!(!web.matches_dns_san(b"web2.default.serviceaccount.identity.linkerd.cluster.local"));
    assert!(!web.matches_uri_san(b"web.default.serviceaccount.identity.linkerd.cluster.local"));
}

#[test]
fn service_account_identities_have_linkerds_form() {
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    assert_eq!(
        IdentityName::service_account("web", "default", "linkerd", &domain).unwrap().as_str(),
        "web.default.serviceaccount.identity.linkerd.cluster.local"
    );
    assert!(IdentityName::service_account("a b", "default", "linkerd", &domain).is_err());
}

#[test]
fn spiffe_ids_are_checked() {
    use InvalidIdentity::*;
    for (text, expect) in [
        ("spiffe://example.org/web", None),
        ("spiffe://example.org/ns/Default/sa/web_1.2-3", None),
        ("spiffe://example.org", None),
        ("spiffe:///web", Some(SpiffeNoTrustDomain)),
        ("spiffe://", Some(SpiffeNoTrustDomain)),
        ("spiffe://Example.org/web", Some(SpiffeTrustDomain)),
        ("spiffe://user@example.org/web", Some(SpiffeTrustDomain)),
        ("spiffe://example.org:80/web", Some(SpiffeTrustDomain)),
        ("spiffe://example.org/", Some(SpiffeEmptySegment)),
        ("spiffe://example.org/web/", Some(SpiffeEmptySegment)),
        ("spiffe://example.org//web", Some(SpiffeEmptySegment)),
        ("spiffe://example.org/./web", Some(SpiffeDotSegment)),
        ("spiffe://example.org/../web", Some(SpiffeDotSegment)),
        ("spiffe://example.org/web?q", Some(SpiffePath)),
        ("spiffe://example.org/web#f", Some(SpiffePath)),
        ("spiffe://example.org/w%20b", Some(SpiffePath)),
        ("spiffe://example.org/wéb", Some(SpiffePath)),
    ] {
        assert_eq!(text.parse::<IdentityName>().err(), expect, "{text}");
    }
    let long = format!("spiffe://example.org/{}", "a".repeat(MAX_SPIFFE_ID_LEN));
    assert_eq!(long.parse::<IdentityName>(), Err(SpiffeTooLong));
    let long = format!("spiffe://{}/web", "a".repeat(MAX_TRUST_DOMAIN_LEN + 1));
    assert_eq!(long.parse::<IdentityName>(), Err(SpiffeTooLong));
    assert!(matches!("http://example.org/web".parse::<IdentityName>(), Err(Dns(_))));
}

#[test]
fn spiffe_parts() {
    let spiffe: SpiffeId = "spiffe://example.org/ns/x".parse().unwrap();
    assert_eq!((spiffe.trust_domain(), spiffe.path()), ("example.org", "/ns/x"));
    let spiffe: SpiffeId = "spiffe://example.org".parse().unwrap();
    assert_eq!((spiffe.trust_domain(), spiffe.path()), ("example.org", ""));
}

#[test]
fn spiffe_ids_match_only_uri_names_byte_by_byte() {
    let web = id("spiffe://example.org/Web");
    assert!(web.matches_uri_san(b"spiffe://example.org/Web"));
    assert!(!web.matches_uri_san(b"spiffe://example.org/web"));
    assert!(!web.matches_dns_san(b"spiffe://example.org/Web"));
}

#[test]
fn names_of_certificates() {
    assert_eq!(IdentityName::from_dns_san(b"Web.example").unwrap(), id("web.example"));
    assert_eq!(IdentityName::from_uri_san(b"spiffe://a/b").unwrap(), id("spiffe://a/b"));
    assert!(IdentityName::from_uri_san(b"https://a/b").is_err());
    assert!(IdentityName::from_uri_san(b"web.example").is_err());
    assert!(IdentityName::from_dns_san(b"spiffe://a/b").is_err());
    assert!(IdentityName::from_dns_san(b"\xff\xfe").is_err());
}

#[test]
fn patterns() {
    for (pattern, name, expect) in [
        ("*", "web.example", true),
        ("*", "spiffe://example.org/web", true),
        ("*.example", "web.example", true),
        ("*.Example", "a.b.example", true),
        ("*.example", "example", false),
        ("*.example", "webexample", false),
        ("*.org", "spiffe://example.org/web.org", false),
        ("web.example", "Web.Example", true),
        ("web.example", "web2.example", false),
        ("spiffe://a/b", "spiffe://a/b", true),
    ] {
        let parsed: IdentityPattern = pattern.parse().unwrap();
        assert_eq!(parsed.contains(&id(name)), expect, "{pattern} over {name}");
        assert_eq!(parsed.to_string().parse::<IdentityPattern>().unwrap(), parsed);
    }
    assert!("*example".parse::<IdentityPattern>().is_err());
    assert!("*.*".parse::<IdentityPattern>().is_err());
}

#[test]
fn suffixes_from_api_parts() {
    let suffix = IdentitySuffix::from_parts(&["NS", "serviceaccount"]).unwrap();
    assert_eq!(suffix.parts().collect::<Vec<_>>(), ["ns", "serviceaccount"]);
    assert!(suffix.contains(&id("web.ns.serviceaccount")));
    assert!(IdentitySuffix::from_parts::<&str>(&[]).unwrap().is_any());
    assert_eq!(IdentitySuffix::any().parts().count(), 0);
    assert!(IdentitySuffix::from_parts(&["a b"]).is_err());
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,100}") {
        let _ = text.parse::<IdentityName>();
        let _ = format!("spiffe://{text}").parse::<IdentityName>();
        let _ = text.parse::<IdentityPattern>();
    }

    #[test]
    fn display_round_trips(text in "([a-z0-9]{1,8}\\.){0,4}[a-z]{1,8}|spiffe://[a-z0-9.]{1,9}(/[a-zA-Z0-9_-]{1,5}){0,3}") {
        let name: IdentityName = text.parse().unwrap();
        prop_assert_eq!(name.to_string(), text);
        prop_assert_eq!(name.to_string().parse::<IdentityName>().unwrap(), name);
    }
}
