//! DNS names: lower-case, checked once, compared label by label.

use std::{fmt, net::Ipv4Addr, str::FromStr, sync::Arc};
use thiserror::Error;

/// Longest name in its text form, without a trailing dot (RFC 1035 section 2.3.4: 255 octets on the wire).
pub const MAX_NAME_LEN: usize = 253;

/// Longest label (RFC 1035 section 2.3.4).
pub const MAX_LABEL_LEN: usize = 63;

/// A DNS name of one or more labels, in lower case.
///
/// Labels are letters, digits, `-` and `_` (the underscore occurs in SRV names and in Compose service names);
/// a label neither starts nor ends with `-`. Text that is an IPv4 address is not a name.
///
/// A trailing dot is remembered ([`is_absolute`](Self::is_absolute)) and printed, but it is not part of
/// [`as_str`](Self::as_str) nor of [`matches`](Self::matches). Two names that differ only in it are not equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName {
    text: Arc<str>,
    absolute: bool,
}

/// Why some text is not a DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidDnsName {
    /// Nothing, or only a dot.
    #[error("a DNS name must not be empty")]
    Empty,
    /// Over [`MAX_NAME_LEN`].
    #[error("a DNS name must not be longer than {MAX_NAME_LEN} characters")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("a DNS name must not have an empty label")]
    EmptyLabel,
    /// Over [`MAX_LABEL_LEN`].
    #[error("a DNS label must not be longer than {MAX_LABEL_LEN} characters")]
    LabelTooLong,
    /// A label starts or ends with `-`.
    #[error("a DNS label must not start or end with '-'")]
    Hyphen,
    /// Something else than letters, digits, `-`, `_`.
    #[error("a DNS name must consist of letters, digits, '-', '_' and '.'")]
    Character,
    /// An IPv4 address in dotted form.
    #[error("an IP address is not a DNS name")]
    IpAddress,
}

// === impl DnsName ===

impl DnsName {
    /// Parses a name from bytes as they come from a certificate, a ClientHello or a request.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidDnsName> {
        std::str::from_utf8(bytes).map_err(|_| InvalidDnsName::Character)?.parse()
    }

    /// The name in lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it was written with a trailing dot: a resolver must not try search domains.
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// The same name without the trailing dot.
    #[must_use]
    pub fn without_root(&self) -> Self {
        Self { text: Arc::clone(&self.text), absolute: false }
    }

    /// Whether this is `localhost`, which resolves to loopback without asking anybody (RFC 6761 section 6.3).
    pub fn is_localhost(&self) -> bool {
        &*self.text == "localhost"
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('.')
    }

    /// Compares with bytes from the wire: letter case and one trailing dot do not matter. Does not allocate.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        without_root(bytes).eq_ignore_ascii_case(self.text.as_bytes())
    }

    /// Whether this name is `suffix` or below it, label by label.
    pub fn is_within(&self, suffix: &DnsName) -> bool {
        match self.text.strip_suffix(&*suffix.text) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

impl FromStr for DnsName {
    type Err = InvalidDnsName;

    fn from_str(s: &str) -> Result<Self, InvalidDnsName> {
        let (text, absolute) = match s.strip_suffix('.') {
            Some(text) => (text, true),
            None => (s, false),
        };
        check(text)?;
        let text = if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Arc::from(text.to_ascii_lowercase())
        } else {
            Arc::from(text)
        };
        Ok(Self { text, absolute })
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.absolute { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DnsName({self})")
    }
}

impl AsRef<str> for DnsName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

fn check(text: &str) -> Result<(), InvalidDnsName> {
    if text.is_empty() {
        return Err(InvalidDnsName::Empty);
    }
    if text.len() > MAX_NAME_LEN {
        return Err(InvalidDnsName::TooLong);
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(InvalidDnsName::EmptyLabel);
        }
        if label.len() > MAX_LABEL_LEN {
            return Err(InvalidDnsName::LabelTooLong);
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(InvalidDnsName::Character);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidDnsName::Hyphen);
        }
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(InvalidDnsName::IpAddress);
    }
    Ok(())
}

/// `bytes` without one trailing dot.
pub fn without_root(bytes: &[u8]) -> &[u8] {
    match bytes {
        [rest @ .., b'.'] if !rest.is_empty() => rest,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_and_normalises() {
        for (input, text, absolute) in [
            ("localhost", "localhost", false),
            ("localhost.", "localhost", true),
            ("Web.Default.SVC.cluster.local", "web.default.svc.cluster.local", false),
            ("_grpc._tcp.example.", "_grpc._tcp.example", true),
            ("1.2.3.x", "1.2.3.x", false),
            ("10-0-0-1.web", "10-0-0-1.web", false),
        ] {
            let name: DnsName = input.parse().unwrap();
            assert_eq!((name.as_str(), name.is_absolute()), (text, absolute), "{input}");
        }
    }

    #[test]
    fn refuses() {
        let long_label = "a".repeat(MAX_LABEL_LEN + 1);
        let long_name = ["a".repeat(50).as_str(); 6].join(".");
        for (input, why) in [
            ("", InvalidDnsName::Empty),
            (".", InvalidDnsName::Empty),
            ("a..b", InvalidDnsName::EmptyLabel),
            (".a", InvalidDnsName::EmptyLabel),
            ("a..", InvalidDnsName::EmptyLabel),
            ("-a.b", InvalidDnsName::Hyphen),
            ("a-.b", InvalidDnsName::Hyphen),
            ("a b", InvalidDnsName::Character),
            ("a/b", InvalidDnsName::Character),
            ("*.a", InvalidDnsName::Character),
            ("ü.example", InvalidDnsName::Character),
            ("10.1.2.3", InvalidDnsName::IpAddress),
            (&long_label, InvalidDnsName::LabelTooLong),
            (&long_name, InvalidDnsName::TooLong),
        ] {
            assert_eq!(input.parse::<DnsName>(), Err(why), "{input}");
        }
        assert_eq!(DnsName::from_bytes(b"\xff"), Err(InvalidDnsName::Character));
    }

    #[test]
    fn longest_names_are_accepted() {
        let name = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(name.len(), MAX_NAME_LEN);
        assert!(name.parse::<DnsName>().is_ok());
    }

    #[test]
    fn matches_ignores_case_and_root() {
        let name: DnsName = "web.example".parse().unwrap();
        for (bytes, expect) in [
            (&b"web.example"[..], true),
            (b"WEB.Example.", true),
            (b"web.example..", false),
            (b"xweb.example", false),
            (b"web.exampl", false),
            (b"", false),
        ] {
            assert_eq!(name.matches(bytes), expect, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn within_is_by_label() {
        let suffix: DnsName = "svc.cluster.local".parse().unwrap();
        for (name, expect) in [
            ("web.default.svc.cluster.local", true),
            ("svc.cluster.local", true),
            ("xsvc.cluster.local", false),
            ("cluster.local", false),
        ] {
            assert_eq!(name.parse::<DnsName>().unwrap().is_within(&suffix), expect, "{name}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,300}") {
            let _ = text.parse::<DnsName>();
        }

        #[test]
        fn display_round_trips(text in "([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,10}[a-zA-Z0-9])?\\.){0,5}[a-z]{1,9}\\.?") {
            let name: DnsName = text.parse().unwrap();
            prop_assert_eq!(name.to_string(), text.to_ascii_lowercase());
            prop_assert!(name.matches(text.as_bytes()));
            prop_assert_eq!(name.to_string().parse::<DnsName>().unwrap(), name);
        }
    }
}
