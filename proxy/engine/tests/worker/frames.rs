//! HTTP/2 frames as a peer of a worker writes and reads them (RFC 9113 4.1), right or wrong.

/// A frame of any kind. Streams of tests are small numbers.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let n = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&n[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

/// A field block of literals that are not indexed (RFC 7541 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let string = |block: &mut Vec<u8>, text: &str| {
        // A prefix of 7 bits (RFC 7541 5.1).
        match text.len() {
            n @ ..127 => block.push(n as u8),
            n => {
                block.push(127);
                let mut rest = n - 127;
                while rest >= 128 {
                    block.push(rest as u8 | 128);
                    rest >>= 7;
                }
                block.push(rest as u8);
            }
        }
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// HEADERS, whole.
pub(crate) fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(end), stream, &block(fields))
}

/// A request or response of one field block that may be longer than a frame (RFC 9113 6.10), on stream 1.
pub(crate) fn continued(block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16_384).peekable();
    let mut bytes = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend_from_slice(&frame(CONTINUATION, flags, 1, piece));
    }
    bytes
}

pub(crate) fn data(stream: u32, end: bool, content: &[u8]) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, content)
}

/// The beginning of a client (RFC 9113 3.4), our SETTINGS acknowledged.
pub(crate) fn client_preface() -> Vec<u8> {
    [&weft_http::h2::PREFACE[..], &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat()
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// All whole frames; the preface of a client is skipped.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = bytes.strip_prefix(&weft_http::h2::PREFACE[..]).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let Some((h, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, h[0], h[1], h[2]]) as usize;
        let Some((payload, next)) = after.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([h[5], h[6], h[7], h[8]]);
        frames.push(Frame { kind: h[3], flags: h[4], stream, payload: payload.to_vec() });
        rest = next;
    }
    frames
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// The code that a stream was reset with.
pub(crate) fn reset_code(frames: &[Frame], stream: u32) -> Option<u32> {
    frames.iter().find(|f| f.kind == RST_STREAM && f.stream == stream).and_then(|f| word(&f.payload))
}

/// The code that a connection was ended with.
pub(crate) fn goaway_code(frames: &[Frame]) -> Option<u32> {
    frames.iter().rfind(|f| f.kind == GOAWAY).and_then(|f| word(f.payload.get(4..)?))
}

/// What a server reads on an HTTP/2 connection: of each head and each trailer section a line for every field, then content.
pub(crate) fn requests_in(bytes: &[u8]) -> String {
    use weft_http::h2::{Config, Connection, Event, Role};
    use weft_http::head::{Head, Range};
    let (mut out, mut head, mut arena, mut seen) = (Vec::new(), Head::default(), Vec::new(), String::new());
    let now = std::time::Duration::ZERO;
    let mut server = Connection::new(Role::Server, std::sync::Arc::new(Config::default()), &mut out, now);
    let mut input = bytes;
    while let Some(event) = server.next(&mut input, &mut head, &mut arena, &mut out, now).unwrap() {
        let text = |range: Range| String::from_utf8_lossy(range.of(&arena)).into_owned();
        match event {
            Event::Head { .. } => {
                let path =
                    [(":method", head.method_name), (":path", head.path), (":authority", head.authority)];
                for (name, value) in path {
                    seen.push_str(&format!("{name}: {}\n", text(value)));
                }
            }
            Event::Trailers { .. } => seen.push_str("trailers\n"),
            Event::Data { data, .. } => seen.push_str(&format!("{}\n", String::from_utf8_lossy(data))),
            _ => {}
        }
        if matches!(event, Event::Head { .. } | Event::Trailers { .. }) {
            for field in &head.fields {
                seen.push_str(&format!("{}: {}\n", text(field.name), text(field.value)));
            }
        }
    }
    seen
}
