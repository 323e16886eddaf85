//! A connection: its socket, its security, what it holds of bytes each way, and when it is flushed.
//!
//! ```text
//! socket ─▶ read_scratch ─▶ (TLS opens) ─▶ consume() ── what cannot be consumed yet ─▶ input
//! socket ◀─ (TLS seals) ◀─ unsent ◀─ output ◀─ whoever writes               `flush` once per batch
//! ```
//!
//! Numbers: `input`, `output` and `unsent` hold memory only while they hold bytes. `output` may pass
//! [`crate::Limits::output_bytes`] by what one read of another connection brings; whoever reads for it is then
//! stopped and told when it has drained ([`Todo::Drained`]). TLS holds at most 64 KiB of sealed output besides.
//!
//! Invariants: a closed connection is out of the slab, its socket out of the map. `told` is the interest that the shell
//! knows. A connection is in `dirty` at most once.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use weft_net::tls::{End, TlsConn, TlsError};

use crate::accept::{Accept, Client};
use crate::buffers::Buf;
use crate::dial::Dial;
use crate::http1::{Http1Client, Http1Server};
use crate::http2::Http2;
use crate::io::{Io, Side, SocketId};
use crate::metrics::{Counter, Transport};
use crate::pool::Endpoint;
use crate::relay::Relay;
use crate::retry::Lost;
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::{Todo, Worker};

/// One connection of either end.
pub(crate) struct Conn {
    pub(crate) socket: SocketId,
    pub(crate) side: Side,
    pub(crate) security: Security,
    pub(crate) stage: Stage,
    /// Whose it is, if it was accepted.
    pub(crate) client: Option<Box<Client>>,
    /// The endpoint it was made for, if the worker made it.
    pub(crate) endpoint: Option<Key<Endpoint>>,
    /// Plaintext received and not yet consumed.
    pub(crate) input: Buf,
    /// Plaintext to be sent.
    pub(crate) output: Buf,
    /// What was flushed before and the socket has not taken. Apart from `output`, which codecs may still add to: what is
    /// half sent must stay as it is.
    pub(crate) unsent: Buf,
    /// Bytes of output that TLS holds sealed, because the socket would not take them.
    pub(crate) sealed: usize,
    /// Nothing is read while set: somebody has to take what was read before.
    pub(crate) paused: bool,
    /// The peer has ended its stream.
    pub(crate) ended: bool,
    /// What to do when all is sent.
    pub(crate) after: After,
    /// `close_notify` is said.
    pub(crate) said_goodbye: bool,
    /// Our stream is ended: nothing is written any more.
    pub(crate) shut: bool,
    /// Somebody waits until all is sent.
    pub(crate) awaited: bool,
    pub(crate) dirty: bool,
    told: (bool, bool),
    /// What happens when, unless something else happens before.
    pub(crate) deadline: Option<(Instant, Timeout)>,
    pub(crate) opened: Instant,
    pub(crate) transport: Option<Arc<Transport>>,
    /// Of an outbound endpoint: whether it is in another zone, as an index of the counters of transfer cost.
    pub(crate) zone: Option<usize>,
    /// Bytes last accounted for in [`Worker::buffered`].
    accounted: usize,
}

/// How bytes on the socket relate to bytes of the protocol.
pub(crate) enum Security {
    Plain,
    Tls(Box<TlsConn>),
}

/// What a connection is in the middle of.
pub(crate) enum Stage {
    /// Accepted; until its protocol is known: `accept.rs`.
    Accept(Accept),
    /// Being made: `pool.rs`.
    Dial(Box<Dial>),
    /// A client speaks HTTP/1 with us: `http1.rs`.
    Http1Server(Box<Http1Server>),
    /// We speak HTTP/1 with a server.
    Http1Client(Box<Http1Client>),
    /// HTTP/2, with either: `http2.rs`.
    Http2(Box<Http2>),
    /// Bytes both ways: `relay.rs`.
    Relay(Relay),
    /// Answered and about to be closed; so many bytes of what the peer still sends are dropped.
    Discard(usize),
}

/// What to do when everything written is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    Nothing,
    /// End our stream; go on reading.
    Shutdown,
    /// It is ended.
    WasShutdown,
    Close,
}

