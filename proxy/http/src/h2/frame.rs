//! The frame format (RFC 9113, sections 4.1 and 6): headers read from bytes, frames written to a buffer.

/// Octets of a frame header.
pub(super) const HEADER_LEN: usize = 9;

/// What a client says first (section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The frame types, as they are on the wire.
pub(super) mod kind {
    pub(in crate::h2) const DATA: u8 = 0x0;
    pub(in crate::h2) const HEADERS: u8 = 0x1;
    pub(in crate::h2) const PRIORITY: u8 = 0x2;
    pub(in crate::h2) const RST_STREAM: u8 = 0x3;
    pub(in crate::h2) const SETTINGS: u8 = 0x4;
    pub(in crate::h2) const PING: u8 = 0x6;
    pub(in crate::h2) const GOAWAY: u8 = 0x7;
    pub(in crate::h2) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::h2) const CONTINUATION: u8 = 0x9;
}

/// The flags; which are defined depends on the type.
pub(super) mod flag {
    pub(in crate::h2) const ACK: u8 = 0x1;
    pub(in crate::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::h2) const PADDED: u8 = 0x8;
    pub(in crate::h2) const PRIORITY: u8 = 0x20;
}

/// A frame header (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Octets of payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The reserved bit is not part of it.
    pub(super) stream: u32,
}

impl Header {
    /// The header at the beginning of `input`, once it is there whole.
    #[inline]
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_LEN] = input.first_chunk()?;
        Some(Header {
            length: u32::from_be_bytes([0, h[0], h[1], h[2]]),
            kind: h[3],
            flags: h[4],
            stream: u32::from_be_bytes([h[5], h[6], h[7], h[8]]) & 0x7fff_ffff,
        })
    }

    #[inline]
    pub(super) fn octets(self) -> [u8; HEADER_LEN] {
        let [_, l2, l1, l0] = self.length.to_be_bytes();
        let [s3, s2, s1, s0] = self.stream.to_be_bytes();
        [l2, l1, l0, self.kind, self.flags, s3, s2, s1, s0]
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[inline]
fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let header = Header { length: payload.len() as u32, kind, flags, stream };
    out.extend_from_slice(&header.octets());
    out.extend_from_slice(payload);
}

/// The payload must not be longer than the peer's maximum frame size.
#[inline]
pub(super) fn write_data(out: &mut Vec<u8>, stream: u32, payload: &[u8], end: bool) {
    frame(out, kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, payload);
}

/// Adds to the DATA frame that begins at `at` and ends where `out` does, and ends the stream with it.
#[inline]
pub(super) fn extend_data(out: &mut Vec<u8>, at: usize, more: &[u8], end: bool) {
    out.extend_from_slice(more);
    set_length(out, at);
    if end && let Some(flags) = out.get_mut(at + 4) {
        *flags |= flag::END_STREAM;
    }
}

pub(super) fn write_reset(out: &mut Vec<u8>, stream: u32, code: u32) {
    frame(out, kind::RST_STREAM, 0, stream, &code.to_be_bytes());
}

pub(super) fn write_settings(out: &mut Vec<u8>, settings: impl Iterator<Item = (u16, u32)>) {
    let at = out.len();
    frame(out, kind::SETTINGS, 0, 0, &[]);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    set_length(out, at);
}

pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
}

pub(super) fn write_ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    frame(out, kind::PING, if ack { flag::ACK } else { 0 }, 0, &payload);
}

pub(super) fn write_goaway(out: &mut Vec<u8>, last: u32, code: u32, debug: &[u8]) {
    let at = out.len();
    frame(out, kind::GOAWAY, 0, 0, &last.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(debug);
    set_length(out, at);
}

pub(super) fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    frame(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

/// Makes room for the header of a frame whose payload is written next; `finish_headers` completes it.
pub(super) fn begin_headers(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    at
}

/// Writes the header of the field block that begins at `at`. A block longer than `max_frame`
/// is split: CONTINUATION frames follow (section 4.3).
pub(super) fn finish_headers(out: &mut Vec<u8>, at: usize, stream: u32, end: bool, max_frame: usize) {
    let block = out.len() - at - HEADER_LEN;
    let end_stream = if end { flag::END_STREAM } else { 0 };
    let mut header =
        Header { length: block as u32, kind: kind::HEADERS, flags: end_stream | flag::END_HEADERS, stream };
    if block <= max_frame {
        put(out, at, header);
        return;
    }
    // From the last piece to the first, each moves right by the headers of those before it.
    let extra = block.div_ceil(max_frame) - 1;
    out.resize(out.len() + extra * HEADER_LEN, 0);
    for k in (1..=extra).rev() {
        let from = at + HEADER_LEN + k * max_frame;
        let length = max_frame.min(block - k * max_frame);
        let to = from + k * HEADER_LEN;
        out.copy_within(from..from + length, to);
        let flags = if k == extra { flag::END_HEADERS } else { 0 };
        put(out, to - HEADER_LEN, Header { length: length as u32, kind: kind::CONTINUATION, flags, stream });
    }
    header.length = max_frame as u32;
    header.flags = end_stream;
    put(out, at, header);
}

fn put(out: &mut [u8], at: usize, header: Header) {
    if let Some(place) = out.get_mut(at..at + HEADER_LEN) {
        place.copy_from_slice(&header.octets());
    }
}

fn set_length(out: &mut [u8], at: usize) {
    let length = (out.len() - at - HEADER_LEN) as u32;
    if let Some(place) = out.get_mut(at..at + 3) {
        place.copy_from_slice(&length.to_be_bytes()[1..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc9113_4_1_header_round_trip() {
        let h = Header { length: 0x01_02_03, kind: 0xfa, flags: 0xa5, stream: 0x7fff_fffe };
        assert_eq!(Header::read(&h.octets()), Some(h));
        assert_eq!(Header::read(&h.octets()[..8]), None);
    }

    #[test]
    fn rfc9113_4_1_reserved_bit_is_ignored() {
        let h = Header::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]).unwrap();
        assert_eq!(h.stream, 1);
    }

    proptest! {
        #[test]
        fn rfc9113_4_3_long_blocks_are_split(before in 0usize..20, block in 0usize..400, max in 16usize..100, end: bool) {
            let mut out = vec![7; before];
            let at = begin_headers(&mut out);
            let body: Vec<u8> = (0..block).map(|i| i as u8).collect();
            out.extend_from_slice(&body);
            finish_headers(&mut out, at, 5, end, max);
            prop_assert_eq!(&out[..before], &vec![7; before][..]);
            let (mut rest, mut joined, mut first) = (&out[before..], Vec::new(), true);
            loop {
                let h = Header::read(rest).unwrap();
                prop_assert_eq!(h.kind, if first { kind::HEADERS } else { kind::CONTINUATION });
                prop_assert_eq!(h.stream, 5);
                prop_assert!(h.length as usize <= max);
                prop_assert_eq!(h.has(flag::END_STREAM), first && end);
                joined.extend_from_slice(&rest[HEADER_LEN..HEADER_LEN + h.length as usize]);
                rest = &rest[HEADER_LEN + h.length as usize..];
                first = false;
                if h.has(flag::END_HEADERS) {
                    break;
                }
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(joined, body);
        }
    }
}
