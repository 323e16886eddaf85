//! HTTP/2 connections of either end: from events to the calls of an exchange.
//!
//! A stream is known to its connection's codec by the slot of its exchange. What a stream's windows do not take waits
//! in the exchange's flow; the codec says when there is room again. What the connection's full output does not take is
//! remembered here, and goes on when that has drained.

use std::sync::Arc;

use weft_http::h2::{self, Cause, Code, Connection, Event, Role, StreamKey};
use weft_http::head::Head;

use crate::conn::{After, Closing, Conn, Stage, Timeout};
use crate::content::Way;
use crate::exchange::{Exchange, Leg, since_start};
use crate::io::{Io, Side};
use crate::metrics::{ErrorKind, Tls};
use crate::retry::Lost;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// A connection with streams.
pub(crate) struct Http2 {
    pub(crate) connection: Connection,
    /// Streams that had something to send when the connection's output was full.
    pub(crate) stalled: Vec<StreamKey>,
    /// Since when the socket has taken nothing of what there is for it.
    pub(crate) untaken: Option<Instant>,
    /// When to look whether streams, or the socket, have been waiting too long.
    look: Option<Instant>,
}

impl Http2 {
    /// True if another stream can be opened on it.
    pub(crate) fn has_room(&self) -> bool {
        self.connection.can_open().is_ok()
    }
}

impl Worker {
    /// The protocol of a connection is HTTP/2 from here on.
    pub(crate) fn start_http2(&mut self, io: &mut impl Io, id: Key<Conn>, role: Role) {
        let config = match role {
            Role::Server if self.is_peer(id) => Arc::clone(&self.http2_peer),
            Role::Server => Arc::clone(&self.http2_server),
            Role::Client => self.http2_client_config(id),
        };
        let now = since_start(self.now);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let connection = Connection::new(role, config, conn.output.writer(&mut self.spare), now);
        conn.stage =
            Stage::Http2(Box::new(Http2 { connection, stalled: Vec::new(), untaken: None, look: None }));
        if self.draining.is_some() && role == Role::Server {
            self.drain_http2(id);
        }
        self.mark(id);
        self.todo.push_back(Todo::Consume(id));
        self.tell_interest(io, id);
        self.http2_deadline(id);
    }

    /// Whether the client is another proxy.
    pub(crate) fn is_peer(&self, id: Key<Conn>) -> bool {
        let client = self.conns.get(id).filter(|c| c.side == Side::Inbound).and_then(|c| c.client.as_ref());
        client.is_some_and(|c| matches!(c.tls, Tls::Mutual(_)))
    }

    /// How to speak with a server: as discovery says; quietly where it says nothing and the server is no proxy.
    fn http2_client_config(&self, id: Key<Conn>) -> Arc<h2::Config> {
        let endpoint = self.conns.get(id).and_then(|c| c.endpoint).and_then(|e| self.endpoints.get(e));
        let Some(policy) = endpoint.and_then(|e| e.policy.as_ref()) else {
            return Arc::clone(&self.http2_quiet_client);
        };
        let params = policy.http2;
        if params.keep_alive.is_none() && params.flow_control.is_none() {
            return Arc::clone(if policy.tls.is_some() {
                &self.http2_client
            } else {
                &self.http2_quiet_client
            });
        }
        let mut limits = self.config.limits.http;
        if let Some(flow) = params.flow_control {
            let http2 = &mut limits.http2;
            http2.stream_window_bytes = flow.initial_stream_window_size.unwrap_or(http2.stream_window_bytes);
            http2.connection_window_bytes =
                flow.initial_connection_window_size.unwrap_or(http2.connection_window_bytes);
        }
        let keepalive = params.keep_alive.and_then(|k| {
            let (interval, timeout) = (k.interval?, k.timeout.unwrap_or(self.config.keepalive_timeout));
            Some(h2::Keepalive { interval, timeout, while_idle: k.while_idle })
        });
        Arc::new(h2::Config::new(limits.http2, limits.head).with_keepalive(keepalive))
    }

