//! Retry budgets: how many requests may be sent again.

use crate::time::{Instant, nanos};
use std::time::Duration;
use thiserror::Error;

/// Parts of the time to live after which what was put in is forgotten.
const SLOTS: u64 = 10;

/// Tokens: each request puts some in, each retry takes one out, and there are always some per second besides. What is put
/// in is forgotten after the time to live; so is what was taken out.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    /// Nanoseconds of a slot.
    width: u64,
    /// Tokens of a request.
    ratio: f64,
    /// Tokens there always are over the time to live.
    reserve: f64,
    /// What was put in less what was taken out.
    slots: [f64; SLOTS as usize],
    /// The slot in use, counted from the start of time.
    current: u64,
}

/// Why a budget makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRetryBudget {
    /// Not from 1 s to 60 s.
    #[error("the time to live of a retry budget must be from 1 s to 60 s")]
    Ttl,
    /// Not a number from 0 to 1000.
    #[error("the ratio of a retry budget must be from 0 to 1000")]
    Ratio,
}

impl RetryBudget {
    /// A budget of `ratio` (0 to 1000) retries per request of the last `ttl` (1 s to 60 s), and `min_per_second` besides.
    pub fn new(
        ttl: Duration,
        ratio: f64,
        min_per_second: u32,
        now: Instant,
    ) -> Result<Self, InvalidRetryBudget> {
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&ttl) {
            return Err(InvalidRetryBudget::Ttl);
        }
        if !(0.0..=1000.0).contains(&ratio) {
            return Err(InvalidRetryBudget::Ratio);
        }
        let width = nanos(ttl) / SLOTS;
        let reserve = f64::from(min_per_second) * ttl.as_secs_f64();
        Ok(Self { width, ratio, reserve, slots: [0.0; SLOTS as usize], current: now.as_nanos() / width })
    }

    /// A request was sent that is not a retry.
    pub fn deposit(&mut self, now: Instant) {
        let ratio = self.ratio;
        *self.slot(now) += ratio;
    }

    /// Whether a request may be sent again; takes a token if so.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.advance(now);
        // Sums of ratios such as 0.1 fall short of whole tokens by rounding alone.
        if self.balance() + 1e-6 < 1.0 {
            return false;
        }
        *self.slot(now) -= 1.0;
        true
    }

    fn balance(&self) -> f64 {
        self.reserve + self.slots.iter().sum::<f64>()
    }

    fn slot(&mut self, now: Instant) -> &mut f64 {
        self.advance(now);
        // The remainder is less than the length.
        &mut self.slots[(self.current % SLOTS) as usize]
    }

    fn advance(&mut self, now: Instant) {
        let target = now.as_nanos() / self.width;
        let passed = target.saturating_sub(self.current).min(SLOTS);
        for n in 0..passed {
            self.slots[((target - n) % SLOTS) as usize] = 0.0;
        }
        self.current = self.current.max(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    fn budget(ttl: u64, ratio: f64, min: u32) -> RetryBudget {
        RetryBudget::new(Duration::from_secs(ttl), ratio, min, at(0)).unwrap()
    }

    fn withdrawals(b: &mut RetryBudget, ms: u64) -> usize {
        (0..100_000).take_while(|_| b.withdraw(at(ms))).count()
    }

    #[test]
    fn the_reserve_is_there_without_requests() {
        let mut b = budget(10, 0.2, 10);
        assert_eq!(withdrawals(&mut b, 0), 100);
        assert_eq!(withdrawals(&mut b, 9_999), 0);
        assert_eq!(withdrawals(&mut b, 10_000), 100);
    }

    #[test]
    fn requests_put_in_their_share_for_a_while() {
        for (ratio, requests, expect) in
            [(0.2, 10, 2), (0.1, 10, 1), (0.1, 9, 0), (1.0, 7, 7), (2.5, 4, 10), (0.0, 99, 0)]
        {
            let mut b = budget(10, ratio, 0);
            for _ in 0..requests {
                b.deposit(at(500));
            }
            // Time to live is counted in tenths: what was put in at 0.5 s is forgotten at 10 s.
            assert_eq!(withdrawals(&mut b.clone(), 9_999), expect, "{ratio}");
            assert_eq!(withdrawals(&mut b, 10_000), 0, "{ratio}");
        }
    }

    #[test]
    fn refuses_nonsense() {
        let new = |ttl, ratio| RetryBudget::new(Duration::from_millis(ttl), ratio, 1, at(0)).err();
        assert_eq!(new(999, 0.2), Some(InvalidRetryBudget::Ttl));
        assert_eq!(new(60_001, 0.2), Some(InvalidRetryBudget::Ttl));
        assert_eq!(new(1000, -0.1), Some(InvalidRetryBudget::Ratio));
        assert_eq!(new(1000, f64::NAN), Some(InvalidRetryBudget::Ratio));
        assert_eq!(new(60_000, 1000.0), None);
    }

    proptest! {
        #[test]
        fn there_are_never_more_retries_than_paid_for(
            events in prop::collection::vec((0u64..400, any::<bool>()), 0..300),
            ratio in 0.0..2.0,
            min in 0u32..3,
        ) {
            let mut b = budget(2, ratio, min);
            let (mut ms, mut requests, mut retries) = (0, 0u32, 0u32);
            for (gap, retry) in events {
                ms += gap;
                if retry {
                    retries += u32::from(b.withdraw(at(ms)));
                } else {
                    requests += 1;
                    b.deposit(at(ms));
                }
            }
            // Taken out is forgotten too, so the reserve comes back once per time to live.
            let lives = f64::from(u32::try_from(ms / 2000).unwrap() + 1);
            let paid = f64::from(requests) * ratio + f64::from(min) * 2.0 * (lives + 1.0);
            prop_assert!(f64::from(retries) <= paid + 1e-3, "{retries} of {paid}");
        }
    }
}
