//! Host and SNI matches: one name, or everything below a suffix.

use std::{fmt, str::FromStr};
use thiserror::Error;
use weft_names::{DnsName, Host, dns};

/// Hosts (or SNI names) a route is for. Printed as `web.example` or `*.example`.
///
/// A suffix stands for names with at least one more label, as in the Gateway API. Source: `http_route.HostMatch`,
/// `tls_route.SniMatch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// One host, by name or address.
    Exact(Host),
    /// Every name below this one; `None` is every name.
    Suffix(Option<DnsName>),
}

/// How well a host matched: exact over suffix, more labels over fewer, any over none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    /// The route names no hosts.
    Any,
    /// By a suffix of this many labels.
    Suffix(usize),
    /// By name.
    Exact,
}

/// Why some text is not a host match.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a host or '*.' and a suffix")]
pub struct InvalidHostMatch(pub String);

impl HostMatch {
    /// The API's form of a suffix: labels from the last to the first.
    pub fn from_reverse_labels<S: AsRef<str>>(labels: &[S]) -> Result<Self, InvalidHostMatch> {
        if labels.is_empty() {
            return Ok(Self::Suffix(None));
        }
        let text = labels.iter().rev().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
        match text.parse::<DnsName>() {
            Ok(name) => Ok(Self::Suffix(Some(name.without_root()))),
            Err(_) => Err(InvalidHostMatch(format!("*.{text}"))),
        }
    }

    /// How well `host` (lower or upper case, with or without a trailing dot, brackets around IPv6) matches.
    pub fn rank(&self, host: &[u8]) -> Option<HostRank> {
        match self {
            Self::Exact(exact) => exact.matches(host).then_some(HostRank::Exact),
            Self::Suffix(None) => (!host.is_empty()).then_some(HostRank::Suffix(0)),
            Self::Suffix(Some(suffix)) => {
                let host = dns::without_root(host);
                let suffix_text = suffix.as_str().as_bytes();
                let (rest, tail) = host.split_at_checked(host.len().checked_sub(suffix_text.len())?)?;
                (tail.eq_ignore_ascii_case(suffix_text) && rest.len() > 1 && rest.ends_with(b"."))
                    .then(|| HostRank::Suffix(suffix.labels().count()))
            }
        }
    }
}

impl FromStr for HostMatch {
    type Err = InvalidHostMatch;

    fn from_str(s: &str) -> Result<Self, InvalidHostMatch> {
        let invalid = |_| InvalidHostMatch(s.to_owned());
        if s == "*" {
            return Ok(Self::Suffix(None));
        }
        match s.strip_prefix("*.") {
            Some(suffix) => {
                Ok(Self::Suffix(Some(suffix.parse::<DnsName>().map_err(invalid)?.without_root())))
            }
            None => s.parse().map(Self::Exact).map_err(invalid),
        }
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Suffix(None) => f.write_str("*"),
            Self::Suffix(Some(suffix)) => write!(f, "*.{suffix}"),
        }
    }
}

/// The best rank of `host` among `hosts`; none listed is [`HostRank::Any`].
pub(crate) fn best_host(hosts: &[HostMatch], host: &[u8]) -> Option<HostRank> {
    if hosts.is_empty() {
        return Some(HostRank::Any);
    }
    hosts.iter().filter_map(|m| m.rank(host)).max()
}
