//! A rolling count of good and bad answers.

use crate::time::{Instant, nanos};
use std::time::Duration;

/// Parts the window moves on by.
const BUCKETS: u64 = 10;

/// The shortest window.
const MIN_SPAN: Duration = Duration::from_millis(10);

/// Answers of the last `span`, give or take a tenth of it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Nanoseconds of a bucket.
    width: u64,
    /// Good and all answers, of the moments that divide to the index.
    buckets: [(u32, u32); BUCKETS as usize],
    /// The bucket in use, counted from the start of time.
    current: u64,
}

impl Window {
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        let width = nanos(span.max(MIN_SPAN)) / BUCKETS;
        Self { width, buckets: [(0, 0); BUCKETS as usize], current: now.as_nanos() / width }
    }

    pub(super) fn record(&mut self, good: bool, now: Instant) {
        self.advance(now);
        if let Some((goods, all)) = self.buckets.get_mut((self.current % BUCKETS) as usize) {
            *goods = goods.saturating_add(u32::from(good));
            *all = all.saturating_add(1);
        }
    }

    /// Good and all answers.
    pub(super) fn counts(&mut self, now: Instant) -> (u64, u64) {
        self.advance(now);
        self.buckets.iter().fold((0, 0), |(g, a), (good, all)| (g + u64::from(*good), a + u64::from(*all)))
    }

    pub(super) fn clear(&mut self, now: Instant) {
        self.buckets = [(0, 0); BUCKETS as usize];
        self.current = self.current.max(now.as_nanos() / self.width);
    }

    fn advance(&mut self, now: Instant) {
        let target = now.as_nanos() / self.width;
        let passed = target.saturating_sub(self.current).min(BUCKETS);
        for n in 0..passed {
            if let Some(bucket) = self.buckets.get_mut(((target - n) % BUCKETS) as usize) {
                *bucket = (0, 0);
            }
        }
        self.current = self.current.max(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn old_answers_are_forgotten() {
        let at = |ms| Instant::START + Duration::from_millis(ms);
        let mut w = Window::new(Duration::from_secs(10), at(0));
        w.record(true, at(0));
        w.record(false, at(5_000));
        assert_eq!(w.counts(at(9_999)), (1, 2));
        assert_eq!(w.counts(at(10_000)), (0, 1));
        assert_eq!(w.counts(at(15_000)), (0, 0));
        w.record(true, at(500_000));
        assert_eq!(w.counts(at(500_000)), (1, 1));
        w.clear(at(500_000));
        assert_eq!(w.counts(at(500_000)), (0, 0));
    }

    #[test]
    fn a_window_has_a_least_span() {
        assert_eq!(Window::new(Duration::ZERO, Instant::START).width, 1_000_000);
    }

    proptest! {
        #[test]
        fn counts_what_is_young_enough(answers in prop::collection::vec((0u64..300, any::<bool>()), 0..100)) {
            let mut w = Window::new(Duration::from_millis(1000), Instant::START);
            let mut seen: Vec<(u64, bool)> = Vec::new();
            let mut ms = 0;
            for (gap, good) in answers {
                ms += gap;
                let now = Instant::START + Duration::from_millis(ms);
                w.record(good, now);
                seen.push((ms, good));
                let young = |(t, _): &&(u64, bool)| t / 100 + 10 > ms / 100;
                let all = seen.iter().filter(young).count() as u64;
                let goods = seen.iter().filter(young).filter(|(_, g)| *g).count() as u64;
                prop_assert_eq!(w.counts(now), (goods, all));
            }
        }
    }
}
