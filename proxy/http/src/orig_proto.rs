//! `l5d-orig-proto`: what an HTTP/1 message was before it was carried over HTTP/2 between two proxies.
//!
//! The client's proxy writes the version and form of the request; the server's proxy reads and removes it, restores
//! the request, and writes the version of the response; the client's proxy restores that. No application sees it.

use crate::head::{Head, Method, Section, Target, Version};

/// What the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrigProto {
    /// [`Version::Http10`] or [`Version::Http11`].
    pub version: Version,
    /// The request target was in absolute form.
    pub absolute_form: bool,
}

const ABSOLUTE_FORM: &[u8] = b"; absolute-form";

impl OrigProto {
    /// Reads a field value. None for anything not understood: the message is then left as it is.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (version, rest) = if let Some(rest) = value.strip_prefix(b"HTTP/1.1") {
            (Version::Http11, rest)
        } else if let Some(rest) = value.strip_prefix(b"HTTP/1.0") {
            (Version::Http10, rest)
        } else {
            return None;
        };
        match rest {
            b"" => Some(Self { version, absolute_form: false }),
            ABSOLUTE_FORM => Some(Self { version, absolute_form: true }),
            _ => None,
        }
    }

    /// What to say of a message that is about to be carried over HTTP/2. None for HTTP/2 messages.
    pub fn of(head: &Head) -> Option<Self> {
        match head.version {
            Version::Http2 => None,
            version => {
                let absolute_form = head.section == Section::Request && head.target == Target::Absolute;
                Some(Self { version, absolute_form })
            }
        }
    }

    /// The field value.
    pub const fn value(self) -> &'static [u8] {
        match (self.version, self.absolute_form) {
            (Version::Http10, false) => b"HTTP/1.0",
            (Version::Http10, true) => b"HTTP/1.0; absolute-form",
            (_, false) => b"HTTP/1.1",
            (_, true) => b"HTTP/1.1; absolute-form",
        }
    }

    /// Gives an HTTP/2 head its version and form back. True if it carried an HTTP/1 message; false, and unchanged,
    /// if it did not say so or came in another version.
    ///
    /// CONNECT stays what it is, whoever says otherwise: a tunnel of HTTP/1 takes a connection of its own, so no proxy carries
    /// one over HTTP/2, and what a stream holds of another protocol would be read by an HTTP/1 server as its next request.
    pub fn restore(head: &mut Head) -> bool {
        let carried = head.version == Version::Http2 && head.method != Method::Connect;
        let Some(orig) = head.facts.orig_proto.filter(|_| carried) else {
            return false;
        };
        head.version = orig.version;
        if orig.absolute_form && head.target == Target::Origin {
            head.target = Target::Absolute;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_linkerds() {
        type Said = Option<(Version, bool)>;
        let table: [(&[u8], Said); 10] = [
            (b"HTTP/1.1", Some((Version::Http11, false))),
            (b"HTTP/1.0", Some((Version::Http10, false))),
            (b"HTTP/1.1; absolute-form", Some((Version::Http11, true))),
            (b"HTTP/1.0; absolute-form", Some((Version::Http10, true))),
            (b"HTTP/2", None),
            (b"HTTP/1.1;absolute-form", None),
            (b"HTTP/1.12", None),
            (b"http/1.1", None),
            (b"", None),
            (b"HTTP/1.1; absolute-form ", None),
        ];
        for (value, expected) in table {
            let parsed = OrigProto::parse(value);
            assert_eq!(parsed.map(|p| (p.version, p.absolute_form)), expected);
            if let Some(parsed) = parsed {
                assert_eq!(parsed.value(), value, "and back");
            }
        }
    }

    #[test]
    fn restores_version_and_form() {
        let mut head = Head { version: Version::Http2, ..Head::default() };
        assert!(!OrigProto::restore(&mut head));
        assert_eq!(head.version, Version::Http2);
        head.facts.orig_proto = OrigProto::parse(b"HTTP/1.0; absolute-form");
        assert!(OrigProto::restore(&mut head));
        assert_eq!((head.version, head.target), (Version::Http10, Target::Absolute));
        assert!(!OrigProto::restore(&mut head), "what is HTTP/1 already has nothing to restore");
        assert_eq!(OrigProto::of(&head).map(OrigProto::value), Some(&b"HTTP/1.0; absolute-form"[..]));
        assert_eq!(
            OrigProto::of(&Head::response(Version::Http11, 200)).map(OrigProto::value),
            Some(&b"HTTP/1.1"[..])
        );
        assert_eq!(OrigProto::of(&Head::response(Version::Http2, 200)), None);
    }
}
