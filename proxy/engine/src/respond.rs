//! Answers that the proxy makes itself. All of them, and what is counted and noted of them, follow from one table:
//! [`FailureKind::answer`].

use std::borrow::Cow;

use weft_http::fields::{Kind, Leg as FieldLeg};
use weft_http::h1::{self, Framing};
use weft_http::h2::StreamError;
use weft_http::head::{Extra, Head, Malformed, Outgoing, Section, Version};
use weft_policy::FailureKind;
use weft_policy::failure::GrpcStatus;

use crate::conn::{Conn, Stage};
use crate::exchange::{End, Exchange, Leg};
use crate::io::{Io, Note, Side};
use crate::slab::Key;
use crate::worker::Worker;

/// Why a request is not sent on, with what a filter may have chosen of the answer.
#[derive(Clone, Debug)]
pub(crate) struct RefusedRequest {
    pub(crate) kind: FailureKind,
    pub(crate) status: Option<u16>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) location: Option<String>,
    pub(crate) message: Option<Cow<'static, str>>,
}

impl RefusedRequest {
    pub(crate) fn new(kind: FailureKind) -> Self {
        Self { kind, status: None, grpc_status: None, location: None, message: None }
    }

    pub(crate) fn because(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: Some(message.into()), ..Self::new(kind) }
    }
}

impl Worker {
    /// An exchange cannot go on. The client gets an answer that says so, or, if it has a part of another one, learns
    /// that there is no more of it.
    pub(crate) fn fail(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        kind: FailureKind,
        message: Option<&str>,
    ) {
        let message = message.map(|m| Cow::Owned(m.to_owned()));
        self.refuse_request(io, ex, RefusedRequest { message, ..RefusedRequest::new(kind) });
    }

    /// The same with an answer that a rule may have chosen.
    pub(crate) fn refuse_request(&mut self, io: &mut impl Io, ex: Key<Exchange>, refused: RefusedRequest) {
        let kind = refused.kind;
        let answer = kind.answer();
        let Some(x) = self.exchanges.get(ex) else { return };
        let (down, side, grpc, head_sent) = (x.down, x.side, x.grpc, x.head_sent);
        let protocol = match (grpc, down.stream) {
            (true, _) => "gRPC",
            (_, Some(_)) => "HTTP/2",
            (_, None) => "HTTP/1.1",
        };
        let errors = match side {
            Side::Outbound => &self.gauges.outbound_http_errors,
            Side::Inbound => &self.gauges.inbound_http_errors,
        };
        if let Some(counter) = errors.get(kind as usize) {
            counter.count();
        }
        let message = match &refused.message {
            Some(detail) => Cow::Owned(printable(detail)),
            None => Cow::Borrowed(answer.message),
        };
        if let Some(client) = self.client(down.conn) {
            io.note(&Note::RequestFailed {
                side,
                client: client.peer,
                target: client.target,
                protocol,
                kind: kind.name(),
                message: &message,
                unexpected: kind == FailureKind::Unexpected,
            });
        }
        let told = self.may_tell(down.conn);
        if !head_sent {
            self.answer(ex, &refused, &message, told);
        } else if grpc {
            self.end_grpc(ex, &refused, &message, told);
        }
        self.finish(io, ex, End::Failed(kind));
    }

    /// A whole response of our own.
    fn answer(&mut self, ex: Key<Exchange>, refused: &RefusedRequest, message: &str, told: bool) {
        let answer = refused.kind.answer();
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let grpc_status = grpc_status(refused).filter(|_| x.grpc);
        let status = match grpc_status {
            Some(_) => 200,
            None => refused.status.or(answer.http).unwrap_or(500),
        };
        let down = x.down;
        let mut extra = Extra::default();
        if let Some(code) = grpc_status {
            x.grpc_status = u8::try_from(code).ok();
            extra.add(Kind::ContentType, b"application/grpc");
            extra.add(Kind::GrpcStatus, code.to_string().as_bytes());
            if told {
                extra.add(Kind::GrpcMessage, message.as_bytes());
            }
        }
        if let Some(location) = &refused.location {
            extra.add(Kind::Location, location.as_bytes());
        }
        if down.stream.is_some() {
            extra.add(Kind::ContentLength, b"0");
            extra.add(Kind::Date, &self.date);
        }
        if told {
            // A redirect is no error, and a chosen status speaks for itself.
            if refused.kind != FailureKind::Redirect {
                extra.add(Kind::ProxyError, message.as_bytes());
            }
            if answer.close {
                extra.add(Kind::ProxyConnectionL5d, b"close");
            }
        }
        x.status = status;
        x.head_sent = true;
        x.response.ended = true;
        x.response.sent = true;
        let leg = match x.side {
            Side::Outbound => FieldLeg::OutboundResponse,
            Side::Inbound => FieldLeg::InboundResponse,
        };
        // An HTTP/2 connection is shared by requests that have nothing to do with this one: it stays.
        if answer.close {
            self.close_after_response(ex);
        }
        let head = Head::response(Version::Http11, status);
        let _ = self.write_response(down, ex, &Outgoing::new(&head, &[], leg).with(&extra), true);
    }

