//! HTTP/1 connections: from bytes to the calls of an exchange.
//!
//! One message at a time each way. A client's next request stays unread in `input` until the one before is answered
//! (pipelining); so at most one read of it is held.

use weft_http::h1::{Body, Decoder, Event, Framing, Parser, is_persistent, is_reusable};
use weft_http::head::{Head, Method, Section, Version};

use crate::conn::{Closing, Conn, Stage, Timeout};
use crate::content::Way;
use crate::exchange::{Exchange, Leg};
use crate::io::Io;
use crate::limits::Bound;
use crate::retry::Lost;
use crate::slab::Key;
use crate::worker::{Todo, Worker};

/// A client speaks HTTP/1 with us.
pub(crate) struct Http1Server {
    parser: Parser,
    /// Content of the request is coming.
    decoder: Option<Decoder>,
    pub(crate) exchange: Option<Key<Exchange>>,
    /// The connection can be used again after this exchange.
    pub(crate) keep: bool,
    /// The client's version.
    pub(crate) version: Version,
    /// How the response's content is written.
    pub(crate) framing: Framing,
    /// Content dropped of a request that is answered already.
    discarded: usize,
}

/// We speak HTTP/1 with a server.
pub(crate) struct Http1Client {
    parser: Parser,
    decoder: Option<Decoder>,
    pub(crate) exchange: Option<Key<Exchange>>,
    method: Method,
    /// Interim responses to this request so far.
    interim: u32,
    /// How the request's content is written.
    pub(crate) framing: Framing,
    /// The connection can carry another request after this response.
    pub(crate) reusable: bool,
}

impl Http1Server {
    pub(crate) fn new() -> Self {
        Self {
            parser: Parser::new(Section::Request),
            decoder: None,
            exchange: None,
            keep: true,
            version: Version::Http11,
            framing: Framing::None,
            discarded: 0,
        }
    }

    pub(crate) fn in_content(&self) -> bool {
        self.decoder.is_some()
    }

    /// Nothing more of the request's content will be read.
    pub(crate) fn forget_content(&mut self) {
        self.decoder = None;
    }

    /// True if nothing is going on.
    pub(crate) fn is_idle(&self) -> bool {
        self.exchange.is_none() && self.decoder.is_none() && !self.parser.is_partial()
    }
}

impl Http1Client {
    pub(crate) fn new() -> Self {
        Self {
            parser: Parser::new(Section::Response),
            decoder: None,
            exchange: None,
            method: Method::Get,
            interim: 0,
            framing: Framing::None,
            reusable: true,
        }
    }

    /// A request was written.
    pub(crate) fn begin(&mut self, ex: Key<Exchange>, method: Method, framing: Framing, persistent: bool) {
        *self = Self { exchange: Some(ex), method, framing, reusable: persistent, ..Self::new() };
    }

    pub(crate) fn in_content(&self) -> bool {
        self.decoder.is_some()
    }
}

/// What one look at the bytes led to.
enum Looked {
    /// This many bytes are done with; look again.
    At(usize),
    /// This many are done with, and no more can be now.
    Stop(usize),
}

impl Worker {
    // --- a client's connection

