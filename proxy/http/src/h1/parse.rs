//! The head of an HTTP/1 message, line by line (RFC 9112 2, 5).
//!
//! Invariants, which make the result independent of how the bytes are split:
//! 1. A line is judged when its LF is there, or when it is too long without one; never earlier.
//! 2. What more than one line decides (repeated fields, counts, framing) is judged at the empty line.
//! 3. Bytes after the empty line are not looked at.

use super::start_line;
use crate::fields::Kind;
use crate::head::{Field, Head, Malformed, Method, Range, Section, Target, Version, syntax};
use crate::limits::Limits;

/// Reads heads, or trailer sections, from the start of a buffer.
///
/// One for each direction of a connection. It remembers how far a head that is not complete yet has been read, so
/// that a head that arrives byte by byte costs no more than a few passes over it.
#[derive(Clone, Debug)]
pub struct Parser {
    section: Section,
    /// Where the first line begins that is not complete; 0 until the start line is. Lines before it are valid.
    line: usize,
    /// There is no LF from `line` up to here.
    searched: usize,
}

/// What is at the start of a slice.
enum Line<T> {
    /// A line and the offset after its LF.
    Is(T, usize),
    /// Nothing, as far as one can see.
    Incomplete,
}

impl Parser {
    /// A parser of heads of requests or responses, or of trailer sections.
    pub const fn new(section: Section) -> Self {
        Self { section, line: 0, searched: 0 }
    }

    /// True if a head has begun to arrive but is not complete.
    pub const fn is_partial(&self) -> bool {
        self.searched > 0
    }

    /// Reads the head at the start of `bytes`. Call it again with the same bytes and more while it answers `None`.
    ///
    /// `Some(n)`: `head` is filled and holds ranges of `bytes`; the head takes up its first `n` bytes and the parser
    /// is ready for the next one. Otherwise what `head` holds means nothing: it may be shared by many connections.
    /// An error stays: the connection cannot be used any more.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        head: &mut Head,
        limits: &Limits,
    ) -> Result<Option<usize>, Malformed> {
        if self.searched > 0 && !has_lf(bytes, self.searched) {
            return self.incomplete(bytes, limits);
        }
        let end = if self.line == 0 {
            self.read(bytes, Some(head), limits)?
        } else {
            // The lines before were judged but `head` has been used for others since: look for the end first.
            match self.read(bytes, None, limits)? {
                None => None,
                Some(_) => {
                    self.line = 0;
                    self.read(bytes, Some(head), limits)?
                }
            }
        };
        let Some(end) = end else { return self.incomplete(bytes, limits) };
        finish(head, bytes)?;
        *self = Self::new(self.section);
        Ok(Some(end))
    }

    /// Judges the lines from `self.line` on, and stores them if there is a head. Returns the offset after the empty
    /// line.
    fn read(
        &mut self,
        bytes: &[u8],
        head: Option<&mut Head>,
        limits: &Limits,
    ) -> Result<Option<usize>, Malformed> {
        let mut head = head;
        let mut at = self.line;
        if at == 0 {
            if let Some(head) = head.as_deref_mut() {
                head.begin(self.section, Version::Http11);
            }
            if self.section != Section::Trailers {
                let start = self.start(bytes);
                let line = match self.section {
                    Section::Request => start_line::request(bytes, start, head.as_deref_mut()),
                    _ => start_line::response(bytes, start, head.as_deref_mut()),
                };
                match self.judge(bytes, start, line, limits)? {
                    Line::Is((), next) => at = next,
                    Line::Incomplete => return Ok(None),
                }
            }
        }
        loop {
            self.line = at;
            match self.judge(bytes, at, field_line(bytes, at), limits)? {
                Line::Is(Some(field), next) => {
                    if let Some(head) = head.as_deref_mut() {
                        head.add(bytes, field, &limits.head);
                    }
                    at = next;
                }
                Line::Is(None, next) => return Ok(Some(next)),
                Line::Incomplete => return Ok(None),
            }
        }
    }

    /// Where the start line begins: one empty line before a request is skipped (RFC 9112 2.2).
    fn start(&self, bytes: &[u8]) -> usize {
        if self.section == Section::Request && bytes.starts_with(b"\r\n") { 2 } else { 0 }
    }

    /// Turns "ends at `next`, or is wrong at some place" into a verdict that does not depend on what has arrived.
    fn judge<T>(
        &self,
        bytes: &[u8],
        begin: usize,
        line: Result<(T, usize), Fault>,
        limits: &Limits,
    ) -> Result<Line<T>, Malformed> {
        match line {
            Ok((value, next)) => {
                self.check_length(begin, next, limits)?;
                Ok(Line::Is(value, next))
            }
            Err(fault) => match find_lf(bytes, fault.at) {
                None => Ok(Line::Incomplete),
                Some(lf) => {
                    self.check_length(begin, lf + 1, limits)?;
                    Err(fault.kind)
                }
            },
        }
    }

    fn incomplete(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Malformed> {
        let begin = if self.line == 0 { self.start(bytes) } else { self.line };
        self.check_length(begin, bytes.len(), limits)?;
        self.searched = bytes.len();
        Ok(None)
    }

    /// `end`: after the line that begins at `begin`, or after what is there of it.
    fn check_length(&self, begin: usize, end: usize, limits: &Limits) -> Result<(), Malformed> {
        let head_limit = match self.section {
            Section::Trailers => limits.http1.trailer_bytes,
            _ => limits.http1.head_bytes,
        } as usize;
        let line_limit = begin + limits.http1.start_line_bytes as usize;
        let is_start_line = self.line == 0 && self.section != Section::Trailers;
        if is_start_line && end > line_limit && line_limit <= head_limit {
            Err(Malformed::StartLineTooLong)
        } else if end > head_limit {
            Err(Malformed::HeadTooLong)
        } else {
            Ok(())
        }
    }
}

