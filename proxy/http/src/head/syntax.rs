//! Which bytes may stand where (RFC 9110 5, RFC 3986), shared by both protocols.

use super::Malformed;

const TOKEN: u8 = 1;
const LOWER_TOKEN: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;

/// A bit set for each byte value.
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut class = 0;
        let mark = matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        if mark || b.is_ascii_alphanumeric() {
            class |= TOKEN;
            if !b.is_ascii_uppercase() {
                class |= LOWER_TOKEN;
            }
        }
        // More than RFC 3986 allows in a path or query, because clients send it: any visible byte and UTF-8 as it
        // is, but no `#`, which is never part of a request target and means different things to different servers.
        if (b > b' ' && b < 0x7f && b != b'#') || b >= 0x80 {
            class |= TARGET;
        }
        // reg-name (RFC 3986 3.2.2): unreserved and sub-delims. Not percent-encoded: no name in use has it, and it
        // is one more way of writing a host that is not the one it looks like.
        let sub_delim =
            matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        if sub_delim || b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        table[i] = class;
        i += 1;
    }
    table
};

#[inline]
fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|b| CLASS[*b as usize] & class != 0)
}

/// True for a byte of a token (RFC 9110 5.6.2).
#[inline]
pub fn is_token_byte(b: u8) -> bool {
    CLASS[b as usize] & TOKEN != 0
}

/// A token: methods, HTTP/1 field names (RFC 9110 5.6.2).
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// An HTTP/2 field name that is not a pseudo-header field: a token without upper case (RFC 9113 8.2.1).
#[inline]
pub fn is_h2_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, LOWER_TOKEN)
}

/// True if every byte may stand in a path and query.
#[inline]
pub fn is_target(bytes: &[u8]) -> bool {
    all(bytes, TARGET)
}

/// Bytes of a word that are below 0x20 or equal to 0x7f, each as its high bit. The lowest bit that is set is exact,
/// higher ones may be echoes of it.
#[inline]
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (low | delete) & HIGHS
}

/// Offset of the first control byte other than HTAB at or after `from`, or the length if there is none. That is
/// where a field value ends: at its CR if it is valid, at the byte that is wrong if not. Eight bytes a step.
#[inline]
pub fn find_control(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let stop = match rest.first_chunk::<8>() {
            Some(word) => match controls(u64::from_le_bytes(*word)) {
                0 => {
                    at += 8;
                    continue;
                }
                found => (found.trailing_zeros() / 8) as usize,
            },
            None => match rest.iter().position(|b| is_control(*b)) {
                Some(stop) => return at + stop,
                None => return bytes.len().max(from),
            },
        };
        at += stop;
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

#[inline]
const fn is_control(b: u8) -> bool {
    (b < 0x20 && b != b'\t') || b == 0x7f
}

/// A field value: no control bytes but HTAB (RFC 9110 5.5).
#[inline]
pub fn is_value(bytes: &[u8]) -> bool {
    find_control(bytes, 0) == bytes.len()
}

/// An HTTP/2 field value: also no white space at its ends (RFC 9113 8.2.1).
#[inline]
pub fn is_h2_value(bytes: &[u8]) -> bool {
    let space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !space(bytes.first()) && !space(bytes.last()) && is_value(bytes)
}

/// `host [":" port]`, not empty: of `host`, of absolute targets, of `:authority`. No user information: a sender must
/// not generate it and what it says is not for proxies (RFC 9110 4.2.4).
pub fn is_authority(bytes: &[u8]) -> bool {
    let Some((host, port)) = split_authority(bytes) else { return false };
    !host.is_empty() && port.is_none_or(|p| p.is_empty() || is_port(p))
}

/// `host ":" port` with a port, as CONNECT wants it (RFC 9112 3.2.3).
pub fn is_connect_authority(bytes: &[u8]) -> bool {
    let Some((host, port)) = split_authority(bytes) else { return false };
    !host.is_empty() && port.is_some_and(is_port)
}

/// Host (with its brackets, if it is an IP literal) and what follows the colon. None if the host is malformed.
pub fn split_authority(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = if bytes.first() == Some(&b'[') {
        let end = bytes.iter().position(|b| *b == b']')?;
        let literal = bytes.get(1..end)?;
        if literal.is_empty() || !literal.iter().all(|b| *b == b':' || CLASS[*b as usize] & HOST != 0) {
            return None;
        }
        end + 1
    } else {
        let end = bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len());
        if !all(bytes.get(..end)?, HOST) {
            return None;
        }
        end
    };
    let (host, rest) = bytes.split_at_checked(host_end)?;
    match rest.split_first() {
        None => Some((host, None)),
        Some((b':', port)) => Some((host, Some(port))),
        Some(_) => None,
    }
}

