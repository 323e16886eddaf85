//! Streams that this side has reset while the peer may still be sending on them.

use std::collections::VecDeque;

/// Found by halving, since a peer may send as many frames for them as it likes; forgotten in the order of the resets,
/// which is not that of the identifiers. Most connections reset nothing: they hold a pointer for it.
#[derive(Debug, Default)]
pub(super) struct Resets(Option<Box<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// Identifiers with the windows that the peer had, by identifier.
    windows: Vec<(u32, i32)>,
    /// The one that was reset first is first.
    order: VecDeque<u32>,
}

impl Resets {
    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |r| r.windows.len())
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.as_ref().is_some_and(|r| r.place(id).is_ok())
    }

    /// What is left of the window of a stream.
    pub(super) fn window(&mut self, id: u32) -> Option<&mut i32> {
        let remembered = self.0.as_mut()?;
        let at = remembered.place(id).ok()?;
        remembered.windows.get_mut(at).map(|r| &mut r.1)
    }

    /// Remembers a stream, unless it is known. At `most` the oldest is forgotten.
    pub(super) fn insert(&mut self, id: u32, window: i32, most: usize) {
        if most > 0 {
            self.0.get_or_insert_default().insert(id, window, most);
        }
    }
}

impl Remembered {
    fn insert(&mut self, id: u32, window: i32, most: usize) {
        let Err(mut at) = self.place(id) else { return };
        if self.order.len() >= most
            && let Some(oldest) = self.order.pop_front()
            && let Ok(gone) = self.place(oldest)
        {
            self.windows.remove(gone);
            at -= usize::from(gone < at);
        }
        self.windows.insert(at, (id, window));
        self.order.push_back(id);
    }

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.windows.binary_search_by_key(&id, |r| r.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list that is gone through.
        #[test]
        fn like_a_list(ids in proptest::collection::vec(0u32..60, 1..200), most in 0usize..20) {
            let (mut resets, mut list) = (Resets::default(), VecDeque::new());
            for id in ids {
                if !list.contains(&id) {
                    list.push_back(id);
                    if list.len() > most {
                        list.pop_front();
                    }
                }
                resets.insert(id, id as i32, most);
                prop_assert_eq!(resets.len(), list.len());
                for id in 0..60 {
                    prop_assert_eq!(resets.contains(id), list.contains(&id));
                    prop_assert_eq!(resets.window(id).copied(), list.contains(&id).then_some(id as i32));
                }
            }
        }
    }
}
