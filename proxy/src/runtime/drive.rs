//! What the event loop expects of the state machine that it drives.

use weft_engine::Worker;
use weft_engine::io::{Accepted, Answer, SocketId};
use weft_engine::time::Instant;

use super::Shell;

/// A worker, as far as the event loop knows it. Tests drive others than [`Worker`].
pub trait Drive {
    /// A connection was accepted.
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, now: Instant);
    /// A socket that it wants to read has something to be read, or has ended.
    fn readable(&mut self, shell: &mut Shell, socket: SocketId, now: Instant);
    /// A socket that it wants to write to takes something, or has failed.
    fn writable(&mut self, shell: &mut Shell, socket: SocketId, now: Instant);
    /// News from the control thread.
    fn answered(&mut self, shell: &mut Shell, answer: Answer, now: Instant);
    /// Time has passed; called once in each round, after the events.
    fn expired(&mut self, shell: &mut Shell, now: Instant);
    /// The end of a round.
    fn flush(&mut self, shell: &mut Shell, now: Instant);
    /// When the next round has to be at the latest.
    fn next_deadline(&self) -> Option<Instant>;
    /// Whether no accepted connection is left.
    fn is_idle(&self) -> bool;
}

impl Drive for Worker {
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, now: Instant) {
        Self::accepted(self, shell, accepted, now);
    }

    fn readable(&mut self, shell: &mut Shell, socket: SocketId, now: Instant) {
        Self::readable(self, shell, socket, now);
    }

    fn writable(&mut self, shell: &mut Shell, socket: SocketId, now: Instant) {
        Self::writable(self, shell, socket, now);
    }

    fn answered(&mut self, shell: &mut Shell, answer: Answer, now: Instant) {
        Self::answered(self, shell, answer, now);
    }

    fn expired(&mut self, shell: &mut Shell, now: Instant) {
        Self::expired(self, shell, now);
    }

    fn flush(&mut self, shell: &mut Shell, now: Instant) {
        Self::flush(self, shell, now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self)
    }

    fn is_idle(&self) -> bool {
        Self::is_idle(self)
    }
}
