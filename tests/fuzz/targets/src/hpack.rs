//! HPACK: whatever the blocks, bounds hold; and what the encoder writes the decoder reads, tables in step.
//!
//! Input: a byte that chooses between blocks and fields. Blocks: the bound on lists, then blocks, each with its length.
//! Fields: operations, each a byte.

use weft_http::{
    fields::{Indexing, Kind},
    head::syntax,
    hpack::{Decoder, Encoder},
};

use crate::input::Input;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() { fields(input) } else { blocks(input) }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: Vec<u8>,
    value: Vec<u8>,
    never_indexed: bool,
}

fn blocks(mut input: Input<'_>) {
    let table = usize::from(input.u16());
    let max_list = usize::from(input.u16());
    let mut decoder = Decoder::new(table);
    let (mut again, mut again_decoder) = (Encoder::new(4096), Decoder::new(4096));
    let mut arena = Vec::new();
    while !input.is_empty() {
        if input.u8() == 0xff {
            decoder.set_limit(usize::from(input.u16()));
            continue;
        }
        let block = input.short();
        arena.clear();
        let (mut told, mut lines) = (0, Vec::new());
        let result = decoder.decode(block, &mut arena, max_list, |arena, field, valid| {
            let (name, value) = (field.name.of(arena), field.value.of(arena));
            told += name.len() + value.len() + 32;
            assert!(told <= max_list, "told beyond the bound");
            if field.kind.is_pseudo() {
                // What their values may be, the message says.
                assert_eq!(field.kind.name().as_bytes(), name);
            } else if valid {
                // One that is not said to be is looked at again; it may be named after an entry that was not.
                assert!(syntax::is_h2_name(name) && syntax::is_h2_value(value), "{}", name.escape_ascii());
                assert_eq!(Kind::of(name), field.kind);
            }
            lines.push(Line {
                name: name.to_vec(),
                value: value.to_vec(),
                never_indexed: field.never_indexed,
            });
        });
        assert!(arena.len() <= max_list + 64 * 1024);
        let Ok(size) = result else { return };
        assert!(arena.len() <= max_list, "{} octets are kept of {max_list}", arena.len());
        assert!(size == told || size > max_list, "{size} in all, {told} told");
        read_back(&lines, &mut again, &mut again_decoder);
    }
}

/// Encodes lines as a proxy sends them on, and decodes that.
fn read_back(lines: &[Line], encoder: &mut Encoder, decoder: &mut Decoder) {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for line in lines {
        // Names are sent in lower case; those of messages are (others are refused before they get here).
        let kind = Kind::of(&line.name);
        let indexing = if line.never_indexed { Indexing::Never } else { kind.meaning().indexing };
        encoder.field(&mut block, kind, &line.name, &line.value, indexing);
    }
    let mut read = Vec::new();
    let mut arena = Vec::new();
    let result = decoder.decode(&block, &mut arena, usize::MAX, |arena, field, _| {
        read.push((field.name.of(arena).to_vec(), field.value.of(arena).to_vec(), field.never_indexed));
    });
    assert!(result.is_ok(), "our own block: {result:?}");
    assert_eq!(read.len(), lines.len());
    for (line, (name, value, never_indexed)) in lines.iter().zip(read) {
        assert_eq!((line.name.to_ascii_lowercase(), &line.value), (name, &value));
        assert!(never_indexed || !line.never_indexed, "what was never indexed stays so");
    }
}

/// An encoder and a decoder, their table resized now and then as SETTINGS do.
fn fields(mut input: Input<'_>) {
    let ceiling = usize::from(input.u16() % 5000);
    let mut offer = 4096;
    let (mut encoder, mut decoder) = (Encoder::new(ceiling), Decoder::new(4096));
    while !input.is_empty() {
        let mut block = Vec::new();
        let mut sent = Vec::new();
        encoder.begin(&mut block);
        loop {
            let op = input.u8();
            let indexing = [Indexing::Index, Indexing::Volatile, Indexing::Never, Indexing::NeverIfShort]
                [usize::from(op >> 6)];
            let known =
                ["accept", "authorization", "cookie", "content-type", ":path", ":status", "x-a", "x-b"];
            let name: &[u8] = match op & 7 {
                0 => break,
                1..=4 => known[usize::from(op >> 3 & 7)].as_bytes(),
                _ => input.short(),
            };
            let value = match op & 3 {
                1 => b"the same value again",
                _ => input.short(),
            };
            encoder.field(&mut block, Kind::of(name), name, value, indexing);
            sent.push((name.to_ascii_lowercase(), value.to_vec()));
        }
        let (mut arena, mut read) = (Vec::new(), Vec::new());
        let result = decoder.decode(&block, &mut arena, usize::MAX, |arena, field, _| {
            read.push((field.name.of(arena).to_vec(), field.value.of(arena).to_vec()));
        });
        assert!(result.is_ok(), "{result:?} of {block:x?}");
        assert_eq!(read, sent);
        if input.flag() {
            // The decoder's side announces another size, and the encoder's acknowledges it.
            for _ in 0..=input.below(3) {
                offer = usize::from(input.u16() % 5000);
                encoder.set_offer(offer);
            }
            decoder.set_limit(offer);
        }
    }
}

/// Blocks of RFC 7541 appendix C, and fields.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let examples: &[&[&str]] = &[
        &["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
        &["040c2f73616d706c652f70617468"],
        &["100870617373776f726406736563726574"],
        &["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865"],
        &["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf"],
        &["3f01", "20", "3fe11f82"],
        &["4803333032580770726976617465"],
        &["488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"],
    ];
    let mut seeds = Vec::new();
    for blocks in examples {
        let mut seed = vec![0, 0, 16, 0, 1];
        for block in *blocks {
            let bytes: Vec<u8> = block
                .as_bytes()
                .chunks(2)
                .map(|c| u8::from_str_radix(str::from_utf8(c).unwrap(), 16).unwrap())
                .collect();
            seed.push(0);
            seed.push(bytes.len() as u8);
            seed.extend(bytes);
        }
        seed.extend_from_slice(&[0xff, 100, 0, 0, 3, 0x3f, 0x45, 0x82]);
        seeds.push(seed);
    }
    seeds.push(b"\x01\x00\x10\x01\x09\x11\x19\x02\x03abc\x0a\x03xyz\x05\x03X-Y\0\x01v".to_vec());
    seeds.push(
        b"\x01\xff\x01\x31\x31\x72\x02aa\xb2\x02aa\x86\x03key\x05value\x86\x03key\x05value\x86\x03key\x05value\x00\x01\x02\
          \x20\x00\x00\x00\x00\x10\x31\x05\x01a\x01\x00\x01\x00\xff\x00\x31"
            .to_vec(),
    );
    seeds
}
