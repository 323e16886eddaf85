//! Content on its way in: where it lies in the bytes received (RFC 9112 6, 7).

use super::chunked::Chunked;
use super::framing::Body;
use crate::head::{Head, Malformed, Range};
use crate::limits::Limits;
use thiserror::Error;

/// Why the content of a message cannot be read further. The connection is of no use any more; a request can be
/// answered with 400 if nothing was answered yet, a response is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BodyError {
    /// RFC 9112 7.1: a chunk size is not a hexadecimal number.
    #[error("chunk size is malformed")]
    ChunkSize,
    /// RFC 9112 7.1: a chunk size of more than 16 digits, or of 2^63 or more.
    #[error("chunk size is too large")]
    ChunkSizeOverflow,
    /// RFC 9112 7.1.1: a control byte in a chunk extension.
    #[error("chunk extension is malformed")]
    ChunkExtension,
    /// `limits::Http1::chunk_extension_bytes`.
    #[error("chunk extensions are too long")]
    ChunkExtensionsTooLong,
    /// RFC 9112 7.1: the size line, or the chunk itself, does not end in CR LF.
    #[error("chunk does not end in CR LF")]
    ChunkEnd,
    /// RFC 9112 7.1.2: the trailer section.
    #[error("trailer section is malformed")]
    Trailers(#[source] Malformed),
    /// RFC 9112 8: the connection was closed before the end.
    #[error("connection was closed within a message")]
    Truncated,
}

/// What came next in the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of content: this range of the bytes given.
    Data(Range),
    /// The content is complete. Trailers, if there were any, are in the head that was given, as ranges of the bytes
    /// given.
    End,
    /// More bytes are needed.
    NeedMore,
}

/// One step of decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was found.
    pub event: Event,
    /// How many of the bytes given are done with, once the event has been dealt with.
    pub consumed: usize,
}

/// Finds the content of one message in the bytes that follow its head.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    End,
}

impl Decoder {
    /// For content so delimited. Of a tunnel everything is content.
    pub fn new(body: Body) -> Self {
        let state = match body {
            Body::None | Body::Length(0) => State::End,
            Body::Length(n) => State::Length(n),
            Body::Chunked => State::Chunked(Chunked::new()),
            Body::UntilClose | Body::Tunnel => State::UntilClose,
        };
        Self { state }
    }

    /// True once [`Event::End`] was or would be the next event.
    pub fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Bytes still to come, if that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::End => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Looks at the start of `bytes`, which are those not yet consumed. Call until it says [`Event::End`] or
    /// [`Event::NeedMore`]. `trailers` is begun and filled when a trailer section is read, and means nothing before.
    ///
    /// Consumes nothing after the end of the message. A trailer section is consumed as a whole, so the buffer must
    /// be able to hold `limits.http1.trailer_bytes`.
    pub fn decode(&mut self, bytes: &[u8], trailers: &mut Head, limits: &Limits) -> Result<Step, BodyError> {
        let step = match &mut self.state {
            State::End => Step { event: Event::End, consumed: 0 },
            _ if bytes.is_empty() => Step { event: Event::NeedMore, consumed: 0 },
            State::UntilClose => {
                Step { event: Event::Data(Range::new(0, bytes.len())), consumed: bytes.len() }
            }
            State::Length(remaining) => {
                let n = usize::try_from(*remaining).map_or(bytes.len(), |r| r.min(bytes.len()));
                *remaining -= n as u64;
                if *remaining == 0 {
                    self.state = State::End;
                }
                Step { event: Event::Data(Range::new(0, n)), consumed: n }
            }
            State::Chunked(chunked) => {
                let step = chunked.decode(bytes, trailers, limits)?;
                if step.event == Event::End {
                    self.state = State::End;
                }
                step
            }
        };
        Ok(step)
    }

    /// The connection was closed, and all bytes before that were decoded.
    pub fn closed(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::End => {
                self.state = State::End;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(BodyError::Truncated),
        }
    }
}
