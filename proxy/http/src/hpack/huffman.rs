//! The Huffman code of RFC 7541, appendix B. weft decodes it and never encodes it: what a few
//! octets fewer on a local link would save is less than what coding them costs.
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols, and
//! longer codes follow shorter ones. So the lengths alone define it, and a code longer than the
//! direct table is found by comparing with the first code of each length.

use super::DecodeError;

/// The length in bits of each symbol's code; the last symbol is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

const EOS: u16 = 256;
const LONGEST: usize = 30;
/// Codes up to this length are looked up directly. All of printable ASCII but nine is within it.
const DIRECT_BITS: u32 = 10;

struct Code {
    /// By the next `DIRECT_BITS` bits: symbol in the low octet, length above it; 0 = a longer code.
    direct: [u16; 1 << DIRECT_BITS],
    /// By length: the first value of 32 bits, code to the left, that belongs to a longer code.
    end: [u64; LONGEST + 1],
    /// By length: the first code, and where its symbol is in `symbols`.
    first: [(u32, u16); LONGEST + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut c = Code {
        direct: [0; 1 << DIRECT_BITS],
        end: [0; LONGEST + 1],
        first: [(0, 0); LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut code, mut placed, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        c.first[length] = (code, placed as u16);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                c.symbols[placed] = symbol as u16;
                placed += 1;
                if length <= DIRECT_BITS as usize {
                    let shift = DIRECT_BITS as usize - length;
                    let mut i = 0;
                    while i < 1 << shift {
                        c.direct[((code as usize) << shift) + i] = symbol as u16 | (length as u16) << 8;
                        i += 1;
                    }
                }
                code += 1;
            }
            symbol += 1;
        }
        c.end[length] = (code as u64) << (32 - length);
        code <<= 1;
        length += 1;
    }
    c
}

/// Decodes a whole string literal and appends it to `out`.
///
/// # Errors
/// `Huffman`, if EOS is coded, or the padding is longer than 7 bits or is not the beginning of EOS (section 5.2).
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    // The shortest code has five bits.
    out.reserve(coded.len() * 8 / 5);
    // `bits` holds the next `have` bits, to the left; below them zeros.
    let (mut bits, mut have) = (0u64, 0u32);
    let mut rest = coded.iter();
    loop {
        while have <= 56 {
            let Some(octet) = rest.next() else { break };
            bits |= u64::from(*octet) << (56 - have);
            have += 8;
        }
        let entry = CODE.direct[(bits >> (64 - DIRECT_BITS)) as usize];
        let length = u32::from(entry >> 8);
        if length != 0 && length <= have {
            out.push(entry as u8);
            bits <<= length;
            have -= length;
            continue;
        }
        if have < 8 && is_padding(bits, have) {
            return Ok(());
        }
        if length != 0 {
            return Err(DecodeError::Huffman);
        }
        let (symbol, length) = long_code(bits).ok_or(DecodeError::Huffman)?;
        if length > have || symbol == EOS {
            return Err(DecodeError::Huffman);
        }
        out.push(symbol as u8);
        bits <<= length;
        have -= length;
    }
}

fn is_padding(bits: u64, have: u32) -> bool {
    bits == !(u64::MAX >> have)
}

/// For bits that do not begin with a code of the direct table.
fn long_code(bits: u64) -> Option<(u16, u32)> {
    let window = bits >> 32;
    for length in DIRECT_BITS as usize + 1..=LONGEST {
        if window < CODE.end[length] {
            let (code, at) = CODE.first[length];
            let nth = (window >> (32 - length)) as u32 - code;
            let symbol = CODE.symbols.get(usize::from(at) + nth as usize)?;
            return Some((*symbol, length as u32));
        }
    }
    None
}

/// For tests, which play peers that use it.
#[cfg(test)]
pub(super) fn encode(plain: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for octet in plain {
        let length = LENGTHS[usize::from(*octet)] as usize;
        let (code, at) = CODE.first[length];
        let nth = CODE.symbols[usize::from(at)..].iter().position(|s| *s == u16::from(*octet)).unwrap();
        bits = bits << length | u64::from(code + nth as u32);
        have += length as u32;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn rfc7541_b_known_codes() {
        // The first and the last code of appendix B, and some of its middle.
        for (symbol, code, length) in [
            (b'0', 0x0u32, 5),
            (b'a', 0x3, 5),
            (b'A', 0x21, 6),
            (b'{', 0x7ffe, 15),
            (b'\\', 0x7fff0, 19),
            (0xff, 0x3ff_ffee, 26),
            (0x0a, 0x3fff_fffc, 30),
            (0x16, 0x3fff_fffe, 30),
        ] {
            let mut octets = Vec::new();
            let padded = (u64::from(code) << (64 - length)) | (u64::MAX >> length);
            octets.extend_from_slice(&padded.to_be_bytes()[..(length as usize).div_ceil(8)]);
            assert_eq!(decoded(&octets), Ok(vec![symbol]));
        }
    }

    #[test]
    fn rfc7541_5_2_every_symbol_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        let mut coded = Vec::new();
        encode(&all, &mut coded);
        assert_eq!(decoded(&coded), Ok(all));
    }

    #[test]
    fn rfc7541_5_2_padding() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // 'a' and three bits of padding; then wrong padding; then eight bits of it.
        assert_eq!(decoded(&[0b0001_1111]), Ok(vec![b'a']));
        assert_eq!(decoded(&[0b0001_1110]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0xff]), Err(DecodeError::Huffman));
    }

    #[test]
    fn rfc7541_5_2_eos_in_a_string_is_an_error() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0xff; 40]), Err(DecodeError::Huffman));
    }

    proptest! {
        #[test]
        fn round_trip(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut coded = Vec::new();
            encode(&plain, &mut coded);
            prop_assert_eq!(decoded(&coded), Ok(plain));
        }

        #[test]
        fn any_octets_decode_or_fail(coded in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(plain) = decoded(&coded) {
                let mut again = Vec::new();
                encode(&plain, &mut again);
                prop_assert_eq!(again, coded);
            }
        }
    }
}
