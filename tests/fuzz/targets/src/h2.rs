//! An HTTP/2 connection between a peer that sends mostly valid frames and a user who does what users do, in any order:
//! nothing is written that the peer's windows and settings do not allow, credit is given once, bounds hold.
//!
//! Input: a byte of choices, then operations, each a byte and what it needs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weft_http::{
    fields::{Indexing, Kind, Leg},
    h2::{Code, Config, Connection, ConnectionError, Event, PREFACE, Role, StreamKey},
    head::{Extra, Head, Method, Outgoing, Range, Section, Version},
    hpack, limits,
};

use crate::input::Input;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The most operations of an input.
const OPERATIONS: usize = 400;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut side = Side::new(input.u8());
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        let result = side.act(&mut input);
        side.look();
        if let Err(error) = result {
            assert!(side.conn.is_finished() && side.conn.next_deadline().is_none(), "{error:?}");
            assert!(side.conn.can_open().is_err());
            break;
        }
    }
}

/// A frame on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Whole frames, and nothing else.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((h, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, h[0], h[1], h[2]]) as usize;
        let (payload, rest) = rest.split_at_checked(length).expect("whole frames are written");
        let stream = u32::from_be_bytes([h[5], h[6], h[7], h[8]]);
        frames.push(Frame { kind: h[3], flags: h[4], stream, payload: payload.to_vec() });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole frames are written");
    frames
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let [_, l2, l1, l0] = length;
    [&[l2, l1, l0, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// A field block in which nothing refers to a table that changes.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let (mut out, mut encoder) = (Vec::new(), hpack::Encoder::new(4096));
    for (name, value) in fields {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        encoder.field(&mut out, Kind::of(name), name, value, Indexing::Volatile);
    }
    out
}

/// A request's head.
pub(crate) fn request(method: &[u8], path: &[u8]) -> (Head, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Range::new(bytes.len() - part.len(), bytes.len())
    };
    let mut head = Head::default();
    head.begin(Section::Request, Version::Http2);
    head.method = Method::of(method);
    head.method_name = put(method);
    head.path = put(path);
    head.scheme = put(b"http");
    head.authority = put(b"a");
    (head, bytes)
}

/// Everything that a head says.
pub(crate) fn describe(head: &Head, bytes: &[u8]) -> String {
    let text = |range: Range| range.of(bytes).escape_ascii().to_string();
    let fields: Vec<String> = head
        .fields
        .iter()
        .map(|f| format!("{}: {} {}", text(f.name), text(f.value), f.never_indexed))
        .collect();
    let parts = [head.method_name, head.scheme, head.authority, head.path, head.protocol].map(text);
    format!("{:?} {:?} {} {parts:?} {fields:?}", head.section, head.target, head.status)
}

/// What the peer allows and has sent, worked out from the bytes alone.
#[derive(Default)]
struct Ledger {
    /// What may be sent on the connection.
    send: i64,
    /// The peer's initial window of streams.
    initial: i64,
    max_frame: usize,
    /// What the peer may send on the connection.
    receive: i64,
    streams: BTreeMap<u32, Stream>,
    /// Answers written that the peer has not read.
    answers: usize,
    /// A field block is open: of this stream.
    block: Option<u32>,
}

#[derive(Default)]
struct Stream {
    updates: i64,
    sent: i64,
    received: i64,
    credited: i64,
    /// We have ended, or reset it; the peer has reset it.
    ended: bool,
    gone: bool,
}

struct Side {
    conn: Connection,
    limits: limits::Http2,
    role: Role,
    out: Vec<u8>,
    head: Head,
    arena: Vec<u8>,
    now: Duration,
    credits: bool,
    /// Content that waits for credit.
    owed: Vec<(StreamKey, usize)>,
    ledger: Ledger,
    /// The last stream the peer opened.
    last: u32,
}