/// A line is wrong, or ends, at an offset. At the end of the buffer both are the same.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) kind: Malformed,
}

impl Fault {
    pub(super) const fn new(at: usize, kind: Malformed) -> Self {
        Self { at, kind }
    }
}

/// The offset after the CR LF at `at`.
#[inline]
pub(super) fn line_end(bytes: &[u8], at: usize, otherwise: Malformed) -> Result<usize, Fault> {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at + 2),
        Some([b'\r' | b'\n', ..]) => Err(Fault::new(at, Malformed::LineEnding)),
        _ => Err(Fault::new(at, otherwise)),
    }
}

/// The field line at `at`, or `None` for the empty line (RFC 9112 5).
#[inline]
fn field_line(bytes: &[u8], at: usize) -> Result<(Option<Field>, usize), Fault> {
    let rest = bytes.get(at..).unwrap_or_default();
    let name_len = rest.iter().position(|b| !syntax::is_token_byte(*b)).unwrap_or(rest.len());
    let colon = at + name_len;
    match bytes.get(colon) {
        Some(b':') if name_len > 0 => {}
        Some(b'\r' | b'\n') if name_len == 0 => {
            return line_end(bytes, at, Malformed::LineEnding).map(|next| (None, next));
        }
        _ => return Err(name_fault(bytes, at, colon)),
    }
    let mut from = colon + 1;
    while let Some(b' ' | b'\t') = bytes.get(from) {
        from += 1;
    }
    let end = syntax::find_control(bytes, from);
    let next = line_end(bytes, end, Malformed::FieldValue)?;
    let mut to = end;
    while to > from && matches!(bytes.get(to - 1), Some(b' ' | b'\t')) {
        to -= 1;
    }
    let name = Range::new(at, colon);
    let kind = Kind::of(name.of(bytes));
    Ok((Some(Field { name, value: Range::new(from, to), kind, never_indexed: false }), next))
}

#[cold]
fn name_fault(bytes: &[u8], at: usize, stop: usize) -> Fault {
    let rest = bytes.get(stop..).unwrap_or_default();
    let kind = match rest.first() {
        Some(b' ' | b'\t') if stop == at => Malformed::Folded,
        Some(b' ' | b'\t') if syntax::trim(rest).first() == Some(&b':') => Malformed::SpaceBeforeColon,
        _ => Malformed::FieldName,
    };
    Fault::new(stop, kind)
}

fn has_lf(bytes: &[u8], from: usize) -> bool {
    find_lf(bytes, from).is_some()
}

fn find_lf(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|b| *b == b'\n').map(|n| from + n)
}

/// What only the whole head says (RFC 9112 3.2, 6.1, 6.3).
fn finish(head: &mut Head, bytes: &[u8]) -> Result<(), Malformed> {
    if let Some(fault) = head.fault {
        return Err(fault);
    }
    if head.section == Section::Trailers {
        return Ok(());
    }
    if head.facts.transfer_encoding {
        if head.version == Version::Http10 {
            return Err(Malformed::TransferEncodingVersion);
        }
        if head.facts.content_length.is_some() {
            return Err(Malformed::LengthAndTransferEncoding);
        }
    }
    if head.section == Section::Request {
        finish_request(head, bytes)?;
    }
    head.settle_connection(bytes);
    Ok(())
}

fn finish_request(head: &mut Head, bytes: &[u8]) -> Result<(), Malformed> {
    if head.facts.repeated_host {
        return Err(Malformed::HostRepeated);
    }
    match head.facts.host {
        None if head.version == Version::Http11 => return Err(Malformed::HostMissing),
        Some(host) if !host.is_empty() => {
            if !syntax::is_authority(host.of(bytes)) {
                return Err(Malformed::Authority);
            }
            // The authority of the target wins (RFC 9112 3.2.2).
            if head.target != Target::Absolute && head.target != Target::Authority {
                head.authority = host;
            }
        }
        _ => {}
    }
    let content = head.facts.chunked || head.facts.content_length.is_some_and(|n| n > 0);
    if head.method == Method::Connect && content {
        return Err(Malformed::ConnectContent);
    }
    Ok(())
}
