//! Opaque bytes between two connections: plain TCP, somebody else's TLS, upgrades, CONNECT.
//!
//! Each leg knows the other. What is read on one is written to the other and sent at the end of the batch; when the
//! other holds as much output as it may, nothing more is read here until that has drained. The end of one stream is the
//! end of the other leg's output (half-close); a cut on either side cuts both. The pair is gone when both ways have
//! ended.

use crate::conn::{After, Closing, Conn, Stage};
use crate::io::Io;
use crate::slab::Key;
use crate::worker::Worker;

/// One leg of a pair.
#[derive(Clone, Copy)]
pub(crate) struct Relay {
    /// The other leg; none while it is being made (nothing is read here until then).
    pub(crate) peer: Option<Key<Conn>>,
}

impl Worker {
    /// Ties two connections together. What `client` had sent already follows.
    pub(crate) fn join(&mut self, io: &mut impl Io, client: Key<Conn>, server: Key<Conn>) {
        for (one, other) in [(client, server), (server, client)] {
            if let Some(conn) = self.conns.get_mut(one) {
                conn.stage = Stage::Relay(Relay { peer: Some(other) });
                conn.deadline = None;
            }
        }
        for id in [client, server] {
            // Reading may have been stopped for reasons that are over; bytes and an end may be waiting.
            self.pause(io, id);
            self.resume(io, id);
        }
    }

    fn peer_of(&self, id: Key<Conn>) -> Option<Key<Conn>> {
        match &self.conns.get(id)?.stage {
            Stage::Relay(relay) => relay.peer,
            _ => None,
        }
    }

    /// Bytes from one leg go to the other.
    pub(crate) fn relay_bytes(&mut self, io: &mut impl Io, id: Key<Conn>, bytes: &[u8]) -> usize {
        let Some(peer) = self.peer_of(id) else { return 0 };
        let Some(output) = self.output(peer) else { return bytes.len() };
        output.extend_from_slice(bytes);
        self.account(peer);
        if self.is_full(peer) {
            self.pause(io, id);
            self.await_drained(peer);
        }
        bytes.len()
    }

    /// A leg has sent everything that held up its peer.
    pub(crate) fn relay_drained(&mut self, io: &mut impl Io, id: Key<Conn>) {
        if let Some(peer) = self.peer_of(id) {
            self.resume(io, peer);
        }
    }

    /// One way has ended: so does the other leg's output, once it is sent.
    pub(crate) fn relay_ended(&mut self, _io: &mut impl Io, id: Key<Conn>) {
        let Some(peer) = self.peer_of(id) else { return };
        let waiting = self.conns.get(id).is_some_and(|c| !c.input.is_empty());
        if !waiting {
            self.after_sent(peer, After::Shutdown);
        }
    }

    /// Our stream on this leg has ended. If the other way has too, the pair is done.
    pub(crate) fn was_shut_down(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(peer) = self.peer_of(id) else { return };
        let done = |c: &Conn| c.ended && c.after == After::WasShutdown;
        if self.conns.get(id).is_some_and(done) && self.conns.get(peer).is_some_and(done) {
            self.close(io, id, Closing::Clean);
            self.close(io, peer, Closing::Clean);
        }
    }

    /// One leg was cut: the other end shall not take what it got for the whole.
    pub(crate) fn relay_broken(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let peer = self.peer_of(id);
        self.close(io, id, Closing::Cut);
        if let Some(peer) = peer {
            self.close(io, peer, Closing::Cut);
        }
    }
}
