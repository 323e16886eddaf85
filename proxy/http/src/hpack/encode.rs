//! Fields to field blocks.

use super::integer;
use super::table::{DynamicTable, ENTRY_OVERHEAD, STATIC};
use crate::fields::{Indexing, Kind};

const INITIAL_TABLE: usize = 4096;

/// Sets of two slots that remember fields by their hash. Two, so that two frequent fields on one set do not
/// push each other out for ever.
const SETS: usize = 64;

/// The encoding context of one direction of a connection.
///
/// A field is sent as a literal the first time and enters the table the second time: what is different in every
/// message (paths with ids, dates) never evicts what is not. Seen fields are found by hash, without a
/// search, and nothing is kept for them but the hash.
#[derive(Debug)]
pub struct Encoder {
    table: DynamicTable<Kind>,
    /// `2 * SETS` of them once there was a field to remember.
    seen: Vec<Slot>,
    /// The most this side will use, whatever the peer offers.
    ceiling: usize,
    /// Table sizes to tell before the next field: the lowest since the last block, and the one in force.
    size_updates: Option<(usize, usize)>,
    lower: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// The insertion that put it into the table, or `ONCE`.
    insertion: u32,
}

const ONCE: u32 = u32::MAX;
const EMPTY: Slot = Slot { hash: 0, insertion: ONCE };

impl Encoder {
    /// A context that uses at most `ceiling` octets of what the peer offers for the table.
    #[must_use]
    pub fn new(ceiling: usize) -> Self {
        let mut encoder = Encoder {
            table: DynamicTable::new(INITIAL_TABLE),
            seen: Vec::new(),
            ceiling,
            size_updates: None,
            lower: Vec::new(),
        };
        encoder.set_offer(INITIAL_TABLE);
        encoder
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. A smaller table takes effect at once; the peer is told at the
    /// beginning of the next block (RFC 7541 4.2).
    pub fn set_offer(&mut self, offer: usize) {
        let size = offer.min(self.ceiling);
        if size == self.table.max_size() {
            return;
        }
        let lowest = self.size_updates.map_or(size, |(lowest, _)| lowest.min(size));
        self.size_updates = Some((lowest, size));
        self.table.set_max_size(size);
    }

    /// To be called before the first field of each block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((lowest, size)) = self.size_updates.take() {
            if lowest < size {
                integer::encode(out, 0x20, 5, lowest);
            }
            integer::encode(out, 0x20, 5, size);
        }
    }

    /// Appends a field. `name` matters for [`Kind::Other`] only, and may be in any letter case.
    /// `indexing` is what [`FieldRef::indexing`](crate::head::FieldRef::indexing) says of it.
    pub fn field(&mut self, out: &mut Vec<u8>, kind: Kind, name: &[u8], value: &[u8], indexing: Indexing) {
        if kind != Kind::Other {
            self.lowered(out, kind, kind.name().as_bytes(), value, indexing);
        } else if name.iter().any(u8::is_ascii_uppercase) {
            let mut lower = std::mem::take(&mut self.lower);
            lower.clear();
            lower.extend(name.iter().map(u8::to_ascii_lowercase));
            self.lowered(out, kind, &lower, value, indexing);
            self.lower = lower;
        } else {
            self.lowered(out, kind, name, value, indexing);
        }
    }

    fn lowered(&mut self, out: &mut Vec<u8>, kind: Kind, name: &[u8], value: &[u8], indexing: Indexing) {
        let index = usize::from(kind.meaning().static_index);
        match indexing {
            Indexing::Never => return literal(out, 0x10, 4, index, name, value),
            Indexing::Volatile => return literal(out, 0, 4, index, name, value),
            Indexing::Index | Indexing::NeverIfShort => {}
        }
        if let Some(index) = static_entry(kind, index, value) {
            return integer::encode(out, 0x80, 7, index);
        }
        if name.len() + value.len() + ENTRY_OVERHEAD > self.table.max_size() / 2 {
            // An entry that would empty half of the table is not worth it.
            return literal(out, 0, 4, index, name, value);
        }
        match self.find(kind, name, value) {
            Found::At(index) => integer::encode(out, 0x80, 7, index),
            Found::Before => {
                literal(out, 0x40, 6, index, name, value);
                self.table.insert(name, value, kind);
            }
            Found::Never => literal(out, 0, 4, index, name, value),
        }
    }

    /// Looks a field up and remembers it.
    fn find(&mut self, kind: Kind, name: &[u8], value: &[u8]) -> Found {
        if self.seen.is_empty() {
            self.seen = vec![EMPTY; 2 * SETS];
        }
        let hash = hash(kind, name, value);
        let set = (hash >> (u32::BITS - SETS.ilog2())) as usize * 2;
        let Some([a, b]) = self.seen.get_mut(set..set + 2) else { return Found::Never };
        let next = self.table.inserted();
        let live = self.table.len() as u32;
        let slot = if a.hash == hash {
            a
        } else if b.hash == hash {
            b
        } else {
            // Whichever the table no longer holds; a live entry stays until the table lets go of it, and then
            // one that was seen only once is what a new field replaces.
            let age = |s: &Slot| next.wrapping_sub(1).wrapping_sub(s.insertion);
            let keep_a = a.insertion != ONCE && age(a) < live;
            let slot = if keep_a { b } else { a };
            *slot = Slot { hash, insertion: ONCE };
            return Found::Never;
        };
        if slot.insertion != ONCE {
            let age = next.wrapping_sub(1).wrapping_sub(slot.insertion) as usize;
            if let Some((octets, n, k)) = self.table.get(age)
                && k == kind
                && let Some((found_name, found_value)) = octets.split_at_checked(n)
                && found_value == value
                && (kind != Kind::Other || found_name == name)
            {
                return Found::At(STATIC.len() + 1 + age);
            }
        }
        slot.insertion = next;
        Found::Before
    }
}

enum Found {
    /// In the table, at this index.
    At(usize),
    /// Seen before, and worth an entry now.
    Before,
    Never,
}

/// The static entry that has this value too.
#[inline]
fn static_entry(kind: Kind, first: usize, value: &[u8]) -> Option<usize> {
    if first == 0 {
        return None;
    }
    let same_name = STATIC.iter().skip(first - 1).take_while(|entry| entry.0 == kind);
    same_name.zip(first..).find(|(entry, _)| entry.1.as_bytes() == value).map(|(_, index)| index)
}

#[inline]
fn literal(out: &mut Vec<u8>, first: u8, prefix: u32, index: usize, name: &[u8], value: &[u8]) {
    integer::encode(out, first, prefix, index);
    if index == 0 {
        integer::encode(out, 0, 7, name.len());
        out.extend_from_slice(name);
    }
    integer::encode(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// Not keyed: who provokes collisions makes its own fields literals, and no more.
#[inline]
fn hash(kind: Kind, name: &[u8], value: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (kind as u64) << 56 | (name.len() as u64) << 32 | value.len() as u64;
    let mut mix = |bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
        }
        let tail = rest.iter().fold(0, |tail, b| tail << 8 | u64::from(*b));
        hash = (hash.rotate_left(5) ^ tail).wrapping_mul(K);
    };
    if kind == Kind::Other {
        mix(name);
    }
    mix(value);
    (hash >> 32) as u32
}
