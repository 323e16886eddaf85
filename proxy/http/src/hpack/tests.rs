//! Whole blocks: the examples of RFC 7541, appendix C, and what encoder and decoder promise together.

use proptest::prelude::*;

use super::*;
use crate::fields::{Indexing, Kind};

type List = Vec<(Vec<u8>, Vec<u8>)>;

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn list(fields: &[(&str, &str)]) -> List {
    fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<List, DecodeError> {
    let (mut arena, mut fields) = (Vec::new(), Vec::new());
    decoder.decode(block, &mut arena, usize::MAX, |bytes, f, _| {
        fields.push((f.name.of(bytes).to_vec(), f.value.of(bytes).to_vec()));
    })?;
    Ok(fields)
}

fn check(decoder: &mut Decoder, hex: &str, fields: &[(&str, &str)], table: &[(&str, &str)], size: usize) {
    assert_eq!(decode(decoder, &unhex(hex)), Ok(list(fields)));
    for (age, (name, value)) in table.iter().enumerate() {
        assert_eq!(decoder.table_entry(age), Some((name.as_bytes(), value.as_bytes())));
    }
    assert_eq!(decoder.table_entry(table.len()), None);
    assert_eq!(decoder.table_size(), size);
}

#[test]
fn rfc7541_c2_representations() {
    let d = || Decoder::new(4096);
    let custom = &[("custom-key", "custom-header")];
    check(&mut d(), "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", custom, custom, 55);
    check(&mut d(), "040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], &[], 0);
    check(&mut d(), "1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], &[], 0);
    check(&mut d(), "82", &[(":method", "GET")], &[], 0);
}

fn requests(blocks: [&str; 3]) {
    let mut d = Decoder::new(4096);
    let authority = (":authority", "www.example.com");
    let (cache, custom) = (("cache-control", "no-cache"), ("custom-key", "custom-value"));
    let (get, http, https) = ((":method", "GET"), (":scheme", "http"), (":scheme", "https"));
    let (root, index) = ((":path", "/"), (":path", "/index.html"));
    check(&mut d, blocks[0], &[get, http, root, authority], &[authority], 57);
    check(&mut d, blocks[1], &[get, http, root, authority, cache], &[cache, authority], 110);
    check(&mut d, blocks[2], &[get, https, index, authority, custom], &[custom, cache, authority], 164);
}

#[test]
fn rfc7541_c3_requests_without_huffman() {
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn rfc7541_c4_requests_with_huffman() {
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

fn responses(blocks: [&str; 3]) {
    let mut d = Decoder::new(4096);
    // The examples have a table of 256 octets, which HTTP/2 would agree upon by SETTINGS.
    assert_eq!(decode(&mut d, &unhex("3fe1 01")), Ok(vec![]));
    let (s302, s307, s200) = ((":status", "302"), (":status", "307"), (":status", "200"));
    let private = ("cache-control", "private");
    let (date, later) =
        (("date", "Mon, 21 Oct 2013 20:13:21 GMT"), ("date", "Mon, 21 Oct 2013 20:13:22 GMT"));
    let location = ("location", "https://www.example.com");
    let encoding = ("content-encoding", "gzip");
    let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    check(&mut d, blocks[0], &[s302, private, date, location], &[location, date, private, s302], 222);
    check(&mut d, blocks[1], &[s307, private, date, location], &[s307, location, date, private], 222);
    let third = [s200, private, later, location, encoding, cookie];
    check(&mut d, blocks[2], &third, &[cookie, encoding, later], 215);
}

#[test]
fn rfc7541_c5_responses_without_huffman() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn rfc7541_c6_responses_with_huffman() {
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn rfc7541_2_3_3_index_beyond_the_tables() {
    for block in [&[0x80][..], &[0xbe], &[0xff, 0x00], &[0x7e, 0x00], &[0x0f, 0x30, 0x00]] {
        assert_eq!(decode(&mut Decoder::new(4096), block), Err(DecodeError::Index), "{block:x?}");
    }
}

#[test]
fn rfc7541_5_2_string_longer_than_the_block() {
    for block in [&[0x40][..], &[0x40, 0x01], &[0x40, 0x01, b'a'], &[0x40, 0x01, b'a', 0x05, b'b'], &[0x44]] {
        assert_eq!(decode(&mut Decoder::new(4096), block), Err(DecodeError::Truncated), "{block:x?}");
    }
}

#[test]
fn rfc7541_4_2_size_update_only_at_the_beginning_and_within_the_limit() {
    let mut d = Decoder::new(4096);
    assert_eq!(decode(&mut d, &[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(list(&[(":method", "GET")])));
    assert_eq!(decode(&mut d, &[0x82, 0x20]), Err(DecodeError::SizeUpdate), "after a field");
    assert_eq!(decode(&mut Decoder::new(4096), &[0x3f, 0xe2, 0x1f]), Err(DecodeError::SizeUpdate), "4097");
}

#[test]
fn rfc7541_4_2_lowered_limit_must_be_acknowledged_by_an_update() {
    let mut d = Decoder::new(4096);
    d.set_limit(100);
    assert_eq!(decode(&mut d, &[0x82]), Err(DecodeError::SizeUpdate));
    let mut d = Decoder::new(4096);
    d.set_limit(100);
    assert_eq!(decode(&mut d, &[0x3f, 69, 0x82]), Ok(list(&[(":method", "GET")])));
    assert_eq!(decode(&mut d, &[0x82]), Ok(list(&[(":method", "GET")])));
}

#[test]
fn rfc7541_4_4_entry_larger_than_the_table_empties_it() {
    let mut d = Decoder::new(4096);
    decode(&mut d, b"\x40\x01a\x01b").unwrap();
    assert_eq!(d.table_size(), 34);
    let mut block = b"\x40\x01c".to_vec();
    integer::encode(&mut block, 0, 7, 5000);
    block.resize(block.len() + 5000, b'v');
    assert_eq!(decode(&mut d, &block).map(|l| l[0].1.len()), Ok(5000));
    assert_eq!(d.table_size(), 0);
}

#[test]
fn rfc7541_4_4_entry_may_name_what_it_evicts() {
    let mut d = Decoder::new(4096);
    let mut block = b"\x40\x04name".to_vec();
    integer::encode(&mut block, 0, 7, 4000);
    block.resize(block.len() + 4000, b'v');
    decode(&mut d, &block).unwrap();
    let mut block = vec![0x7e];
    integer::encode(&mut block, 0, 7, 3000);
    block.resize(block.len() + 3000, b'w');
    assert_eq!(decode(&mut d, &block).map(|l| l[0].0.clone()), Ok(b"name".to_vec()));
}

/// A few octets that expand to megabytes: neither stored nor told beyond the limit.
#[test]
fn rfc7541_7_3_bomb_is_decoded_and_not_stored() {
    let mut d = Decoder::new(4096);
    let mut block = b"\x40\x01x".to_vec();
    integer::encode(&mut block, 0, 7, 4000);
    block.resize(block.len() + 4000, b'v');
    block.resize(block.len() + 16_000, 0xbe);
    let (mut arena, mut told) = (Vec::new(), 0);
    let size = d.decode(&block, &mut arena, 65_536, |_, _, _| told += 1).unwrap();
    assert_eq!(size, 16_001 * 4033);
    assert_eq!(told, 16);
    assert!(arena.len() <= 65_536);
    assert_eq!(decode(&mut d, &[0xbe]).map(|l| l[0].1.len()), Ok(4000), "the context is intact");
}

#[test]
fn rfc7541_7_1_3_never_indexed_is_told_and_kept() {
    let mut e = Encoder::new(4096);
    let mut out = Vec::new();
    for _ in 0..3 {
        out.clear();
        e.field(&mut out, Kind::Other, b"password", b"secret", Indexing::Never);
        assert_eq!(out, unhex("1008 7061 7373 776f 7264 0673 6563 7265 74"));
    }
    let mut never = Vec::new();
    let mut d = Decoder::new(4096);
    d.decode(&out, &mut Vec::new(), 1000, |_, f, _| never.push(f.never_indexed)).unwrap();
    d.decode(&[0x00, 0x01, b'a', 0x00, 0x82], &mut Vec::new(), 1000, |_, f, _| never.push(f.never_indexed))
        .unwrap();
    assert_eq!(never, [true, false, false]);
}

#[test]
fn a_field_is_indexed_the_second_time() {
    let mut e = Encoder::new(4096);
    let mut octets = |value: &[u8]| {
        let mut out = Vec::new();
        e.field(&mut out, Kind::Other, b"X-Tenant", value, Indexing::Index);
        out
    };
    assert_eq!(octets(b"a"), b"\x00\x08x-tenant\x01a");
    assert_eq!(octets(b"a"), b"\x40\x08x-tenant\x01a");
    assert_eq!(octets(b"a"), b"\xbe");
    assert_eq!(octets(b"b"), b"\x00\x08x-tenant\x01b");
}

#[test]
fn static_entries_need_no_table() {
    let mut e = Encoder::new(0);
    let mut out = Vec::new();
    e.begin(&mut out);
    assert_eq!(out, [0x20], "the peer is told that no table is used");
    out.clear();
    for (kind, value) in [
        (Kind::PseudoMethod, "GET"),
        (Kind::PseudoMethod, "POST"),
        (Kind::PseudoScheme, "https"),
        (Kind::PseudoStatus, "200"),
        (Kind::PseudoStatus, "500"),
        (Kind::AcceptEncoding, "gzip, deflate"),
    ] {
        e.field(&mut out, kind, b"", value.as_bytes(), Indexing::Index);
    }
    assert_eq!(out, [0x82, 0x83, 0x87, 0x88, 0x8e, 0x90]);
}

#[test]
fn rfc7541_4_2_encoder_tells_the_lowest_and_the_last_size() {
    let mut e = Encoder::new(4096);
    let mut out = Vec::new();
    e.begin(&mut out);
    assert_eq!(out, b"", "4096 is where both sides begin");
    e.set_offer(65_536);
    e.begin(&mut out);
    assert_eq!(out, b"", "more than the ceiling is not taken");
    e.set_offer(0);
    e.set_offer(100);
    e.begin(&mut out);
    assert_eq!(out, [0x20, 0x3f, 69]);
    out.clear();
    e.begin(&mut out);
    assert_eq!(out, b"");
}

#[test]
fn rfc9113_8_2_1_validity_is_told_also_of_indexed_fields() {
    let mut d = Decoder::new(4096);
    let mut told = |block: &[u8]| {
        let mut all = Vec::new();
        d.decode(block, &mut Vec::new(), 1000, |_, f, valid| all.push((f.kind, valid))).unwrap();
        all
    };
    assert_eq!(told(b"\x40\x01A\x01b\xbe"), [(Kind::Other, false); 2]);
    assert_eq!(told(b"\x40\x01a\x03b\r\n\xbe"), [(Kind::Other, false); 2]);
    assert_eq!(told(b"\x40\x01a\x01b\xbe"), [(Kind::Other, true); 2]);
    assert_eq!(told(b"\x7e\x02 b\xbe"), [(Kind::Other, false); 2]);
    assert_eq!(told(b"\x40\x07:Status\x03200"), [(Kind::Other, false)]);
    assert_eq!(told(b"\x40\x04:foo\x01x"), [(Kind::Other, false)]);
    assert_eq!(told(b"\x40\x07:status\x03200"), [(Kind::PseudoStatus, true)]);
}

fn any_field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = prop_oneof![
        Just(":path".to_owned()),
        Just(":method".to_owned()),
        Just("content-type".to_owned()),
        Just("cookie".to_owned()),
        Just("date".to_owned()),
        "x-[a-c]{1,2}",
        "[a-z]{40,80}",
    ];
    let value = prop_oneof![
        4 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => Just(b"GET".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ];
    (name.prop_map(String::into_bytes), value)
}

#[derive(Clone, Debug)]
enum Step {
    Block(List),
    Offer(usize),
}

proptest! {
    /// Whatever is sent, and however the table's size changes on the way, arrives.
    #[test]
    fn round_trip(steps in proptest::collection::vec(
        prop_oneof![
            5 => proptest::collection::vec(any_field(), 0..8).prop_map(Step::Block),
            1 => (0usize..600).prop_map(Step::Offer),
        ], 1..60))
    {
        let (mut e, mut d) = (Encoder::new(4096), Decoder::new(4096));
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Offer(size) => {
                    e.set_offer(size);
                    d.set_limit(size);
                }
                Step::Block(fields) => {
                    out.clear();
                    e.begin(&mut out);
                    for (name, value) in &fields {
                        let kind = Kind::of(name);
                        e.field(&mut out, kind, name, value, kind.meaning().indexing);
                    }
                    prop_assert_eq!(decode(&mut d, &out), Ok(fields));
                }
            }
        }
    }

    /// No block panics or stores more than it may.
    #[test]
    fn any_octets(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..10)) {
        let mut d = Decoder::new(4096);
        for block in blocks {
            let mut arena = Vec::new();
            let decoded = d.decode(&block, &mut arena, 500, |bytes, f, _| {
                assert!(f.name.end as usize <= bytes.len() && f.value.end as usize <= bytes.len());
            });
            prop_assert!(arena.len() <= 500 + 2 * 320 || decoded.is_err());
            if decoded.is_err() {
                break;
            }
        }
    }

    /// Strings may be Huffman coded or not: the same list.
    #[test]
    fn huffman_or_plain(fields in proptest::collection::vec(any_field(), 1..8)) {
        let (mut plain, mut coded) = (Vec::new(), Vec::new());
        for (name, value) in &fields {
            plain.push(0x40);
            coded.push(0x40);
            for s in [name, value] {
                integer::encode(&mut plain, 0, 7, s.len());
                plain.extend_from_slice(s);
                let mut h = Vec::new();
                huffman::encode(s, &mut h);
                integer::encode(&mut coded, 0x80, 7, h.len());
                coded.extend_from_slice(&h);
            }
        }
        prop_assert_eq!(decode(&mut Decoder::new(4096), &plain), Ok(fields.clone()));
        prop_assert_eq!(decode(&mut Decoder::new(4096), &coded), Ok(fields));
    }
}
