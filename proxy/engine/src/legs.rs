//! What an exchange does to the connections of its two legs, whichever protocol they speak.
//!
//! The only place that writes messages. Each function takes what an exchange knows, finds the leg's protocol, and
//! lets its codec write into the connection's output; nothing is sent before the end of the batch.

use weft_http::h1::{self, Framing};
use weft_http::h2::{Code, StreamKey};
use weft_http::head::{Head, Outgoing, Target, Version};
use weft_policy::FailureKind;

use crate::conn::{After, Closing, Conn, Stage, Timeout};
use crate::exchange::{End, Exchange, Leg, since_start};
use crate::io::Io;
use crate::slab::Key;
use crate::worker::{Todo, Worker};

/// The message cannot be written in the leg's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

impl Worker {
    // --- to the server

    /// Writes a request's head; the stream it is on, if there are streams.
    pub(crate) fn write_request(
        &mut self,
        ex: Key<Exchange>,
        id: Key<Conn>,
        message: &Outgoing<'_>,
        end: bool,
    ) -> Result<Option<StreamKey>, FailureKind> {
        let tunnel = self.exchanges.get(ex).is_some_and(|x| x.tunnel);
        self.mark(id);
        let Some(conn) = self.conns.get_mut(id) else { return Err(FailureKind::Io) };
        let output = conn.output.writer(&mut self.spare);
        let head = message.head;
        let written = match &mut conn.stage {
            Stage::Http2(http2)
                if !head.protocol.is_empty() && !http2.connection.takes_extended_connect() =>
            {
                Err(FailureKind::MalformedTarget)
            }
            Stage::Http2(http2) => match http2.connection.open(ex.owner(), message, end, output) {
                Ok(stream) => Ok(Some(stream)),
                Err(_) => Err(FailureKind::Io),
            },
            Stage::Http1Client(client) => {
                let framing = h1::request_framing(head, end);
                let mut options = h1::Options::new(framing);
                options.version = head.version;
                options.absolute_form = head.target == Target::Absolute;
                if tunnel && head.facts.upgrade.is_some() {
                    options.connection = h1::Connection::Upgrade;
                }
                h1::write_request(output, message, &options).map_err(|_| FailureKind::MalformedTarget)?;
                client.begin(ex, head.method, framing, head.version != Version::Http10);
                Ok(None)
            }
            _ => Err(FailureKind::Unexpected),
        };
        // At once: a few bytes of HPACK may make a large head, and one read may hold many.
        self.account(id);
        written
    }

    /// A request could not be written on a connection that was taken from the pool for it: it goes back.
    pub(crate) fn todo_release(&mut self, id: Key<Conn>) {
        if matches!(self.conns.get(id).map(|c| &c.stage), Some(Stage::Http1Client(_))) {
            self.todo.push_back(Todo::Close(id, Closing::Clean));
        }
    }

    // --- to the client

    /// Writes a response's head, interim or final.
    pub(crate) fn write_response(
        &mut self,
        down: Leg,
        ex: Key<Exchange>,
        message: &Outgoing<'_>,
        end: bool,
    ) -> Result<(), Unwritable> {
        let date = self.date;
        let interim = message.head.status < 200 && message.head.status != 101;
        self.mark(down.conn);
        let draining = self.draining.is_some();
        let method = self.exchanges.get(ex).map(|x| x.method).unwrap_or_default();
        let Some(conn) = self.conns.get_mut(down.conn) else { return Err(Unwritable) };
        let output = conn.output.writer(&mut self.spare);
        match (&mut conn.stage, down.stream) {
            (Stage::Http2(http2), Some(stream)) => {
                http2.connection.send_head(stream, message, end, output).map_err(|_| Unwritable)
            }
            (Stage::Http1Server(server), _) => {
                if interim {
                    let options = h1::Options::new(Framing::None);
                    return h1::write_response(output, message, &options).map_err(|_| Unwritable);
                }
                let framing = h1::response_framing(message.head, method, server.version, end);
                let keep = server.keep && !draining && framing != Framing::UntilClose;
                let upgraded = message.head.status == 101;
                let options = h1::Options {
                    date: Some(&date),
                    connection: match (upgraded, keep, server.version) {
                        (true, ..) => h1::Connection::Upgrade,
                        (_, false, _) => h1::Connection::Close,
                        (_, true, Version::Http10) => h1::Connection::KeepAlive,
                        (_, true, _) => h1::Connection::Unsaid,
                    },
                    ..h1::Options::new(framing)
                };
                h1::write_response(output, message, &options).map_err(|_| Unwritable)?;
                server.keep = keep;
                server.framing = framing;
                Ok(())
            }
            _ => Err(Unwritable),
        }
    }

