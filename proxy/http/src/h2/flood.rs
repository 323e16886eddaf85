//! How much of what costs us and carries nothing a peer may send in a while.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// A bound that a peer can exceed only by abuse; the answer is ENHANCE_YOUR_CALM. Named as in
/// [`limits::Http2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Streams opened and reset before they were answered.
    Resets,
    /// Streams reset or refused because of the peer's errors.
    StreamErrors,
    /// PING frames.
    Pings,
    /// SETTINGS frames.
    Settings,
    /// WINDOW_UPDATE frames.
    WindowUpdates,
    /// Frames that carry nothing.
    IdleFrames,
    /// CONTINUATION frames after one HEADERS.
    ContinuationFrames,
    /// Octets of one field block.
    BlockBytes,
    /// Parameters in one SETTINGS frame.
    SettingsEntries,
    /// Octets of answers that the peer does not read.
    QueuedControlBytes,
}

impl Flood {
    /// The name of the bound.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Flood::Resets => "resets",
            Flood::StreamErrors => "stream_errors",
            Flood::Pings => "pings",
            Flood::Settings => "settings",
            Flood::WindowUpdates => "window_updates",
            Flood::IdleFrames => "idle_frames",
            Flood::ContinuationFrames => "continuation_frames",
            Flood::BlockBytes => "block_bytes",
            Flood::SettingsEntries => "settings_entries",
            Flood::QueuedControlBytes => "queued_control_bytes",
        }
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kinds of events that are counted over time: each has a bucket that is full at first, and fills again within
/// `flood_window_ms`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Resets,
    StreamErrors,
    Pings,
    Settings,
    WindowUpdates,
    IdleFrames,
}

const KINDS: usize = 6;

/// A bucket is filled again in this many parts.
const PARTS: u32 = 16;

#[derive(Debug)]
pub(super) struct Floods {
    left: [u32; KINDS],
    filled_at: Duration,
}

fn full(limits: &limits::Http2) -> [u32; KINDS] {
    [
        limits.resets,
        limits.stream_errors,
        limits.pings,
        limits.settings,
        limits.window_updates,
        limits.idle_frames,
    ]
}

impl Floods {
    pub(super) fn new(limits: &limits::Http2, now: Duration) -> Self {
        Floods { left: full(limits), filled_at: now }
    }

    /// Counts one. Time is looked at only when a bucket is empty.
    ///
    /// # Errors
    /// When it is one too many.
    #[inline]
    pub(super) fn count(
        &mut self,
        kind: Counted,
        limits: &limits::Http2,
        now: Duration,
    ) -> Result<(), Flood> {
        if self.take(kind) {
            return Ok(());
        }
        self.refill(limits, now);
        if self.take(kind) {
            return Ok(());
        }
        Err(match kind {
            Counted::Resets => Flood::Resets,
            Counted::StreamErrors => Flood::StreamErrors,
            Counted::Pings => Flood::Pings,
            Counted::Settings => Flood::Settings,
            Counted::WindowUpdates => Flood::WindowUpdates,
            Counted::IdleFrames => Flood::IdleFrames,
        })
    }

    #[inline]
    fn take(&mut self, kind: Counted) -> bool {
        let left = &mut self.left[kind as usize];
        let some = *left > 0;
        *left = left.saturating_sub(1);
        some
    }

    fn refill(&mut self, limits: &limits::Http2, now: Duration) {
        let part = Duration::from_millis(u64::from(limits.flood_window_ms / PARTS).max(1));
        let passed = now.saturating_sub(self.filled_at);
        if passed >= part {
            let parts = (passed.as_nanos() / part.as_nanos()).min(u128::from(PARTS)) as u32;
            self.filled_at = now;
            for (left, full) in self.left.iter_mut().zip(full(limits)) {
                *left = left.saturating_add((full / PARTS).max(1).saturating_mul(parts)).min(full);
            }
        }
    }

    /// Gives some back, for useful work.
    #[inline]
    pub(super) fn give_back(&mut self, kind: Counted, n: u32, limits: &limits::Http2) {
        let full = match kind {
            Counted::Resets => limits.resets,
            Counted::StreamErrors => limits.stream_errors,
            Counted::Pings => limits.pings,
            Counted::Settings => limits.settings,
            Counted::WindowUpdates => limits.window_updates,
            Counted::IdleFrames => limits.idle_frames,
        };
        let left = &mut self.left[kind as usize];
        *left = left.saturating_add(n).min(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_named_as_their_bounds() {
        use Flood::*;
        let all = [
            Resets,
            StreamErrors,
            Pings,
            Settings,
            WindowUpdates,
            IdleFrames,
            ContinuationFrames,
            BlockBytes,
            SettingsEntries,
            QueuedControlBytes,
        ];
        let limits: Vec<_> = limits::Http2::default().each().map(|l| l.0).collect();
        for flood in all {
            assert!(limits.contains(&flood.name()), "{flood}");
        }
    }

    #[test]
    fn a_bucket_empties_and_fills_again_with_time_and_work() {
        let limits = limits::Http2 { pings: 32, flood_window_ms: 1600, ..limits::Http2::default() };
        let mut floods = Floods::new(&limits, Duration::ZERO);
        let taken = |f: &mut Floods, ms| {
            let now = Duration::from_millis(ms);
            (0..1000).take_while(|_| f.count(Counted::Pings, &limits, now).is_ok()).count()
        };
        assert_eq!(taken(&mut floods, 0), 32);
        assert_eq!(floods.count(Counted::Pings, &limits, Duration::ZERO), Err(Flood::Pings));
        assert_eq!(taken(&mut floods, 99), 0);
        assert_eq!(taken(&mut floods, 100), 2);
        assert_eq!(taken(&mut floods, 900), 16);
        assert_eq!(taken(&mut floods, 3_600_000), 32);
        floods.give_back(Counted::Pings, 3, &limits);
        assert_eq!(taken(&mut floods, 3_600_000), 3);
        floods.give_back(Counted::Pings, 300, &limits);
        assert_eq!(taken(&mut floods, 3_600_000), 32);
    }
}
