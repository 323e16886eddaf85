//! Circuit breaking: an endpoint that keeps failing is left alone for a while, then tried with one request.
//!
//! ```text
//!                 trips                      backoff passes               probe is picked
//!   Open ────────────────────▶ Shut ───────────────────────▶ Half ───────────────────────▶ Probing
//!    ▲                          ▲   next backoff                ▲ probe tells nothing          │
//!    │                          └──────────── fails ────────────┼───────────────────────────────┤
//!    └──────────────────────────────────────── succeeds ────────┴───────────────────────────────┘
//! ```
//!
//! Answers of requests that were sent before the breaker tripped are not counted after it: only the probe decides.

mod window;

use self::window::Window;
use crate::{Backoff, Instant, backoff::Retries};
use std::time::Duration;

/// When an endpoint is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// After this many failures in a row.
    Consecutive {
        /// How many; 0 counts as 1.
        max_failures: u32,
        /// How long.
        backoff: Backoff,
    },
    /// After failures in a row, or when too few requests of a window succeed.
    Unified {
        /// The least share that has to succeed, 0 to 1.
        success_rate_threshold: f64,
        /// The window, at least 10 ms.
        window: Duration,
        /// Requests a window needs to be judged.
        min_requests: u32,
        /// Failures in a row; 0 is never.
        max_consecutive_failures: u32,
        /// How long.
        backoff: Backoff,
    },
}

/// What an answer says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// It has too much to do (429, `RESOURCE_EXHAUSTED`): under [`Policy::Unified`] it lowers the success rate and fails a
    /// probe, but is no failure in a row; under [`Policy::Consecutive`] it is a success.
    RateLimited,
}

/// The state of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    state: State,
    consecutive: u32,
    window: Window,
    retries: Retries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Shut { until: Instant },
    Half,
    Probing,
}

impl Policy {
    /// How long endpoints are left alone.
    pub fn backoff(&self) -> Backoff {
        match self {
            Self::Consecutive { backoff, .. } | Self::Unified { backoff, .. } => *backoff,
        }
    }
}

impl Class {
    /// What an HTTP status says.
    pub const fn of_status(status: u16) -> Self {
        match status {
            429 => Self::RateLimited,
            500..=599 => Self::Failure,
            _ => Self::Success,
        }
    }

    /// What a gRPC status says. Failures are unknown (2), deadline exceeded (4), permission denied (7), internal (13),
    /// unavailable (14) and data loss (15); resource exhausted (8) is a rate limit.
    pub const fn of_grpc_status(code: u32) -> Self {
        match code {
            8 => Self::RateLimited,
            2 | 4 | 7 | 13..=15 => Self::Failure,
            _ => Self::Success,
        }
    }
}

impl Breaker {
    /// An endpoint nothing is known about: it gets requests.
    pub fn new(policy: Policy, now: Instant) -> Self {
        let span = match policy {
            Policy::Consecutive { .. } => Duration::ZERO,
            Policy::Unified { window, .. } => window,
        };
        Self {
            policy,
            state: State::Open,
            consecutive: 0,
            window: Window::new(span, now),
            retries: Retries::new(policy.backoff()),
        }
    }

    /// Whether the endpoint may get a request now.
    pub fn admits(&self) -> bool {
        matches!(self.state, State::Open | State::Half)
    }

    /// It gets one. True if that request is a probe, on which everything depends: the same is to be told to
    /// [`Self::record`] or [`Self::abandoned`].
    pub fn admitted(&mut self) -> bool {
        let probe = self.state == State::Half;
        if probe {
            self.state = State::Probing;
        }
        probe
    }

    /// A request was answered. True if this changes whether the endpoint may get requests.
    pub fn record(&mut self, class: Class, probe: bool, now: Instant, random: u64) -> bool {
        match self.state {
            State::Probing if probe => {
                if self.is_bad(class) {
                    self.shut(now, random);
                    return false;
                }
                self.state = State::Open;
                self.consecutive = 0;
                self.window.clear(now);
                self.retries.succeeded();
                true
            }
            State::Open => {
                self.count(class, now);
                let trips = self.trips(now);
                if trips {
                    self.shut(now, random);
                }
                trips
            }
            _ => false,
        }
    }

    /// A request ended without telling anything, such as one its client gave up. True if this changes whether the
    /// endpoint may get requests: after a probe the next request is one.
    pub fn abandoned(&mut self, probe: bool) -> bool {
        let was_probe = probe && self.state == State::Probing;
        if was_probe {
            self.state = State::Half;
        }
        was_probe
    }

    /// Time has passed. True if the endpoint may now get a probe.
    pub fn expired(&mut self, now: Instant) -> bool {
        match self.state {
            State::Shut { until } if until <= now => {
                self.state = State::Half;
                true
            }
            _ => false,
        }
    }

    /// When [`Self::expired`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Shut { until } => Some(until),
            _ => None,
        }
    }

    fn is_bad(&self, class: Class) -> bool {
        match class {
            Class::Success => false,
            Class::Failure => true,
            Class::RateLimited => matches!(self.policy, Policy::Unified { .. }),
        }
    }

    fn count(&mut self, class: Class, now: Instant) {
        match (class, self.policy) {
            (Class::Failure, _) => self.consecutive = self.consecutive.saturating_add(1),
            (Class::RateLimited, Policy::Unified { .. }) => {}
            (Class::Success | Class::RateLimited, _) => self.consecutive = 0,
        }
        if let Policy::Unified { .. } = self.policy {
            self.window.record(!self.is_bad(class), now);
        }
    }

    fn trips(&mut self, now: Instant) -> bool {
        match self.policy {
            Policy::Consecutive { max_failures, .. } => self.consecutive >= max_failures.max(1),
            Policy::Unified { success_rate_threshold, min_requests, max_consecutive_failures, .. } => {
                if max_consecutive_failures > 0 && self.consecutive >= max_consecutive_failures {
                    return true;
                }
                let (good, all) = self.window.counts(now);
                all > 0
                    && all >= u64::from(min_requests)
                    && (good as f64) < success_rate_threshold * all as f64
            }
        }
    }

    fn shut(&mut self, now: Instant, random: u64) {
        self.state = State::Shut { until: now + self.retries.failed(random) };
        self.consecutive = 0;
        self.window.clear(now);
    }
}

#[cfg(test)]
mod tests;
