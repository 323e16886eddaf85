//! HTTP/1 by sections of its RFCs, a request smuggling corpus, and properties.
//!
//! [`Peer`] reads a whole connection the way the engine does and writes down what it saw, one line for each message:
//! tables and properties compare these texts.

mod bodies;
mod heads;
mod properties;
mod smuggling;
mod writing;

use super::{Body, Decoder, Event, Parser};
use crate::head::{Head, Method, Section, Version};
use crate::limits::Limits;
use std::fmt::Write as _;

/// One end of a connection that only reads.
struct Peer {
    limits: Limits,
    parser: Parser,
    section: Section,
    head: Head,
    trailers: Head,
    body: Option<Decoder>,
    /// Methods of the requests that the responses belong to; GET when there are no more.
    asked: Vec<Method>,
    buffer: Vec<u8>,
    seen: String,
    failed: bool,
}

impl Peer {
    fn server() -> Self {
        Self::new(Section::Request, &[])
    }

    fn client(asked: &[Method]) -> Self {
        Self::new(Section::Response, asked)
    }

    fn new(section: Section, asked: &[Method]) -> Self {
        Self {
            limits: Limits::default(),
            parser: Parser::new(section),
            section,
            head: Head::default(),
            trailers: Head::default(),
            body: None,
            asked: asked.iter().rev().copied().collect(),
            buffer: Vec::new(),
            seen: String::new(),
            failed: false,
        }
    }

    fn with(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Feeds bytes; whatever can be dealt with is dealt with and leaves the buffer.
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        // Another connection of the worker used the head meanwhile.
        self.head.begin(Section::Trailers, Version::Http2);
        self.trailers.begin(Section::Trailers, Version::Http2);
        while !self.failed && self.step() {}
    }

    fn step(&mut self) -> bool {
        let consumed = match &mut self.body {
            None => match self.parser.parse(&self.buffer, &mut self.head, &self.limits) {
                Ok(Some(n)) => {
                    self.message();
                    n
                }
                Ok(None) => return false,
                Err(fault) => return self.fail(&format!("{fault:?} {}", fault.status())),
            },
            Some(body) => match body.decode(&self.buffer, &mut self.trailers, &self.limits) {
                Ok(step) => {
                    match step.event {
                        Event::Data(range) => {
                            let _ = write!(self.seen, "{}", range.of(&self.buffer).escape_ascii());
                        }
                        Event::NeedMore => {
                            self.buffer.drain(..step.consumed);
                            return false;
                        }
                        Event::End => {
                            let trailers: Vec<_> = fields(&self.trailers, &self.buffer);
                            let trailers =
                                if self.trailers.section == Section::Trailers { trailers } else { vec![] };
                            self.seen.push('>');
                            for trailer in trailers {
                                let _ = write!(self.seen, " {trailer}");
                            }
                            self.seen.push('\n');
                            self.body = None;
                            self.trailers.begin(Section::Trailers, Version::Http2);
                        }
                    }
                    step.consumed
                }
                Err(fault) => return self.fail(&format!("> {fault:?}")),
            },
        };
        self.buffer.drain(..consumed);
        true
    }

    fn fail(&mut self, what: &str) -> bool {
        self.failed = true;
        let _ = writeln!(self.seen, "{what}");
        false
    }

    fn message(&mut self) {
        let Self { head, buffer, .. } = self;
        let body = if self.section == Section::Request {
            let _ = write!(
                self.seen,
                "{:?} {} {:?} {}",
                head.version,
                String::from_utf8_lossy(head.method_name.of(buffer)),
                head.target,
                String::from_utf8_lossy(head.authority.of(buffer))
                    + String::from_utf8_lossy(head.path.of(buffer)),
            );
            Body::of_request(head)
        } else {
            let method =
                if head.status < 200 { Method::Get } else { self.asked.pop().unwrap_or(Method::Get) };
            let _ = write!(self.seen, "{:?} {}", head.version, head.status);
            Body::of_response(head, method)
        };
        let fields = fields(head, buffer).join(" ");
        let _ = write!(self.seen, " [{fields}] {body:?} <");
        self.body = Some(Decoder::new(body));
    }

    /// Everything seen, after the connection was closed by the other side.
    fn closed(mut self) -> String {
        if !self.failed {
            match &mut self.body {
                Some(body) => match body.closed() {
                    Ok(()) => self.seen.push_str(">\n"),
                    Err(fault) => {
                        let _ = writeln!(self.seen, "> {fault:?}");
                    }
                },
                None if self.parser.is_partial() => self.seen.push_str("partial\n"),
                None => {}
            }
        }
        self.seen
    }
}

/// Fields but `host`, as `name:value`.
fn fields(head: &Head, bytes: &[u8]) -> Vec<String> {
    head.fields
        .iter()
        .filter(|f| !f.name.of(bytes).eq_ignore_ascii_case(b"host"))
        .map(|f| {
            let (name, value) = (f.name.of(bytes), f.value.of(bytes));
            format!("{}:{}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        })
        .collect()
}

/// What a server sees of these bytes when they come at once.
fn requests(bytes: &[u8]) -> String {
    let mut peer = Peer::server();
    peer.feed(bytes);
    peer.closed()
}

/// What a client that sent requests of these methods sees.
fn responses(asked: &[Method], bytes: &[u8]) -> String {
    let mut peer = Peer::client(asked);
    peer.feed(bytes);
    peer.closed()
}

/// A head on its own: the head, or the name of its fault.
fn request(bytes: &[u8]) -> Result<Head, String> {
    one(Section::Request, bytes)
}

/// The same in short: method, authority and path, content of each message; the fault.
fn brief(seen: &str) -> String {
    let short = |line: &str| match line.split_once(" [") {
        Some((start, rest)) => {
            let start: Vec<_> = start.split(' ').skip(1).filter(|w| *w != "Origin").collect();
            let content = rest.find('<').and_then(|at| rest.get(at..)).unwrap_or_default();
            format!("{} {content}", start.join(" "))
        }
        None => line.split(' ').next().unwrap_or_default().to_owned(),
    };
    seen.lines().map(short).collect::<Vec<_>>().join(" | ")
}

fn response(bytes: &[u8]) -> Result<Head, String> {
    one(Section::Response, bytes)
}

fn one(section: Section, bytes: &[u8]) -> Result<Head, String> {
    let mut head = Head::default();
    match Parser::new(section).parse(bytes, &mut head, &Limits::default()) {
        Ok(Some(n)) if n == bytes.len() => Ok(head),
        Ok(Some(n)) => Err(format!("ends at {n}")),
        Ok(None) => Err("incomplete".to_owned()),
        Err(fault) => Err(format!("{fault:?}")),
    }
}
