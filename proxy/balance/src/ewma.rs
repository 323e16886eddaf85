//! The load of an endpoint: how long it takes to answer, times how many wait for it.

use crate::time::{Instant, nanos};
use std::time::Duration;

/// A moving average of latency that follows peaks at once and forgets them slowly.
///
/// A sample above the average replaces it; others pull it down with the time constant given. Where there are no samples
/// time alone pulls what is read down, so that an endpoint that was slow once is tried again. Load is the average times
/// one more than the requests that wait for an answer.
#[derive(Clone, Copy, Debug)]
pub struct PeakEwma {
    /// Nanoseconds, as of `updated`.
    rtt: f64,
    /// Nanoseconds.
    decay: f64,
    updated: Instant,
    in_flight: u32,
}

/// What failures cost the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// The least a failure counts as.
    pub penalty: Duration,
    /// The most that the server's own hint may raise it to.
    pub max_retry_after: Duration,
}

impl PeakEwma {
    /// The least latency assumed of an endpoint that has answered nothing yet.
    pub const MIN_DEFAULT_RTT: Duration = Duration::from_millis(1);

    /// An endpoint that has answered nothing yet.
    pub fn new(default_rtt: Duration, decay: Duration, now: Instant) -> Self {
        let rtt = nanos(default_rtt.max(Self::MIN_DEFAULT_RTT)) as f64;
        Self { rtt, decay: (nanos(decay) as f64).max(1.0), updated: now, in_flight: 0 }
    }

    /// One more waits for an answer.
    pub fn start(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// One does not wait any more.
    pub fn finish(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How many wait for an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// An answer took this long.
    pub fn observe(&mut self, now: Instant, took: Duration) {
        let sample = nanos(took) as f64;
        let kept = self.kept(now);
        self.rtt = if sample > self.rtt { sample } else { self.rtt * kept + sample * (1.0 - kept) };
        self.updated = self.updated.max(now);
    }

    /// The average, as of now.
    pub fn rtt(&self, now: Instant) -> Duration {
        Duration::from_nanos((self.rtt * self.kept(now)) as u64)
    }

    /// The load, in nanoseconds.
    pub fn load(&self, now: Instant) -> f64 {
        self.rtt * self.kept(now) * f64::from(self.in_flight.saturating_add(1))
    }

    /// How much of the average is left.
    fn kept(&self, now: Instant) -> f64 {
        (-(nanos(now.since(self.updated)) as f64) / self.decay).exp()
    }
}

impl Penalty {
    /// Whether an HTTP status costs a penalty: 429 and 500 to 599.
    pub const fn is_for_status(status: u16) -> bool {
        matches!(status, 429 | 500..=599)
    }

    /// Whether a gRPC status that is told without a body costs a penalty: unknown (2), deadline exceeded (4), resource
    /// exhausted (8), internal (13), unavailable (14) and data loss (15).
    pub const fn is_for_grpc_status(code: u32) -> bool {
        matches!(code, 2 | 4 | 8 | 13..=15)
    }

    /// What an answer that took `took` and failed counts as; `hint` is how long the server asks to be left alone.
    pub fn sample(&self, took: Duration, hint: Option<Duration>) -> Duration {
        let hint = hint.unwrap_or_default().min(self.max_retry_after);
        self.penalty.max(hint).max(took)
    }
}

impl Default for Penalty {
    /// 5 s, up to 300 s.
    fn default() -> Self {
        Self { penalty: Duration::from_secs(5), max_retry_after: Duration::from_secs(300) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    fn close(a: Duration, b: Duration) -> bool {
        a.abs_diff(b) < Duration::from_micros(20)
    }

    #[test]
    fn load_is_latency_times_those_who_would_wait() {
        let mut e = PeakEwma::new(30 * MS, 10 * SECOND, at(0));
        assert_eq!(e.load(at(0)), 30e6);
        e.start();
        e.start();
        assert_eq!(e.load(at(0)), 90e6);
        e.finish();
        e.finish();
        e.finish();
        assert_eq!((e.load(at(0)), e.in_flight()), (30e6, 0));
    }

    #[test]
    fn the_default_has_a_floor() {
        assert_eq!(PeakEwma::new(Duration::ZERO, SECOND, at(0)).rtt(at(0)), MS);
    }

    #[test]
    fn peaks_count_at_once_and_are_forgotten_slowly() {
        let mut e = PeakEwma::new(30 * MS, 10 * SECOND, at(0));
        e.observe(at(0), 2 * SECOND);
        assert_eq!(e.rtt(at(0)), 2 * SECOND);
        e.observe(at(10_000), 10 * MS);
        // 2 s / e + 10 ms * (1 - 1/e)
        assert!(close(e.rtt(at(10_000)), Duration::from_micros(742_080)), "{:?}", e.rtt(at(10_000)));
        // Time alone pulls it down to nothing.
        assert!(close(e.rtt(at(20_000)), Duration::from_micros(272_995)), "{:?}", e.rtt(at(20_000)));
        assert!(e.rtt(at(300_000)) < MS);
    }

    #[test]
    fn time_that_goes_backwards_changes_nothing() {
        let mut e = PeakEwma::new(30 * MS, 10 * SECOND, at(1000));
        assert_eq!(e.rtt(at(0)), 30 * MS);
        e.observe(at(0), MS);
        assert_eq!(e.rtt(at(1000)), 30 * MS);
    }

    #[test]
    fn penalties() {
        let p = Penalty { penalty: 5 * SECOND, max_retry_after: 60 * SECOND };
        for (took, hint, expect) in [
            (MS, None, 5 * SECOND),
            (9 * SECOND, None, 9 * SECOND),
            (MS, Some(7 * SECOND), 7 * SECOND),
            (MS, Some(3 * SECOND), 5 * SECOND),
            (MS, Some(3600 * SECOND), 60 * SECOND),
        ] {
            assert_eq!(p.sample(took, hint), expect);
        }
        let http: Vec<_> =
            [200, 404, 429, 499, 500, 503, 599].into_iter().filter(|s| Penalty::is_for_status(*s)).collect();
        assert_eq!(http, [429, 500, 503, 599]);
        let grpc: Vec<_> = (0..17).filter(|c| Penalty::is_for_grpc_status(*c)).collect();
        assert_eq!(grpc, [2, 4, 8, 13, 14, 15]);
    }

    proptest! {
        #[test]
        fn the_average_stays_among_its_samples(samples in prop::collection::vec((0u64..5_000, 0u64..20_000), 1..50)) {
            let mut now = at(0);
            let mut e = PeakEwma::new(30 * MS, 10 * SECOND, now);
            for (gap, took) in samples {
                now = now + Duration::from_millis(gap);
                let before = e.rtt;
                let took = (took * 1_000_000) as f64;
                e.observe(now, Duration::from_nanos(took as u64));
                prop_assert!(e.rtt >= took.min(before) - 1.0 && e.rtt <= took.max(before) + 1.0);
                prop_assert!(took < before || e.rtt == took);
            }
            prop_assert!(e.load(now).is_finite());
        }
    }
}