fn is_port(bytes: &[u8]) -> bool {
    bytes.len() <= 5 && digits(bytes).is_some_and(|n| n <= 65_535)
}

/// A URI scheme (RFC 3986 3.1).
pub fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Digits only, at least one, no overflow.
pub(crate) fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The value of `content-length` (RFC 9110 8.6): digits only, and below 2^63, which no signed counter of the next
/// hop overflows.
pub fn content_length(bytes: &[u8]) -> Option<u64> {
    digits(bytes).filter(|n| i64::try_from(*n).is_ok())
}

/// The members of a comma-separated list, empty ones left out (RFC 9110 5.6.1). Knows no quoted strings.
pub fn list(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b',').map(trim).filter(|m| !m.is_empty())
}

/// Without white space (SP, HTAB) around it.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What is wrong with a `transfer-encoding` other than `chunked` alone (RFC 9112 6.1, 6.3). A proxy that decodes no
/// other coding cannot pass one on either.
pub(super) fn transfer_encoding_fault(value: &[u8]) -> Malformed {
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let count = list(value).filter(|c| chunked(c)).count();
    let last = list(value).last().is_some_and(chunked);
    let codings = list(value).all(|c| is_token(c.split(|b| *b == b';').next().map_or(&[], trim)));
    if last && count == 1 && codings && list(value).count() > 1 {
        Malformed::TransferCoding
    } else {
        Malformed::TransferEncoding
    }
}

/// True if the same host and port: letter case aside (RFC 9110 4.2.3).
pub(super) fn same_authority(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc9112_3_2_authorities() {
        for good in [
            "a",
            "a.b:80",
            "a:",
            "[::1]",
            "[::1]:8080",
            "10.0.0.1:65535",
            "x_y.svc",
            "a,b",
            "[v1.a:b]",
            "xn--bcher-kva.example:0",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:b",
            "a:65536",
            "a:80:80",
            "user@a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "a\u{e9}",
            "a\\b",
            "a\"",
            "<a>",
            "a:+80",
            "a:000080",
            "[::1]]",
            "a\tb",
            "a\0",
            "%41",
            "[fe80::1%25eth0]",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        assert!(is_connect_authority(b"a:443"));
        assert!(!is_connect_authority(b"a"));
        assert!(!is_connect_authority(b"a:"));
    }

    #[test]
    fn rfc9110_8_6_content_length() {
        for (value, expected) in [
            ("0", Some(0)),
            ("0042", Some(42)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("1,1", None),
            ("0x10", None),
            ("1_0", None),
            ("\u{661}", None),
        ] {
            assert_eq!(content_length(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn rfc9112_6_1_transfer_encodings() {
        for (value, fault) in [
            ("gzip, chunked", Malformed::TransferCoding),
            ("gzip;q=1 , Chunked", Malformed::TransferCoding),
            ("identity", Malformed::TransferEncoding),
            ("chunked, gzip", Malformed::TransferEncoding),
            ("chunked, chunked", Malformed::TransferEncoding),
            ("chunked;x=1", Malformed::TransferEncoding),
            ("chunked,", Malformed::TransferEncoding),
            ("", Malformed::TransferEncoding),
            ("xchunked", Malformed::TransferEncoding),
            ("\x0bchunked", Malformed::TransferEncoding),
            ("\"gzip, chunked\"", Malformed::TransferEncoding),
        ] {
            assert_eq!(transfer_encoding_fault(value.as_bytes()), fault, "{value}");
        }
    }

    #[test]
    fn every_byte_alone() {
        for b in 0..=255u8 {
            let tchar = b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            assert_eq!(is_token(&[b]), tchar, "{b:#x}");
            assert_eq!(is_h2_name(&[b]), tchar && !b.is_ascii_uppercase(), "{b:#x}");
            let value = b == b'\t' || (b >= 0x20 && b != 0x7f);
            assert_eq!(is_value(&[b]), value, "{b:#x}");
            assert_eq!(is_h2_value(&[b]), value && b != b' ' && b != b'\t', "{b:#x}");
        }
    }

    proptest! {
        #[test]
        fn find_control_is_a_search_byte_by_byte(
            bytes in proptest::collection::vec(
                prop_oneof![4 => 0x1eu8..0x23, 4 => 0x7du8..0x82, 2 => Just(b'\t'), 20 => Just(b'a'), 1 => any::<u8>()],
                0..60,
            ),
            from in 0usize..20,
        ) {
            let expected = bytes.iter().skip(from).position(|b| is_control(*b));
            let expected = expected.map_or_else(|| bytes.len().max(from), |n| n + from);
            prop_assert_eq!(find_control(&bytes, from), expected);
        }
    }
}
