//! Identities: who a peer has proved to be, and patterns over them.
//!
//! A proxy's identity is a DNS-like name (`<sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>`)
//! or a SPIFFE ID. Both stand in a certificate's subject alternative names: as `dNSName` and as
//! `uniformResourceIdentifier`.

use crate::dns::{DnsName, InvalidDnsName};
use std::{fmt, str::FromStr, sync::Arc};
use thiserror::Error;

/// Longest SPIFFE ID in bytes (SPIFFE-ID section 2.3).
pub const MAX_SPIFFE_ID_LEN: usize = 2048;

/// Longest trust domain name in bytes (SPIFFE-ID section 2.3).
pub const MAX_TRUST_DOMAIN_LEN: usize = 255;

const SPIFFE_SCHEME: &str = "spiffe://";

/// A proved name of a workload: a DNS-like name or a SPIFFE ID.
///
/// DNS-like names compare in lower case; SPIFFE IDs byte by byte (their trust domain must be lower-case).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityName {
    /// A DNS-like name, never with a trailing dot.
    Dns(DnsName),
    /// A `spiffe://` URI.
    Spiffe(SpiffeId),
}

/// `spiffe://<trust domain>[/<segment>...]`, checked as SPIFFE-ID sections 2.1 to 2.3 say.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// The root every identity of a mesh ends in, such as `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(DnsName);

/// Names below a suffix, on a label boundary; the empty suffix is any identity at all.
///
/// Only the empty suffix covers SPIFFE IDs. Source: `inbound.IdentitySuffix.parts`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentitySuffix {
    /// Either empty or `.` followed by the lower-case suffix.
    ends_with: Arc<str>,
}

/// How people write which identities may do something: `*`, `*.suffix` or one exact name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityPattern {
    /// One identity.
    Exact(IdentityName),
    /// `*.suffix`, or `*` for any identity.
    Suffix(IdentitySuffix),
}

/// Why some text is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidIdentity {
    /// Neither a DNS name nor a `spiffe://` URI.
    #[error("not a DNS-like identity")]
    Dns(#[source] InvalidDnsName),
    /// Longer than [`MAX_SPIFFE_ID_LEN`], or its trust domain than [`MAX_TRUST_DOMAIN_LEN`].
    #[error("the SPIFFE ID is too long")]
    SpiffeTooLong,
    /// Nothing between `spiffe://` and the path.
    #[error("the SPIFFE ID has no trust domain")]
    SpiffeNoTrustDomain,
    /// The trust domain has something else than `a-z 0-9 . - _`.
    #[error("the trust domain of a SPIFFE ID must consist of a-z, 0-9, '.', '-' and '_'")]
    SpiffeTrustDomain,
    /// Two slashes in a row or a trailing one.
    #[error("the path of a SPIFFE ID must not have empty segments or end in '/'")]
    SpiffeEmptySegment,
    /// A `.` or `..` segment.
    #[error("the path of a SPIFFE ID must not have '.' or '..' segments")]
    SpiffeDotSegment,
    /// The path has something else than `A-Z a-z 0-9 . - _`.
    #[error("the path of a SPIFFE ID must consist of letters, digits, '.', '-' and '_'")]
    SpiffePath,
}

// === impl IdentityName ===

impl IdentityName {
    /// The identity of a service account:
    /// `<account>.<namespace>.serviceaccount.identity.<control plane namespace>.<trust domain>`.
    pub fn service_account(
        account: &str,
        namespace: &str,
        control_plane_namespace: &str,
        trust_domain: &TrustDomain,
    ) -> Result<Self, InvalidIdentity> {
        format!("{account}.{namespace}.serviceaccount.identity.{control_plane_namespace}.{trust_domain}")
            .parse()
    }

    /// An identity from a certificate's `dNSName`.
    pub fn from_dns_san(san: &[u8]) -> Result<Self, InvalidIdentity> {
        DnsName::from_bytes(san).map(Self::from).map_err(InvalidIdentity::Dns)
    }

    /// An identity from a certificate's `uniformResourceIdentifier`.
    pub fn from_uri_san(san: &[u8]) -> Result<Self, InvalidIdentity> {
        let text = std::str::from_utf8(san).map_err(|_| InvalidIdentity::SpiffePath)?;
        text.parse().map(Self::Spiffe)
    }

    /// The text, in the case it is compared in.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) => name.as_str(),
            Self::Spiffe(id) => id.as_str(),
        }
    }

    /// The DNS-like form, if it is one.
    pub fn dns(&self) -> Option<&DnsName> {
        match self {
            Self::Dns(name) => Some(name),
            Self::Spiffe(_) => None,
        }
    }

    /// Whether a `dNSName` of a certificate is this identity. Does not allocate.
    pub fn matches_dns_san(&self, san: &[u8]) -> bool {
        match self {
            Self::Dns(name) => name.matches(san),
            Self::Spiffe(_) => false,
        }
    }

    /// Whether a `uniformResourceIdentifier` of a certificate is this identity. Does not allocate.
    pub fn matches_uri_san(&self, san: &[u8]) -> bool {
        match self {
            Self::Dns(_) => false,
            Self::Spiffe(id) => id.as_str().as_bytes() == san,
        }
    }
}

