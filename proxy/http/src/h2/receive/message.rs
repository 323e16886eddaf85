//! HEADERS and CONTINUATION (RFC 9113, sections 6.2, 6.10) to heads and trailers.

use super::{Block, Step, Stepped, Turn, length_agrees};
use crate::h2::flood::Counted;
use crate::h2::frame::{Header, flag};
use crate::h2::streams::{ANY_LENGTH, Stream, StreamKey};
use crate::h2::{Connection, ConnectionError, Event, Flood, NO_OWNER, Role, StreamError, frame};
use crate::head::{Malformed, Method, Section, Version};

/// Octets of the priority fields that HEADERS may begin with; they mean nothing any more (section 5.3.2).
const PRIORITY_LEN: usize = 5;

impl Connection {
    pub(super) fn headers<'i>(&mut self, header: Header, payload: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        if header.stream == 0 {
            return Err(ConnectionError::Protocol("HEADERS on stream 0"));
        }
        let mut fragment = payload;
        if header.has(flag::PADDED) {
            let (padding, rest) = fragment.split_first().ok_or(ConnectionError::FrameSize)?;
            let length = rest.len().checked_sub(usize::from(*padding));
            let padded = ConnectionError::Protocol("more padding than payload");
            fragment = length.and_then(|n| rest.get(..n)).ok_or(padded)?;
        }
        if header.has(flag::PRIORITY) {
            fragment = fragment.get(PRIORITY_LEN..).ok_or(ConnectionError::FrameSize)?;
        }
        let end = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.field_block(header.stream, end, fragment, turn);
        }
        let block = Block { stream: header.stream, end, frames: 0, octets: fragment.to_vec() };
        self.check_block(block)
    }

    pub(super) fn continuation<'i>(
        &mut self,
        header: Header,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        let Some(mut block) = self.block.take() else {
            return Err(ConnectionError::Protocol("CONTINUATION without HEADERS"));
        };
        block.frames += 1;
        block.octets.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return self.check_block(*block);
        }
        self.check_block(*block)?;
        let Some(block) = self.block.take() else { return Ok(Step::Done) };
        self.field_block(block.stream, block.end, &block.octets, turn)
    }

    /// Keeps a block that is not complete, within its bounds.
    fn check_block<'i>(&mut self, block: Block) -> Stepped<'i> {
        if block.frames > self.config.limits.continuation_frames {
            return Err(Flood::ContinuationFrames.into());
        }
        if block.octets.len() > self.config.limits.block_bytes as usize {
            return Err(Flood::BlockBytes.into());
        }
        self.block = Some(Box::new(block));
        Ok(Step::Done)
    }

    /// A whole field block. It is decoded whatever becomes of the stream: the next ones depend on it.
    fn field_block<'i>(&mut self, id: u32, end: bool, block: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        if let Some(stream) = self.streams.find(id) {
            return match self.streams.get(stream) {
                Some(s) if s.end_received => {
                    self.discard(block, turn)?;
                    self.stream_error(stream, StreamError::AfterEnd, turn)
                }
                Some(s) if s.head_received => self.trailers(stream, end, block, turn),
                _ => self.response(stream, end, block, turn),
            };
        }
        if self.is_idle(id) {
            if self.role == Role::Client || id.is_multiple_of(2) {
                return Err(ConnectionError::Protocol("HEADERS on a stream that the peer may not open"));
            }
            return self.request(id, end, block, turn);
        }
        self.discard(block, turn)?;
        if self.is_beyond_goaway(id) {
            return Ok(Step::Done);
        }
        if self.remembered.contains(id) {
            self.count(Counted::IdleFrames, turn.now)?;
            return Ok(Step::Done);
        }
        match self.role {
            Role::Server => Err(ConnectionError::StreamClosed),
            // Many requests were reset at once, and this is the answer to one that is forgotten.
            Role::Client => self.closed_stream(id, turn),
        }
    }

    fn request<'i>(&mut self, id: u32, end: bool, block: &[u8], turn: &mut Turn<'_>) -> Stepped<'i> {
        self.last_peer_id = id;
        if self.is_beyond_goaway(id) {
            // GOAWAY was the answer; nobody is to blame for what was on its way.
            self.discard(block, turn)?;
            return Ok(Step::Event(Event::Rejected { id, error: StreamError::Refused }));
        }
        if self.streams.len() >= self.config.limits.max_concurrent_streams {
            self.discard(block, turn)?;
            return self.reject(id, StreamError::Refused, turn);
        }
        let mut verdict = self.read(Section::Request, block, turn)?;
        let head = &*turn.head;
        if verdict.is_ok() && !head.protocol.is_empty() && !self.config.connect_protocol {
            verdict = Err(Malformed::PseudoUnexpected);
        }
        match verdict {
            Err(fault) if fault.status() != TOO_LARGE => {
                return self.reject(id, StreamError::Malformed(fault), turn);
            }
            _ => {}
        }
        let mut s = Stream::new(NO_OWNER, self.peer.initial_window_size as i32, self.stream_window() as i32);
        s.head_received = true;
        s.end_received = end;
        // A tunnel has no length (RFC 9110 9.3.6), nor has what is thrown away.
        if verdict.is_ok() && (head.method != Method::Connect || !head.protocol.is_empty()) {
            s.remaining = head.facts.content_length.unwrap_or(ANY_LENGTH);
            if end && !length_agrees(s.remaining, 0, true) {
                return self.reject(id, StreamError::ContentLength, turn);
            }
        }
        let stream = self.streams.insert(id, s);
        Ok(Step::Event(match verdict {
            Ok(()) => Event::Head { stream, owner: NO_OWNER, end },
            Err(fault) => Event::Oversized { stream, end, fault },
        }))
    }

    fn response<'i>(
        &mut self,
        stream: StreamKey,
        end: bool,
        block: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        if let Err(fault) = self.read(Section::Response, block, turn)? {
            return self.bad_fields(stream, fault, turn);
        }
        let interim_heads = self.config.limits.interim_heads;
        let Some(s) = self.streams.get_mut(stream) else { return Ok(Step::Done) };
        let owner = s.owner;
        let status = turn.head.status;
        if status < 200 {
            s.interim_heads += 1;
            if end {
                return self.stream_error(stream, StreamError::Order, turn);
            }
            if u32::from(s.interim_heads) > interim_heads {
                return self.stream_error(stream, StreamError::InterimHeads, turn);
            }
            return Ok(Step::Event(Event::Head { stream, owner, end: false }));
        }
        s.head_received = true;
        // No content whatever the length says: it tells of what GET would have got (RFC 9110 8.6).
        let none = s.no_content || matches!(status, 204 | 304);
        // What follows a 2xx to CONNECT is a tunnel; a length is to be ignored (RFC 9110 9.3.6, RFC 9113 8.5).
        let tunnel = s.tunnel && status < 300;
        s.remaining = match turn.head.facts.content_length {
            _ if none => 0,
            Some(n) if !tunnel => n,
            _ => ANY_LENGTH,
        };
        if end {
            if !length_agrees(s.remaining, 0, true) {
                return self.stream_error(stream, StreamError::ContentLength, turn);
            }
            s.end_received = true;
            self.close_if_ended(stream, turn.out);
        }
        Ok(Step::Event(Event::Head { stream, owner, end }))
    }

    fn trailers<'i>(
        &mut self,
        stream: StreamKey,
        end: bool,
        block: &[u8],
        turn: &mut Turn<'_>,
    ) -> Stepped<'i> {
        if let Err(fault) = self.read(Section::Trailers, block, turn)? {
            return self.bad_fields(stream, fault, turn);
        }
        let Some(s) = self.streams.get_mut(stream) else { return Ok(Step::Done) };
        if !end {
            return self.stream_error(stream, StreamError::Order, turn);
        }
        if !length_agrees(s.remaining, 0, true) {
            return self.stream_error(stream, StreamError::ContentLength, turn);
        }
        s.end_received = true;
        let owner = s.owner;
        self.close_if_ended(stream, turn.out);
        Ok(Step::Event(Event::Trailers { stream, owner }))
    }

    fn bad_fields<'i>(&mut self, stream: StreamKey, fault: Malformed, turn: &mut Turn<'_>) -> Stepped<'i> {
        let error = match fault.status() {
            TOO_LARGE => StreamError::TooLarge(fault),
            _ => StreamError::Malformed(fault),
        };
        self.stream_error(stream, error, turn)
    }

    /// Answers HEADERS that open no stream.
    fn reject<'i>(&mut self, id: u32, error: StreamError, turn: &mut Turn<'_>) -> Stepped<'i> {
        self.count(Counted::StreamErrors, turn.now)?;
        self.count_answer(4)?;
        frame::write_reset(turn.out, id, error.code().0);
        self.remember(id, self.stream_window() as i32);
        Ok(Step::Event(Event::Rejected { id, error }))
    }

    /// Decodes a block into the head of this turn.
    fn read(
        &mut self,
        section: Section,
        block: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<Result<(), Malformed>, ConnectionError> {
        let head = &mut *turn.head;
        head.begin(section, Version::Http2);
        turn.arena.clear();
        let limits = &self.config.head;
        let most = self.config.limits.header_list_bytes as usize;
        let size = self.decoder.decode(block, turn.arena, most, |octets, field, valid| {
            if valid {
                head.add_h2_checked(octets, field, limits);
            } else {
                head.add_h2(octets, field, limits);
            }
        })?;
        if size > most {
            return Ok(Err(head.fault_so_far().unwrap_or(Malformed::HeadTooLong)));
        }
        let verdict = head.finish_h2(turn.arena);
        if verdict.is_ok() {
            self.give_back_for_content();
            self.floods.give_back(Counted::WindowUpdates, 2, &self.config.limits);
        }
        Ok(verdict)
    }

    fn discard(&mut self, block: &[u8], turn: &mut Turn<'_>) -> Result<(), ConnectionError> {
        turn.arena.clear();
        self.decoder.decode(block, turn.arena, 0, |_, _, _| {})?;
        Ok(())
    }

    /// The window that the peer may use on a new stream: until it has acknowledged our SETTINGS, either.
    pub(in crate::h2) fn stream_window(&self) -> u32 {
        let ours = self.config.limits.stream_window_bytes;
        if self.settings_acked { ours } else { ours.max(crate::h2::settings::DEFAULT_WINDOW) }
    }
}

const TOO_LARGE: u16 = 431;
