//! One HTTP connection of an application, either side and either version, on the product's own codecs (they are
//! compared with others in their own crate).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use weft_http::fields::Leg;
use weft_http::h1::{self, Body, Decoder, Framing, Parser};
use weft_http::h2::{self, Code, Connection, Role, StreamKey};
use weft_http::head::{Extra, Head, Method, Outgoing, Section, Version};
use weft_http::limits::Limits;

use crate::spec::{
    ABORT, CHUNKED_REQUEST, CHUNKED_RESPONSE, CLOSE, EXPECT, GRPC, HOLD, Spec, TRAILERS, UNTIL_CLOSE, UPGRADE,
};

/// What came of one message or its part.
#[derive(Debug)]
pub(crate) enum Got {
    /// A request's or a final response's head: status (0 for requests), path, what it asks for, and whether the proxy made it.
    Head {
        stream: u32,
        status: u16,
        path: Vec<u8>,
        spec: Option<Spec>,
        by_proxy: bool,
        /// The connection carries no other message.
        last: bool,
        client_id: Option<String>,
        grpc_status: Option<u8>,
    },
    Interim {
        stream: u32,
        status: u16,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
    },
    End {
        stream: u32,
        trailers: bool,
        grpc_status: Option<u8>,
    },
    Reset {
        stream: u32,
    },
    /// 101: what follows are bytes.
    Upgraded,
    GoAway,
    /// The codec says that the proxy broke the protocol.
    Broken(String),
}

/// The two versions.
pub(crate) enum Wire {
    H1 {
        parser: Parser,
        decoder: Option<Decoder>,
        out: Framing,
        method: Method,
        upgraded: bool,
        close_delimited: bool,
    },
    H2 {
        connection: Box<Connection>,
        keys: HashMap<u32, StreamKey>,
    },
}

pub(crate) struct Http {
    pub(crate) wire: Wire,
    server: bool,
    limits: Limits,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    head: Head,
    arena: Vec<u8>,
}

impl Http {
    pub(crate) fn h1(server: bool) -> Self {
        let section = if server { Section::Request } else { Section::Response };
        Self::new(
            Wire::H1 {
                parser: Parser::new(section),
                decoder: None,
                out: Framing::None,
                method: Method::Get,
                upgraded: false,
                close_delimited: false,
            },
            server,
        )
    }

    pub(crate) fn h2(server: bool, now: u64) -> Self {
        let mut output = Vec::new();
        let role = if server { Role::Server } else { Role::Client };
        let config = h2::Config::default().with_keepalive(None);
        let connection = Connection::new(role, Arc::new(config), &mut output, Duration::from_nanos(now));
        let mut this = Self::new(Wire::H2 { connection: Box::new(connection), keys: HashMap::new() }, server);
        this.output = output;
        this
    }

    fn new(wire: Wire, server: bool) -> Self {
        let limits = Limits::default();
        Self {
            wire,
            server,
            limits,
            input: Vec::new(),
            output: Vec::new(),
            head: Head::default(),
            arena: Vec::new(),
        }
    }

    /// Everything that can be understood of the input now.
    pub(crate) fn next(&mut self, now: u64) -> Vec<Got> {
        let mut input = std::mem::take(&mut self.input);
        let mut got = Vec::new();
        let used = match &self.wire {
            Wire::H1 { .. } => self.next_h1(&input, &mut got),
            Wire::H2 { .. } => self.next_h2(&input, &mut got, now),
        };
        input.drain(..used);
        self.input = input;
        got
    }

