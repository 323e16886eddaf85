//! When to try again and when to renew: pure.

use crate::config::Backoff;
use std::time::Duration;

/// Waits between attempts: doubling from the minimum to the maximum, with jitter added.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    failed: u32,
}

impl Attempts {
    /// None made yet.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, failed: 0 }
    }

    /// Something worked: the next failure waits the minimum again.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// Something failed: how long to wait. `random` is in `0.0..1.0`.
    pub(super) fn failed(&mut self, random: f64) -> Duration {
        let doubled = 2_u32.checked_pow(self.failed).and_then(|factor| self.backoff.min.checked_mul(factor));
        let base = doubled.unwrap_or(self.backoff.max).min(self.backoff.max);
        self.failed = self.failed.saturating_add(1);
        let jitter = base.mul_f64((self.backoff.jitter * random).clamp(0.0, 100.0));
        base.saturating_add(jitter).min(self.backoff.max)
    }
}

/// How long after issue a certificate with `remaining` lifetime is renewed: at 70 % of it, within the bounds.
pub(super) fn renewal(remaining: Duration, min: Duration, max: Duration) -> Duration {
    remaining.mul_f64(0.7).clamp(min, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn attempts_double_up_to_the_maximum_and_begin_again_after_success() {
        let backoff = Backoff { min: SECOND, max: SECOND * 5, jitter: 0.0 };
        let mut attempts = Attempts::new(backoff);
        let waits: Vec<_> = (0..40).map(|_| attempts.failed(0.5).as_secs()).collect();
        assert_eq!(waits[..5], [1, 2, 4, 5, 5]);
        assert_eq!(waits[39], 5);
        attempts.succeeded();
        assert_eq!(attempts.failed(0.5), SECOND);
    }

    #[test]
    fn jitter_adds_and_the_maximum_holds() {
        let mut attempts = Attempts::new(Backoff { min: SECOND, max: SECOND * 5, jitter: 0.5 });
        assert_eq!(attempts.failed(0.999_999), Duration::from_secs_f64(1.0 + 0.5 * 0.999_999));
        assert!((0..10).all(|_| attempts.failed(0.9) <= SECOND * 5));
    }

    #[test]
    fn renewal_is_at_seventy_per_cent_within_bounds() {
        let (min, max) = (SECOND * 10, SECOND * 86_400);
        assert_eq!(renewal(SECOND * 100, min, max), SECOND * 70);
        assert_eq!(renewal(SECOND, min, max), min);
        assert_eq!(renewal(SECOND * 1_000_000, min, max), max);
    }
}