impl From<DnsName> for IdentityName {
    fn from(name: DnsName) -> Self {
        Self::Dns(if name.is_absolute() { name.without_root() } else { name })
    }
}

impl From<SpiffeId> for IdentityName {
    fn from(id: SpiffeId) -> Self {
        Self::Spiffe(id)
    }
}

impl FromStr for IdentityName {
    type Err = InvalidIdentity;

    fn from_str(s: &str) -> Result<Self, InvalidIdentity> {
        if s.starts_with(SPIFFE_SCHEME) {
            return s.parse().map(Self::Spiffe);
        }
        s.parse::<DnsName>().map(Self::from).map_err(InvalidIdentity::Dns)
    }
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityName({self})")
    }
}

// === impl SpiffeId ===

impl SpiffeId {
    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after `spiffe://`, up to the path.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The path with its leading slash, or nothing.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let rest = self.0.strip_prefix(SPIFFE_SCHEME).unwrap_or(&self.0);
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidIdentity;

    fn from_str(s: &str) -> Result<Self, InvalidIdentity> {
        if s.len() > MAX_SPIFFE_ID_LEN {
            return Err(InvalidIdentity::SpiffeTooLong);
        }
        let rest = s.strip_prefix(SPIFFE_SCHEME).ok_or(InvalidIdentity::SpiffeNoTrustDomain)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        if domain.is_empty() {
            return Err(InvalidIdentity::SpiffeNoTrustDomain);
        }
        if domain.len() > MAX_TRUST_DOMAIN_LEN {
            return Err(InvalidIdentity::SpiffeTooLong);
        }
        if !domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
            return Err(InvalidIdentity::SpiffeTrustDomain);
        }
        for segment in path.into_iter().flat_map(|p| p.split('/')) {
            match segment {
                "" => return Err(InvalidIdentity::SpiffeEmptySegment),
                "." | ".." => return Err(InvalidIdentity::SpiffeDotSegment),
                _ if !segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) =>
                {
                    return Err(InvalidIdentity::SpiffePath);
                }
                _ => {}
            }
        }
        Ok(Self(Arc::from(s)))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({self})")
    }
}

// === impl TrustDomain ===

impl TrustDomain {
    /// The domain as a DNS name.
    pub fn name(&self) -> &DnsName {
        &self.0
    }

    /// The domain in lower case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidDnsName;

    fn from_str(s: &str) -> Result<Self, InvalidDnsName> {
        Ok(Self(s.parse::<DnsName>()?.without_root()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl IdentitySuffix ===

impl IdentitySuffix {
    /// The suffix every identity has.
    pub fn any() -> Self {
        Self { ends_with: Arc::from("") }
    }

    /// Names strictly below `name`.
    pub fn below(name: &DnsName) -> Self {
        Self { ends_with: Arc::from(format!(".{}", name.as_str())) }
    }

    /// From the API's list of labels, leftmost first; none is any identity.
    pub fn from_parts<S: AsRef<str>>(parts: &[S]) -> Result<Self, InvalidDnsName> {
        if parts.is_empty() {
            return Ok(Self::any());
        }
        let text = parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
        Ok(Self::below(&text.parse()?))
    }

    /// The labels, leftmost first; none if it is any identity.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.ends_with.split('.').skip(1)
    }

    /// Whether it covers every identity.
    pub fn is_any(&self) -> bool {
        self.ends_with.is_empty()
    }

    /// Whether it covers `name`. Does not allocate.
    pub fn contains(&self, name: &IdentityName) -> bool {
        self.is_any() || name.dns().is_some_and(|dns| dns.as_str().ends_with(&*self.ends_with))
    }
}

impl fmt::Display for IdentitySuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*{}", self.ends_with)
    }
}

impl fmt::Debug for IdentitySuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentitySuffix({self})")
    }
}

// === impl IdentityPattern ===

impl IdentityPattern {
    /// Whether it covers `name`.
    pub fn contains(&self, name: &IdentityName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Suffix(suffix) => suffix.contains(name),
        }
    }
}

impl FromStr for IdentityPattern {
    type Err = InvalidIdentity;

    fn from_str(s: &str) -> Result<Self, InvalidIdentity> {
        if s == "*" {
            return Ok(Self::Suffix(IdentitySuffix::any()));
        }
        if let Some(suffix) = s.strip_prefix("*.") {
            let name: DnsName = suffix.parse().map_err(InvalidIdentity::Dns)?;
            return Ok(Self::Suffix(IdentitySuffix::below(&name)));
        }
        s.parse().map(Self::Exact)
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Suffix(suffix) => suffix.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