    fn next_h1(&mut self, input: &[u8], got: &mut Vec<Got>) -> usize {
        let server = self.server;
        let Wire::H1 { parser, decoder, method, upgraded, close_delimited, .. } = &mut self.wire else {
            return 0;
        };
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if *upgraded {
                if !rest.is_empty() {
                    got.push(Got::Data { stream: 0, bytes: rest.to_vec() });
                }
                return input.len();
            }
            if let Some(content) = decoder {
                let step = match content.decode(rest, &mut self.head, &self.limits) {
                    Ok(step) => step,
                    Err(e) => {
                        got.push(Got::Broken(e.to_string()));
                        return input.len();
                    }
                };
                match step.event {
                    h1::Event::NeedMore => return at + step.consumed,
                    h1::Event::Data(range) => {
                        got.push(Got::Data { stream: 0, bytes: range.of(rest).to_vec() });
                    }
                    h1::Event::End => {
                        let trailers = self.head.section == Section::Trailers && !self.head.fields.is_empty();
                        *decoder = None;
                        got.push(Got::End { stream: 0, trailers, grpc_status: None });
                        return at + step.consumed;
                    }
                }
                at += step.consumed;
                continue;
            }
            if rest.is_empty() {
                return at;
            }
            match parser.parse(rest, &mut self.head, &self.limits) {
                Ok(None) => return at,
                Err(e) => {
                    got.push(Got::Broken(e.to_string()));
                    return input.len();
                }
                Ok(Some(n)) => {
                    let head_bytes = &rest[..n];
                    at += n;
                    let interim = !server && self.head.status < 200;
                    if interim && self.head.status != 101 {
                        got.push(Got::Interim { stream: 0, status: self.head.status });
                        continue;
                    }
                    if interim {
                        *upgraded = true;
                        got.push(Got::Upgraded);
                        continue;
                    }
                    let body = if server {
                        Body::of_request(&self.head)
                    } else {
                        Body::of_response(&self.head, *method)
                    };
                    *close_delimited = body == Body::UntilClose;
                    got.push(head_of(&self.head, head_bytes, 0));
                    match body {
                        Body::None => got.push(Got::End { stream: 0, trailers: false, grpc_status: None }),
                        body => *decoder = Some(Decoder::new(body)),
                    }
                    // One message at a time: how the next is read may depend on this one.
                    if body == Body::None {
                        return at;
                    }
                }
            }
        }
    }

    fn next_h2(&mut self, input: &[u8], got: &mut Vec<Got>, now: u64) -> usize {
        let Wire::H2 { connection, keys } = &mut self.wire else { return 0 };
        let now = Duration::from_nanos(now);
        let mut rest = input;
        loop {
            let event = connection.next(&mut rest, &mut self.head, &mut self.arena, &mut self.output, now);
            match event {
                Err(e) => {
                    if std::env::var_os("WEFT_SIM_LOG").is_some() {
                        eprintln!("{e}: {:02x?}", &rest[..rest.len().min(80)]);
                    }
                    got.push(Got::Broken(e.to_string()));
                    return input.len();
                }
                Ok(None) => return input.len() - rest.len(),
                Ok(Some(event)) => match event {
                    h2::Event::Head { stream, end, .. } => {
                        keys.insert(stream.id(), stream);
                        if self.head.status != 0 && self.head.status < 200 {
                            got.push(Got::Interim { stream: stream.id(), status: self.head.status });
                            continue;
                        }
                        got.push(head_of(&self.head, &self.arena, stream.id()));
                        if end {
                            got.push(Got::End { stream: stream.id(), trailers: false, grpc_status: None });
                        }
                    }
                    h2::Event::Data { stream, data, end, .. } => {
                        got.push(Got::Data { stream: stream.id(), bytes: data.to_vec() });
                        if end {
                            got.push(Got::End { stream: stream.id(), trailers: false, grpc_status: None });
                        }
                    }
                    h2::Event::Trailers { stream, .. } => {
                        let grpc_status = grpc_status(&self.head, &self.arena);
                        got.push(Got::End { stream: stream.id(), trailers: true, grpc_status });
                    }
                    h2::Event::Reset { stream, .. } => got.push(Got::Reset { stream: stream.id() }),
                    h2::Event::GoAway { .. } => got.push(Got::GoAway),
                    _ => {}
                },
            }
        }
    }

    /// The peer has ended its stream: that may be the end of the content. False if something is missing.
    pub(crate) fn ended(&mut self) -> bool {
        match &mut self.wire {
            Wire::H1 { decoder, .. } => match decoder.take() {
                Some(mut d) => d.closed().is_ok(),
                None => false,
            },
            Wire::H2 { .. } => false,
        }
    }

    /// Content was looked at: the proxy may send more.
    pub(crate) fn credit(&mut self, stream: u32, octets: usize) {
        if let Wire::H2 { connection, keys } = &mut self.wire
            && let Some(key) = keys.get(&stream)
        {
            connection.credit(*key, octets, &mut self.output);
        }
    }

    /// Writes a request's head; its stream. None if no stream can be opened now.
    pub(crate) fn send_request(&mut self, spec: &Spec, authority: &str, http10: bool) -> Option<u32> {
        let mut extra = Extra::default();
        let text = spec.text();
        extra.add_named(b"x-sim", b"client");
        extra.add_named(b"x-spec", text.as_bytes());
        if spec.has(EXPECT) {
            extra.add_named(b"expect", b"100-continue");
        }
        if spec.has(GRPC) {
            extra.add_named(b"content-type", b"application/grpc");
            extra.add_named(b"te", b"trailers");
        }
        match &mut self.wire {
            Wire::H1 { out, method, .. } => {
                *method = Method::of(spec.method().as_bytes());
                let version = if http10 { "HTTP/1.0" } else { "HTTP/1.1" };
                let mut text = format!(
                    "{} {} {version}\r\nhost: {authority}\r\nx-sim: client\r\nx-spec: {text}\r\n",
                    spec.method(),
                    spec.path()
                );
                if http10 {
                    text += "connection: keep-alive\r\n";
                }
                if spec.has(EXPECT) {
                    text += "expect: 100-continue\r\n";
                }
                if spec.has(UPGRADE) {
                    text += "connection: upgrade\r\nupgrade: websocket\r\n";
                }
                *out = Framing::None;
                if spec.has(CHUNKED_REQUEST) {
                    *out = Framing::Chunked;
                    text += "transfer-encoding: chunked\r\n";
                } else if spec.request > 0 && !spec.is_tunnel() {
                    *out = Framing::Length(spec.request as u64);
                    text += &format!("content-length: {}\r\n", spec.request);
                }
                text += "\r\n";
                self.output.extend_from_slice(text.as_bytes());
                Some(0)
            }
            Wire::H2 { connection, keys } => {
                let (path, method) = (spec.path(), spec.method());
                let text = format!("{method}{path}{authority}http");
                let mut head = Head::response(Version::Http2, 0);
                head.section = Section::Request;
                head.method = Method::of(method.as_bytes());
                let mut at = 0;
                let mut range = |len: usize| {
                    at += len;
                    weft_http::head::Range::new(at - len, at)
                };
                head.method_name = range(method.len());
                head.path = range(path.len());
                head.authority = range(authority.len());
                head.scheme = range(4);
                if spec.request > 0 && !spec.has(CHUNKED_REQUEST) {
                    extra.add_named(b"content-length", spec.request.to_string().as_bytes());
                }
                let message = Outgoing::new(&head, text.as_bytes(), Leg::OutboundRequest).with(&extra);
                let end = spec.request == 0 && !spec.has(CHUNKED_REQUEST);
                let key = connection.open(spec.id, &message, end, &mut self.output).ok()?;
                keys.insert(key.id(), key);
                Some(key.id())
            }
        }
    }

    /// Writes a response's head.
    pub(crate) fn send_response(&mut self, stream: u32, spec: &Spec, interim: Option<u16>) {
        let status = interim.unwrap_or(spec.status);
        let interim = interim.is_some();
        let bodyless = spec.is_bodyless();
        match &mut self.wire {
            Wire::H1 { out, upgraded, .. } => {
                let mut text = format!("HTTP/1.1 {status} Sim\r\nx-sim: server\r\n");
                if interim {
                    self.output.extend_from_slice(text.as_bytes());
                    self.output.extend_from_slice(b"\r\n");
                    return;
                }
                *out = Framing::None;
                if spec.has(UPGRADE) {
                    text =
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                            .to_owned();
                    *upgraded = true;
                } else if bodyless {
                } else if spec.has(UNTIL_CLOSE) {
                    *out = Framing::UntilClose;
                } else if spec.has(CHUNKED_RESPONSE) {
                    *out = Framing::Chunked;
                    text += "transfer-encoding: chunked\r\n";
                } else {
                    *out = Framing::Length(spec.response as u64);
                    text += &format!("content-length: {}\r\n", spec.response);
                }
                // Nobody should come again to one that reads nothing.
                if spec.has(CLOSE | HOLD) {
                    text += "connection: close\r\n";
                }
                text += "\r\n";
                self.output.extend_from_slice(text.as_bytes());
            }
            Wire::H2 { connection, keys } => {
                let Some(key) = keys.get(&stream) else { return };
                let mut extra = Extra::default();
                extra.add_named(b"x-sim", b"server");
                let exact = !bodyless && !spec.has(CHUNKED_RESPONSE | UNTIL_CLOSE | GRPC | ABORT) && !interim;
                if exact {
                    extra.add_named(b"content-length", spec.response.to_string().as_bytes());
                }
                if spec.has(GRPC) {
                    extra.add_named(b"content-type", b"application/grpc");
                }
                let head = Head::response(Version::Http2, status);
                let end = !interim && (bodyless || spec.response == 0 && !spec.has(TRAILERS | GRPC));
                let message = Outgoing::new(&head, &[], Leg::InboundResponse).with(&extra);
                let _ = connection.send_head(*key, &message, end, &mut self.output);
            }
        }
    }

    /// Writes content; how much was taken.
    pub(crate) fn send_data(&mut self, stream: u32, bytes: &[u8], now: u64) -> usize {
        match &mut self.wire {
            Wire::H1 { out, upgraded, .. } => {
                if *out == Framing::Chunked && !*upgraded {
                    h1::write_chunk(&mut self.output, bytes);
                } else {
                    self.output.extend_from_slice(bytes);
                }
                bytes.len()
            }
            Wire::H2 { connection, keys } => match keys.get(&stream) {
                Some(key) => connection
                    .send_data(*key, bytes, false, &mut self.output, Duration::from_nanos(now))
                    .unwrap_or(bytes.len()),
                None => bytes.len(),
            },
        }
    }

    /// Ends a message.
    pub(crate) fn send_end(&mut self, stream: u32, trailers: bool, grpc: Option<u8>) {
        match &mut self.wire {
            Wire::H1 { out, .. } => {
                if *out == Framing::Chunked {
                    self.output.extend_from_slice(b"0\r\n");
                    if trailers {
                        self.output.extend_from_slice(b"x-trailer: sim\r\n");
                    }
                    self.output.extend_from_slice(b"\r\n");
                }
            }
            Wire::H2 { connection, keys } => {
                let Some(key) = keys.get(&stream).copied() else { return };
                if trailers || grpc.is_some() {
                    let mut head = Head::default();
                    head.begin(Section::Trailers, Version::Http2);
                    let mut extra = Extra::default();
                    if trailers {
                        extra.add_named(b"x-trailer", b"sim");
                    }
                    if let Some(status) = grpc {
                        extra.add_named(b"grpc-status", status.to_string().as_bytes());
                    }
                    let message = Outgoing::new(&head, &[], Leg::InboundResponse).with(&extra);
                    let _ = connection.send_trailers(key, &message, &mut self.output);
                } else {
                    let _ = connection.send_data(key, &[], true, &mut self.output, Duration::ZERO);
                }
            }
        }
    }

    pub(crate) fn reset(&mut self, stream: u32) {
        self.reset_with(stream, Code::CANCEL);
    }

    /// The request was not seen.
    pub(crate) fn refuse(&mut self, stream: u32) {
        self.reset_with(stream, Code::REFUSED_STREAM);
    }

    fn reset_with(&mut self, stream: u32, code: Code) {
        if let Wire::H2 { connection, keys } = &mut self.wire
            && let Some(key) = keys.get(&stream)
        {
            connection.reset(*key, code, &mut self.output);
        }
    }

    /// Takes no new streams.
    pub(crate) fn shut_down(&mut self, now: u64) {
        if let Wire::H2 { connection, .. } = &mut self.wire {
            connection.shut_down(&mut self.output, Duration::from_nanos(now));
        }
    }

    /// The last stream has ended, and no other comes.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(&self.wire, Wire::H2 { connection, .. } if connection.is_finished())
    }

    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.wire, Wire::H2 { .. })
    }
}

fn grpc_status(head: &Head, bytes: &[u8]) -> Option<u8> {
    let value = head.values_named(bytes, b"grpc-status").next()?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn head_of(head: &Head, bytes: &[u8], stream: u32) -> Got {
    let named = |name: &'static [u8]| head.values_named(bytes, name).next().map(<[u8]>::to_vec);
    Got::Head {
        stream,
        status: head.status,
        path: head.path.of(bytes).to_vec(),
        spec: named(b"x-spec").and_then(|v| Spec::parse(&v)),
        last: head.version != Version::Http2 && !h1::is_persistent(head),
        by_proxy: head.status != 0 && named(b"x-sim").is_none(),
        client_id: named(b"l5d-client-id").map(|v| String::from_utf8_lossy(&v).into_owned()),
        grpc_status: grpc_status(head, bytes),
    }
}
