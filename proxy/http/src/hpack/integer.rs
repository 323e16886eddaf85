//! Integers with a prefix (RFC 7541, section 5.1).

use super::DecodeError;

/// Octets that may follow the prefix. Four carry 28 bits, beyond every length and index that a
/// bounded block can hold; a longer run is padding with zeros or an overflow, and neither is honest.
const MAX_CONTINUATION: u32 = 4;

/// Reads an integer whose first octet is at `*at` and has `prefix` bits of it; moves `at` past it.
pub(super) fn decode(block: &[u8], at: &mut usize, prefix: u32) -> Result<usize, DecodeError> {
    let mask = (1u32 << prefix) - 1;
    let first = u32::from(*block.get(*at).ok_or(DecodeError::Truncated)?) & mask;
    *at += 1;
    if first < mask {
        return Ok(first as usize);
    }
    let mut value = mask;
    for k in 0..MAX_CONTINUATION {
        let octet = u32::from(*block.get(*at).ok_or(DecodeError::Truncated)?);
        *at += 1;
        value += (octet & 0x7f) << (7 * k);
        if octet & 0x80 == 0 {
            return Ok(value as usize);
        }
    }
    Err(DecodeError::Integer)
}

/// Appends `value`; `first` holds the bits of the first octet above the prefix.
pub(super) fn encode(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: usize, prefix: u32, octets: &[u8]) {
        let mut out = Vec::new();
        encode(&mut out, 0, prefix, value);
        assert_eq!(out, octets);
        let mut at = 0;
        assert_eq!(decode(octets, &mut at, prefix), Ok(value));
        assert_eq!(at, octets.len());
    }

    #[test]
    fn rfc7541_c1_examples() {
        check(10, 5, &[0b0000_1010]);
        check(1337, 5, &[0b0001_1111, 0b1001_1010, 0b0000_1010]);
        check(42, 8, &[0b0010_1010]);
    }

    #[test]
    fn rfc7541_5_1_every_prefix_round_trips() {
        for prefix in 4..=8 {
            for value in (0..300).chain([16_383, 16_384, 65_535, 1 << 20, (1 << 28) - 1]) {
                let mut out = Vec::new();
                encode(&mut out, 0, prefix, value);
                let mut at = 0;
                assert_eq!(decode(&out, &mut at, prefix), Ok(value), "prefix {prefix}");
                assert_eq!(at, out.len());
            }
        }
    }

    #[test]
    fn rfc7541_5_1_cut_and_endless_integers_are_errors() {
        assert_eq!(decode(&[], &mut 0, 7), Err(DecodeError::Truncated));
        assert_eq!(decode(&[0x7f, 0x80], &mut 0, 7), Err(DecodeError::Truncated));
        assert_eq!(decode(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f], &mut 0, 7), Err(DecodeError::Integer));
        assert_eq!(decode(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], &mut 0, 7), Err(DecodeError::Integer));
    }
}
