//! The static table (RFC 7541, appendix A) and the dynamic table (sections 2.3.2 and 4).

use std::collections::VecDeque;

use crate::fields::Kind;

/// What an entry counts beside its octets (section 4.1).
pub(super) const ENTRY_OVERHEAD: usize = 32;

/// Name and value by index; the first is index 1.
pub(super) static STATIC: [(Kind, &str); 61] = [
    (Kind::PseudoAuthority, ""),
    (Kind::PseudoMethod, "GET"),
    (Kind::PseudoMethod, "POST"),
    (Kind::PseudoPath, "/"),
    (Kind::PseudoPath, "/index.html"),
    (Kind::PseudoScheme, "http"),
    (Kind::PseudoScheme, "https"),
    (Kind::PseudoStatus, "200"),
    (Kind::PseudoStatus, "204"),
    (Kind::PseudoStatus, "206"),
    (Kind::PseudoStatus, "304"),
    (Kind::PseudoStatus, "400"),
    (Kind::PseudoStatus, "404"),
    (Kind::PseudoStatus, "500"),
    (Kind::AcceptCharset, ""),
    (Kind::AcceptEncoding, "gzip, deflate"),
    (Kind::AcceptLanguage, ""),
    (Kind::AcceptRanges, ""),
    (Kind::Accept, ""),
    (Kind::AccessControlAllowOrigin, ""),
    (Kind::Age, ""),
    (Kind::Allow, ""),
    (Kind::Authorization, ""),
    (Kind::CacheControl, ""),
    (Kind::ContentDisposition, ""),
    (Kind::ContentEncoding, ""),
    (Kind::ContentLanguage, ""),
    (Kind::ContentLength, ""),
    (Kind::ContentLocation, ""),
    (Kind::ContentRange, ""),
    (Kind::ContentType, ""),
    (Kind::Cookie, ""),
    (Kind::Date, ""),
    (Kind::Etag, ""),
    (Kind::Expect, ""),
    (Kind::Expires, ""),
    (Kind::From, ""),
    (Kind::Host, ""),
    (Kind::IfMatch, ""),
    (Kind::IfModifiedSince, ""),
    (Kind::IfNoneMatch, ""),
    (Kind::IfRange, ""),
    (Kind::IfUnmodifiedSince, ""),
    (Kind::LastModified, ""),
    (Kind::Link, ""),
    (Kind::Location, ""),
    (Kind::MaxForwards, ""),
    (Kind::ProxyAuthenticate, ""),
    (Kind::ProxyAuthorization, ""),
    (Kind::Range, ""),
    (Kind::Referer, ""),
    (Kind::Refresh, ""),
    (Kind::RetryAfter, ""),
    (Kind::Server, ""),
    (Kind::SetCookie, ""),
    (Kind::StrictTransportSecurity, ""),
    (Kind::TransferEncoding, ""),
    (Kind::UserAgent, ""),
    (Kind::Vary, ""),
    (Kind::Via, ""),
    (Kind::WwwAuthenticate, ""),
];

/// Fields by age, each with a `T` that its owner worked out once. Names and values lie one after
/// another in one buffer, which is compacted when half of it is dead: entries come and go
/// without an allocation, and an empty table holds none.
#[derive(Debug)]
pub(super) struct DynamicTable<T> {
    /// Newest at the back.
    entries: VecDeque<Entry<T>>,
    octets: Vec<u8>,
    /// The logical position of `octets[0]`; entries keep logical positions.
    base: u32,
    size: usize,
    max_size: usize,
    inserted: u32,
}

#[derive(Debug)]
struct Entry<T> {
    at: u32,
    name: u32,
    value: u32,
    tag: T,
}

impl<T: Copy> DynamicTable<T> {
    pub(super) fn new(max_size: usize) -> Self {
        DynamicTable { entries: VecDeque::new(), octets: Vec::new(), base: 0, size: 0, max_size, inserted: 0 }
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries were ever inserted, modulo 2^32: the number that the next one gets.
    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// Changes the maximum size, evicting what no longer fits (section 4.3).
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    /// Inserts an entry, evicting the oldest; one that is larger than the table empties it
    /// and is not inserted (section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], tag: T) {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        if size > self.max_size {
            return self.evict(0);
        }
        self.evict(self.max_size - size);
        self.compact();
        let at = self.base.wrapping_add(self.octets.len() as u32);
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        self.entries.push_back(Entry { at, name: name.len() as u32, value: value.len() as u32, tag });
        self.size += size;
        self.inserted = self.inserted.wrapping_add(1);
    }

    /// The entry that was inserted `age` insertions before the newest, 0 being the newest: its octets, how many
    /// of them are the name, and its tag.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], usize, T)> {
        let index = self.entries.len().checked_sub(age + 1)?;
        let entry = self.entries.get(index)?;
        let from = entry.at.wrapping_sub(self.base) as usize;
        let to = from + (entry.name + entry.value) as usize;
        Some((self.octets.get(from..to)?, entry.name as usize, entry.tag))
    }

    /// Removes the oldest entries until no more than `room` is used.
    fn evict(&mut self, room: usize) {
        while self.size > room {
            let Some(old) = self.entries.pop_front() else { return };
            self.size -= (old.name + old.value) as usize + ENTRY_OVERHEAD;
        }
    }

    fn compact(&mut self) {
        let dead = match self.entries.front() {
            Some(oldest) => oldest.at.wrapping_sub(self.base) as usize,
            None => self.octets.len(),
        };
        if dead * 2 > self.octets.len() {
            self.octets.drain(..dead);
            self.base = self.base.wrapping_add(dead as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc7541_a_agrees_with_the_table_of_names() {
        for (i, (kind, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|s| s.0 == *kind).unwrap();
            assert_eq!(usize::from(kind.meaning().static_index), first + 1, "index {}", i + 1);
            assert!(!kind.name().is_empty());
        }
    }

    proptest! {
        /// Against a plain list: same entries, sizes and ages, and at most twice the octets held.
        #[test]
        fn rfc7541_4_like_a_list(
            ops in proptest::collection::vec((0usize..60, 0usize..300, proptest::option::weighted(0.1, 0usize..600)), 1..200)
        ) {
            let mut table = DynamicTable::new(512);
            let mut list: VecDeque<(Vec<u8>, Vec<u8>, usize)> = VecDeque::new();
            let size = |l: &VecDeque<(Vec<u8>, Vec<u8>, usize)>| l.iter().map(|e| e.0.len() + e.1.len() + 32).sum::<usize>();
            let mut max = 512;
            for (i, (n, v, resize)) in ops.into_iter().enumerate() {
                if let Some(m) = resize {
                    max = m;
                    table.set_max_size(m);
                } else {
                    let (name, value) = (vec![i as u8; n], vec![!(i as u8); v]);
                    table.insert(&name, &value, i);
                    list.push_front((name, value, i));
                }
                while size(&list) > max {
                    list.pop_back();
                }
                prop_assert_eq!(table.size(), size(&list));
                prop_assert_eq!(table.len(), list.len());
                for (age, (name, value, tag)) in list.iter().enumerate() {
                    prop_assert_eq!(table.get(age), Some((&[&name[..], value].concat()[..], name.len(), *tag)));
                }
                prop_assert_eq!(table.get(list.len()), None);
                prop_assert!(table.octets.len() <= 2 * 512 + 360);
            }
        }
    }
}