    /// Requests and their content; how many bytes were used.
    pub(crate) fn http1_requests(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(conn) = self.conns.get(id) else { return bytes.len() };
            let Stage::Http1Server(server) = &conn.stage else { return at };
            if conn.paused {
                return at;
            }
            let looked = if server.decoder.is_some() {
                self.http1_content(io, id, rest, Way::Request)
            } else if server.exchange.is_some() {
                // Pipelined: it waits. Who has nothing to say is still listened to, for the end of the connection.
                if !rest.is_empty() {
                    self.pause(io, id);
                }
                Looked::Stop(0)
            } else if rest.is_empty() {
                Looked::Stop(0)
            } else {
                self.http1_request(io, id, rest)
            };
            match looked {
                Looked::At(n) => at += n,
                Looked::Stop(n) => return at + n,
            }
        }
    }

    fn http1_request(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> Looked {
        let mut head = std::mem::take(&mut self.heads.head);
        let looked = self.http1_request_in(io, id, bytes, &mut head);
        self.heads.head = head;
        looked
    }

    fn http1_request_in(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8], head: &mut Head) -> Looked {
        let Some(conn) = self.conns.get_mut(id) else { return Looked::Stop(bytes.len()) };
        let Stage::Http1Server(server) = &mut conn.stage else { return Looked::Stop(0) };
        match server.parser.parse(bytes, head, &self.config.limits.http) {
            Ok(None) => {
                if conn.deadline.is_none() {
                    self.set_deadline(id, Some((self.now + self.config.head_timeout, Timeout::Head)));
                }
                Looked::Stop(0)
            }
            Ok(Some(n)) => {
                let body = Body::of_request(head);
                let ended = body == Body::None;
                server.decoder = (!ended).then(|| Decoder::new(body));
                server.version = head.version;
                server.keep = is_persistent(head);
                server.discarded = 0;
                self.set_deadline(id, None);
                let (head_bytes, _) = bytes.split_at_checked(n).unwrap_or_default();
                self.request(io, Leg { conn: id, stream: None }, head, head_bytes, ended);
                Looked::At(n)
            }
            Err(fault) => {
                self.malformed_request(io, id, fault.status(), &fault.to_string());
                Looked::Stop(bytes.len())
            }
        }
    }

    /// A piece of content of either direction.
    fn http1_content(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8], way: Way) -> Looked {
        let mut trailers = std::mem::take(&mut self.heads.trailers);
        let looked = self.http1_content_in(io, id, bytes, way, &mut trailers);
        self.heads.trailers = trailers;
        looked
    }

    fn http1_content_in(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        bytes: &[u8],
        way: Way,
        trailers: &mut Head,
    ) -> Looked {
        let Some(conn) = self.conns.get_mut(id) else { return Looked::Stop(bytes.len()) };
        let (decoder, exchange) = match &mut conn.stage {
            Stage::Http1Server(server) => (&mut server.decoder, server.exchange),
            Stage::Http1Client(client) => (&mut client.decoder, client.exchange),
            _ => return Looked::Stop(0),
        };
        let Some(content) = decoder else { return Looked::Stop(0) };
        match content.decode(bytes, trailers, &self.config.limits.http) {
            Ok(step) => match step.event {
                Event::NeedMore => Looked::Stop(step.consumed),
                Event::Data(range) => {
                    // Content of known length ends with its last byte; there is no event of its own to wait for.
                    let end = content.is_end();
                    if end {
                        *decoder = None;
                    }
                    match exchange {
                        Some(ex) => self.deliver(io, ex, way, range.of(bytes), end),
                        None => self.discard_content(io, id, range.len(), end),
                    }
                    Looked::At(step.consumed)
                }
                Event::End => {
                    *decoder = None;
                    match exchange {
                        Some(ex) => self.end_of(io, ex, way, Some((trailers, bytes))),
                        None => self.discard_content(io, id, 0, true),
                    }
                    Looked::At(step.consumed)
                }
            },
            Err(error) => {
                match (way, exchange) {
                    (Way::Request, Some(ex)) => self.malformed_content(io, ex, &error.to_string()),
                    (Way::Response, Some(ex)) => {
                        self.todo.push_back(Todo::Close(id, Closing::Cut));
                        self.upstream_lost(io, ex, Lost::Broken);
                    }
                    (_, None) => self.todo.push_back(Todo::Close(id, Closing::Cut)),
                }
                Looked::Stop(bytes.len())
            }
        }
    }

    /// Content of a request that was answered before it had come.
    fn discard_content(&mut self, io: &mut impl Io, id: Key<Conn>, n: usize, end: bool) {
        let limit = self.config.limits.discard_bytes;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http1Server(server) = &mut conn.stage else { return };
        server.discarded += n;
        if server.discarded > limit {
            self.met(io, Bound::DiscardBytes);
            self.todo.push_back(Todo::Close(id, Closing::Cut));
        } else if end {
            // The next request may take its time.
            self.set_deadline(id, None);
        }
    }

    /// The client sends nothing more.
    pub(crate) fn http1_client_ended(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        let Stage::Http1Server(server) = &conn.stage else { return };
        match server.exchange {
            // Clients that give up do no more than this, and a server that streams without end would never be told. Those
            // that half-close and wait (RFC 9112 9.6 leaves it open) are cut off, as by Linkerd's proxy.
            Some(ex) => {
                self.todo.push_back(Todo::Close(id, Closing::Cut));
                self.cancelled(io, ex);
            }
            None => self.todo.push_back(Todo::Close(id, Closing::Clean)),
        }
    }

    /// A head was begun and not ended.
    pub(crate) fn slow_head(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.malformed_request(io, id, 408, "the head of the request did not come in time");
    }

    // --- a server's connection

    /// Responses and their content; how many bytes were used.
    pub(crate) fn http1_responses(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(conn) = self.conns.get(id) else { return bytes.len() };
            let Stage::Http1Client(client) = &conn.stage else { return at };
            if conn.paused {
                return at;
            }
            let looked = if client.decoder.is_some() {
                self.http1_content(io, id, rest, Way::Response)
            } else if rest.is_empty() {
                Looked::Stop(0)
            } else if let Some(ex) = client.exchange {
                self.http1_response(io, id, ex, rest)
            } else {
                // Bytes that nobody asked for: what they answer cannot be known. At once, before somebody takes it
                // from the pool.
                self.close(io, id, Closing::Cut);
                return bytes.len();
            };
            match looked {
                Looked::At(n) => at += n,
                Looked::Stop(n) => return at + n,
            }
        }
    }

    fn http1_response(&mut self, io: &mut impl Io, id: Key<Conn>, ex: Key<Exchange>, bytes: &[u8]) -> Looked {
        let mut head = std::mem::take(&mut self.heads.head);
        let looked = self.http1_response_in(io, id, ex, bytes, &mut head);
        self.heads.head = head;
        looked
    }

    fn http1_response_in(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        ex: Key<Exchange>,
        bytes: &[u8],
        head: &mut Head,
    ) -> Looked {
        let Some(conn) = self.conns.get_mut(id) else { return Looked::Stop(bytes.len()) };
        let Stage::Http1Client(client) = &mut conn.stage else { return Looked::Stop(0) };
        let n = match client.parser.parse(bytes, head, &self.config.limits.http) {
            Ok(None) => return Looked::Stop(0),
            Ok(Some(n)) => n,
            Err(_) => {
                self.todo.push_back(Todo::Close(id, Closing::Cut));
                self.upstream_lost(io, ex, Lost::Malformed);
                return Looked::Stop(bytes.len());
            }
        };
        let (head_bytes, _) = bytes.split_at_checked(n).unwrap_or_default();
        let body = Body::of_response(head, client.method);
        if body == Body::Tunnel {
            if !self.tunnel(io, ex, head, head_bytes) && self.exchanges.get(ex).is_some() {
                // Nobody asked for one.
                self.todo.push_back(Todo::Close(id, Closing::Cut));
                self.upstream_lost(io, ex, Lost::Malformed);
            }
            // What follows is for the other end, if there is a tunnel.
            return Looked::Stop(n);
        }
        if head.status < 200 {
            client.interim += 1;
            if client.interim > self.config.limits.http.http1.interim_heads {
                self.todo.push_back(Todo::Close(id, Closing::Cut));
                self.upstream_lost(io, ex, Lost::Malformed);
                return Looked::Stop(bytes.len());
            }
            self.interim(ex, head, head_bytes);
            return Looked::At(n);
        }
        let ended = body == Body::None;
        client.reusable &= is_reusable(head, client.method);
        client.decoder = (!ended).then(|| Decoder::new(body));
        self.respond(io, ex, head, head_bytes, ended);
        Looked::At(n)
    }

    /// The server sends nothing more: that may be the end of the content.
    pub(crate) fn http1_server_ended(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http1Client(client) = &mut conn.stage else { return };
        client.reusable = false;
        let whole = client.decoder.take().is_some_and(|mut d| d.closed().is_ok());
        match client.exchange {
            Some(ex) if whole => {
                self.todo.push_back(Todo::Close(id, Closing::Clean));
                self.end_of(io, ex, Way::Response, None);
            }
            Some(ex) => {
                self.todo.push_back(Todo::Close(id, Closing::Cut));
                self.upstream_lost(io, ex, Lost::Broken);
            }
            // At once, before somebody takes it from the pool.
            None => self.close(io, id, Closing::Clean),
        }
    }
}
