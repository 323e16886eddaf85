//! Exponential backoff with jitter, as a value.

use crate::time::nanos;
use std::time::Duration;
use thiserror::Error;

/// How long to wait before trying again: `min`, doubled each time up to `max`, plus a uniformly random part of up to
/// `jitter` times that; the sum is at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
}

/// Why a backoff makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidBackoff {
    /// The shortest is longer than the longest.
    #[error("the minimum of a backoff must not exceed its maximum")]
    Order,
    /// No wait at all.
    #[error("the maximum of a backoff must not be zero")]
    Zero,
    /// Not a number from 0 to 100.
    #[error("the jitter of a backoff must be from 0 to 100")]
    Jitter,
}

/// A backoff in use: how often in a row something was tried in vain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    backoff: Backoff,
    failures: u32,
}

impl Backoff {
    /// A backoff from `min` to `max`; `jitter` is relative, 0 to 100.
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        if max.is_zero() {
            return Err(InvalidBackoff::Zero);
        }
        if min > max {
            return Err(InvalidBackoff::Order);
        }
        if !(0.0..=100.0).contains(&jitter) {
            return Err(InvalidBackoff::Jitter);
        }
        Ok(Self { min, max, jitter })
    }

    /// How outbound connections are tried again, unless configured: 100 ms to 60 s, jitter 0.1.
    pub const fn connect() -> Self {
        Self { min: Duration::from_millis(100), max: Duration::from_secs(60), jitter: 0.1 }
    }

    /// The wait after `failures` earlier ones in a row (0 is the first), given a uniformly random number.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let factor = 1u64.checked_shl(failures).filter(|f| *f > 0).unwrap_or(u64::MAX);
        let base = nanos(self.min).saturating_mul(factor).min(nanos(self.max));
        let share = (random >> 11) as f64 / (1u64 << 53) as f64;
        let jitter = (base as f64 * self.jitter * share) as u64;
        Duration::from_nanos(base.saturating_add(jitter)).min(self.max)
    }
}

impl Retries {
    /// Nothing was tried in vain yet.
    pub const fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    /// Another try failed: how long to wait before the next one.
    pub fn failed(&mut self, random: u64) -> Duration {
        let delay = self.backoff.delay(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// A try succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many tries in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff::new(100 * MS, 1000 * MS, 0.0).unwrap();
        let delays: Vec<_> = (0..6).map(|n| backoff.delay(n, 0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(u32::MAX, u64::MAX), 1000 * MS);
    }

    #[test]
    fn jitter_is_a_share_of_the_wait() {
        let backoff = Backoff::new(1000 * MS, 60_000 * MS, 0.5).unwrap();
        assert_eq!(backoff.delay(0, 0), 1000 * MS);
        assert_eq!(backoff.delay(0, 1 << 63), 1250 * MS);
        assert!(backoff.delay(0, u64::MAX) > 1499 * MS);
        assert_eq!(backoff.delay(9, u64::MAX), 60_000 * MS);
    }

    #[test]
    fn refuses_nonsense() {
        for (min, max, jitter, why) in [
            (2, 1, 0.0, InvalidBackoff::Order),
            (0, 0, 0.0, InvalidBackoff::Zero),
            (1, 2, -0.1, InvalidBackoff::Jitter),
            (1, 2, 100.1, InvalidBackoff::Jitter),
            (1, 2, f64::NAN, InvalidBackoff::Jitter),
        ] {
            assert_eq!(Backoff::new(min * MS, max * MS, jitter), Err(why));
        }
        assert!(Backoff::new(Duration::ZERO, MS, 100.0).is_ok());
    }

    #[test]
    fn retries_count_until_one_succeeds() {
        let mut retries = Retries::new(Backoff::new(MS, 8 * MS, 0.0).unwrap());
        assert_eq!([retries.failed(0), retries.failed(0), retries.failed(0)], [MS, 2 * MS, 4 * MS]);
        retries.succeeded();
        assert_eq!((retries.failed(0), retries.failures()), (MS, 1));
    }

    proptest! {
        #[test]
        fn delays_stay_in_bounds(min in 0u64..1 << 40, more in 1u64..1 << 40, jitter in 0.0..100.0, n: u32, random: u64) {
            let (min, max) = (Duration::from_nanos(min), Duration::from_nanos(min + more));
            let delay = Backoff::new(min, max, jitter).unwrap().delay(n, random);
            prop_assert!((min..=max).contains(&delay));
        }
    }
}