impl Side {
    fn new(choices: u8) -> Self {
        let role = if choices & 1 == 0 { Role::Server } else { Role::Client };
        let mut limits = limits::Http2::default();
        if choices & 2 == 0 {
            limits = limits::Http2 {
                max_concurrent_streams: 3,
                outgoing_streams: 4,
                remembered_resets: 2,
                connection_window_bytes: 100_000,
                queued_control_bytes: 200,
                ..limits
            };
        }
        if choices & 4 != 0 {
            limits = limits::Http2 { stream_window_bytes: 100, pings: 5, settings: 4, resets: 3, ..limits };
        }
        let (now, mut out) = (Duration::from_secs(1), Vec::new());
        let config = Config::new(limits, limits::Head::default());
        let limits = *config.limits();
        let conn = Connection::new(role, Arc::new(config), &mut out, now);
        let ledger =
            Ledger { send: 65_535, initial: 65_535, max_frame: 16_384, receive: 65_535, ..Ledger::default() };
        let (head, arena) = (Head::default(), Vec::new());
        let mut side = Self {
            conn,
            limits,
            role,
            out,
            head,
            arena,
            now,
            credits: choices & 8 == 0,
            owed: Vec::new(),
            ledger,
            last: 0,
        };
        if role == Role::Server {
            side.feed(PREFACE).expect("the preface");
        }
        side.look();
        side.peer_sends(SETTINGS, 0, 0, &[]).expect("settings");
        side.peer_sends(SETTINGS, ACK, 0, &[]).expect("their acknowledgement");
        side.look();
        side
    }

    /// The n-th open stream.
    fn nth(&self, n: u8) -> Option<StreamKey> {
        let keys: Vec<StreamKey> = self.conn.streams().map(|(key, _)| key).collect();
        keys.get(usize::from(n) % keys.len().max(1)).copied()
    }

