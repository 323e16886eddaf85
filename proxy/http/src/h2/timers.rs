//! What time brings: keep-alive, the acknowledgement of SETTINGS, frames that do not end, graceful shutdown.

use std::time::Duration;

use super::settings::MAX_WINDOW;
use super::{Code, Connection, ConnectionError, Phase, Role, frame};

pub(super) const KEEPALIVE_PING: [u8; 8] = *b"weftlive";
pub(super) const SHUTDOWN_PING: [u8; 8] = *b"weftlast";

/// How far the end of the connection, wished by this side, has come (section 6.8).
#[derive(Clone, Copy, Debug)]
pub(super) enum Shutdown {
    No,
    /// GOAWAY has said that no new streams are wanted; those on their way are still taken.
    Announced {
        at: Duration,
    },
    /// GOAWAY has named the last stream that is taken.
    Final(u32),
}

impl Connection {
    /// Begins a graceful end: GOAWAY that announces it, then, when the peer has seen that or `drain_notice_ms` have
    /// passed, GOAWAY that names the last stream. Streams that are open go on; [`Connection::is_finished`] tells when
    /// the last has ended. A client only stops to open streams.
    pub fn shut_down(&mut self, out: &mut Vec<u8>, now: Duration) {
        self.tail = None;
        if !matches!(self.shutdown, Shutdown::No) || matches!(self.phase, Phase::Over(_)) {
            return;
        }
        if self.role == Role::Client {
            return self.shut_down_now(Code::NO_ERROR, out);
        }
        frame::write_goaway(out, MAX_WINDOW, Code::NO_ERROR.0, b"");
        frame::write_ping(out, SHUTDOWN_PING, false);
        self.shutdown = Shutdown::Announced { at: now };
    }

    /// Names the last stream at once: those that the peer has just opened are refused. Open streams go on.
    pub fn shut_down_now(&mut self, code: Code, out: &mut Vec<u8>) {
        self.tail = None;
        if matches!(self.shutdown, Shutdown::Final(_)) || matches!(self.phase, Phase::Over(_)) {
            return;
        }
        frame::write_goaway(out, self.last_peer_id, code.0, b"");
        self.shutdown = Shutdown::Final(self.last_peer_id);
    }

    pub(super) fn shutdown_noticed(&mut self, out: &mut Vec<u8>) {
        if matches!(self.shutdown, Shutdown::Announced { .. }) {
            self.shut_down_now(Code::NO_ERROR, out);
        }
    }

    /// When [`Connection::expired`] is to be called, if nothing comes before. May move later without notice: then
    /// the call does nothing, and this tells the next. Keep-alive takes it that what the peer sends is read at once:
    /// windows are what slows a peer down, not a socket that nobody reads.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        let frame = self.frame_deadline();
        [self.settings_deadline(), self.shutdown_deadline(), frame, self.keepalive_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The peer has not answered in time; the connection is over.
    pub fn expired(&mut self, out: &mut Vec<u8>, now: Duration) -> Result<(), ConnectionError> {
        if let Phase::Over(error) = self.phase {
            return Err(error);
        }
        self.tail = None;
        let due = |deadline: Option<Duration>| deadline.is_some_and(|at| at <= now);
        if due(self.settings_deadline()) {
            return Err(self.fail(ConnectionError::SettingsTimeout, out));
        }
        if due(self.frame_deadline()) {
            return Err(self.fail(ConnectionError::SlowFrame, out));
        }
        if due(self.shutdown_deadline()) {
            self.shut_down_now(Code::NO_ERROR, out);
        }
        if due(self.keepalive_deadline()) {
            if self.ping_sent_at.is_some() {
                return Err(self.fail(ConnectionError::KeepaliveTimeout, out));
            }
            frame::write_ping(out, KEEPALIVE_PING, false);
            self.ping_sent_at = Some(now);
        }
        Ok(())
    }

    fn settings_deadline(&self) -> Option<Duration> {
        let wait = Duration::from_millis(u64::from(self.config.limits.settings_ack_ms));
        (!self.settings_acked).then(|| self.settings_sent_at + wait)
    }

    fn frame_deadline(&self) -> Option<Duration> {
        let wait = Duration::from_millis(u64::from(self.config.limits.frame_ms));
        self.partial_since.map(|since| since + wait)
    }

    fn shutdown_deadline(&self) -> Option<Duration> {
        let wait = Duration::from_millis(u64::from(self.config.limits.drain_notice_ms));
        match self.shutdown {
            Shutdown::Announced { at } => Some(at + wait),
            Shutdown::No | Shutdown::Final(_) => None,
        }
    }

    fn keepalive_deadline(&self) -> Option<Duration> {
        let keepalive = self.config.keepalive?;
        match self.ping_sent_at {
            Some(at) => Some(at + keepalive.timeout),
            None if keepalive.while_idle || self.streams.len() > 0 => {
                Some(self.last_received + keepalive.interval)
            }
            None => None,
        }
    }
}
