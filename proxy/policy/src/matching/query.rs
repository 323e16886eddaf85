//! Query parameter matches, on percent-decoded names and values.

use super::ValueMatch;
use crate::limits::QUERY_VALUE_BUFFER;
use std::sync::Arc;

/// A query parameter that a request must have. Source: `http_route.QueryParamMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// The decoded name.
    pub name: Arc<str>,
    /// What the decoded value of one such parameter has to be.
    pub value: ValueMatch,
}

impl QueryMatch {
    /// Whether any parameter of `query` (`a=b&c=d`, encoded as forms are) matches. Allocates only where a regular
    /// expression looks at an encoded value of more than [`QUERY_VALUE_BUFFER`] bytes.
    pub fn matches(&self, query: &[u8]) -> bool {
        query.split(|&b| b == b'&').any(|pair| {
            let (name, value) = match pair.iter().position(|&b| b == b'=') {
                Some(eq) => (pair.get(..eq).unwrap_or_default(), pair.get(eq + 1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            !pair.is_empty() && decoded(name).eq(self.name.bytes()) && self.matches_value(value)
        })
    }

    fn matches_value(&self, value: &[u8]) -> bool {
        let pattern = match &self.value {
            ValueMatch::Exact(exact) => return decoded(value).eq(exact.iter().copied()),
            ValueMatch::Regex(pattern) => pattern,
        };
        if !value.iter().any(|b| matches!(b, b'%' | b'+')) {
            return pattern.matches(value);
        }
        if value.len() > QUERY_VALUE_BUFFER {
            return pattern.matches(&decoded(value).collect::<Vec<_>>());
        }
        let mut buffer = [0; QUERY_VALUE_BUFFER];
        let mut len = 0;
        for (slot, byte) in buffer.iter_mut().zip(decoded(value)) {
            *slot = byte;
            len += 1;
        }
        pattern.matches(buffer.get(..len).unwrap_or_default())
    }
}

/// `application/x-www-form-urlencoded` decoding: `%XX` and `+`; a `%` that is not followed by two digits stays.
fn decoded(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || match bytes {
        [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            bytes = rest;
            Some(hex(*high) << 4 | hex(*low))
        }
        [byte, rest @ ..] => {
            bytes = rest;
            Some(if *byte == b'+' { b' ' } else { *byte })
        }
        [] => None,
    })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}
