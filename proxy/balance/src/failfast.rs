//! Giving up waiting: when nothing becomes ready for too long, those who wait and those who come are told at once.

use crate::time::Instant;
use std::time::Duration;

/// Whether waiting has a point.
///
/// ```text
///            somebody waits            the timeout passes
///   Idle ────────────────────▶ Waiting ────────────────────▶ Failing
///    ▲  nobody waits any more, │                                │
///    │  or something is ready  │                                │
///    └─────────────────────────┴──────────── something is ready ┘
/// ```
///
/// While nobody waits it never starts to fail.
#[derive(Clone, Copy, Debug)]
pub struct FailFast {
    timeout: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting { until: Instant },
    Failing,
}

impl FailFast {
    /// The time given before failing at once, unless configured, to outbound requests.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

    /// Nobody waits.
    pub const fn new(timeout: Duration) -> Self {
        Self { timeout, state: State::Idle }
    }

    /// Somebody has to wait. True if that has a point, false if it fails at once.
    pub fn wait(&mut self, now: Instant) -> bool {
        match self.state {
            State::Idle => {
                self.state = State::Waiting { until: now + self.timeout };
                true
            }
            State::Waiting { .. } => true,
            State::Failing => false,
        }
    }

    /// Something is ready. True if it was failing until now.
    pub fn ready(&mut self) -> bool {
        std::mem::replace(&mut self.state, State::Idle) == State::Failing
    }

    /// Nobody waits any more.
    pub fn idle(&mut self) {
        if let State::Waiting { .. } = self.state {
            self.state = State::Idle;
        }
    }

    /// Time has passed. True if it begins to fail with this call: all who wait are to be told.
    pub fn expired(&mut self, now: Instant) -> bool {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Failing;
                true
            }
            _ => false,
        }
    }

    /// Whether it fails at once.
    pub fn is_failing(&self) -> bool {
        self.state == State::Failing
    }

    /// When [`Self::expired`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    #[test]
    fn fails_after_the_timeout_until_something_is_ready() {
        let mut f = FailFast::new(Duration::from_secs(3));
        assert!(f.wait(at(0)));
        assert!(f.wait(at(2000)), "the first one's time counts");
        assert_eq!(f.deadline(), Some(at(3000)));
        assert!(!f.expired(at(2999)));
        assert!(f.expired(at(3000)));
        assert!(!f.expired(at(3001)), "only once");
        assert!(f.is_failing() && !f.wait(at(9000)));
        assert_eq!(f.deadline(), None);
        assert!(f.ready());
        assert!(!f.is_failing() && f.wait(at(9000)));
    }

    #[test]
    fn does_not_fail_while_nobody_waits() {
        let mut f = FailFast::new(Duration::from_secs(3));
        assert!(!f.expired(at(60_000)) && !f.is_failing());
        f.wait(at(60_000));
        f.idle();
        assert!(!f.expired(at(90_000)) && f.deadline().is_none());
        assert!(!f.ready());
    }

    #[test]
    fn stays_failing_when_those_who_waited_are_gone() {
        let mut f = FailFast::new(Duration::from_secs(3));
        f.wait(at(0));
        f.expired(at(3000));
        f.idle();
        assert!(f.is_failing());
    }
}