    /// The end of a gRPC response that has begun: its status tells what happened.
    fn end_grpc(&mut self, ex: Key<Exchange>, refused: &RefusedRequest, message: &str, told: bool) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let Some(code) = grpc_status(refused) else { return };
        x.grpc_status = u8::try_from(code).ok();
        x.response.clear(&mut self.spare, &mut self.heads);
        x.response.sent = true;
        let (down, leg) = (
            x.down,
            match x.side {
                Side::Outbound => FieldLeg::OutboundResponse,
                Side::Inbound => FieldLeg::InboundResponse,
            },
        );
        let mut extra = Extra::default();
        extra.add(Kind::GrpcStatus, code.to_string().as_bytes());
        if told {
            extra.add(Kind::GrpcMessage, message.as_bytes());
        }
        let mut head = Head::default();
        head.begin(Section::Trailers, Version::Http2);
        self.write_trailers(down, Some(&Outgoing::new(&head, &[], leg).with(&extra)));
    }

    /// Whether the client may be told what went wrong: the application itself, or another proxy.
    pub(crate) fn may_tell(&self, id: Key<Conn>) -> bool {
        match self.conns.get(id).map(|c| c.side) {
            Some(Side::Outbound) => self.config.outbound.informational_headers,
            Some(Side::Inbound) => self.is_peer(id),
            None => false,
        }
    }

    // --- requests that never became one

    /// A head that cannot be read: answered, and the connection is over.
    pub(crate) fn malformed_request(&mut self, io: &mut impl Io, id: Key<Conn>, status: u16, message: &str) {
        self.note_malformed(io, id, "HTTP/1.1", message);
        let told = self.may_tell(id);
        let date = self.date;
        self.mark(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if matches!(conn.stage, Stage::Http1Server(_)) {
            let output = conn.output.writer(&mut self.spare);
            let mut extra = Extra::default();
            if told {
                extra.add(Kind::ProxyError, printable(message).as_bytes());
            }
            let head = Head::response(Version::Http11, status);
            let options = h1::Options {
                connection: h1::Connection::Close,
                date: Some(&date),
                ..h1::Options::new(Framing::Length(0))
            };
            let response = Outgoing::new(&head, &[], FieldLeg::OutboundResponse).with(&extra);
            let _ = h1::write_response(output, &response, &options);
        }
        self.finish_and_discard(io, id);
    }

    /// An HTTP/2 request whose head keeps a bound.
    pub(crate) fn malformed_http2_request(&mut self, io: &mut impl Io, down: Leg, fault: Malformed) {
        self.note_malformed(io, down.conn, "HTTP/2", &fault.to_string());
        let told = self.may_tell(down.conn);
        self.mark(down.conn);
        let (Some(conn), Some(stream)) = (self.conns.get_mut(down.conn), down.stream) else { return };
        let Stage::Http2(http2) = &mut conn.stage else { return };
        let output = conn.output.writer(&mut self.spare);
        let mut extra = Extra::default();
        extra.add(Kind::ContentLength, b"0");
        if told {
            extra.add(Kind::ProxyError, fault.to_string().as_bytes());
        }
        let head = Head::response(Version::Http2, fault.status());
        let response = Outgoing::new(&head, &[], FieldLeg::OutboundResponse).with(&extra);
        if http2.connection.send_head(stream, &response, true, output).is_ok() {
            http2.connection.reset(stream, weft_http::h2::Code::NO_ERROR, output);
        }
    }

    /// The content of a request cannot be read any further.
    pub(crate) fn malformed_content(&mut self, io: &mut impl Io, ex: Key<Exchange>, message: &str) {
        if let Some(x) = self.exchanges.get(ex) {
            let down = x.down;
            self.close_after_response(ex);
            self.forget_request_content(down.conn);
        }
        self.fail(io, ex, FailureKind::MalformedRequest, Some(message));
    }

    fn forget_request_content(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id)
            && let Stage::Http1Server(server) = &mut conn.stage
        {
            server.forget_content();
        }
    }

    /// A stream that the codec has refused or reset for what its request said.
    pub(crate) fn note_stream_error(&self, io: &mut impl Io, id: Key<Conn>, error: StreamError) {
        let kind = match error {
            StreamError::Refused => FailureKind::LoadShed,
            _ => FailureKind::MalformedRequest,
        };
        self.note_refused(io, id, "HTTP/2", kind, &error.to_string());
    }

    fn note_malformed(&self, io: &mut impl Io, id: Key<Conn>, protocol: &'static str, message: &str) {
        self.note_refused(io, id, protocol, FailureKind::MalformedRequest, message);
    }

    /// Counts and notes a request that never became an exchange, or is one no more.
    fn note_refused(
        &self,
        io: &mut impl Io,
        id: Key<Conn>,
        protocol: &'static str,
        kind: FailureKind,
        message: &str,
    ) {
        let Some(conn) = self.conns.get(id) else { return };
        let errors = match conn.side {
            Side::Outbound => &self.gauges.outbound_http_errors,
            Side::Inbound => &self.gauges.inbound_http_errors,
        };
        if let Some(counter) = errors.get(kind as usize) {
            counter.count();
        }
        if let Some(client) = &conn.client {
            io.note(&Note::RequestFailed {
                side: conn.side,
                client: client.peer,
                target: client.target,
                protocol,
                kind: kind.name(),
                message,
                unexpected: false,
            });
        }
    }
}

fn grpc_status(refused: &RefusedRequest) -> Option<u32> {
    match refused.kind.answer().grpc {
        GrpcStatus::Code(code) => Some(u32::from(code)),
        GrpcStatus::Chosen => refused.grpc_status,
        GrpcStatus::Never => None,
    }
}

/// What can stand in a field: bytes that cannot become question marks.
fn printable(message: &str) -> String {
    message.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