    fn act(&mut self, input: &mut Input<'_>) -> Result<(), ConnectionError> {
        let (op, n) = (input.u8(), input.u8());
        let end = n & 0x80 != 0;
        let key = self.nth(n & 0x7f);
        match (op % 24, key) {
            (0 | 1, _) if self.role == Role::Server => {
                self.last = if self.last == 0 { 1 } else { self.last + 2 };
                let fields = if end { get() } else { post() };
                let flags = END_HEADERS | u8::from(end);
                self.peer_sends(HEADERS, flags, self.last, &fields)
            }
            (0 | 1, _) => {
                if self.conn.can_open().is_ok() {
                    let (head, bytes) = request(if end { b"GET" } else { b"POST" }, b"/");
                    let message = Outgoing::new(&head, &bytes, Leg::OutboundRequest);
                    let key =
                        self.conn.open(u32::from(n), &message, end, &mut self.out).expect("it can be opened");
                    assert_eq!(self.conn.owner(key), Some(u32::from(n)));
                }
                Ok(())
            }
            // The peer goes on with a stream.
            (2 | 3, Some(key)) => {
                let payload = vec![n; usize::from(input.u16())];
                self.peer_sends(DATA, u8::from(end), key.id(), &payload)
            }
            (4, Some(key)) => {
                let fields = [ok(), interim(), trailers(), input.short().to_vec()];
                let fields = &fields[input.below(4)];
                self.peer_sends(HEADERS, END_HEADERS | u8::from(end), key.id(), fields)
            }
            (5, Some(key)) => {
                let (padding, payload) = (input.u8(), vec![0; usize::from(input.u8()) * 4]);
                self.peer_sends(DATA, PADDED | u8::from(end), key.id(), &[&[padding], &payload[..]].concat())
            }
            (6, Some(key)) => self.peer_sends(RST_STREAM, 0, key.id(), &u32::from(input.u8()).to_be_bytes()),
            (7, Some(key)) => {
                let increment = u32::from(input.u16()) << if end { 15 } else { 0 };
                self.peer_sends(WINDOW_UPDATE, 0, key.id(), &increment.to_be_bytes())
            }
            (8, _) => {
                let increment = u32::from(input.u16()) << if end { 15 } else { 0 };
                self.peer_sends(WINDOW_UPDATE, 0, 0, &increment.to_be_bytes())
            }
            (9, _) => {
                let mut payload = Vec::new();
                for _ in 0..n % 4 {
                    payload.extend_from_slice(&u16::from(input.u8() % 10).to_be_bytes());
                    payload.extend_from_slice(&(u32::from(input.u16()) << (n & 15)).to_be_bytes());
                }
                self.peer_sends(SETTINGS, 0, 0, &payload)
            }
            (10, _) => self.peer_sends(PING, n & ACK, 0, &[n; 8]),
            (11, _) => {
                let last = u32::from(input.u8()).to_be_bytes();
                self.peer_sends(7, 0, 0, &[last, [0, 0, 0, n & 15]].concat())
            }
            (12, _) => {
                // A frame of any kind.
                let (kind, flags, stream) = (input.u8() % 12, input.u8(), u32::from(input.u8()));
                self.peer_sends(kind, flags, stream, input.short())
            }
            (13, _) => {
                // A field block in parts.
                let stream = (self.last + 2) | 1;
                let fields = [get(), input.short().to_vec()].concat();
                let (first, second) = fields.split_at(usize::from(n & 0x7f).min(fields.len()));
                self.last = stream;
                self.peer_sends(HEADERS, u8::from(end), stream, first)?;
                self.peer_sends(CONTINUATION, END_HEADERS, stream, second)
            }
            // The user.
            (14 | 15, Some(key)) if self.role == Role::Server => {
                let status = if input.below(5) == 0 { 100 } else { 200 };
                let head = Head::response(Version::Http2, status);
                let response = Outgoing::new(&head, &[], Leg::InboundResponse);
                let _ = self.conn.send_head(key, &response, end && status == 200, &mut self.out);
                Ok(())
            }
            (14..=18, Some(key)) => {
                let octets = usize::from(input.u16()) << (n >> 5 & 3);
                let room = self.conn.send_capacity(key);
                if let Ok(taken) = self.conn.send_data(key, &vec![n; octets], end, &mut self.out, self.now) {
                    assert_eq!(taken, room.min(octets), "as much as the windows allow");
                }
                Ok(())
            }
            (19, Some(key)) => {
                let mut head = Head::default();
                head.begin(Section::Trailers, Version::Http2);
                let mut extra = Extra::default();
                if end {
                    extra.add_named(b"grpc-status", b"0");
                }
                let trailers = Outgoing::new(&head, &[], Leg::InboundResponse).with(&extra);
                let _ = self.conn.send_trailers(key, &trailers, &mut self.out);
                Ok(())
            }
            (20, Some(key)) => {
                self.conn.reset(key, Code::CANCEL, &mut self.out);
                assert_eq!(self.conn.owner(key), None);
                Ok(())
            }
            (21, _) => {
                // Credit for what was passed on meanwhile, in any order.
                if !self.owed.is_empty() {
                    let (key, octets) = self.owed.swap_remove(usize::from(n) % self.owed.len());
                    self.conn.credit(key, octets, &mut self.out);
                }
                Ok(())
            }
            (22, _) => {
                match n % 5 {
                    0 => self.conn.shut_down(&mut self.out, self.now),
                    1 => self.conn.shut_down_now(Code::NO_ERROR, &mut self.out),
                    2 => self.conn.send_ping([n; 8], &mut self.out),
                    _ => {
                        self.conn.flushed();
                        self.ledger.answers = 0;
                    }
                }
                Ok(())
            }
            (23, _) => {
                self.now += Duration::from_millis(u64::from(input.u16()));
                self.conn.expired(&mut self.out, self.now)?;
                assert!(self.conn.next_deadline().is_none_or(|at| at > self.now), "what is due was done");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A frame of the peer's, noted in the ledger when it is accepted.
    fn peer_sends(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        self.look();
        let stream = stream & 0x7fff_ffff;
        if kind == SETTINGS && flags & ACK == 0 && payload.len().is_multiple_of(6) {
            for p in payload.chunks(6) {
                let value = u32::from_be_bytes([p[2], p[3], p[4], p[5]]);
                match p[1] {
                    // Others end the connection.
                    4 if value <= 0x7fff_ffff => self.ledger.initial = i64::from(value),
                    5 if (16_384..=16_777_215).contains(&value) => self.ledger.max_frame = value as usize,
                    _ => {}
                }
            }
        }
        if kind == WINDOW_UPDATE && payload.len() == 4 {
            let by =
                i64::from(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) & 0x7fff_ffff);
            match stream {
                0 => self.ledger.send += by,
                _ => self.ledger.streams.entry(stream).or_default().updates += by,
            }
        }
        if kind == DATA {
            self.ledger.receive -= payload.len() as i64;
            self.ledger.streams.entry(stream).or_default().received += payload.len() as i64;
        }
        let before = self.ledger.receive;
        let result = self.feed(&frame(kind, flags, stream, payload));
        if result.is_ok() {
            assert!(before >= 0, "the peer sent more than its window");
            let sent = self.ledger.streams.get(&stream);
            let window = i64::from(self.limits.stream_window_bytes);
            if sent.is_some_and(|s| s.received - s.credited > window) {
                assert!(
                    self.conn.streams().all(|(key, _)| key.id() != stream),
                    "more than the stream's window"
                );
            }
            for f in frames(&self.out) {
                if (matches!(f.kind, SETTINGS | PING) && f.flags & ACK != 0) || f.kind == RST_STREAM {
                    self.ledger.answers += 9 + f.payload.len();
                }
            }
            let most = self.limits.queued_control_bytes as usize;
            assert!(self.ledger.answers <= most + 64, "{} octets of answers are queued", self.ledger.answers);
        }
        self.look();
        if kind == RST_STREAM && result.is_ok() {
            self.ledger.streams.entry(stream).or_default().gone = true;
        }
        result
    }

    fn feed(&mut self, octets: &[u8]) -> Result<(), ConnectionError> {
        let mut input = octets;
        while let Some(event) =
            self.conn.next(&mut input, &mut self.head, &mut self.arena, &mut self.out, self.now)?
        {
            match event {
                Event::Data { stream, data, .. } if self.credits => {
                    self.conn.credit(stream, data.len(), &mut self.out);
                }
                Event::Data { stream, data, .. } => self.owed.push((stream, data.len())),
                Event::Head { stream, .. } => {
                    // A response that ends may have ended the stream.
                    self.conn.set_owner(stream, stream.id());
                    assert!(self.conn.owner(stream).is_none_or(|owner| owner == stream.id()));
                }
                Event::Writable { stream, .. } => assert!(self.conn.send_capacity(stream) > 0),
                Event::Reset { stream, .. } => {
                    assert_eq!(self.conn.owner(stream), None);
                    self.owed.retain(|(key, _)| *key != stream);
                }
                _ => {}
            }
        }
        assert!(input.is_empty(), "a whole frame is taken whole");
        Ok(())
    }

    /// Looks at what was written, and at the bounds.
    fn look(&mut self) {
        let out = std::mem::take(&mut self.out);
        let l = &mut self.ledger;
        for f in frames(out.strip_prefix(&PREFACE[..]).unwrap_or(&out)) {
            assert!(f.payload.len() <= l.max_frame, "a frame of {} octets", f.payload.len());
            match l.block {
                Some(stream) => {
                    assert_eq!((f.kind, f.stream), (CONTINUATION, stream), "a block is not interrupted")
                }
                None => assert_ne!(f.kind, CONTINUATION),
            }
            if matches!(f.kind, HEADERS | CONTINUATION) {
                l.block = (f.flags & END_HEADERS == 0).then_some(f.stream);
            }
            if f.stream == 0 {
                if f.kind == WINDOW_UPDATE {
                    l.receive += increment(&f);
                }
                continue;
            }
            let s = l.streams.entry(f.stream).or_default();
            // Frames on a stream that was reset are answered so (RFC 9113 section 5.1), and so are those on one that this
            // side has reset so long ago that it has forgotten it.
            let closed = f.kind == RST_STREAM && f.payload == Code::STREAM_CLOSED.0.to_be_bytes();
            assert!(!s.gone || f.kind == CONTINUATION || closed, "{f:?} for a stream that is gone");
            match f.kind {
                DATA => {
                    assert!(!s.ended);
                    s.sent += f.payload.len() as i64;
                    l.send -= f.payload.len() as i64;
                    if !f.payload.is_empty() {
                        assert!(l.send >= 0, "more than the connection's window");
                        assert!(s.sent <= l.initial + s.updates, "more than the stream's window");
                    }
                }
                WINDOW_UPDATE => {
                    s.credited += increment(&f);
                    assert!(s.credited <= s.received, "credit is given once");
                }
                RST_STREAM => s.gone = true,
                HEADERS => assert!(!s.ended),
                _ => {}
            }
            s.ended |= matches!(f.kind, DATA | HEADERS) && f.flags & END_STREAM != 0;
        }
        let most = i64::from(self.limits.connection_window_bytes.max(65_535));
        assert!(l.receive <= most, "the connection's window is {} of {most}", l.receive);
        let allowed = match self.role {
            Role::Server => self.limits.max_concurrent_streams,
            Role::Client => self.limits.outgoing_streams,
        };
        assert!(self.conn.open_streams() <= allowed);
        assert_eq!(self.conn.streams().count(), self.conn.open_streams() as usize);
        assert!(self.arena.len() <= self.limits.header_list_bytes as usize + 32 * 1024);
        for (key, since) in self.conn.blocked() {
            assert!(self.conn.owner(key).is_some() && since <= self.now);
        }
    }
}

fn increment(f: &Frame) -> i64 {
    let by = u32::from_be_bytes(f.payload[..].try_into().expect("four octets"));
    assert!(by > 0 && by <= 0x7fff_ffff);
    i64::from(by)
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

fn interim() -> Vec<u8> {
    block(&[(":status", "103")])
}

fn trailers() -> Vec<u8> {
    block(&[("grpc-status", "0")])
}

/// Exchanges.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        // A request with content, answered with content and trailers.
        vec![0, 0, 0, 2, 0, 0, 9, 2, 0x80, 1, 0, 14, 0, 1, 16, 0, 0, 9, 19, 0x80],
        // Many requests at once, content until the windows are used up, then more window.
        vec![
            0, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 14, 0, 1, 16, 0x60, 255, 255, 7, 0, 255, 0, 8, 0, 255,
            255, 16, 0, 5, 0,
        ],
        vec![
            1, 0, 0, 0, 0, 0, 0x80, 4, 0, 0, 2, 0, 100, 0, 5, 0, 3, 9, 4, 0x80, 0, 2, 16, 0, 0, 1, 16, 0x80,
            0, 1,
        ],
        // Settings, pings, time, credit later.
        vec![8, 9, 1, 4, 100, 0, 10, 0, 10, 1, 0, 0, 2, 0, 0, 100, 21, 0, 23, 0, 0, 64, 22, 0, 22, 3],
        vec![12, 0, 0, 2, 0, 200, 0, 2, 0, 50, 0, 21, 0, 20, 0, 2, 0, 1, 0, 6, 0, 8],
        vec![2, 13, 3, 0, 13, 0x85, 3, 0x40, 1, b'a', 1, b'b', 22, 1, 0, 0, 11, 1, 0],
        vec![3, 0, 1, 0, 1, 11, 0, 1, 0, 1, 12, 0, 1, 4, 1, 5, 0x88, 0, 0, 0, 0, 8, 0x80, 255, 255],
    ]
}
