//! A request as a decision sees it: borrowed, nothing copied.

use weft_names::{Port, authority};

/// A request's head, borrowed from wherever it is kept.
///
/// Authorities and targets are given as received; matching normalises what has to be.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as sent.
    pub method: &'a [u8],
    /// The authority (`:authority`, an absolute target's, or `Host`); empty if there is none.
    pub authority: &'a [u8],
    /// Path and query, as sent: `/a/b?c=d`, `*`, or empty for `CONNECT`.
    pub target: &'a [u8],
    /// The fields.
    pub headers: &'a dyn HeaderLookup,
}

/// Where a decision looks up header fields.
pub trait HeaderLookup {
    /// Whether `test` holds for any value of the field `name` (in lower case), asked in order.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A request without fields.
pub struct NoHeaders;

// === impl RequestView ===

impl<'a> RequestView<'a> {
    /// The path: the target up to the query. Empty for `CONNECT`.
    pub fn path(&self) -> &'a [u8] {
        match self.target.iter().position(|&b| b == b'?') {
            Some(mark) => self.target.get(..mark).unwrap_or_default(),
            None => self.target,
        }
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&'a [u8]> {
        let mark = self.target.iter().position(|&b| b == b'?')?;
        self.target.get(mark + 1..)
    }

    /// The host of the authority, with brackets if it is an IPv6 address; empty if there is none.
    pub fn host(&self) -> &'a [u8] {
        authority::split(self.authority).map_or(&[], |(host, _)| host)
    }

    /// The port of the authority.
    pub fn port(&self) -> Option<Port> {
        authority::split(self.authority).and_then(|(_, port)| port)
    }
}

// === impl HeaderLookup ===

impl HeaderLookup for NoHeaders {
    fn any(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// Pairs of lower-case name and value.
impl HeaderLookup for [(&str, &[u8])] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(n, value)| *n == name && test(value))
    }
}

impl<const N: usize> HeaderLookup for [(&str, &[u8]); N] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.as_slice().any(name, test)
    }
}

/// Pairs of lower-case name and value.
impl HeaderLookup for Vec<(String, Vec<u8>)> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(n, value)| n == name && test(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(authority: &'a str, target: &'a str) -> RequestView<'a> {
        RequestView {
            method: b"GET",
            authority: authority.as_bytes(),
            target: target.as_bytes(),
            headers: &NoHeaders,
        }
    }

    #[test]
    fn parts() {
        let v = view("Web.Example:8080", "/a/b?c=d?e");
        assert_eq!((v.path(), v.query()), (&b"/a/b"[..], Some(&b"c=d?e"[..])));
        assert_eq!((v.host(), v.port().map(Port::get)), (&b"Web.Example"[..], Some(8080)));
        let v = view("", "*");
        assert_eq!((v.path(), v.query(), v.host(), v.port()), (&b"*"[..], None, &b""[..], None));
        let v = view("[::1]", "/?");
        assert_eq!((v.path(), v.query(), v.host()), (&b"/"[..], Some(&b""[..]), &b"[::1]"[..]));
    }
}
