//! The chunked transfer coding on its way in (RFC 9112 7.1).
//!
//! ```text
//! Size ─▶ Extension ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size
//!    └──────────────────▲  └─ size 0 ─▶ Trailers ─▶ end
//! ```

use super::body::{BodyError, Event, Step};
use super::parse::Parser;
use crate::head::{Head, Range, Section};
use crate::limits::Limits;

/// More digits than this are refused even if they are zeros.
const SIZE_DIGITS: u8 = 16;

#[derive(Clone, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Size of the chunk, then what is left of it.
    remaining: u64,
    /// Bytes of extensions in all chunks so far.
    extensions: u32,
}

#[derive(Clone, Debug)]
enum State {
    /// In the size, after that many digits.
    Size(u8),
    /// White space after the size: an extension must follow (RFC 9112 7.1.1).
    Space,
    /// In the extensions.
    Extension,
    /// After the CR of the size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// After the last chunk.
    Trailers(Parser),
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { state: State::Size(0), remaining: 0, extensions: 0 }
    }

    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        trailers: &mut Head,
        limits: &Limits,
    ) -> Result<Step, BodyError> {
        let mut at = 0;
        loop {
            if let State::Trailers(parser) = &mut self.state {
                let section = bytes.get(at..).unwrap_or_default();
                return match parser.parse(section, trailers, limits).map_err(BodyError::Trailers)? {
                    None => Ok(Step { event: Event::NeedMore, consumed: at }),
                    Some(n) => {
                        trailers.shift(at);
                        Ok(Step { event: Event::End, consumed: at + n })
                    }
                };
            }
            let Some(&byte) = bytes.get(at) else { return Ok(Step { event: Event::NeedMore, consumed: at }) };
            if matches!(self.state, State::Data) {
                let rest = bytes.len() - at;
                let n = usize::try_from(self.remaining).map_or(rest, |r| r.min(rest));
                self.remaining -= n as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step { event: Event::Data(Range::new(at, at + n)), consumed: at + n });
            }
            self.framing_byte(byte, limits)?;
            at += 1;
        }
    }

    fn framing_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), BodyError> {
        self.state = match (&self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digits = digits + 1;
                let value = self.remaining << 4 | u64::from(hex(byte));
                if digits > SIZE_DIGITS || i64::try_from(value).is_err() {
                    return Err(BodyError::ChunkSizeOverflow);
                }
                self.remaining = value;
                State::Size(digits)
            }
            (State::Size(0), _) => return Err(BodyError::ChunkSize),
            (State::Size(_) | State::Space, b' ' | b'\t') => {
                self.extension_byte(limits)?;
                State::Space
            }
            (State::Size(_) | State::Space, b';') => {
                self.extension_byte(limits)?;
                State::Extension
            }
            (State::Size(_), b'\n') => return Err(BodyError::ChunkEnd),
            (State::Size(_) | State::Extension, b'\r') => State::SizeLf,
            (State::Size(_) | State::Space, _) => return Err(BodyError::ChunkSize),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension_byte(limits)?;
                State::Extension
            }
            (State::Extension, _) => return Err(BodyError::ChunkExtension),
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailers(Parser::new(Section::Trailers)),
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            (State::SizeLf | State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd),
            // `decode` handles these itself.
            (State::Data | State::Trailers(_), _) => return Err(BodyError::ChunkEnd),
        };
        Ok(())
    }

    fn extension_byte(&mut self, limits: &Limits) -> Result<(), BodyError> {
        self.extensions += 1;
        if self.extensions > limits.http1.chunk_extension_bytes {
            return Err(BodyError::ChunkExtensionsTooLong);
        }
        Ok(())
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 32) - b'a' + 10,
    }
}
