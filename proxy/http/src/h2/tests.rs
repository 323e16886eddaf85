//! One connection against octets written by hand, and two connections against each other.

mod abuse;
mod ending;
mod flow;
mod frames;
mod messages;
mod properties;
mod streams;

use super::frame::{HEADER_LEN, Header, kind};
use super::*;
use crate::fields::{Indexing, Kind, Leg};
use crate::head::{Extra, Head, Outgoing, Section, Version};
use crate::limits;

/// An event with everything it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// `fields` as `name: value` lines, pseudo-header fields first.
    Head {
        id: u32,
        end: bool,
        fields: String,
    },
    Oversized {
        id: u32,
        end: bool,
        fault: Malformed,
    },
    Data {
        id: u32,
        data: Vec<u8>,
        end: bool,
    },
    Trailers {
        id: u32,
        fields: String,
    },
    Reset {
        id: u32,
        code: Code,
        cause: Cause,
    },
    Rejected {
        id: u32,
        error: StreamError,
    },
    Writable {
        id: u32,
    },
    Settings,
    GoAway {
        last: u32,
        code: Code,
    },
    Pong {
        payload: [u8; 8],
    },
}

/// A connection with what its user has: buffers, the time, the octets that were left over.
struct Side {
    conn: Connection,
    out: Vec<u8>,
    head: Head,
    arena: Vec<u8>,
    pending: Vec<u8>,
    now: Duration,
    /// Give credit for content as soon as it is there.
    credits: bool,
}

impl Side {
    fn new(role: Role, limits: limits::Http2) -> Self {
        Side::with(role, Config::new(limits, limits::Head::default()))
    }

    fn with(role: Role, config: Config) -> Self {
        let now = Duration::from_secs(1);
        let mut out = Vec::new();
        let conn = Connection::new(role, Arc::new(config), &mut out, now);
        let (head, arena, pending) = (Head::default(), Vec::new(), Vec::new());
        Side { conn, out, head, arena, pending, now, credits: true }
    }

    /// A server that has exchanged SETTINGS with a client.
    fn server() -> Self {
        Side::ready(Role::Server, limits::Http2::default())
    }

    /// A client that has exchanged SETTINGS with a server.
    fn client() -> Self {
        Side::ready(Role::Client, limits::Http2::default())
    }

    fn ready(role: Role, limits: limits::Http2) -> Self {
        let mut side = Side::new(role, limits);
        if role == Role::Server {
            side.feed(PREFACE).unwrap();
        }
        assert_eq!(side.feed(&settings(&[])).unwrap(), [Seen::Settings]);
        assert_eq!(side.feed(&frame(kind::SETTINGS, 1, 0, &[])).unwrap(), []);
        side.out.clear();
        side
    }

    /// Receives octets and says what came of them.
    fn feed(&mut self, octets: &[u8]) -> Result<Vec<Seen>, ConnectionError> {
        self.pending.extend_from_slice(octets);
        let buffer = std::mem::take(&mut self.pending);
        let mut input = &buffer[..];
        let mut seen = Vec::new();
        let result = loop {
            let (head, arena) = (&mut self.head, &mut self.arena);
            match self.conn.next(&mut input, head, arena, &mut self.out, self.now) {
                Ok(Some(event)) => seen.push(self.seen(event)),
                Ok(None) => break Ok(seen),
                Err(error) => break Err(error),
            }
        };
        self.pending = input.to_vec();
        result
    }

    fn seen(&mut self, event: Event<'_>) -> Seen {
        match event {
            Event::Head { stream, end, .. } => Seen::Head { id: stream.id(), end, fields: self.fields() },
            Event::Oversized { stream, end, fault } => Seen::Oversized { id: stream.id(), end, fault },
            Event::Data { stream, data, end, .. } => {
                if self.credits {
                    self.conn.credit(stream, data.len(), &mut self.out);
                }
                Seen::Data { id: stream.id(), data: data.to_vec(), end }
            }
            Event::Trailers { stream, .. } => Seen::Trailers { id: stream.id(), fields: self.fields() },
            Event::Reset { stream, code, cause, .. } => Seen::Reset { id: stream.id(), code, cause },
            Event::Rejected { id, error } => Seen::Rejected { id, error },
            Event::Writable { stream, .. } => Seen::Writable { id: stream.id() },
            Event::Settings => Seen::Settings,
            Event::GoAway { last, code } => Seen::GoAway { last, code },
            Event::Pong { payload } => Seen::Pong { payload },
        }
    }

