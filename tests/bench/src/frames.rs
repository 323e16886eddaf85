//! As much HTTP/2 (RFC 9113) as a load generator and its backend need: frames, credit, and header blocks written once.
//!
//! Neither side decodes header blocks: what they say is known, and whether an answer is the right one shows in its
//! frames (a message of the right length, then a second header block that ends the stream).

/// What every client begins with (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head.
pub const HEAD: usize = 9;
/// Credit for a connection and its streams before anything is known (section 6.9.2).
pub const INITIAL_WINDOW: i64 = 65_535;

/// Frame types (section 6).
pub mod kind {
    /// DATA
    pub const DATA: u8 = 0;
    /// HEADERS
    pub const HEADERS: u8 = 1;
    /// RST_STREAM
    pub const RESET: u8 = 3;
    /// SETTINGS
    pub const SETTINGS: u8 = 4;
    /// PING
    pub const PING: u8 = 6;
    /// GOAWAY
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION
    pub const CONTINUATION: u8 = 9;
}

/// Flags (section 6).
pub mod flag {
    /// END_STREAM
    pub const END_STREAM: u8 = 1;
    /// ACK
    pub const ACK: u8 = 1;
    /// END_HEADERS
    pub const END_HEADERS: u8 = 4;
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its type: [`kind`].
    pub kind: u8,
    /// Its flags: [`flag`].
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What is in it, padding and priority included: peers of this bench send neither.
    pub payload: &'a [u8],
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.taken);
        self.taken = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Takes `expected` off the beginning; whether it is there in full.
    pub fn take(&mut self, expected: &[u8]) -> bool {
        let there = self.held[self.taken..].starts_with(expected);
        if there {
            self.taken += expected.len();
        }
        there
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        let rest = &self.held[self.taken..];
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *rest.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = rest.get(HEAD..HEAD + length)?;
        self.taken += HEAD + length;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff, payload })
    }
}

/// Writes a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("small frames only").to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Writes SETTINGS with one value in it.
pub fn settings(out: &mut Vec<u8>, identifier: u16, value: u32) {
    let mut payload = identifier.to_be_bytes().to_vec();
    payload.extend_from_slice(&value.to_be_bytes());
    frame(out, kind::SETTINGS, 0, 0, &payload);
}

/// Credit given back to the peer in lumps.
#[derive(Debug, Default)]
pub struct Credit {
    owed: u32,
}

impl Credit {
    /// That many bytes were taken; writes WINDOW_UPDATE when it is worth one.
    pub fn taken(&mut self, out: &mut Vec<u8>, stream: u32, bytes: usize) {
        self.owed += u32::try_from(bytes).expect("less than a frame");
        if self.owed >= 16 * 1024 {
            frame(out, kind::WINDOW_UPDATE, 0, stream, &self.owed.to_be_bytes());
            self.owed = 0;
        }
    }
}

/// A number in a payload, at `at`.
pub fn number(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_be_bytes(*b))
}

/// The new initial window of streams in a SETTINGS payload, if it has one.
pub fn initial_window(payload: &[u8]) -> Option<i64> {
    let setting = payload.chunks_exact(6).rfind(|s| s[..2] == [0, 4])?;
    Some(i64::from(number(setting, 2)))
}

/// A field that the peer is to keep (RFC 7541 section 6.2.1), its name written out.
pub fn keep(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x40);
    text(out, name);
    text(out, value);
}

/// A field that the peer is to keep, its name from the static table.
pub fn keep_indexed(out: &mut Vec<u8>, name: u8, value: &str) {
    out.push(0x40 | name);
    text(out, value);
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(u8::try_from(value.len()).ok().filter(|n| *n < 127).expect("short texts only"));
    out.extend_from_slice(value.as_bytes());
}

/// A gRPC message of that many bytes, with its head of five.
pub fn message(bytes: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(bytes).expect("a small message").to_be_bytes());
    message.extend((0..bytes).map(|i| (i % 251) as u8));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind::DATA, flag::END_STREAM, 5, b"hello");
        settings(&mut bytes, 4, 1 << 20);
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in bytes {
            frames.push(&[byte]);
            while let Some(f) = frames.next_frame() {
                seen.push((f.kind, f.flags, f.stream, f.payload.to_vec()));
            }
        }
        assert_eq!(seen[0], (kind::DATA, flag::END_STREAM, 5, b"hello".to_vec()));
        assert_eq!(initial_window(&seen[1].3), Some(1 << 20));
    }
}
