//! One TLS connection of either side, driven by bytes.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};

use rustls::{ClientConnection, Connection, Error, ServerConnection};
use weft_names::IdentityName;

use super::client::Target;
use super::error::{Failure, TlsError};
use super::identity::{Identity, Offer};
use super::verify;

/// How many bytes of ciphertext may wait in a connection to be sent. [`TlsConn::send`] takes no more plaintext than
/// fits, give or take the frames of its records. The handshake and alerts always fit.
pub const MAX_PENDING_CIPHERTEXT: usize = 64 * 1024;

/// A TLS connection without a socket.
///
/// ```text
///  from the socket ─▶ receive(ciphertext, &mut plaintext) ─▶ to the application
///  to the socket   ◀─ write_to(socket)     send(plaintext) ◀─ from the application
/// ```
///
/// Handshake messages and alerts come up by themselves: after each `receive`, also one that failed, what
/// [`TlsConn::wants_write`] announces has to be written.
///
/// A connection holds no bytes while it is idle, apart from one buffer of 4 KiB that the TLS library keeps.
pub struct TlsConn(Box<Inner>);

struct Inner {
    tls: Connection,
    ours: Option<IdentityName>,
    /// As a client, whom we expect; then whom the peer has proved to be.
    peer: Option<IdentityName>,
    handshaking: bool,
    peer_closed: bool,
}

/// What came of some ciphertext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The handshake ended with these bytes: the peer's identity is known, and plaintext may be sent.
    pub established: bool,
    /// The peer said that it sends nothing more (`close_notify`). What follows it is ignored (RFC 8446 section 6.1).
    pub closed: bool,
}

/// What the end of the transport means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer had said so before: everything it sent has arrived.
    Clean,
    /// It had not: somebody may have cut the stream (RFC 8446 section 6.1).
    Truncated,
}

impl TlsConn {
    /// The server's side, for a client that asked for us. `offer` is [`Offer::Tagged`] on the proxy's own port.
    ///
    /// # Errors
    /// [`Failure::Internal`] only.
    pub fn server(identity: &Identity, offer: Offer) -> Result<Self, TlsError> {
        let ours = Some(identity.name().clone());
        match ServerConnection::new(identity.server_config(offer)) {
            Ok(tls) => Ok(Self::new(tls.into(), ours, None)),
            Err(source) => Err(TlsError::new(source, ours, "a client".into())),
        }
    }

    /// The client's side. The ClientHello waits to be written at once.
    ///
    /// # Errors
    /// [`Failure::Internal`] only.
    pub fn client(target: &Target) -> Result<Self, TlsError> {
        let (ours, expected) = (target.ours().cloned(), target.expected().clone());
        match ClientConnection::new(target.config(), target.server_name()) {
            Ok(tls) => Ok(Self::new(tls.into(), ours, Some(expected))),
            Err(source) => Err(TlsError::new(source, ours, expected.as_str().into())),
        }
    }

    pub(super) fn new(mut tls: Connection, ours: Option<IdentityName>, peer: Option<IdentityName>) -> Self {
        tls.set_buffer_limit(Some(MAX_PENDING_CIPHERTEXT));
        Self(Box::new(Inner { tls, ours, peer, handshaking: true, peer_closed: false }))
    }

