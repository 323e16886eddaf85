//! Attributes: what netlink messages are made of. Two bytes length, two bytes type, a value, padding to four.

use std::str;
use thiserror::Error;

/// Set in an attribute's type when its value is attributes.
const NESTED: u16 = 0x8000;
/// The bits of the type field that are the type.
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 4;

/// Attributes under construction.
///
/// Lengths are 16 bits wide: a value that does not fit marks the whole as [overflowed](Attrs::overflowed) and is
/// left out, and sending such a message is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    bytes: Vec<u8>,
    overflowed: bool,
}

/// One attribute as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// The type, without its flag bits.
    pub kind: u16,
    /// The value, without padding.
    pub value: &'a [u8],
}

/// Bytes that are not what netlink messages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A length that is shorter than its own header, or longer than what follows.
    #[error("a length of {length} where {available} bytes are left")]
    Length {
        /// The length given.
        length: usize,
        /// The bytes there are.
        available: usize,
    },
    /// A value of the wrong size for its type.
    #[error("attribute {kind} has {length} bytes")]
    Value {
        /// The attribute's type.
        kind: u16,
        /// Its size in bytes.
        length: usize,
    },
    /// A mandatory attribute is not there.
    #[error("attribute {0} is missing")]
    Missing(u16),
}

// === impl Attrs ===

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds raw bytes, padded.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(length) = u16::try_from(value.len() + HEADER) else {
            self.overflowed = true;
            return self;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    /// Adds a byte.
    #[must_use]
    pub fn u8(self, kind: u16, value: u8) -> Self {
        self.bytes(kind, &[value])
    }

    /// Adds a number in the machine's byte order (rtnetlink).
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order (nfnetlink).
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string and its final NUL.
    #[must_use]
    pub fn str(self, kind: u16, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds attributes as the value of one.
    #[must_use]
    pub fn nest(mut self, kind: u16, inner: Self) -> Self {
        self.overflowed |= inner.overflowed;
        self.bytes(kind | NESTED, &inner.bytes)
    }

    /// The same with the flag left out: what rtnetlink's older attributes expect.
    #[must_use]
    pub fn nest_plain(mut self, kind: u16, inner: Self) -> Self {
        self.overflowed |= inner.overflowed;
        self.bytes(kind, &inner.bytes)
    }

    /// Puts `header` in front: the fixed part some nested values begin with (a veth's peer).
    #[must_use]
    pub fn after(self, header: &[u8]) -> Self {
        let mut bytes = header.to_vec();
        bytes.resize(align(bytes.len()), 0);
        bytes.extend_from_slice(&self.bytes);
        Self { bytes, overflowed: self.overflowed }
    }

    /// The encoded attributes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a value was too long for its length field.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}

// === impl Attr ===

impl<'a> Attr<'a> {
    /// The value as a number in the machine's byte order.
    pub fn as_u32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    /// The value as a number in network byte order.
    pub fn as_be32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The value as text up to its NUL. Bytes that are not UTF-8 are an error.
    pub fn as_str(&self) -> Result<&'a str, Malformed> {
        let end = self.value.iter().position(|b| *b == 0).unwrap_or(self.value.len());
        let text = self.value.get(..end).unwrap_or_default();
        str::from_utf8(text).map_err(|_| Malformed::Value { kind: self.kind, length: self.value.len() })
    }

    /// The attributes inside.
    pub fn nested(&self) -> Result<Vec<Attr<'a>>, Malformed> {
        parse(self.value)
    }

    /// The value as exactly `N` bytes.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed::Value { kind: self.kind, length: self.value.len() })
    }
}

/// Splits bytes into attributes.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<Attr<'_>>, Malformed> {
    let mut attrs = Vec::new();
    while !bytes.is_empty() {
        let wrong = |length| Malformed::Length { length, available: bytes.len() };
        let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or_else(|| wrong(HEADER))?;
        let [l0, l1, k0, k1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(HEADER..length).ok_or_else(|| wrong(length))?;
        attrs.push(Attr { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value });
        // The last attribute's padding may be missing.
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    Ok(attrs)
}

/// The attribute of a type, if it is there; the last one wins.
pub fn find<'a>(attrs: &[Attr<'a>], kind: u16) -> Option<Attr<'a>> {
    attrs.iter().rev().find(|a| a.kind == kind).copied()
}

/// The attribute of a type that must be there.
pub fn need<'a>(attrs: &[Attr<'a>], kind: u16) -> Result<Attr<'a>, Malformed> {
    find(attrs, kind).ok_or(Malformed::Missing(kind))
}

/// Netlink aligns everything to four bytes.
pub(super) fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_come_back() {
        let inner = Attrs::new().be32(1, 0x0102_0304).str(2, "weft");
        let attrs = Attrs::new().u8(1, 7).u32(2, 9).nest(3, inner).bytes(4, &[1, 2, 3, 4, 5]);
        let bytes = attrs.as_bytes();
        assert_eq!(bytes.len() % 4, 0);
        let read = parse(bytes).unwrap();
        assert_eq!(find(&read, 1).unwrap().value, [7]);
        assert_eq!(find(&read, 2).unwrap().as_u32(), Ok(9));
        let nested = find(&read, 3).unwrap().nested().unwrap();
        assert_eq!(find(&nested, 1).unwrap().as_be32(), Ok(0x0102_0304));
        assert_eq!(find(&nested, 2).unwrap().as_str(), Ok("weft"));
        assert_eq!(find(&read, 4).unwrap().value, [1, 2, 3, 4, 5]);
        assert_eq!(need(&read, 5), Err(Malformed::Missing(5)));
        assert_eq!(
            find(&read, 4).unwrap().as_u32(),
            Err(Malformed::Value { kind: 4, length: 5 }),
            "a value of another size is not a number"
        );
    }

    #[test]
    fn lengths_are_checked() {
        let le = |l: u16| l.to_ne_bytes();
        for (length, rest) in [(0u16, 0usize), (3, 0), (5, 0), (9, 4), (u16::MAX, 100)] {
            let mut bytes = le(length).to_vec();
            bytes.extend_from_slice(&[1, 0]);
            bytes.resize(4 + rest, 0);
            assert!(matches!(parse(&bytes), Err(Malformed::Length { .. })), "{length} of {}", bytes.len());
        }
        assert!(parse(&[1, 0, 1]).is_err(), "half a header");
    }

    #[test]
    fn a_value_too_long_for_its_length_field_marks_the_message() {
        assert!(!Attrs::new().bytes(1, &vec![0; 65531]).overflowed());
        let over = Attrs::new().bytes(1, &vec![0; 65532]);
        assert!(over.overflowed());
        assert!(Attrs::new().nest(2, over).overflowed());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_stays_inside(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(attrs) = parse(&bytes) {
                let total: usize = attrs.iter().map(|a| a.value.len() + HEADER).sum();
                prop_assert!(total <= bytes.len());
                for attr in attrs {
                    let _ = (attr.as_str(), attr.nested());
                }
            }
        }

        #[test]
        fn what_is_built_is_what_is_read(values in prop::collection::vec((0u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..10)) {
            let attrs = values.iter().fold(Attrs::new(), |a, (kind, value)| a.bytes(*kind, value));
            let read = parse(attrs.as_bytes()).unwrap();
            let read: Vec<_> = read.iter().map(|a| (a.kind, a.value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }
    }
}
