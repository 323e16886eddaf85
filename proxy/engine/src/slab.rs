//! Things with ids: a vector of slots, each with a generation, so that an id kept too long finds nothing
//! instead of finding somebody else.

use std::fmt;
use std::marker::PhantomData;

/// Names one `T` in a [`Slab`] for as long as it lives.
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The slot; another `T` may take it after this one is gone.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}
impl<T> Eq for Key<T> {}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Slots of `T`; a removed one's slot is used again first (its memory is still in the cache).
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many live in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts `value` into a free slot.
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.slots.push(Slot { generation: 0, value: None });
            index
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Key { index, generation: slot.generation, of: PhantomData }
    }

    /// The one that `key` names, if it still lives.
    #[inline]
    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        self.slots.get(key.index()).filter(|s| s.generation == key.generation)?.value.as_ref()
    }

    /// The one that `key` names, if it still lives.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.slots.get_mut(key.index()).filter(|s| s.generation == key.generation)?.value.as_mut()
    }

    /// Takes out the one that `key` names.
    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.index()).filter(|s| s.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Whoever lives in slot `index` now.
    pub(crate) fn key_at(&self, index: usize) -> Option<Key<T>> {
        let slot = self.slots.get(index).filter(|s| s.value.is_some())?;
        Some(Key { index: u32::try_from(index).ok()?, generation: slot.generation, of: PhantomData })
    }

    /// All keys, in the order of their slots.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<T>> + '_ {
        (0..self.slots.len()).filter_map(|i| self.key_at(i))
    }

    /// All of them, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
        self.keys().filter_map(|k| Some((k, self.get(k)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlived_finds_nothing() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_eq!((a.index(), slab.len()), (b.index(), 1));
        assert_eq!((slab.get(a), slab.get(b)), (None, Some(&'b')));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.keys().collect::<Vec<_>>(), vec![b]);
    }
}