    /// The client's connection is to end after this response.
    pub(crate) fn close_after_response(&mut self, ex: Key<Exchange>) {
        let Some(down) = self.exchanges.get(ex).map(|x| x.down) else { return };
        if let Some(conn) = self.conns.get_mut(down.conn)
            && let Stage::Http1Server(server) = &mut conn.stage
        {
            server.keep = false;
        }
    }

    // --- to either

    /// Writes content; how much was taken, and whether the end went with it.
    pub(crate) fn write_content(&mut self, sink: Leg, data: &[u8], end: bool) -> (usize, bool) {
        let full = self.is_full(sink.conn);
        let now = since_start(self.now);
        let Some(conn) = self.conns.get_mut(sink.conn) else { return (data.len(), end) };
        let taken = match (&mut conn.stage, sink.stream) {
            (Stage::Http2(http2), Some(stream)) => {
                if full && !data.is_empty() {
                    http2.stalled.push(stream);
                    self.await_drained(sink.conn);
                    return (0, false);
                }
                let output = conn.output.writer(&mut self.spare);
                // Of a stream that is closed its event will tell, or has told.
                let taken = http2.connection.send_data(stream, data, end, output, now).unwrap_or(data.len());
                (taken, end && taken == data.len())
            }
            (Stage::Http1Server(_) | Stage::Http1Client(_), _) if full && !data.is_empty() => {
                self.await_drained(sink.conn);
                return (0, false);
            }
            (Stage::Http1Server(server), _) => {
                write_http1(conn.output.writer(&mut self.spare), server.framing, data, end);
                (data.len(), end)
            }
            (Stage::Http1Client(client), _) => {
                write_http1(conn.output.writer(&mut self.spare), client.framing, data, end);
                (data.len(), end)
            }
            _ => (data.len(), end),
        };
        conn.output.release_if_empty(&mut self.spare);
        self.mark(sink.conn);
        self.account(sink.conn);
        taken
    }

    /// Writes trailers, which end the message.
    pub(crate) fn write_trailers(&mut self, sink: Leg, trailers: Option<&Outgoing<'_>>) {
        self.mark(sink.conn);
        let Some(conn) = self.conns.get_mut(sink.conn) else { return };
        let output = conn.output.writer(&mut self.spare);
        let framing = match (&mut conn.stage, sink.stream) {
            (Stage::Http2(http2), Some(stream)) => {
                if let Some(trailers) = trailers {
                    let _ = http2.connection.send_trailers(stream, trailers, output);
                }
                return;
            }
            (Stage::Http1Server(server), _) => server.framing,
            (Stage::Http1Client(client), _) => client.framing,
            _ => return,
        };
        // Where the length was said there is no place for trailers: they may be dropped (RFC 9110 6.5.1).
        if framing == Framing::Chunked && h1::write_last_chunk(output, trailers).is_err() {
            let _ = h1::write_last_chunk(output, None);
        }
    }