    fn fields(&self) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (head, arena) = (&self.head, &self.arena[..]);
        let mut lines = String::new();
        let mut line = |name: &str, value: String| lines.push_str(&format!("{name}: {value}\n"));
        match head.section {
            Section::Request => {
                line(":method", text(head.method_name.of(arena)));
                for (name, range) in [
                    (":scheme", head.scheme),
                    (":path", head.path),
                    (":authority", head.authority),
                    (":protocol", head.protocol),
                ] {
                    if !range.is_empty() {
                        line(name, text(range.of(arena)));
                    }
                }
            }
            Section::Response => line(":status", head.status.to_string()),
            Section::Trailers => {}
        }
        for field in &head.fields {
            line(&text(field.name.of(arena)), text(field.value.of(arena)));
        }
        lines
    }

    /// What was written since the last call.
    fn sent(&mut self) -> Vec<Frame> {
        parse(&std::mem::take(&mut self.out))
    }

    fn key(&self, id: u32) -> StreamKey {
        self.conn.streams().find(|(key, _)| key.id() == id).unwrap().0
    }

    fn open(&mut self, end: bool) -> StreamKey {
        let (head, bytes) = request_head("POST", "/p");
        self.conn
            .open(NO_OWNER, &Outgoing::new(&head, &bytes, Leg::OutboundRequest), end, &mut self.out)
            .unwrap()
    }

    fn respond(&mut self, id: u32, status: u16, end: bool) {
        let head = Head::response(Version::Http2, status);
        let response = Outgoing::new(&head, &[], Leg::InboundResponse);
        self.conn.send_head(self.key(id), &response, end, &mut self.out).unwrap();
    }

    fn send_data(&mut self, id: u32, data: &[u8], end: bool) -> usize {
        self.conn.send_data(self.key(id), data, end, &mut self.out, self.now).unwrap()
    }

    /// The stream that has waited longest for a window.
    fn longest_blocked(&self) -> Option<(StreamKey, Duration)> {
        self.conn.blocked().min_by_key(|(_, since)| *since)
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// The answer to an error of the connection: the error, and GOAWAY with its code.
    fn fails(&mut self, octets: &[u8]) -> ConnectionError {
        self.out.clear();
        let error = match self.feed(octets) {
            Err(error) => error,
            Ok(seen) => panic!("the connection must end by {octets:x?}, but: {seen:?}"),
        };
        let last = self.sent().pop().expect("GOAWAY is written");
        assert_eq!((last.kind, last.stream), (kind::GOAWAY, 0));
        assert_eq!(u32::from_be_bytes(last.payload[4..8].try_into().unwrap()), error.code().0);
        assert_eq!(self.feed(&[]), Err(error), "and stays ended");
        error
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn parse(mut octets: &[u8]) -> Vec<Frame> {
    octets = octets.strip_prefix(&PREFACE[..]).unwrap_or(octets);
    let mut frames = Vec::new();
    while let Some(h) = Header::read(octets) {
        let end = HEADER_LEN + h.length as usize;
        let payload = octets[HEADER_LEN..end].to_vec();
        frames.push(Frame { kind: h.kind, flags: h.flags, stream: h.stream, payload });
        octets = &octets[end..];
    }
    assert!(octets.is_empty(), "whole frames are written");
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { length: payload.len() as u32, kind, flags, stream };
    [&header.octets()[..], payload].concat()
}

const END: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

fn headers(stream: u32, end: bool, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | u8::from(end), stream, block)
}

fn data(stream: u32, end: bool, content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, u8::from(end), stream, content)
}

fn reset(stream: u32, code: Code) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let pairs = parameters.iter().flat_map(|(id, v)| [&id.to_be_bytes()[..], &v.to_be_bytes()].concat());
    frame(kind::SETTINGS, 0, 0, &pairs.collect::<Vec<u8>>())
}

fn goaway(last: u32, code: Code) -> Vec<u8> {
    frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.0.to_be_bytes()].concat())
}

/// A field block without state: nothing in it is indexed dynamically.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = hpack::Encoder::new(0);
    for (name, value) in fields {
        encoder.field(
            &mut out,
            Kind::of(name.as_bytes()),
            name.as_bytes(),
            value.as_bytes(),
            Indexing::Volatile,
        );
    }
    out
}

fn get() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
}

fn post() -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":path", "/p"), (":authority", "a")])
}

fn ok() -> Vec<u8> {
    block(&[(":status", "200")])
}

fn request_head(method: &str, path: &str) -> (Head, Vec<u8>) {
    use crate::head::{Method, Range};
    let mut bytes = Vec::new();
    let mut put = |s: &str| {
        bytes.extend_from_slice(s.as_bytes());
        Range::new(bytes.len() - s.len(), bytes.len())
    };
    let head = Head {
        version: Version::Http2,
        method: Method::of(method.as_bytes()),
        method_name: put(method),
        path: put(path),
        scheme: put("http"),
        authority: put("a"),
        ..Head::default()
    };
    (head, bytes)
}

fn rst(stream: u32, code: Code) -> Frame {
    Frame { kind: kind::RST_STREAM, flags: 0, stream, payload: code.0.to_be_bytes().to_vec() }
}

fn updates(frames: &[Frame]) -> Vec<(u32, u32)> {
    let updates = frames.iter().filter(|f| f.kind == kind::WINDOW_UPDATE);
    updates.map(|f| (f.stream, u32::from_be_bytes(f.payload[..].try_into().unwrap()))).collect()
}

const GET_SEEN: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: a\n";

fn head_seen(id: u32, end: bool, fields: &str) -> Seen {
    Seen::Head { id, end, fields: fields.to_owned() }
}

/// Fields that this hop adds.
fn extra(fields: &[(&str, &str)]) -> Extra {
    let mut extra = Extra::default();
    for (name, value) in fields {
        extra.add_named(name.as_bytes(), value.as_bytes());
    }
    extra
}
