//! Header names and values, and methods, as values checked when a snapshot is built.

use std::{fmt, str::FromStr, sync::Arc};
use thiserror::Error;

/// A field name: a token (RFC 9110 section 5.1) in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Arc<str>);

/// A field value: bytes without control characters other than the tab (RFC 9110 section 5.5).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderValue(Arc<[u8]>);

/// A request method (RFC 9110 section 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `PATCH`
    Patch,
    /// `OPTIONS`
    Options,
    /// `CONNECT`
    Connect,
    /// `HEAD`
    Head,
    /// `TRACE`
    Trace,
    /// Any other token. Never one of the above.
    Other(Arc<str>),
}

/// Why something is not a header name, a header value or a method.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    /// Not a token.
    #[error("{0:?} is not a header name")]
    Name(String),
    /// A control character.
    #[error("a header value must not contain control characters")]
    Value,
    /// Not a token.
    #[error("{0:?} is not a method")]
    Method(String),
}

// === impl HeaderName ===

impl HeaderName {
    /// A name that is known to be a lower-case token.
    pub(crate) fn known(name: &'static str) -> Self {
        debug_assert!(is_token(name) && !name.bytes().any(|b| b.is_ascii_uppercase()));
        Self(Arc::from(name))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = InvalidHeader;

    fn from_str(s: &str) -> Result<Self, InvalidHeader> {
        if !is_token(s) {
            return Err(InvalidHeader::Name(s.to_owned()));
        }
        Ok(Self(Arc::from(s.to_ascii_lowercase())))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderName({self})")
    }
}

// === impl HeaderValue ===

impl HeaderValue {
    /// A value.
    pub fn new(value: &[u8]) -> Result<Self, InvalidHeader> {
        if value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
            Ok(Self(Arc::from(value)))
        } else {
            Err(InvalidHeader::Value)
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderValue({:?})", String::from_utf8_lossy(&self.0))
    }
}

// === impl Method ===

impl Method {
    /// The method as it is sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Head => "HEAD",
            Self::Trace => "TRACE",
            Self::Other(method) => method,
        }
    }

    /// Compares with a request's method; methods are case-sensitive.
    pub fn matches(&self, method: &[u8]) -> bool {
        self.as_str().as_bytes() == method
    }
}

impl FromStr for Method {
    type Err = InvalidHeader;

    fn from_str(s: &str) -> Result<Self, InvalidHeader> {
        Ok(match s {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "PATCH" => Self::Patch,
            "OPTIONS" => Self::Options,
            "CONNECT" => Self::Connect,
            "HEAD" => Self::Head,
            "TRACE" => Self::Trace,
            _ if is_token(s) => Self::Other(Arc::from(s)),
            _ => return Err(InvalidHeader::Method(s.to_owned())),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_5_1_names() {
        assert_eq!("X-Foo".parse::<HeaderName>().unwrap().as_str(), "x-foo");
        for name in ["", "a b", "a:", "a\r", "ä", ":path"] {
            assert_eq!(name.parse::<HeaderName>(), Err(InvalidHeader::Name(name.into())));
        }
    }

    #[test]
    fn rfc9110_5_5_values() {
        for (value, ok) in [
            (&b"a b\tc"[..], true),
            (b"", true),
            (b"\xff\x80", true),
            (b"a\r\nb", false),
            (b"a\0", false),
            (b"\x7f", false),
        ] {
            assert_eq!(HeaderValue::new(value).is_ok(), ok, "{value:?}");
        }
    }

    #[test]
    fn rfc9110_9_methods() {
        for name in
            ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "HEAD", "TRACE", "PROPFIND"]
        {
            let method: Method = name.parse().unwrap();
            assert_eq!(method.as_str(), name);
            assert!(method.matches(name.as_bytes()));
            assert!(!method.matches(name.to_ascii_lowercase().as_bytes()));
        }
        assert_eq!("get".parse::<Method>().unwrap(), Method::Other("get".into()));
        assert!("GET ".parse::<Method>().is_err());
    }
}
