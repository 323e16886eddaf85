//! Field blocks to fields.

use super::table::{DynamicTable, ENTRY_OVERHEAD, STATIC};
use super::{huffman, integer};
use crate::fields::Kind;
use crate::head::{Field, Range, syntax};

/// The table size both sides begin with (RFC 9113 6.5.2).
const INITIAL_TABLE: usize = 4096;

/// Why a field block cannot be decoded. The context is lost with it: COMPRESSION_ERROR on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field.
    #[error("the field block is cut short")]
    Truncated,
    /// An integer has more octets than any value here needs (RFC 7541 5.1).
    #[error("an integer is too large")]
    Integer,
    /// An index of neither table (RFC 7541 2.3.3).
    #[error("an index is beyond both tables")]
    Index,
    /// A string with EOS in it or with wrong padding (RFC 7541 5.2).
    #[error("a string is not a Huffman code")]
    Huffman,
    /// A table size update above the limit, in the wrong place, or missing (RFC 7541 4.2, 6.3).
    #[error("a table size update is missing, misplaced or above the limit")]
    SizeUpdate,
}

#[derive(Clone, Copy, Debug)]
struct Tag {
    kind: Kind,
    valid: bool,
}

/// An entry of either table.
struct Entry<'a> {
    /// Name and value, of which the name is the first `name` octets: in two parts, or in one, which is cheaper to copy.
    octets: (&'a [u8], &'a [u8]),
    name: usize,
    tag: Tag,
}

/// The decoding context of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable<Tag>,
    /// The most that a size update may ask for.
    limit: usize,
    /// The limit was lowered below the table's size: the next block must begin with an update.
    update_due: bool,
}

impl Decoder {
    /// A context whose table may hold `limit` octets. The peer is free to use 4096 until it knows a lower limit,
    /// so this does not apply one below that: [`Decoder::set_limit`] does.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(INITIAL_TABLE);
        Decoder { table: DynamicTable::new(INITIAL_TABLE), limit, update_due: false }
    }

    /// The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.update_due = limit < self.table.max_size();
    }

    /// Decodes a whole field block. Names and values are appended to `arena`, and `each` is called for every field
    /// in order with the arena, the field, and whether its octets are valid in a message (RFC 9113 8.2.1), which
    /// is looked at once for an entry of the table, however often it is indexed. Returns the size of the
    /// list as RFC 9113 6.5.2 counts it.
    ///
    /// When that exceeds `max_list`, the fields beyond it are decoded for the sake of the context
    /// but neither stored nor told: however much a block expands to, `arena` grows by no more than `max_list` and
    /// one field.
    ///
    /// # Errors
    /// The context is lost and the connection with it. `each` may have been called for some fields.
    pub fn decode(
        &mut self,
        block: &[u8],
        arena: &mut Vec<u8>,
        max_list: usize,
        mut each: impl FnMut(&[u8], Field, bool),
    ) -> Result<usize, DecodeError> {
        let mut at = self.size_updates(block)?;
        let mut size = 0usize;
        while let Some(first) = block.get(at).copied() {
            let from = arena.len();
            if first & 0x80 != 0 {
                let index = integer::decode(block, &mut at, 7)?;
                let entry = self.entry(index)?;
                size = size.saturating_add(entry.octets.0.len() + entry.octets.1.len() + ENTRY_OVERHEAD);
                if size <= max_list {
                    arena.extend_from_slice(entry.octets.0);
                    arena.extend_from_slice(entry.octets.1);
                    let tag = entry.tag;
                    each(arena, field(from, from + entry.name, arena.len(), tag.kind, false), tag.valid);
                }
                continue;
            }
            let (indexed, never_indexed) = (first & 0x40 != 0, first & 0x10 != 0);
            if !indexed && first & 0x20 != 0 {
                return Err(DecodeError::SizeUpdate);
            }
            let index = integer::decode(block, &mut at, if indexed { 6 } else { 4 })?;
            let named = if index == 0 {
                string(block, &mut at, arena)?;
                None
            } else {
                let entry = self.entry(index)?;
                arena.extend_from_slice(entry.octets.0.get(..entry.name).unwrap_or_default());
                Some(entry.tag)
            };
            let middle = arena.len();
            string(block, &mut at, arena)?;
            let (name, value) = arena.get(from..).unwrap_or_default().split_at(middle - from);
            let tag = match named {
                Some(tag) => Tag { kind: tag.kind, valid: tag.valid && syntax::is_h2_value(value) },
                None => new_tag(name, value),
            };
            if indexed {
                self.table.insert(name, value, tag);
            }
            size = size.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD);
            if size <= max_list {
                let never_indexed = never_indexed && !indexed;
                each(arena, field(from, middle, arena.len(), tag.kind, never_indexed), tag.valid);
            } else {
                arena.truncate(from);
            }
        }
        Ok(size)
    }

    /// Size updates come before all fields of a block (RFC 7541 4.2).
    fn size_updates(&mut self, block: &[u8]) -> Result<usize, DecodeError> {
        let mut at = 0;
        while let Some(first) = block.get(at)
            && first & 0xe0 == 0x20
        {
            let size = integer::decode(block, &mut at, 5)?;
            if size > self.limit {
                return Err(DecodeError::SizeUpdate);
            }
            self.table.set_max_size(size);
            self.update_due = false;
        }
        if self.update_due && !block.is_empty() {
            return Err(DecodeError::SizeUpdate);
        }
        Ok(at)
    }

    #[inline]
    fn entry(&self, index: usize) -> Result<Entry<'_>, DecodeError> {
        if let Some((kind, value)) = STATIC.get(index.wrapping_sub(1)) {
            let (name, tag) = (kind.name().as_bytes(), Tag { kind: *kind, valid: true });
            return Ok(Entry { octets: (name, value.as_bytes()), name: name.len(), tag });
        }
        let age = index.checked_sub(STATIC.len() + 1).ok_or(DecodeError::Index)?;
        let (octets, name, tag) = self.table.get(age).ok_or(DecodeError::Index)?;
        Ok(Entry { octets: (octets, &[]), name, tag })
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    #[cfg(test)]
    pub(super) fn table_entry(&self, age: usize) -> Option<(&[u8], &[u8])> {
        self.table.get(age).map(|(octets, name, _)| octets.split_at(name))
    }
}

#[inline]
fn field(from: usize, middle: usize, end: usize, kind: Kind, never_indexed: bool) -> Field {
    Field { name: Range::new(from, middle), value: Range::new(middle, end), kind, never_indexed }
}

fn new_tag(name: &[u8], value: &[u8]) -> Tag {
    match Kind::of(name) {
        // `Kind::of` does not mind letter case; pseudo-header fields do.
        kind if kind.is_pseudo() => {
            let valid = name == kind.name().as_bytes();
            Tag { kind: if valid { kind } else { Kind::Other }, valid }
        }
        kind => Tag { kind, valid: syntax::is_h2_name(name) && syntax::is_h2_value(value) },
    }
}

#[inline]
fn string(block: &[u8], at: &mut usize, arena: &mut Vec<u8>) -> Result<(), DecodeError> {
    let coded = block.get(*at).ok_or(DecodeError::Truncated)? & 0x80 != 0;
    let length = integer::decode(block, at, 7)?;
    let octets = block.get(*at..).and_then(|rest| rest.get(..length)).ok_or(DecodeError::Truncated)?;
    *at += length;
    if coded {
        huffman::decode(octets, arena)
    } else {
        arena.extend_from_slice(octets);
        Ok(())
    }
}
