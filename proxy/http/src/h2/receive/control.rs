//! The frames that carry no message: RST_STREAM, WINDOW_UPDATE, SETTINGS, PING, GOAWAY, PRIORITY.

use super::{Step, Stepped, Turn};
use crate::h2::flood::Counted;
use crate::h2::frame::{self, Header, flag};
use crate::h2::settings::{DEFAULT_WINDOW, MAX_WINDOW};
use crate::h2::{
    Cause, Code, Connection, ConnectionError, Event, Flood, PeerSettings, Phase, Role, StreamError, timers,
};

/// The four octets that a payload is.
fn word(payload: &[u8]) -> Result<u32, ConnectionError> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| ConnectionError::FrameSize)
}

impl Connection {
    /// RST_STREAM (section 6.4).
    pub(super) fn reset_received<'i>(
        &mut self,
        header: Header,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        let code = Code(word(payload)?);
        let Some(stream) = self.streams.find(header.stream) else {
            if header.stream == 0 || self.is_idle(header.stream) {
                return Err(ConnectionError::Protocol("RST_STREAM on an idle stream"));
            }
            self.count(Counted::IdleFrames, turn.now)?;
            return Ok(Step::Done);
        };
        let Some(s) = self.streams.get(stream) else { return Ok(Step::Done) };
        let owner = s.owner;
        if self.role == Role::Server && !s.head_sent {
            self.count(Counted::Resets, turn.now)?;
        }
        self.remove(stream, turn.out);
        Ok(Step::Event(Event::Reset { stream, owner, code, cause: Cause::Peer }))
    }

    /// WINDOW_UPDATE (section 6.9).
    pub(super) fn window_update<'i>(
        &mut self,
        header: Header,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        let increment = word(payload)? & MAX_WINDOW;
        self.count(Counted::WindowUpdates, turn.now)?;
        if header.stream == 0 {
            if increment == 0 {
                return Err(ConnectionError::Protocol("WINDOW_UPDATE by zero"));
            }
            self.send_window = raised(self.send_window, i64::from(increment))
                .ok_or(ConnectionError::FlowControl("the connection's window is above 2^31-1"))?;
            return Ok(Step::Done);
        }
        let Some(stream) = self.streams.find(header.stream) else {
            if self.is_idle(header.stream) {
                return Err(ConnectionError::Protocol("WINDOW_UPDATE on an idle stream"));
            }
            return Ok(Step::Done);
        };
        if increment == 0 {
            return self.stream_error(stream, StreamError::ZeroIncrement, turn);
        }
        let Some(s) = self.streams.get_mut(stream) else { return Ok(Step::Done) };
        let Some(window) = raised(s.send_window, i64::from(increment)) else {
            return self.stream_error(stream, StreamError::FlowControl, turn);
        };
        s.send_window = window;
        if s.blocked && window > 0 {
            self.streams.enqueue(stream);
        }
        Ok(Step::Done)
    }

    /// SETTINGS (section 6.5).
    pub(super) fn settings<'i>(
        &mut self,
        header: Header,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("SETTINGS on a stream"));
        }
        if header.has(flag::ACK) {
            return self.settings_acknowledged(payload, turn);
        }
        if !payload.len().is_multiple_of(6) {
            return Err(ConnectionError::FrameSize);
        }
        if payload.len() / 6 > self.config.limits.settings_entries as usize {
            return Err(Flood::SettingsEntries.into());
        }
        self.count(Counted::Settings, turn.now)?;
        self.count_answer(0)?;
        let mut before = self.peer;
        if matches!(self.phase, Phase::Settings) {
            self.phase = Phase::Open;
            // It has said what it wants to say; what it did not is unlimited.
            before.max_concurrent_streams = u32::MAX;
        }
        let peer = before.updated(payload, self.role == Role::Client)?;
        self.apply(peer)?;
        frame::write_settings_ack(turn.out);
        Ok(Step::Event(Event::Settings))
    }

    fn apply(&mut self, peer: PeerSettings) -> Result<(), ConnectionError> {
        let change = i64::from(peer.initial_window_size) - i64::from(self.peer.initial_window_size);
        self.peer = peer;
        self.encoder.set_offer(peer.header_table_size as usize);
        if change == 0 {
            return Ok(());
        }
        // Windows may become negative (section 6.9.2), but not too large.
        let mut at = 0;
        while let Some((stream, next)) = self.streams.at_or_after(at) {
            at = next;
            let Some(s) = self.streams.get_mut(stream) else { continue };
            s.send_window = raised(s.send_window, change)
                .ok_or(ConnectionError::FlowControl("INITIAL_WINDOW_SIZE raises a window above 2^31-1"))?;
            if s.blocked && s.send_window > 0 {
                self.streams.enqueue(stream);
            }
        }
        Ok(())
    }

    fn settings_acknowledged<'i>(&mut self, payload: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        if !payload.is_empty() {
            return Err(ConnectionError::FrameSize);
        }
        if self.settings_acked {
            self.count(Counted::IdleFrames, turn.now)?;
            return Ok(Step::Done);
        }
        self.settings_acked = true;
        self.decoder.set_limit(self.config.limits.hpack_table_bytes as usize);
        // Until now the peer could have gone by the initial window, which ours may be smaller than.
        let less = DEFAULT_WINDOW.saturating_sub(self.config.limits.stream_window_bytes) as i32;
        if less > 0 {
            for s in self.streams.iter_mut() {
                s.recv_window -= less;
            }
        }
        Ok(Step::Done)
    }

    /// PING (section 6.7).
    pub(super) fn ping<'i>(&mut self, header: Header, payload: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("PING on a stream"));
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| ConnectionError::FrameSize)?;
        self.count(Counted::Pings, turn.now)?;
        if !header.has(flag::ACK) {
            self.count_answer(payload.len())?;
            frame::write_ping(turn.out, payload, true);
            return Ok(Step::Done);
        }
        match payload {
            timers::KEEPALIVE_PING => Ok(Step::Done),
            timers::SHUTDOWN_PING => {
                self.shutdown_noticed(turn.out);
                Ok(Step::Done)
            }
            _ => Ok(Step::Event(Event::Pong { payload })),
        }
    }

    /// GOAWAY (section 6.8).
    pub(super) fn goaway<'i>(&mut self, header: Header, payload: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        if header.stream != 0 {
            return Err(ConnectionError::Protocol("GOAWAY on a stream"));
        }
        let (Some(last), Some(code)) = (payload.get(..4), payload.get(4..8)) else {
            return Err(ConnectionError::FrameSize);
        };
        let last = word(last)? & MAX_WINDOW;
        let code = Code(word(code)?);
        if last > self.goaway_last {
            return Err(ConnectionError::Protocol("GOAWAY takes back what it refused"));
        }
        if self.goaway_received {
            self.count(Counted::IdleFrames, turn.now)?;
        }
        self.goaway_received = true;
        self.goaway_last = last;
        if self.role == Role::Client {
            self.sweep = Some(0);
        }
        Ok(Step::Event(Event::GoAway { last, code }))
    }

    /// The next stream that the peer's GOAWAY left out.
    pub(super) fn swept(&mut self, out: &mut Vec<u8>) -> Option<Event<'static>> {
        let mut at = self.sweep.take()?;
        while let Some((stream, next)) = self.streams.at_or_after(at) {
            at = next;
            if stream.id() > self.goaway_last {
                let owner = self.streams.get(stream)?.owner;
                self.remember_stream(stream);
                self.remove(stream, out);
                self.sweep = Some(at);
                let code = Code::REFUSED_STREAM;
                return Some(Event::Reset { stream, owner, code, cause: Cause::GoAway });
            }
        }
        None
    }

    /// PRIORITY (section 6.3): nothing is prioritised by it.
    pub(super) fn priority<'i>(&mut self, header: Header, turn: &mut Turn<'_>) -> Stepped<'i> {
        self.count(Counted::IdleFrames, turn.now)?;
        if header.stream == 0 {
            return Err(ConnectionError::Protocol("PRIORITY on stream 0"));
        }
        // For one stream only by the letter, but who gets this wrong will get it wrong again.
        if header.length == 5 { Ok(Step::Done) } else { Err(ConnectionError::FrameSize) }
    }
}

/// A window after a change, unless it is then larger than a window may be.
fn raised(window: i32, by: i64) -> Option<i32> {
    i32::try_from(i64::from(window) + by).ok()
}
