//! Notes of a worker as lines of the log, so many a second at most.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use weft_engine::io::{Note, Side};

use super::Counters;

/// Lines in a row, after a quiet time.
const BURST: u32 = 100;
/// Lines for each second after that. What is more is counted, and told when there is room again.
const PER_SECOND: u32 = 20;

pub(super) struct Notes {
    counters: Arc<Counters>,
    /// Lines that may be written now, in billionths.
    room: u64,
    refilled: Duration,
    suppressed: u64,
}

const LINE: u64 = 1_000_000_000;

impl Notes {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, room: u64::from(BURST) * LINE, refilled: Duration::ZERO, suppressed: 0 }
    }

    /// Writes a line, if there is room at `now`.
    pub(super) fn write(&mut self, note: &Note<'_>, now: Duration) {
        if !self.admit(now) {
            return;
        }
        if self.suppressed > 0 {
            warn!(lines = self.suppressed, "log lines were left out, there were too many");
            self.suppressed = 0;
        }
        log(note);
    }

    fn admit(&mut self, now: Duration) -> bool {
        let passed = u64::try_from(now.saturating_sub(self.refilled).as_nanos()).unwrap_or(u64::MAX);
        self.refilled = now;
        self.room =
            self.room.saturating_add(passed.saturating_mul(PER_SECOND.into())).min(u64::from(BURST) * LINE);
        match self.room.checked_sub(LINE) {
            Some(rest) => {
                self.room = rest;
                true
            }
            None => {
                self.suppressed += 1;
                self.counters.notes_suppressed.count();
                false
            }
        }
    }
}

fn direction(side: Side) -> &'static str {
    match side {
        Side::Outbound => "outbound",
        Side::Inbound => "inbound",
    }
}

fn log(note: &Note<'_>) {
    match *note {
        Note::RequestFailed { side, client, target, protocol, kind, message, unexpected: true } => {
            warn!(direction = direction(side), %client, %target, protocol, kind, "request failed: {message}");
        }
        Note::RequestFailed { side, client, target, protocol, kind, message, unexpected: false } => {
            info!(direction = direction(side), %client, %target, protocol, kind, "request failed: {message}");
        }
        Note::ConnectionFailed { side, client, target, stage, message } => {
            info!(direction = direction(side), %client, %target, stage, "connection failed: {message}");
        }
        Note::ConnectFailed { side, target, message, backoff } => {
            warn!(direction = direction(side), %target, ?backoff, "connecting failed: {message}");
        }
        Note::Audited { client, client_id, target, protocol: "TCP" } => {
            info!(%client, client_id, %target, "Connection allowed");
        }
        Note::Audited { client, client_id, target, protocol: _ } => {
            info!(%client, client_id, %target, "Request allowed");
        }
        Note::BoundMet { bound } => {
            warn!(bound, "a bound was met for the first time; from now on it is only counted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_notes_is_cut() {
        let counters = Arc::<Counters>::default();
        let mut notes = Notes::new(Arc::clone(&counters));
        let mut admitted =
            |from: u64, to: u64| (from..to).filter(|ms| notes.admit(Duration::from_millis(*ms))).count();
        assert_eq!(admitted(0, 1), 1);
        let first = admitted(1, 1001);
        assert!((118..=120).contains(&first), "the burst and a second's lines: {first}");
        let second = admitted(1001, 2001);
        assert!((19..=21).contains(&second), "{second}");
        assert_eq!(admitted(60_000, 60_001), 1);
        assert_eq!(counters.notes_suppressed.get(), 2000 - first as u64 - second as u64);
    }
}