/// What a connection's deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timeout {
    /// The target's policy.
    Discover,
    /// Bytes that tell the protocol.
    DetectTls,
    /// Bytes that tell the protocol.
    DetectHttp,
    /// The peer's part of the handshake.
    Handshake,
    /// The transport header.
    TransportHeader,
    /// The connection itself, and the handshake on it.
    Connect,
    /// The rest of a head.
    Head,
    /// A next request, on a connection in a pool.
    Idle,
    /// The client's end of a connection that is done with.
    Discard,
    /// Our PING's acknowledgement, or time to send one.
    KeepAlive,
    /// Room for the output.
    Stall,
}

/// How to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closing {
    /// The stream is whole.
    Clean,
    /// The stream was cut: the peer shall see that.
    Cut,
}

impl Conn {
    pub(crate) fn new(socket: SocketId, side: Side, stage: Stage, now: Instant) -> Self {
        Self {
            socket,
            side,
            security: Security::Plain,
            stage,
            client: None,
            endpoint: None,
            input: Buf::default(),
            output: Buf::default(),
            unsent: Buf::default(),
            sealed: 0,
            paused: false,
            ended: false,
            after: After::Nothing,
            said_goodbye: false,
            shut: false,
            awaited: false,
            dirty: false,
            told: (false, false),
            deadline: None,
            opened: now,
            transport: None,
            zone: None,
            accounted: 0,
        }
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.output.len() + self.unsent.len() + self.sealed
    }

    /// Where in its life it is: what consumes its bytes.
    fn step(&self) -> (std::mem::Discriminant<Stage>, Option<Accept>) {
        let accept = match self.stage {
            Stage::Accept(accept) => Some(accept),
            _ => None,
        };
        (std::mem::discriminant(&self.stage), accept)
    }

    /// The interest that the shell was told.
    pub(crate) fn told(&self) -> (bool, bool) {
        self.told
    }

    pub(crate) fn held(&self) -> usize {
        let block = match &self.stage {
            Stage::Http2(http2) => http2.connection.held(),
            _ => 0,
        };
        self.input.len() + self.pending() + block
    }

    pub(crate) fn connecting(&self) -> bool {
        matches!(&self.stage, Stage::Dial(dial) if dial.connecting)
    }
}

impl Worker {
    /// Gives a connection its id.
    pub(crate) fn open(&mut self, conn: Conn) -> Key<Conn> {
        let socket = conn.socket.0 as usize;
        let id = self.conns.insert(conn);
        if socket >= self.sockets.len() {
            self.sockets.resize(socket + 1, None);
        }
        self.sockets[socket] = Some(id);
        id
    }

    /// The connection that a socket belongs to.
    pub(crate) fn conn_of(&self, socket: SocketId) -> Option<Key<Conn>> {
        self.sockets.get(socket.0 as usize).copied().flatten()
    }

    // --- reading

