//! Receive windows (RFC 9113, section 6.9).

use super::frame;
use super::settings::DEFAULT_WINDOW;

/// What the peer may send on the connection. Credit is announced when it is worth a frame: half of the window.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    size: u32,
    /// Octets that the peer may still send.
    available: u32,
    /// Credit given that the peer has not been told of.
    unannounced: u32,
}

impl ReceiveWindow {
    /// `size` is at least the window that the protocol begins with.
    pub(super) fn new(size: u32) -> Self {
        ReceiveWindow { size, available: size, unannounced: 0 }
    }

    pub(super) fn announce_initial(&self, out: &mut Vec<u8>) {
        if let Some(more @ 1..) = self.size.checked_sub(DEFAULT_WINDOW) {
            frame::write_window_update(out, 0, more);
        }
    }

    /// The peer has sent so much. False if it was not allowed to.
    #[must_use]
    pub(super) fn take(&mut self, octets: u32) -> bool {
        match self.available.checked_sub(octets) {
            Some(left) => {
                self.available = left;
                true
            }
            None => false,
        }
    }

    /// The peer may send so much again.
    pub(super) fn credit(&mut self, octets: u32, out: &mut Vec<u8>) {
        self.unannounced += octets;
        debug_assert!(self.available + self.unannounced <= self.size, "credit is given once for every octet");
        if self.unannounced >= threshold(self.size) {
            frame::write_window_update(out, 0, self.unannounced);
            self.available += self.unannounced;
            self.unannounced = 0;
        }
    }
}

/// How much credit is worth a frame.
#[inline]
pub(super) fn threshold(window: u32) -> u32 {
    (window / 2).max(1)
}
