//! HTTP/2 frames by hand, for clients that do what no library would (RFC 9113 4.1, 6).

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// RFC 9113 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 6).
pub mod kind {
    #![expect(missing_docs, reason = "named as in RFC 9113")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags.
pub mod flag {
    #![expect(missing_docs, reason = "named as in RFC 9113")]
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// Error codes (RFC 9113 7).
pub mod code {
    #![expect(missing_docs, reason = "named as in RFC 9113")]
    pub const NO_ERROR: u32 = 0;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Appends a frame.
///
/// # Panics
/// When the payload is longer than a frame can say.
pub fn put(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(u64::try_from(payload.len()).expect("a short payload"), 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// Preface and SETTINGS, as every connection begins.
pub fn opening(settings: &[(u16, u32)]) -> BytesMut {
    let mut out = BytesMut::from(PREFACE);
    let mut payload = BytesMut::new();
    for (id, value) in settings {
        payload.put_u16(*id);
        payload.put_u32(*value);
    }
    put(&mut out, kind::SETTINGS, 0, 0, &payload);
    out
}

/// Appends a field that is not indexed (RFC 7541 6.2.2), without Huffman coding.
pub fn put_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_u8(0);
    put_string(out, name);
    put_string(out, value);
}

fn put_string(out: &mut BytesMut, string: &[u8]) {
    // RFC 7541 5.1 with a prefix of seven bits.
    match u8::try_from(string.len()) {
        Ok(length @ 0..127) => out.put_u8(length),
        _ => {
            out.put_u8(127);
            let mut rest = string.len() - 127;
            while rest >= 128 {
                out.put_u8(u8::try_from(rest % 128).expect("below 128") | 128);
                rest /= 128;
            }
            out.put_u8(u8::try_from(rest).expect("below 128"));
        }
    }
    out.put_slice(string);
}

/// The field block of a request.
pub fn request(method: &str, authority: &str, path: &str, fields: &[(&str, &str)]) -> BytesMut {
    let mut block = BytesMut::new();
    for (name, value) in
        [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
    {
        put_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    for (name, value) in fields {
        put_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// The next frame; none at the end of the connection, however it ends.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, s1, s2, s3, s4] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    let mut payload = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff, payload })
}

impl Frame {
    /// The error code of a GOAWAY frame.
    pub fn goaway(&self) -> Option<u32> {
        let code: [u8; 4] = self.payload.get(4..8)?.try_into().ok()?;
        (self.kind == kind::GOAWAY).then(|| u32::from_be_bytes(code))
    }
}
