//! Names: what a parser accepts it prints so that it is accepted again, as the same; comparing agrees with parsing.
//!
//! Input: a byte that chooses the parser, then text.

use std::{fmt::Display, net::SocketAddr, str::FromStr};

use weft_names::{
    Authority, Cidr, DnsName, Host, IdentityName, IdentityPattern, Meta, Port, PortSet, ResourceRef,
    SpiffeId, TrustDomain, authority,
};

use crate::input::Input;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(12);
    let bytes = input.rest();
    // Some parsers are given bytes of the wire: the same as for their text, if they are one.
    let text = &*String::from_utf8_lossy(bytes);
    match which {
        0 => dns_name(bytes, text),
        1 => host_and_authority(bytes, text),
        2 => identity(bytes, text),
        3 => {
            if let Some(id) = again::<SpiffeId>(text) {
                assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), id.as_str());
            }
        }
        4 => drop(again::<TrustDomain>(text)),
        5 => patterns(text),
        6 => drop(again::<Port>(text)),
        7 => ports(text),
        8 => drop(again::<Cidr>(text)),
        9 => drop(again::<Meta>(text)),
        10 => drop(again::<ResourceRef>(text)),
        _ => {
            if let Some((host, port)) = authority::split(bytes) {
                assert!(!host.is_empty() && host.len() <= bytes.len());
                let parsed = Authority::from_bytes(bytes);
                if let Ok(parsed) = parsed {
                    assert_eq!(parsed.port, port, "splitting sees the same port as parsing");
                    assert!(parsed.host.matches(host), "and the same host");
                }
            } else {
                assert!(Authority::from_bytes(bytes).is_err(), "what cannot be split cannot be parsed");
            }
        }
    }
}

/// What is printed is accepted again, as the same, and then printed the same.
fn again<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<T>
where
    T::Err: std::fmt::Debug + Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            let again: T =
                printed.parse().unwrap_or_else(|e| panic!("{text:?} printed as {printed:?}: {e:?}"));
            assert_eq!(again, value, "{text:?} printed as {printed:?}");
            assert_eq!(again.to_string(), printed);
            Some(value)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn dns_name(bytes: &[u8], text: &str) {
    let name = again::<DnsName>(text);
    if std::str::from_utf8(bytes).is_ok() {
        assert_eq!(DnsName::from_bytes(bytes).ok(), name);
    }
    let Some(name) = name else { return };
    assert!(name.as_str().len() <= 254 && name.as_str().is_ascii());
    assert!(name.matches(bytes) && name.matches(text.to_ascii_uppercase().as_bytes()));
    assert!(name.is_within(&name) && name.without_root().matches(bytes));
    assert_eq!(name.labels().collect::<Vec<_>>().join("."), name.without_root().as_str());
    for label in name.labels() {
        assert!((1..=63).contains(&label.len()), "{label}");
    }
}

fn host_and_authority(bytes: &[u8], text: &str) {
    if let Some(host) = again::<Host>(text) {
        assert!(host.matches(bytes) && host.matches(host.to_string().as_bytes()));
        assert_eq!(
            again::<Authority>(text).map(|a| (a.host, a.port)),
            Some((host, None)),
            "a host is an authority"
        );
    }
    let Some(authority) = again::<Authority>(text) else { return };
    if let Some(addr) = authority.socket_addr() {
        assert_eq!(addr.to_string().parse::<SocketAddr>(), Ok(addr));
        assert_eq!(Authority::from(addr), authority);
    }
}

fn identity(bytes: &[u8], text: &str) {
    let Some(id) = again::<IdentityName>(text) else { return };
    match id.dns() {
        Some(name) => {
            assert!(!name.is_absolute());
            assert!(id.matches_dns_san(bytes) && !id.matches_uri_san(bytes));
            assert_eq!(IdentityName::from_dns_san(bytes).ok().as_ref(), Some(&id));
        }
        None => {
            assert!(id.matches_uri_san(bytes) && !id.matches_dns_san(bytes));
            assert_eq!(IdentityName::from_uri_san(bytes).ok().as_ref(), Some(&id));
        }
    }
}

fn patterns(text: &str) {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "web.default.example"));
    let Some(pattern) = again::<IdentityPattern>(pattern) else { return };
    if let Ok(name) = name.parse::<IdentityName>() {
        // Asking twice answers the same, and the name printed and read is as much in it.
        let printed: IdentityName = name.to_string().parse().unwrap();
        assert_eq!(pattern.contains(&name), pattern.contains(&printed));
    }
}

fn ports(text: &str) {
    let Some(set) = again::<PortSet>(text) else { return };
    let ranges: Vec<_> = set.ranges().collect();
    for range in &ranges {
        assert!(range.start() <= range.end() && *range.start() > 0);
        assert!(set.contains(*range.start()) && set.contains(*range.end()));
        let before = range.start() - 1;
        assert!(!set.contains(before), "{before} is before a range of {set}");
    }
    for pair in ranges.windows(2) {
        assert!(
            u32::from(*pair[0].end()) + 1 < u32::from(*pair[1].start()),
            "{set} is not ordered and apart"
        );
    }
    assert_eq!(set.is_empty(), ranges.is_empty());
}

/// Names of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let names: &[(u8, &str)] = &[
        (0, "web.default.svc.cluster.local"),
        (0, "Web_1.Example."),
        (0, "a-b.c0"),
        (0, "xn--bcher-kva.example"),
        (1, "example"),
        (1, "10.0.0.1:8080"),
        (1, "[::1]:80"),
        (1, "[fd00::1%1]"),
        (1, "web:65536"),
        (2, "web.default.serviceaccount.identity.linkerd.cluster.local"),
        (2, "Web.Default.example."),
        (2, "spiffe://cluster.local/ns/a/sa/b"),
        (3, "spiffe://td"),
        (3, "spiffe://td/a/../b"),
        (4, "Cluster.Local"),
        (5, "*"),
        (5, "*.default.example\nweb.default.example"),
        (5, "web.example\nWEB.example."),
        (5, "spiffe://a/b\nspiffe://a/b"),
        (6, "65535"),
        (6, "00080"),
        (7, "25,443, 587-600 ,3306,65535"),
        (7, "1-65535"),
        (7, "5,4,3-9,10"),
        (8, "10.0.0.0/8"),
        (8, "fd00::/64"),
        (8, "10.1.2.3"),
        (9, "default:all-unauthenticated"),
        (9, "policy.linkerd.io/server/shop/web"),
        (10, "core/Service/default/web:80"),
        (10, "gateway.networking.k8s.io/HTTPRoute/ns/name/section:1"),
        (11, "example:"),
        (11, "[::1]:80"),
        (11, "a:b:80"),
    ];
    names.iter().map(|(which, name)| [&[*which], name.as_bytes()].concat()).collect()
}
