//! Latencies in buckets: sixteen per power of two, so that a quantile is at most a sixteenth too high.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Sub-buckets of a power of two, as a power of two.
const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;
/// Longest latency told apart, in microseconds: 2^32, over an hour.
const MAX: u64 = (1 << 32) - 1;

/// How many values fell where. Only buckets with values take room: at most 464 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Counts a value so many times.
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if count > 0 {
            *self.0.entry(bucket(micros)).or_default() += count;
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The value that `ratio` (0 to 1) of all values do not exceed, rounded up to its bucket's end. None if empty.
    pub fn quantile(&self, ratio: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "counts are far below 2^52"
        )]
        let rank = ((count as f64 * ratio.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in &self.0 {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(end(*index)));
            }
        }
        None
    }

    /// The values that were added since `earlier`, an older state of this histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let newer = |(index, count): (&u16, &u64)| {
            let count = count.saturating_sub(earlier.0.get(index).copied().unwrap_or(0));
            (count > 0).then_some((*index, count))
        };
        Self(self.0.iter().filter_map(newer).collect())
    }
}

fn bucket(value: u64) -> u16 {
    let value = value.min(MAX);
    let index = if value < SUB {
        value
    } else {
        let shift = value.ilog2() - SUB_BITS;
        (u64::from(shift) + 1) * SUB + ((value >> shift) & (SUB - 1))
    };
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The largest value of a bucket.
fn end(index: u16) -> u64 {
    let index = u64::from(index);
    if index < SUB {
        return index;
    }
    // An index that came in a report may be anything; a real one stays below the word's width.
    let shift = (index / SUB - 1).min(58);
    ((SUB + index % SUB + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        micros.into_iter().for_each(|micros| histogram.record(Duration::from_micros(micros)));
        histogram
    }

    #[test]
    fn a_bucket_ends_at_or_a_little_above_its_values() {
        let mut value = 0u64;
        while value < MAX {
            let end = end(bucket(value));
            assert!(end >= value && end <= value + value / SUB, "{value}: {end}");
            assert_eq!(bucket(end), bucket(value), "{value}");
            value += 1 + value / 37;
        }
        assert_eq!(bucket(u64::MAX), bucket(MAX));
    }

    #[test]
    fn quantiles_of_known_values() {
        let values = of(1..=1000);
        let within = |ratio, exact: u64| {
            let found = u64::try_from(values.quantile(ratio).unwrap().as_micros()).unwrap();
            assert!(found >= exact && found <= exact + exact / SUB, "{ratio}: {found}");
        };
        within(0.5, 500);
        within(0.95, 950);
        within(0.99, 990);
        within(1.0, 1000);
        within(0.0, 1);
        assert_eq!(of([]).quantile(0.5), None);
    }

    #[test]
    fn what_came_later_is_a_difference() {
        let (old, new) = (of([5, 70, 900]), of([6, 70, 70]));
        let both = of([5, 70, 900, 6, 70, 70]);
        assert_eq!(both.since(&old), new);
        assert_eq!(both.count(), 6);
        assert_eq!(both.since(&both).count(), 0);
    }

    #[test]
    fn survives_json() {
        let values = of([1, 2, 3000]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), values);
        let strange: Histogram = serde_json::from_str(r#"{"65535": 1}"#).unwrap();
        assert!(strange.quantile(0.5).is_some());
    }
}
