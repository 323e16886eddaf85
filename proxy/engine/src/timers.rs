//! When to wake whom: one heap entry at most per slot of a slab, however often a deadline moves.
//!
//! Deadlines mostly move away (each request restarts an idle time-out), so an entry may be *earlier* than what
//! its owner wants: when it comes due the owner looks at its own deadline and, if that is later, arms again.
//! Moving a deadline away therefore costs a comparison, and a connection that is always busy touches the heap
//! once per time-out, not once per request.

use crate::time::Instant;

const NOWHERE: u32 = u32::MAX;

/// Wake-ups for the slots of one slab.
#[derive(Default)]
pub(crate) struct Timers {
    /// A binary heap by time.
    heap: Vec<(Instant, u32)>,
    /// Where in the heap the entry of a slot is.
    places: Vec<u32>,
}

impl Timers {
    /// Sees to it that `slot` is woken at `at` or before.
    #[expect(clippy::cast_possible_truncation, reason = "slots and heap places are u32 by construction")]
    pub(crate) fn arm(&mut self, slot: usize, at: Instant) {
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NOWHERE);
        }
        let place = self.places[slot];
        if place == NOWHERE {
            self.heap.push((at, slot as u32));
            self.up(self.heap.len() - 1);
        } else if at < self.heap[place as usize].0 {
            self.heap[place as usize].0 = at;
            self.up(place as usize);
        }
    }

    /// When the first is to be woken.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|e| e.0)
    }

    /// Takes out one slot whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<usize> {
        let &(at, slot) = self.heap.first()?;
        if at > now {
            return None;
        }
        self.places[slot as usize] = NOWHERE;
        if let Some(last) = self.heap.pop()
            && !self.heap.is_empty()
        {
            self.heap[0] = last;
            self.down(0);
        }
        Some(slot as usize)
    }

    /// Entries in the heap: never more than slots.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    #[expect(clippy::cast_possible_truncation, reason = "heap places are u32 by construction")]
    fn place(&mut self, i: usize) {
        self.places[self.heap[i].1 as usize] = i as u32;
    }

    fn up(&mut self, mut i: usize) {
        while i > 0 {
            let parent = (i - 1) / 2;
            if self.heap[parent] <= self.heap[i] {
                break;
            }
            self.heap.swap(parent, i);
            self.place(i);
            i = parent;
        }
        self.place(i);
    }

    fn down(&mut self, mut i: usize) {
        loop {
            let mut least = i;
            for child in [2 * i + 1, 2 * i + 2] {
                if child < self.heap.len() && self.heap[child] < self.heap[least] {
                    least = child;
                }
            }
            if least == i {
                break;
            }
            self.heap.swap(least, i);
            self.place(i);
            i = least;
        }
        self.place(i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(n: u64) -> Instant {
        Instant::from_nanos(n)
    }

    proptest! {
        /// Whatever is armed in whatever order, slots come due in order of their earliest time, once each.
        #[test]
        fn comes_due_in_order(arms in proptest::collection::vec((0usize..20, 0u64..100), 1..200)) {
            let mut timers = Timers::default();
            let mut model = std::collections::BTreeMap::<usize, u64>::new();
            for (slot, t) in arms {
                timers.arm(slot, at(t));
                let e = model.entry(slot).or_insert(t);
                *e = (*e).min(t);
                prop_assert_eq!(timers.len(), model.len());
            }
            let mut want: Vec<_> = model.into_iter().map(|(slot, t)| (at(t), slot)).collect();
            want.sort_unstable();
            let got: Vec<_> = std::iter::from_fn(|| Some((timers.next()?, timers.due(at(1000))?))).collect();
            prop_assert_eq!(got, want);
            prop_assert_eq!(timers.len(), 0);
        }
    }

    #[test]
    fn moving_a_deadline_away_keeps_the_earlier_wake_up() {
        let mut timers = Timers::default();
        timers.arm(3, at(10));
        timers.arm(3, at(50));
        assert_eq!((timers.len(), timers.next()), (1, Some(at(10))));
        assert_eq!((timers.due(at(9)), timers.due(at(10)), timers.due(at(99))), (None, Some(3), None));
    }
}
