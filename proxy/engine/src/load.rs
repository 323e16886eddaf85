//! The load of an endpoint: how long it takes to answer, and how many wait for it.

use std::time::Duration;

use crate::time::Instant;

/// A moving average of latency that follows peaks at once and forgets them slowly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeakEwma {
    /// Nanoseconds.
    rtt: f64,
    /// Nanoseconds.
    decay: f64,
    updated: Instant,
    in_flight: u32,
}

impl PeakEwma {
    /// Nobody has been asked yet.
    pub(crate) fn new(default_rtt: Duration, decay: Duration, now: Instant) -> Self {
        let rtt = default_rtt.max(Duration::from_millis(1)).as_nanos() as f64;
        Self { rtt, decay: (decay.as_nanos() as f64).max(1.0), updated: now, in_flight: 0 }
    }

    /// One more waits for an answer.
    pub(crate) fn start(&mut self) {
        self.in_flight += 1;
    }

    /// One does not wait any more.
    pub(crate) fn finish(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// It took this long to answer.
    pub(crate) fn observe(&mut self, now: Instant, took: Duration) {
        let sample = took.as_nanos() as f64;
        self.rtt = if sample > self.rtt {
            sample
        } else {
            let weight = (-((now - self.updated).as_nanos() as f64) / self.decay).exp();
            self.rtt * weight + sample * (1.0 - weight)
        };
        self.updated = now;
    }

    /// What one more would cost.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        let idle = (-((now - self.updated).as_nanos() as f64) / self.decay).exp();
        self.rtt * idle * f64::from(self.in_flight + 1)
    }
}