    /// Frames; how many bytes were used.
    pub(crate) fn http2_frames(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        let mut head = std::mem::take(&mut self.heads.head);
        let mut arena = std::mem::take(&mut self.heads.arena);
        let used = self.http2_frames_in(io, id, bytes, &mut head, &mut arena);
        self.heads.head = head;
        self.heads.arena = arena;
        used
    }

    fn http2_frames_in(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        bytes: &[u8],
        head: &mut Head,
        arena: &mut Vec<u8>,
    ) -> usize {
        let now = since_start(self.now);
        let mut input = bytes;
        loop {
            let Some(conn) = self.conns.get_mut(id) else { return bytes.len() };
            let Stage::Http2(http2) = &mut conn.stage else { break };
            let before = conn.output.len();
            let next =
                http2.connection.next(&mut input, head, arena, conn.output.writer(&mut self.spare), now);
            let role = http2.connection.role();
            let wrote = conn.output.len() > before;
            conn.output.release_if_empty(&mut self.spare);
            if wrote {
                self.mark(id);
            }
            match next {
                Ok(Some(event)) => match role {
                    Role::Server => {
                        self.http2_server_event(io, id, event, head, arena);
                        if self.is_at_request_bound() {
                            // The rest of what was read waits, as what was not read does.
                            self.starve(io, id);
                            break;
                        }
                    }
                    Role::Client => self.http2_client_event(io, id, event, head, arena),
                },
                Ok(None) => break,
                Err(error) => {
                    self.http2_over(io, id, error);
                    return bytes.len();
                }
            }
        }
        self.http2_deadline(id);
        bytes.len() - input.len()
    }

    // --- a client's connection