    /// The receiving leg has taken content: its source may bring as much again.
    pub(crate) fn credit(&mut self, source: Option<Leg>, octets: usize) {
        let Some(Leg { conn: id, stream: Some(stream) }) = source else { return };
        if octets == 0 {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http2(http2) = &mut conn.stage else { return };
        let before = conn.output.len();
        http2.connection.credit(stream, octets, conn.output.writer(&mut self.spare));
        let grown = conn.output.len() > before;
        conn.output.release_if_empty(&mut self.spare);
        if grown {
            self.mark(id);
        }
    }

    /// Ends a stream at once.
    pub(crate) fn reset_leg(&mut self, leg: Leg, code: Code) {
        let Some(stream) = leg.stream else { return };
        let Some(conn) = self.conns.get_mut(leg.conn) else { return };
        if let Stage::Http2(http2) = &mut conn.stage {
            http2.connection.reset(stream, code, conn.output.writer(&mut self.spare));
            conn.output.release_if_empty(&mut self.spare);
            self.mark(leg.conn);
        }
    }

    // --- the end of an exchange

    /// Lets go of the server's leg. `whole`: request and response went over it completely.
    pub(crate) fn let_go_of_server(&mut self, io: &mut impl Io, up: Leg, whole: bool) {
        let Some(conn) = self.conns.get_mut(up.conn) else { return };
        match &mut conn.stage {
            Stage::Http1Client(client) => {
                client.exchange = None;
                if whole && client.reusable && !client.in_content() {
                    self.released(io, up.conn);
                } else {
                    let closing = if whole { Closing::Clean } else { Closing::Cut };
                    self.todo.push_back(Todo::Close(up.conn, closing));
                }
            }
            Stage::Http2(_) => {
                // Nothing happens if the stream has ended both ways.
                self.reset_leg(up, if whole { Code::NO_ERROR } else { Code::CANCEL });
                self.http2_stream_over(up.conn);
            }
            _ => {}
        }
    }

    /// Lets go of the client's leg, and of the connection if it cannot be used again.
    pub(crate) fn let_go_of_client(
        &mut self,
        io: &mut impl Io,
        down: Leg,
        request_ended: bool,
        responded: bool,
    ) {
        let Some(conn) = self.conns.get_mut(down.conn) else { return };
        match &mut conn.stage {
            Stage::Http1Server(server) => {
                server.exchange = None;
                if !responded {
                    self.todo.push_back(Todo::Close(down.conn, Closing::Cut));
                } else if !server.keep || conn.ended && conn.input.is_empty() {
                    self.finish_and_discard(io, down.conn);
                } else {
                    // The rest of this request, which nobody wants, or the next one.
                    debug_assert!(request_ended || server.in_content());
                    if server.in_content() {
                        let at = self.now + self.config.head_timeout;
                        self.set_deadline(down.conn, Some((at, Timeout::Discard)));
                    }
                    self.pause(io, down.conn);
                    self.resume(io, down.conn);
                }
            }
            Stage::Http2(_) => {
                self.reset_leg(down, if responded { Code::NO_ERROR } else { Code::INTERNAL_ERROR });
                self.http2_stream_over(down.conn);
            }
            _ => {}
        }
    }

    /// A stream less: a connection that was waiting for that can end.
    fn http2_stream_over(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get(id)
            && let Stage::Http2(http2) = &conn.stage
            && http2.connection.is_finished()
        {
            self.after_sent(id, After::Close);
        }
    }

    /// Both legs of an exchange become two ends of a tunnel: the response said so. False if the client has not asked for
    /// one, or has not asked to the end.
    pub(crate) fn tunnel(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        head: &mut Head,
        bytes: &[u8],
    ) -> bool {
        let Some(x) = self.exchanges.get_mut(ex) else { return false };
        let (down, Some(up)) = (x.down, x.up) else { return false };
        // Whatever of the request is not sent yet would be taken for the other protocol's (RFC 9110 7.8).
        if down.stream.is_some() || !x.tunnel || !x.request.sent {
            return false;
        }
        // Counted as it is answered; what follows is bytes.
        self.respond(io, ex, head, bytes, false);
        let Some(x) = self.exchanges.get_mut(ex) else { return false };
        x.response.ended = true;
        x.response.sent = true;
        x.up = None;
        self.left_pool(up.conn);
        if let Some(client) = self.client_mut(down.conn) {
            client.upgraded = true;
        }
        for id in [down.conn, up.conn] {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.stage = Stage::Relay(crate::relay::Relay { peer: None });
            }
        }
        self.finish(io, ex, End::Whole);
        self.join(io, down.conn, up.conn);
        true
    }
}

fn write_http1(output: &mut Vec<u8>, framing: Framing, data: &[u8], end: bool) {
    match framing {
        // Content that was not announced would be taken for the next message (RFC 9112 11.2).
        Framing::None => {}
        Framing::Length(_) | Framing::UntilClose => output.extend_from_slice(data),
        Framing::Chunked => {
            h1::write_chunk(output, data);
            if end {
                // Without trailers nothing can be wrong with it.
                let _ = h1::write_last_chunk(output, None);
            }
        }
    }
}