    /// Takes all of `ciphertext` and appends what it says to `plaintext`.
    ///
    /// # Errors
    /// Once failed, a connection stays so. An alert for the peer may wait to be written.
    pub fn receive(&mut self, mut ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsError> {
        let inner = &mut *self.0;
        let mut received = Received::default();
        while !ciphertext.is_empty() && !inner.peer_closed {
            // Takes a few KiB at a time, at most a record and a half.
            let taken = inner.tls.read_tls(&mut ciphertext).unwrap_or(0);
            let state = inner.tls.process_new_packets().map_err(|source| inner.failed(source))?;
            if state.plaintext_bytes_to_read() > 0 {
                inner.drain(plaintext);
            }
            inner.peer_closed = state.peer_has_closed();
            if inner.handshaking && !inner.tls.is_handshaking() {
                inner.established();
                received.established = true;
            }
            if taken == 0 && !inner.peer_closed {
                // The library takes nothing, yet reports no error: only a record longer than its buffer could do that.
                return Err(inner.failed(Error::PeerSentOversizedRecord));
            }
        }
        inner.shrink();
        received.closed = inner.peer_closed;
        Ok(received)
    }

    /// What it means that the transport has ended here.
    ///
    /// # Errors
    /// [`Failure::Unfinished`] in the handshake.
    pub fn transport_ended(&self) -> Result<End, TlsError> {
        let inner = &*self.0;
        if inner.handshaking {
            return Err(TlsError::without_source(Failure::Unfinished, inner.ours.clone(), inner.peer_told()));
        }
        Ok(if inner.peer_closed { End::Clean } else { End::Truncated })
    }

    /// Seals a prefix of `plaintext` into records of at most 16 KiB, which then wait to be written; says how long a
    /// prefix. It is shorter than everything when [`MAX_PENDING_CIPHERTEXT`] is reached: write, then send the rest.
    ///
    /// Nothing is taken in the handshake.
    ///
    /// # Errors
    /// When the connection has failed before.
    pub fn send(&mut self, plaintext: &[IoSlice<'_>]) -> Result<usize, TlsError> {
        let inner = &mut *self.0;
        if inner.handshaking {
            return Ok(0);
        }
        match inner.tls.writer().write_vectored(plaintext) {
            Ok(sent) => Ok(sent),
            Err(_) => Err(inner.failed_before()),
        }
    }

    /// Says that nothing more will be sent (`close_notify`). Receiving goes on.
    pub fn close(&mut self) {
        self.0.tls.send_close_notify();
    }

    /// Whether ciphertext waits to be written.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.0.tls.wants_write()
    }

    /// Writes waiting ciphertext with one call of `write_vectored`; says how much was taken.
    ///
    /// # Errors
    /// Those of `sink`, which may be a socket that does not block: what it did not take stays.
    pub fn write_to(&mut self, sink: &mut dyn Write) -> io::Result<usize> {
        self.0.tls.write_tls(sink)
    }

    /// Appends all waiting ciphertext to `out`.
    pub fn take_ciphertext(&mut self, out: &mut Vec<u8>) {
        while self.wants_write() {
            // A vector takes everything.
            if self.write_to(out).is_err() {
                return;
            }
        }
    }

    /// Whether the handshake still goes on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.0.handshaking
    }

    /// Whom the peer has proved to be: known when the handshake has ended. A client without a certificate, or with one
    /// that has no identity among its names, is nobody.
    #[must_use]
    pub fn peer(&self) -> Option<&IdentityName> {
        if self.0.handshaking { None } else { self.0.peer.as_ref() }
    }

    /// As [`TlsConn::peer`], for ports that serve only known clients.
    ///
    /// # Errors
    /// [`Failure::NoClientCertificate`].
    pub fn require_peer(&self) -> Result<&IdentityName, TlsError> {
        self.peer().ok_or_else(|| {
            TlsError::without_source(Failure::NoClientCertificate, self.0.ours.clone(), self.0.peer_told())
        })
    }

    /// Whether both sides agreed that a transport header comes first.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        !self.0.handshaking && self.0.tls.alpn_protocol() == Some(crate::transport_header::ALPN)
    }

    /// What was agreed on, as a debug log shows it: suite and key exchange group.
    #[must_use]
    pub fn parameters(&self) -> Option<(&'static str, &'static str)> {
        let suite = self.0.tls.negotiated_cipher_suite()?.suite().as_str()?;
        let group = self.0.tls.negotiated_key_exchange_group()?.name().as_str()?;
        Some((suite, group))
    }
}

impl Inner {
    fn drain(&mut self, plaintext: &mut Vec<u8>) {
        let mut reader = self.tls.reader();
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                return;
            }
            plaintext.extend_from_slice(chunk);
            let len = chunk.len();
            reader.consume(len);
        }
    }

    fn established(&mut self) {
        self.handshaking = false;
        if let Connection::Server(server) = &self.tls {
            let leaf = server.peer_certificates().and_then(<[_]>::first);
            self.peer = leaf.and_then(verify::identity_of);
        }
    }

    /// Lets the library give back what a large record made it hold. It does so whenever it prepares to read into an
    /// empty buffer, so it is asked to read from a source that has nothing.
    fn shrink(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let _ = self.tls.read_tls(&mut Nothing);
    }

    fn failed(&self, source: Error) -> TlsError {
        let ours = self.ours.clone();
        match verify::take_refused() {
            Some(refused) => TlsError::refused(source, ours, refused),
            None => TlsError::new(source, ours, self.peer_told()),
        }
    }

    fn failed_before(&mut self) -> TlsError {
        match self.tls.process_new_packets() {
            Err(source) => self.failed(source),
            Ok(_) => self.failed(Error::General("the connection does not take data".into())),
        }
    }

    fn peer_told(&self) -> Box<str> {
        self.peer.as_ref().map_or("a client", IdentityName::as_str).into()
    }
}

impl fmt::Debug for TlsConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConn")
            .field("ours", &self.0.ours)
            .field("peer", &self.0.peer)
            .field("handshaking", &self.0.handshaking)
            .finish_non_exhaustive()
    }
}