    /// Reads once and passes on what came.
    pub(crate) fn read_socket(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.connecting() {
            return self.connected(io, id);
        }
        if !conn.told.0 {
            // Not interested: an error or hang-up. Whoever waits for this connection learns of it when writing, or
            // when reading goes on.
            return;
        }
        let mut scratch = std::mem::take(&mut self.read_scratch);
        match io.read(conn.socket, &mut scratch) {
            Ok(0) => self.stream_ended(io, id),
            Ok(n) => {
                self.gauges.reads.count();
                if let Some(transport) = &conn.transport {
                    transport.read.add(n as u64);
                }
                if let Some(counter) = conn.zone.and_then(|z| self.gauges.received_by_zone.get(z)) {
                    counter.add(n as u64);
                }
                let (received, _) = scratch.split_at(n.min(scratch.len()));
                self.received(io, id, received);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => self.broken(io, id, &e),
        }
        self.read_scratch = scratch;
    }

    /// Bytes from the socket.
    pub(crate) fn received(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Security::Tls(tls) = &mut conn.security else { return self.plaintext(io, id, bytes) };
        let mut plain = std::mem::take(&mut self.plain_scratch);
        plain.clear();
        let result = tls.receive(bytes, &mut plain);
        // Handshake messages, tickets, alerts.
        if tls.wants_write() {
            self.mark(id);
        }
        match result {
            Err(e) => self.tls_failed(io, id, &e),
            Ok(received) => {
                if received.established {
                    self.handshake_done(io, id);
                }
                if !plain.is_empty() {
                    self.plaintext(io, id, &plain);
                }
                if received.closed {
                    self.stream_ended(io, id);
                }
            }
        }
        plain.clear();
        self.plain_scratch = plain;
    }

    /// Both sides have proved who they are.
    fn handshake_done(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        let resumed = matches!(&conn.security, Security::Tls(tls) if tls.is_resumed());
        let count = |[full, again]: &[Counter; 2]| if resumed { again.count() } else { full.count() };
        match &conn.stage {
            Stage::Accept(_) => {
                count(&self.gauges.handshakes_accepted);
                self.terminated(io, id);
            }
            Stage::Dial(_) => {
                count(&self.gauges.handshakes_dialed);
                self.dialed(io, id);
            }
            _ => {}
        }
    }

    /// TLS broke. The peer is told why, if it still listens.
    fn tls_failed(&mut self, io: &mut impl Io, id: Key<Conn>, error: &TlsError) {
        if !error.is_by_peer() {
            let _ = self.send(io, id);
        }
        self.broken(io, id, &io::Error::other(error.clone()));
    }

    /// Bytes of the connection's protocol. What cannot be consumed yet waits in `input`.
    pub(crate) fn plaintext(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.input.is_empty() {
            conn.input.push(bytes, &mut self.spare);
            return self.consume_input(io, id);
        }
        let used = self.consume(io, id, bytes);
        if let (Some(conn), Some(rest)) = (self.conns.get_mut(id), bytes.get(used..)) {
            conn.input.push(rest, &mut self.spare);
            self.account(id);
        }
    }

    /// Goes on with what waits in `input`.
    pub(crate) fn consume_input(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut conn.input);
        let used = self.consume(io, id, input.bytes());
        input.consume(used, &mut self.spare);
        match self.conns.get_mut(id) {
            // Where what was taken turned out to be TLS, what it said may be in `input` already.
            Some(conn) if !input.is_empty() => conn.input = input,
            _ => input.clear(&mut self.spare),
        }
        self.account(id);
    }