    fn http2_server_event(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        event: Event<'_>,
        head: &mut Head,
        arena: &[u8],
    ) {
        match event {
            Event::Head { stream, end, .. } => {
                self.request(io, Leg { conn: id, stream: Some(stream) }, head, arena, end);
            }
            Event::Oversized { stream, fault, .. } => {
                let down = Leg { conn: id, stream: Some(stream) };
                self.malformed_http2_request(io, down, fault);
            }
            Event::Data { stream, owner, data, end } => match self.exchange_on(id, stream, owner) {
                Some(ex) => self.deliver(io, ex, Way::Request, data, end),
                None => self.credit(Some(Leg { conn: id, stream: Some(stream) }), data.len()),
            },
            Event::Trailers { stream, owner } => {
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    self.end_of(io, ex, Way::Request, Some((head, arena)));
                }
            }
            Event::Reset { stream, owner, cause, .. } => {
                if let Cause::Error(error) = cause {
                    self.note_stream_error(io, id, error);
                }
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    self.cancelled(io, ex);
                }
            }
            Event::Writable { stream, owner } => {
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    self.pump(io, ex, Way::Response);
                }
            }
            Event::Rejected { error, .. } => self.note_stream_error(io, id, error),
            Event::Settings | Event::GoAway { .. } | Event::Pong { .. } => {}
        }
        self.http2_finished(id);
    }

    // --- a server's connection

    fn http2_client_event(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        event: Event<'_>,
        head: &mut Head,
        arena: &[u8],
    ) {
        match event {
            Event::Head { stream, owner, end } => match self.exchange_on(id, stream, owner) {
                Some(ex) if head.status < 200 => self.interim(ex, head, arena),
                Some(ex) => self.respond(io, ex, head, arena, end),
                None => {}
            },
            Event::Data { stream, owner, data, end } => match self.exchange_on(id, stream, owner) {
                Some(ex) => self.deliver(io, ex, Way::Response, data, end),
                None => self.credit(Some(Leg { conn: id, stream: Some(stream) }), data.len()),
            },
            Event::Trailers { stream, owner } => {
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    self.end_of(io, ex, Way::Response, Some((head, arena)));
                }
            }
            Event::Reset { stream, owner, code, cause } => {
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    let lost = match cause {
                        Cause::GoAway => Lost::NotProcessed,
                        Cause::Peer => Lost::Reset(code),
                        Cause::Error(_) => Lost::Malformed,
                    };
                    self.stream_reset(io, ex, lost);
                }
            }
            Event::Writable { stream, owner } => {
                if let Some(ex) = self.exchange_on(id, stream, owner) {
                    self.pump(io, ex, Way::Request);
                }
            }
            Event::GoAway { .. } => self.unpool_http2(id),
            Event::Settings => {
                // The peer may take more streams than before.
                if let Some(endpoint) = self.conns.get(id).and_then(|c| c.endpoint) {
                    self.todo.push_back(Todo::Serve(endpoint));
                }
            }
            Event::Oversized { .. } | Event::Rejected { .. } | Event::Pong { .. } => {}
        }
        self.http2_finished(id);
    }

    /// The server has reset a stream. After a whole response that only says that it wants no more of the request.
    fn stream_reset(&mut self, io: &mut impl Io, ex: Key<Exchange>, lost: Lost) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        if x.head_sent && x.response.ended && lost == Lost::Reset(Code::NO_ERROR) {
            x.up = None;
            return self.pump(io, ex, Way::Response);
        }
        self.upstream_lost(io, ex, lost);
    }

    /// The exchange that a stream belongs to, if it is there still. A stream may outlive it, on a connection that is over but not
    /// closed, and another may be in its slot.
    fn exchange_on(&self, id: Key<Conn>, stream: StreamKey, owner: u32) -> Option<Key<Exchange>> {
        let ex = (owner != h2::NO_OWNER).then(|| self.exchanges.key_at(owner as usize)).flatten()?;
        let (x, leg) = (self.exchanges.get(ex)?, Leg { conn: id, stream: Some(stream) });
        (x.up == Some(leg) || x.down == leg).then_some(ex)
    }

    // --- either

    /// The connection's output has drained: streams that it held up go on.
    pub(crate) fn pump_connection(&mut self, io: &mut impl Io, id: Key<Conn>) {
        if matches!(self.conns.get(id).map(|c| &c.stage), Some(Stage::Http2(_)))
            && !self.starved.contains(&id)
        {
            // It may have held so much that it was not read from.
            self.resume(io, id);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        match &mut conn.stage {
            Stage::Http1Server(server) => {
                if let Some(ex) = server.exchange {
                    self.pump(io, ex, Way::Response);
                }
            }
            Stage::Http1Client(client) => {
                if let Some(ex) = client.exchange {
                    self.pump(io, ex, Way::Request);
                }
            }
            Stage::Http2(http2) => {
                let way = match http2.connection.role() {
                    Role::Server => Way::Response,
                    Role::Client => Way::Request,
                };
                let stalled = std::mem::take(&mut http2.stalled);
                let owners: Vec<_> =
                    stalled.iter().filter_map(|s| Some((*s, http2.connection.owner(*s)?))).collect();
                for (stream, owner) in owners {
                    if let Some(ex) = self.exchange_on(id, stream, owner) {
                        self.pump(io, ex, way);
                    }
                }
            }
            _ => {}
        }
    }

    /// The connection is over for a fault of the peer's; GOAWAY, which says which, is in the output.
    fn http2_over(&mut self, io: &mut impl Io, id: Key<Conn>, error: h2::ConnectionError) {
        if matches!(self.conns.get(id).and_then(|c| c.deadline), Some((_, Timeout::Discard))) {
            // Told before; only the time to take the GOAWAY is not over.
            return;
        }
        self.tell_failure(io, id, ErrorKind::Io, "http2", &error.to_string());
        self.mark(id);
        self.lose_streams(io, id);
        self.after_sent(id, After::Close);
        self.set_deadline(id, Some((self.now + self.config.discard_timeout, Timeout::Discard)));
        // Whatever else it says.
        self.pause(io, id);
    }

    /// The peer has closed.
    pub(crate) fn http2_ended(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.lose_streams(io, id);
        self.after_sent(id, After::Close);
    }

    /// All streams are gone with their connection.
    pub(crate) fn lose_streams(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        let Stage::Http2(http2) = &conn.stage else { return };
        let role = http2.connection.role();
        let streams = http2.connection.streams();
        let exchanges: Vec<_> = streams.filter_map(|(s, owner)| self.exchange_on(id, s, owner)).collect();
        if role == Role::Client {
            self.unpool_http2(id);
        }
        for ex in exchanges {
            match role {
                Role::Server => self.cancelled(io, ex),
                Role::Client => self.upstream_lost(io, ex, Lost::Broken),
            }
        }
    }

    fn http2_finished(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get(id)
            && let Stage::Http2(http2) = &conn.stage
            && http2.connection.is_finished()
        {
            self.after_sent(id, After::Close);
        }
    }

    /// No new streams; those that are open go on.
    pub(crate) fn drain_http2(&mut self, id: Key<Conn>) {
        let now = since_start(self.now);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http2(http2) = &mut conn.stage else { return };
        http2.connection.shut_down(conn.output.writer(&mut self.spare), now);
        conn.output.release_if_empty(&mut self.spare);
        self.mark(id);
        self.http2_finished(id);
        self.http2_deadline(id);
    }

    pub(crate) fn http2_deadline(&mut self, id: Key<Conn>) {
        let half = self.config.stall_timeout / 2;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http2(http2) = &mut conn.stage else { return };
        // What the codec waits for moves with what the peer says; whether it takes anything is looked at all the same.
        let waits = http2.connection.open_streams() > 0 || http2.untaken.is_some();
        http2.look = waits.then(|| http2.look.filter(|at| *at > self.now).unwrap_or(self.now + half));
        let codec = http2.connection.next_deadline().map(|d| Instant::START + d);
        let next = [codec, http2.look].into_iter().flatten().min().map(|at| (at, Timeout::KeepAlive));
        if conn.deadline != next {
            self.set_deadline(id, next);
        }
    }

    /// A peer that has taken nothing for too long of what is for it is given up. One that does so while it sends may be asked
    /// nothing else: it would seem to be well.
    fn give_up_stalled_connection(&mut self, io: &mut impl Io, id: Key<Conn>) -> bool {
        let Some(conn) = self.conns.get(id) else { return false };
        let Stage::Http2(http2) = &conn.stage else { return false };
        let stalled = http2.untaken.is_some_and(|since| self.now >= since + self.config.stall_timeout);
        if stalled {
            self.gauges.slow_clients.count();
            let e = std::io::Error::from(std::io::ErrorKind::TimedOut);
            self.broken(io, id, &e);
        }
        stalled
    }

    /// Streams whose peer has opened no window for too long are given up.
    fn give_up_stalled_streams(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let latest = since_start(self.now).saturating_sub(self.config.stall_timeout);
        let Some(conn) = self.conns.get(id) else { return };
        let Stage::Http2(http2) = &conn.stage else { return };
        let is_server = conn.endpoint.is_some();
        let late = http2.connection.blocked().filter(|(_, since)| *since < latest);
        let late: Vec<_> = late.map(|(stream, _)| (stream, http2.connection.owner(stream))).collect();
        for (stream, owner) in late {
            let ex = owner.and_then(|owner| self.exchange_on(id, stream, owner));
            self.gauges.slow_clients.count();
            self.reset_leg(Leg { conn: id, stream: Some(stream) }, Code::CANCEL);
            match ex {
                Some(ex) if is_server => self.upstream_lost(io, ex, Lost::Malformed),
                Some(ex) => self.cancelled(io, ex),
                None => {}
            }
        }
    }

    /// The codec's own time has come: to ask whether the peer is there, or to give it up.
    pub(crate) fn keepalive(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let now = since_start(self.now);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Http2(http2) = &mut conn.stage else { return };
        let result = http2.connection.expired(conn.output.writer(&mut self.spare), now);
        conn.output.release_if_empty(&mut self.spare);
        self.mark(id);
        match result {
            Ok(()) => {
                if self.give_up_stalled_connection(io, id) {
                    return;
                }
                self.give_up_stalled_streams(io, id);
                self.http2_deadline(id);
            }
            Err(error) => {
                if matches!(error, h2::ConnectionError::SlowFrame) {
                    self.gauges.slow_clients.count();
                }
                self.http2_over(io, id, error);
                if matches!(error, h2::ConnectionError::KeepaliveTimeout) {
                    self.todo.push_back(Todo::Close(id, Closing::Cut));
                }
            }
        }
        self.http2_finished(id);
    }
}
