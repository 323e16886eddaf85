//! The cells that blocks are made of. Each has one writer; readers may be a moment behind.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one. Only its worker may.
    #[inline]
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts `n`. Only its worker may.
    #[inline]
    pub fn add(&self, n: u64) {
        // One writer: a plain addition is enough, and costs a tenth of an atomic one.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more. Only its worker may.
    #[inline]
    pub fn up(&self) {
        self.set(self.get().wrapping_add(1));
    }

    /// One less. Only its worker may.
    #[inline]
    pub fn down(&self) {
        debug_assert!(self.get() > 0, "a gauge goes down as often as it went up");
        self.set(self.get().saturating_sub(1));
    }

    /// That many. Only its worker may.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts values by size: `N` buckets with upper bounds given by the block, and one for the rest.
///
/// Durations are nanoseconds; telemetry converts.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    rest: Counter,
    sum: Counter,
}

impl<const N: usize> Histogram<N> {
    /// With these upper bounds (inclusive), ascending.
    pub fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: [const { Counter(AtomicU64::new(0)) }; N],
            rest: Counter::default(),
            sum: Counter::default(),
        }
    }

    /// Counts one value.
    #[inline]
    pub fn record(&self, value: u64) {
        match self.bounds.iter().position(|b| value <= *b).and_then(|i| self.buckets.get(i)) {
            Some(bucket) => bucket.count(),
            None => self.rest.count(),
        }
        self.sum.add(value);
    }

    /// Counts a duration in nanoseconds.
    #[inline]
    pub fn record_duration(&self, d: Duration) {
        self.record(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The upper bounds and how many values were in each bucket (not cumulative).
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.bounds.iter().zip(&self.buckets).map(|(bound, count)| (*bound, count.get()))
    }

    /// Values above the last bound.
    pub fn above(&self) -> u64 {
        self.rest.get()
    }

    /// All values added up.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// How an exchange ended, as far as labels go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Response {
    /// HTTP status; 0 if there was none.
    pub status: u16,
    /// `grpc-status` from head or trailers, if there was one and it was a number.
    pub grpc_status: Option<u8>,
    /// Not a server error, and no failure on the way.
    pub success: bool,
    /// What went wrong in the proxy or on the way (`error`: `FAIL_FAST`, `RESET` and so on); empty if nothing.
    pub error: &'static str,
}

impl Response {
    /// Equality, quick in the common case of no error: comparing two empty strings would be a call.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        (self.status, self.grpc_status, self.success, self.error.len())
            == (other.status, other.grpc_status, other.success, other.error.len())
            && (self.error.is_empty() || self.error == other.error)
    }
}

/// Different outcomes that one block tells apart; all further ones are counted together.
pub const DIFFERENT_RESPONSES: usize = 24;

/// Counts exchanges by how they ended: up to [`DIFFERENT_RESPONSES`] different ends, then together.
#[derive(Debug)]
pub struct Responses {
    seen: [OnceLock<(Response, Counter)>; DIFFERENT_RESPONSES],
    other: Counter,
}

impl Default for Responses {
    fn default() -> Self {
        Self { seen: [const { OnceLock::new() }; DIFFERENT_RESPONSES], other: Counter::default() }
    }
}

impl Responses {
    /// Counts one.
    #[inline]
    pub fn count(&self, response: Response) {
        for cell in &self.seen {
            let (of, counter) = cell.get_or_init(|| (response, Counter::default()));
            if of.is(&response) {
                return counter.count();
            }
        }
        self.other.count();
    }

    /// Each different end and how often it was seen.
    pub fn counts(&self) -> impl Iterator<Item = (Response, u64)> + '_ {
        self.seen.iter().map_while(OnceLock::get).map(|(response, counter)| (*response, counter.get()))
    }

    /// Those for which there was no room.
    pub fn other(&self) -> u64 {
        self.other.get()
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts().map(|c| c.1).sum::<u64>() + self.other()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let h = Histogram::new(&[10, 20]);
        for v in [0, 10, 11, 20, 21, 1000] {
            h.record(v);
        }
        assert_eq!(h.buckets().collect::<Vec<_>>(), vec![(10, 2), (20, 2)]);
        assert_eq!((h.above(), h.sum()), (2, 1062));
    }

    #[test]
    fn beyond_the_bound_responses_are_counted_together() {
        let r = Responses::default();
        for status in 0..30 {
            r.count(Response { status, grpc_status: None, success: true, error: "" });
        }
        r.count(Response { status: 3, grpc_status: None, success: true, error: "" });
        assert_eq!((r.counts().count(), r.other(), r.total()), (DIFFERENT_RESPONSES, 6, 31));
        assert_eq!(r.counts().find(|c| c.0.status == 3).map(|c| c.1), Some(2));
    }
}
