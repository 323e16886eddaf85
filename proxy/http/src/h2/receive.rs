//! What comes in: octets to frames to events.

mod control;
mod message;

use std::time::Duration;

use super::flood::Counted;
use super::frame::{HEADER_LEN, Header, PREFACE, flag, kind};
use super::streams::{ANY_LENGTH, StreamKey};
use super::{Cause, Connection, ConnectionError, Event, Flood, Phase, Role, StreamError, frame, timers};
use crate::head::Head;

/// What the next octets belong to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Frame,
    Data(DataFrame),
    Skip(u32),
}

/// A DATA frame of which the content has not come whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFrame {
    stream: StreamKey,
    left: u32,
    padding: u32,
    end: bool,
}

/// A field block that is not complete.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    end: bool,
    frames: u32,
    octets: Vec<u8>,
}

impl Block {
    pub(super) fn held(&self) -> usize {
        self.octets.len()
    }
}

/// What a step needs beside the connection.
struct Turn<'a> {
    head: &'a mut Head,
    arena: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
    now: Duration,
}

enum Step<'i> {
    /// Done, and the next step may follow.
    Done,
    Event(Event<'i>),
    /// The rest of something has not come.
    More,
}

type Stepped<'i> = Result<Step<'i>, ConnectionError>;

impl Connection {
    /// Goes through received octets to the next event, and moves `input` past what was used. None: all has been
    /// told; what is left of `input`, less than a frame, must be there again, with more after it, at the next
    /// call. Content is never held back for the rest of its frame.
    ///
    /// `head` and `arena` are overwritten; after [`Event::Head`] and [`Event::Trailers`] they hold the head and the
    /// octets it refers to. Answers that the protocol wants are appended to `out`.
    ///
    /// # Errors
    /// The connection is over; GOAWAY has been written. Later calls return the same error.
    pub fn next<'i>(
        &mut self,
        input: &mut &'i [u8],
        head: &mut Head,
        arena: &mut Vec<u8>,
        out: &mut Vec<u8>,
        now: Duration,
    ) -> Result<Option<Event<'i>>, ConnectionError> {
        if let Phase::Over(error) = self.phase {
            return Err(error);
        }
        if !input.is_empty() {
            self.last_received = now;
            self.ping_sent_at = None;
        }
        self.tail = None;
        let mut turn = Turn { head, arena, out, now };
        loop {
            if let Some(event) = self.pending_event(turn.out) {
                return Ok(Some(event));
            }
            match self.step(input, &mut turn) {
                Ok(Step::Done) => {}
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Ok(Step::More) => {
                    self.note_partial(input, now);
                    return Ok(None);
                }
                Err(error) => return Err(self.fail(error, out)),
            }
        }
    }

    /// All that came has been looked at: is there a frame or a field block to wait for?
    #[inline]
    fn note_partial(&mut self, rest: &[u8], now: Duration) {
        if rest.is_empty() && self.block.is_none() {
            self.partial_since = None;
        } else if self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
    }

    /// Ends the connection for an error: GOAWAY says which.
    pub(super) fn fail(&mut self, error: ConnectionError, out: &mut Vec<u8>) -> ConnectionError {
        self.phase = Phase::Over(error);
        // Whoever does not speak HTTP/2 is not answered in it (section 3.4).
        if error != ConnectionError::Preface {
            // A GOAWAY before may have named an earlier stream; what it left out stays out (section 6.8).
            let last = match self.shutdown {
                timers::Shutdown::Final(last) => last,
                _ => self.last_peer_id,
            };
            frame::write_goaway(out, last, error.code().0, error.to_string().as_bytes());
        }
        error
    }

    /// Events that earlier frames brought about for more than one stream.
    #[inline]
    fn pending_event(&mut self, out: &mut Vec<u8>) -> Option<Event<'static>> {
        if self.sweep.is_some()
            && let Some(event) = self.swept(out)
        {
            return Some(event);
        }
        while self.send_window > 0 && self.streams.has_queued() {
            let stream = self.streams.pop_queued()?;
            // Who has ended the stream meanwhile waits no more.
            if let Some(s) = self.streams.get_mut(stream)
                && s.send_window > 0
                && s.blocked
            {
                s.blocked = false;
                return Some(Event::Writable { stream, owner: s.owner });
            }
        }
        None
    }

    #[inline]
    fn step<'i>(&mut self, input: &mut &'i [u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        match self.reading {
            Reading::Frame if matches!(self.phase, Phase::Preface) => self.preface(input),
            Reading::Frame => self.frame(input, turn),
            Reading::Data(data) => Ok(self.content(data, input, turn)),
            Reading::Skip(left) => {
                let n = (left as usize).min(input.len());
                advance(input, n);
                match left - n as u32 {
                    0 => self.reading = Reading::Frame,
                    left => {
                        self.reading = Reading::Skip(left);
                        return Ok(Step::More);
                    }
                }
                Ok(Step::Done)
            }
        }
    }

    fn preface<'i>(&mut self, input: &mut &'i [u8]) -> Stepped<'i> {
        let n = input.len().min(PREFACE.len());
        if input.get(..n) != PREFACE.get(..n) {
            return Err(ConnectionError::Preface);
        }
        if n < PREFACE.len() {
            return Ok(Step::More);
        }
        advance(input, n);
        self.phase = Phase::Settings;
        Ok(Step::Done)
    }

    #[inline]
    fn frame<'i>(&mut self, input: &mut &'i [u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        let Some(header) = Header::read(input) else { return Ok(Step::More) };
        if header.length > self.config.limits.frame_bytes {
            return Err(ConnectionError::FrameSize);
        }
        if matches!(self.phase, Phase::Settings) && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(ConnectionError::NoSettings);
        }
        if let Some(block) = &self.block
            && (header.kind != kind::CONTINUATION || header.stream != block.stream)
        {
            return Err(ConnectionError::Protocol("a field block is interrupted"));
        }
        if header.kind == kind::DATA {
            self.partial_since = None;
            return self.data(header, input, turn);
        }
        if header.kind > kind::CONTINUATION {
            // Unknown types are ignored (section 5.5), as they come.
            self.count(Counted::IdleFrames, turn.now)?;
            advance(input, HEADER_LEN);
            self.reading = Reading::Skip(header.length);
            return Ok(Step::Done);
        }
        if header.length > self.config.limits.block_bytes {
            // Frames may be allowed to be larger than what is worth waiting for as a whole.
            return Err(Flood::BlockBytes.into());
        }
        let rest = *input;
        let Some(payload) = rest.get(HEADER_LEN..HEADER_LEN + header.length as usize) else {
            return Ok(Step::More);
        };
        advance(input, HEADER_LEN + payload.len());
        if header.kind != kind::CONTINUATION || header.has(flag::END_HEADERS) {
            self.partial_since = None;
        }
        match header.kind {
            kind::HEADERS => self.headers(header, payload, turn),
            kind::CONTINUATION => self.continuation(header, payload, turn),
            kind::RST_STREAM => self.reset_received(header, payload, turn),
            kind::WINDOW_UPDATE => self.window_update(header, payload, turn),
            kind::SETTINGS => self.settings(header, payload, turn),
            kind::PING => self.ping(header, payload, turn),
            kind::GOAWAY => self.goaway(header, payload, turn),
            kind::PRIORITY => self.priority(header, turn),
            // Type 5, PUSH_PROMISE: a server must not get one, and as a client we forbid them (section 6.6).
            _ => Err(ConnectionError::Protocol("PUSH_PROMISE")),
        }
    }

    // --- DATA (section 6.1)

    fn data<'i>(&mut self, header: Header, input: &mut &'i [u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        // The length of the padding is the first octet of the payload, if there is one.
        let (skip, padding) = if header.has(flag::PADDED) {
            if header.length == 0 {
                return Err(ConnectionError::FrameSize);
            }
            let Some(padding) = input.get(HEADER_LEN) else { return Ok(Step::More) };
            (HEADER_LEN + 1, u32::from(*padding) + 1)
        } else {
            (HEADER_LEN, 0)
        };
        if header.stream == 0 {
            return Err(ConnectionError::Protocol("DATA on stream 0"));
        }
        let Some(content) = header.length.checked_sub(padding) else {
            return Err(ConnectionError::Protocol("more padding than payload"));
        };
        // What is left to skip of the padding once its length has been read.
        let tail = padding.saturating_sub(1);
        if !self.receive_window.take(header.length) {
            return Err(ConnectionError::FlowControl("more DATA than the connection's window"));
        }
        advance(input, skip);
        let Some(key) = self.streams.find(header.stream) else {
            return self.data_for_nobody(header, content + tail, turn);
        };
        let end = header.has(flag::END_STREAM);
        if content == 0 && !end {
            self.count(Counted::IdleFrames, turn.now)?;
        } else {
            self.give_back_for_content();
        }
        let Some(s) = self.streams.get_mut(key) else { return Ok(Step::Done) };
        let fault = if s.end_received {
            Some(StreamError::AfterEnd)
        } else if !s.head_received {
            Some(StreamError::Order)
        } else if header.length > 0 && i64::from(header.length) > i64::from(s.recv_window) {
            Some(StreamError::FlowControl)
        } else if !length_agrees(s.remaining, content, end) {
            Some(StreamError::ContentLength)
        } else {
            None
        };
        if let Some(error) = fault {
            self.reading = Reading::Skip(content + tail);
            self.receive_window.credit(header.length, turn.out);
            return self.stream_error(key, error, turn);
        }
        s.recv_window -= header.length as i32;
        s.unclaimed += content;
        if s.remaining != ANY_LENGTH {
            s.remaining -= u64::from(content);
        }
        if padding > 0 {
            // Nobody else will give credit for it.
            s.unannounced += padding;
            self.announce(key, turn.out);
            self.receive_window.credit(padding, turn.out);
        }
        self.reading = match (content, end) {
            (0, false) => Reading::Skip(tail),
            _ => Reading::Data(DataFrame { stream: key, left: content, padding: tail, end }),
        };
        Ok(Step::Done)
    }

    fn data_for_nobody<'i>(&mut self, header: Header, left: u32, turn: &mut Turn<'_>) -> Stepped<'i> {
        if self.is_idle(header.stream) {
            return Err(ConnectionError::Protocol("DATA on an idle stream"));
        }
        self.reading = Reading::Skip(left);
        self.receive_window.credit(header.length, turn.out);
        if left == 0 {
            self.count(Counted::IdleFrames, turn.now)?;
        }
        if self.is_beyond_goaway(header.stream) {
            return Ok(Step::Done);
        }
        if let Some(window) = self.remembered.window(header.stream) {
            // Sent before the peer knew of the reset: no more than the window that it had.
            *window = window.saturating_sub(header.length as i32);
            if *window < 0 && header.length > 0 {
                return Err(ConnectionError::FlowControl("more DATA than a stream's window"));
            }
            return Ok(Step::Done);
        }
        self.closed_stream(header.stream, turn)
    }

    #[inline]
    fn content<'i>(&mut self, frame: DataFrame, input: &mut &'i [u8], turn: &mut Turn<'_>) -> Step<'i> {
        let Some(s) = self.streams.get_mut(frame.stream) else {
            self.reading = Reading::Skip(frame.left + frame.padding);
            return Step::Done;
        };
        let n = (frame.left as usize).min(input.len());
        if n == 0 && frame.left > 0 {
            return Step::More;
        }
        let (data, rest) = input.split_at_checked(n).unwrap_or_default();
        *input = rest;
        let left = frame.left - n as u32;
        self.reading = match left {
            0 => Reading::Skip(frame.padding),
            _ => Reading::Data(DataFrame { left, ..frame }),
        };
        let end = frame.end && left == 0;
        let owner = s.owner;
        if end {
            s.end_received = true;
            self.close_if_ended(frame.stream, turn.out);
        }
        Step::Event(Event::Data { stream: frame.stream, owner, data, end })
    }

    // --- streams that go away

    /// A stream is over because of what the peer sent on it.
    fn stream_error<'i>(
        &mut self,
        stream: StreamKey,
        error: StreamError,
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        self.count(Counted::StreamErrors, turn.now)?;
        self.count_answer(4)?;
        let owner = self.owner(stream).unwrap_or(super::NO_OWNER);
        self.reset(stream, error.code(), turn.out);
        Ok(Step::Event(Event::Reset { stream, owner, code: error.code(), cause: Cause::Error(error) }))
    }

    /// A frame for a stream that is closed and not remembered.
    fn closed_stream<'i>(&mut self, id: u32, turn: &mut Turn<'_>) -> Stepped<'i> {
        self.count(Counted::IdleFrames, turn.now)?;
        self.count_answer(4)?;
        frame::write_reset(turn.out, id, StreamError::AfterEnd.code().0);
        Ok(Step::Done)
    }

    pub(super) fn close_if_ended(&mut self, stream: StreamKey, out: &mut Vec<u8>) {
        if self.streams.get(stream).is_some_and(|s| s.end_received && s.end_sent) {
            self.floods.give_back(Counted::Resets, 1, &self.config.limits);
            self.remove(stream, out);
        }
    }

    /// Forgets a stream. What the user has not claimed of its content does not burden the connection any more.
    pub(super) fn remove(&mut self, stream: StreamKey, out: &mut Vec<u8>) {
        if let Some(s) = self.streams.remove(stream)
            && s.unclaimed > 0
        {
            self.receive_window.credit(s.unclaimed, out);
        }
    }

    /// True for a stream that was never opened (section 5.1.1).
    fn is_idle(&self, id: u32) -> bool {
        match self.role {
            // Even identifiers are for push, which there is none of.
            _ if id.is_multiple_of(2) => true,
            Role::Server => id > self.last_peer_id,
            Role::Client => id >= self.next_id,
        }
    }

    /// True for a stream that our GOAWAY has left out: what comes on it is ignored (section 6.8).
    fn is_beyond_goaway(&self, id: u32) -> bool {
        matches!(self.shutdown, timers::Shutdown::Final(last) if id > last)
    }

    // --- bounds

    #[inline]
    fn count(&mut self, kind: Counted, now: Duration) -> Result<(), ConnectionError> {
        Ok(self.floods.count(kind, &self.config.limits, now)?)
    }

    /// Counts an answer that is about to be written.
    fn count_answer(&mut self, payload: usize) -> Result<(), ConnectionError> {
        self.queued_control += HEADER_LEN + payload;
        if self.queued_control > self.config.limits.queued_control_bytes as usize {
            return Err(Flood::QueuedControlBytes.into());
        }
        Ok(())
    }

    #[inline]
    fn give_back_for_content(&mut self) {
        self.floods.give_back(Counted::Pings, 1, &self.config.limits);
        self.floods.give_back(Counted::IdleFrames, 1, &self.config.limits);
    }
}

/// Whether a DATA frame, or a head without one, goes with the `content-length` (section 8.1.1).
fn length_agrees(remaining: u64, content: u32, end: bool) -> bool {
    if remaining == ANY_LENGTH {
        return true;
    }
    match remaining.checked_sub(u64::from(content)) {
        Some(left) => !end || left == 0,
        None => false,
    }
}

#[inline]
fn advance(input: &mut &[u8], n: usize) {
    *input = input.get(n..).unwrap_or_default();
}
