//! What a connection has to send: written during a batch, sealed and sent once at its end.

use std::io::{self, ErrorKind, IoSlice, Write};

use weft_net::tls::{MAX_PENDING_CIPHERTEXT, TlsConn};

use crate::buffers::{Buf, Spare};
use crate::conn::{After, Closing, Conn, Security, Stage, Timeout};
use crate::io::{Io, SocketId};
use crate::limits::Bound;
use crate::slab::Key;
use crate::worker::{Todo, Worker};

impl Worker {
    /// Where to write what shall be sent at the end of the batch.
    #[inline]
    pub(crate) fn output(&mut self, id: Key<Conn>) -> Option<&mut Vec<u8>> {
        self.mark(id);
        Some(self.conns.get_mut(id)?.output.writer(&mut self.spare))
    }

    /// Sees to it that the connection is flushed at the end of the batch.
    #[inline]
    pub(crate) fn mark(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// True if the connection holds as much output as it may.
    #[inline]
    pub(crate) fn is_full(&self, id: Key<Conn>) -> bool {
        self.conns.get(id).is_some_and(|c| c.pending() >= self.config.limits.output_bytes)
    }

    /// Asks for [`Todo::Drained`] once everything is sent.
    pub(crate) fn await_drained(&mut self, id: Key<Conn>) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.awaited = true;
        }
    }

    /// Ends our stream, or closes, once everything is sent.
    pub(crate) fn after_sent(&mut self, id: Key<Conn>, after: After) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.after != After::Close
            && conn.after != After::WasShutdown
        {
            conn.after = after;
        } else if after == After::Close
            && let Some(conn) = self.conns.get_mut(id)
        {
            conn.after = After::Close;
        }
        self.mark(id);
    }

    /// Seals and sends what a connection has to send; once per batch, and when its socket takes more.
    pub(crate) fn flush_conn(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.dirty = false;
        if conn.connecting() {
            return;
        }
        let moved = match self.send(io, id) {
            Ok(moved) => moved,
            Err(e) => return self.broken(io, id, &e),
        };
        self.account(id);
        self.watch_stall(id, moved);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.pending() == 0 {
            if std::mem::take(&mut conn.awaited) {
                self.todo.push_back(Todo::Drained(id));
            }
            if let Stage::Http2(http2) = &mut conn.stage {
                http2.connection.flushed();
            }
            match conn.after {
                After::Nothing | After::WasShutdown => {}
                After::Shutdown => self.shut_down(io, id),
                After::Close => return self.close_when_read(io, id),
            }
        }
        self.tell_interest(io, id);
    }

    /// Sends what the socket takes; whether that was something.
    pub(crate) fn send(&mut self, io: &mut impl Io, id: Key<Conn>) -> io::Result<bool> {
        let Some(conn) = self.conns.get_mut(id) else { return Ok(false) };
        if conn.shut {
            // TLS may have something to say of what came after our end; there is nowhere to say it.
            conn.sealed = 0;
            return Ok(false);
        }
        let mut socket = Socket { io, id: conn.socket, writes: 0, sent: 0 };
        let result = match &mut conn.security {
            Security::Plain => loop {
                if conn.unsent.is_empty() {
                    conn.unsent = std::mem::take(&mut conn.output);
                }
                if conn.unsent.is_empty() {
                    break Ok(());
                }
                match retry_later(socket.write(conn.unsent.bytes())) {
                    Ok(0) => break Ok(()),
                    Ok(n) => conn.unsent.consume(n, &mut self.spare),
                    Err(e) => break Err(e),
                }
            },
            Security::Tls(tls) => {
                let mut result = seal_and_send(tls, &mut conn.unsent, &mut self.spare, &mut socket);
                if result.is_ok()
                    && conn.unsent.is_empty()
                    && !tls.is_handshaking()
                    && !conn.output.is_empty()
                {
                    conn.unsent = std::mem::take(&mut conn.output);
                    result = seal_and_send(tls, &mut conn.unsent, &mut self.spare, &mut socket);
                }
                result
            }
        };
        let (writes, sent) = (socket.writes, socket.sent);
        if let Security::Tls(tls) = &conn.security {
            // What the socket did not take stays in TLS; how much is known only when it is nothing.
            conn.sealed = if tls.wants_write() { MAX_PENDING_CIPHERTEXT } else { 0 };
        }
        self.gauges.writes.add(writes);
        if let Some(transport) = &conn.transport {
            transport.written.add(sent);
        }
        if let Some(counter) = conn.zone.and_then(|z| self.gauges.sent_by_zone.get(z)) {
            counter.add(sent);
        }
        result.map(|()| sent > 0)
    }

    /// An HTTP peer has a while to take some of what is for it.
    fn watch_stall(&mut self, id: Key<Conn>, moved: bool) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let pending = conn.pending() > 0;
        if let Stage::Http2(http2) = &mut conn.stage {
            // Looked at by `keepalive`, when the connection's deadline comes.
            let since = http2.untaken.filter(|_| !moved);
            http2.untaken = pending.then(|| since.unwrap_or(now));
            if pending && conn.deadline.is_none() {
                self.http2_deadline(id);
            }
            return;
        }
        let stalls = pending && matches!(conn.stage, Stage::Http1Server(_) | Stage::Http1Client(_));
        match conn.deadline {
            Some((_, Timeout::Stall)) if stalls && !moved => {}
            None | Some((_, Timeout::Stall)) if stalls => {
                self.set_deadline(id, Some((self.now + self.config.stall_timeout, Timeout::Stall)));
            }
            Some((_, Timeout::Stall)) => self.set_deadline(id, None),
            _ => {}
        }
    }

    fn shut_down(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Security::Tls(tls) = &mut conn.security
            && !std::mem::replace(&mut conn.said_goodbye, true)
        {
            tls.close();
            if let Err(e) = self.send(io, id) {
                return self.broken(io, id, &e);
            }
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.pending() == 0 {
            conn.after = After::WasShutdown;
            conn.shut = true;
            io.shutdown_write(conn.socket);
            self.was_shut_down(io, id);
        }
    }

    /// Everything is sent and the connection is done with. While the client may still be sending, closing would make its
    /// kernel drop what it has not read yet: so our stream ends first, and what comes is dropped for a while.
    fn close_when_read(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        if matches!(conn.stage, Stage::Discard(_)) && !conn.ended {
            self.shut_down(io, id);
        } else {
            self.goodbye(io, id);
            self.close(io, id, Closing::Clean);
        }
    }

    /// `close_notify`, as far as the socket takes it now.
    pub(crate) fn goodbye(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Security::Tls(tls) = &mut conn.security
            && !std::mem::replace(&mut conn.said_goodbye, true)
        {
            tls.close();
            let _ = self.send(io, id);
        }
    }

    /// Drops what a client still sends after it was answered.
    pub(crate) fn discard(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        if let Some(conn) = self.conns.get_mut(id)
            && let Stage::Discard(left) = &mut conn.stage
        {
            match left.checked_sub(bytes.len()) {
                Some(rest) => *left = rest,
                None => {
                    self.met(io, Bound::DiscardBytes);
                    self.todo.push_back(Todo::Close(id, Closing::Cut));
                }
            }
        }
        bytes.len()
    }

    /// The connection is done with once its output is sent; what the client sends meanwhile is dropped.
    pub(crate) fn finish_and_discard(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.stage = Stage::Discard(self.config.limits.discard_bytes);
        self.set_deadline(id, Some((self.now + self.config.discard_timeout, Timeout::Discard)));
        self.after_sent(id, After::Close);
        self.pause(io, id);
        self.resume(io, id);
    }
}

/// A socket as a sink, counting.
struct Socket<'a, I: Io> {
    io: &'a mut I,
    id: SocketId,
    writes: u64,
    sent: u64,
}

impl<I: Io> Write for Socket<'_, I> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = self.io.write(self.id, bufs)?;
        self.writes += 1;
        self.sent += sent as u64;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Seals all of `output` that TLS takes, and sends it; again, until the socket or the output is at its end.
fn seal_and_send(
    tls: &mut TlsConn,
    output: &mut Buf,
    spare: &mut Spare,
    socket: &mut impl Write,
) -> io::Result<()> {
    loop {
        if !output.is_empty() {
            let taken = tls.send(&[IoSlice::new(output.bytes())]).map_err(io::Error::other)?;
            output.consume(taken, spare);
        }
        if !tls.wants_write() {
            return Ok(());
        }
        if retry_later(tls.write_to(socket))? == 0 {
            return Ok(());
        }
    }
}

/// A socket that takes nothing now took nothing.
fn retry_later(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        result => result,
    }
}