    /// Lets whatever the connection is in the middle of have `bytes`; how many it took.
    fn consume(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(conn) = self.conns.get_mut(id) else { return bytes.len() };
            let step = conn.step();
            at += match &mut conn.stage {
                Stage::Accept(accept) => {
                    let accept = *accept;
                    self.detect(io, id, accept, rest)
                }
                Stage::Dial(_) => 0,
                Stage::Http1Server(_) => self.http1_requests(io, id, rest),
                Stage::Http1Client(_) => self.http1_responses(io, id, rest),
                Stage::Http2(_) => self.http2_frames(io, id, rest),
                Stage::Relay(_) => self.relay_bytes(io, id, rest),
                Stage::Discard(_) => self.discard(io, id, rest),
            };
            // What is left is for the next stage, if there is one now.
            match self.conns.get(id) {
                Some(conn) if conn.step() != step && at < bytes.len() => {}
                Some(_) => return at,
                None => return bytes.len(),
            }
        }
    }

    /// The peer has ended its stream. On TLS without `close_notify` it was cut.
    fn stream_ended(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.ended {
            return;
        }
        if let Security::Tls(tls) = &conn.security {
            match tls.transport_ended() {
                Ok(End::Clean) => {}
                Ok(End::Truncated) => {
                    let cut = io::Error::new(ErrorKind::UnexpectedEof, "the TLS stream was cut");
                    return self.broken(io, id, &cut);
                }
                Err(e) => return self.tls_failed(io, id, &e),
            }
        }
        conn.ended = true;
        // What came before the end comes first.
        let waiting = conn.paused && !conn.input.is_empty();
        self.tell_interest(io, id);
        if !waiting {
            self.end_of_input(io, id);
        }
    }

    /// Everything the peer sent before its end is consumed, or never will be.
    pub(crate) fn end_of_input(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        match &conn.stage {
            Stage::Accept(_) => self.ended_before_protocol(io, id),
            Stage::Dial(_) => {
                let e = io::Error::new(ErrorKind::UnexpectedEof, "closed during the handshake");
                self.dial_failed(io, id, &e);
            }
            Stage::Http1Server(_) => self.http1_client_ended(io, id),
            Stage::Http1Client(_) => self.http1_server_ended(io, id),
            Stage::Http2(_) => self.http2_ended(io, id),
            Stage::Relay(_) => self.relay_ended(io, id),
            Stage::Discard(_) => self.close(io, id, Closing::Clean),
        }
    }

    /// Reads nothing more until [`Worker::resume`].
    pub(crate) fn pause(&mut self, io: &mut impl Io, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.paused = true;
            self.tell_interest(io, id);
        }
    }

    /// Reads again; first what has been read already.
    pub(crate) fn resume(&mut self, io: &mut impl Io, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.paused
        {
            conn.paused = false;
            if !conn.input.is_empty() || conn.ended {
                self.todo.push_back(Todo::Consume(id));
            }
            self.tell_interest(io, id);
        }
    }

    // --- interest, accounts, end

    /// Tells the shell which readiness matters, if it has changed.
    pub(crate) fn tell_interest(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let parked = matches!(&conn.stage, Stage::Accept(accept) if accept.parked());
        let read = !conn.paused && !conn.ended && !parked && !conn.connecting();
        // What is written in this batch is sent at its end; what is left after that waits for the socket.
        let write = conn.connecting() || conn.told.1 && conn.dirty || !conn.dirty && conn.pending() > 0;
        if conn.told != (read, write) {
            conn.told = (read, write);
            io.interest(conn.socket, read, write);
        }
    }

    /// Sets what happens when. A connection has one deadline at a time.
    pub(crate) fn set_deadline(&mut self, id: Key<Conn>, deadline: Option<(Instant, Timeout)>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.deadline = deadline;
            if let Some((at, _)) = deadline {
                self.conn_timers.arm(id.index(), at);
            }
        }
    }

    /// Keeps the worker's sum of buffered bytes true.
    pub(crate) fn account(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id) {
            let held = conn.held();
            self.buffered = self.buffered + held - conn.accounted;
            conn.accounted = held;
        }
    }

    /// The socket is of no more use.
    pub(crate) fn broken(&mut self, io: &mut impl Io, id: Key<Conn>, error: &io::Error) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Some(transport) = conn.transport.take() {
            transport.closed.count(error.raw_os_error());
            transport.open.down();
        }
        match &conn.stage {
            Stage::Accept(_) => self.accept_failed(io, id, error),
            Stage::Dial(_) => self.dial_failed(io, id, error),
            Stage::Http1Server(_) | Stage::Http1Client(_) | Stage::Http2(_) => self.http_broken(io, id),
            Stage::Relay(_) => self.relay_broken(io, id),
            Stage::Discard(_) => self.close(io, id, Closing::Cut),
        }
    }

    /// A connection that carries HTTP broke: so do the exchanges on it.
    fn http_broken(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match &mut conn.stage {
            Stage::Http1Server(server) => {
                if let Some(ex) = server.exchange {
                    self.cancelled(io, ex);
                }
            }
            Stage::Http1Client(client) => {
                if let Some(ex) = client.exchange.take() {
                    self.upstream_lost(io, ex, Lost::Broken);
                }
            }
            _ => self.lose_streams(io, id),
        }
        self.close(io, id, Closing::Cut);
    }

    /// Forgets a connection and closes its socket. What it was in the middle of has been told before.
    pub(crate) fn close(&mut self, io: &mut impl Io, id: Key<Conn>, closing: Closing) {
        let Some(mut conn) = self.conns.remove(id) else { return };
        self.buffered -= conn.accounted;
        for mut buf in [conn.input, conn.output, conn.unsent] {
            buf.clear(&mut self.spare);
        }
        if let Some(transport) = conn.transport.take() {
            transport.closed.clean.count();
            transport.open.down();
        }
        if let Some(slot) = self.sockets.get_mut(conn.socket.0 as usize) {
            *slot = None;
        }
        match closing {
            Closing::Clean => io.close(conn.socket),
            Closing::Cut => io.reset(conn.socket),
        }
        if let Some(endpoint) = conn.endpoint {
            self.gauges.dialed.down();
            self.left_endpoint(endpoint, id, &conn.stage);
        }
        if let Some(client) = conn.client {
            self.gauges.accepted.down();
            if let Some(pick) = client.pick {
                self.pick_unused(pick);
            }
            if let Some(governed) = client.policy {
                if client.tunnelled
                    && let Some(plan) = self.plan_by(governed)
                {
                    match closing {
                        Closing::Clean => plan.parent.tcp_closed.count(),
                        Closing::Cut => plan.parent.tcp_failed.count(),
                    }
                }
                self.ungovern(id, governed);
            }
        }
    }
}
