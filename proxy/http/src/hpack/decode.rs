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

/// Whether a field may be in a message at all (RFC 9113 8.2.1). Kept with table entries, so that a
/// field is looked at once however often it is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It may.
    Valid,
    /// Its name is empty, not in lower case, or not a token.
    BadName,
    /// Its value has characters that no value may have, or white space at an end.
    BadValue,
}

#[derive(Clone, Copy, Debug)]
struct Tag {
    kind: Kind,
    validity: Validity,
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

    /// Decodes a whole field block. Names and values are appended to `arena`, and `each` is called with the
    /// arena for every field in order. Returns the size of the list as RFC 9113 6.5.2 counts it.
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
        mut each: impl FnMut(&[u8], Field, Validity),
    ) -> Result<usize, DecodeError> {
        let mut at = self.size_updates(block)?;
        let mut size = 0usize;
        while let Some(first) = block.get(at).copied() {
            let from = arena.len();
            if first & 0x80 != 0 {
                let index = integer::decode(block, &mut at, 7)?;
                let (name, value, tag) = self.entry(index)?;
                size = size.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD);
                if size <= max_list {
                    arena.extend_from_slice(name);
                    let middle = arena.len();
                    arena.extend_from_slice(value);
                    each(arena, field(from, middle, arena.len(), tag.kind, false), tag.validity);
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
                let (name, _, tag) = self.entry(index)?;
                arena.extend_from_slice(name);
                Some(tag)
            };
            let middle = arena.len();
            string(block, &mut at, arena)?;
            let (name, value) = arena.get(from..).unwrap_or_default().split_at(middle - from);
            let kind = named.map_or_else(|| Kind::of(name), |tag| tag.kind);
            let validity = if named.is_some_and(|tag| tag.validity == Validity::BadName)
                || named.is_none() && !valid_name(name)
            {
                Validity::BadName
            } else if !syntax::is_value(value) {
                Validity::BadValue
            } else {
                Validity::Valid
            };
            if indexed {
                self.table.insert(name, value, Tag { kind, validity });
            }
            size = size.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD);
            if size <= max_list {
                let never_indexed = never_indexed && !indexed;
                each(arena, field(from, middle, arena.len(), kind, never_indexed), validity);
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
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8], Tag), DecodeError> {
        if let Some((kind, value)) = STATIC.get(index.wrapping_sub(1)) {
            let tag = Tag { kind: *kind, validity: Validity::Valid };
            return Ok((kind.name().as_bytes(), value.as_bytes(), tag));
        }
        let age = index.checked_sub(STATIC.len() + 1).ok_or(DecodeError::Index)?;
        self.table.get(age).ok_or(DecodeError::Index)
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    #[cfg(test)]
    pub(super) fn table_entry(&self, age: usize) -> Option<(&[u8], &[u8])> {
        self.table.get(age).map(|(name, value, _)| (name, value))
    }
}

#[inline]
fn field(from: usize, middle: usize, end: usize, kind: Kind, never_indexed: bool) -> Field {
    Field { name: Range::new(from, middle), value: Range::new(middle, end), kind, never_indexed }
}

/// Pseudo-header fields are recognised by kind; any other name with a colon is no token.
fn valid_name(name: &[u8]) -> bool {
    let name = name.strip_prefix(b":").unwrap_or(name);
    syntax::is_token(name) && !name.iter().any(u8::is_ascii_uppercase)
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
