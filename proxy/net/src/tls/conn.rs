//! One TLS connection of either side, driven by bytes.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Write};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error, HandshakeKind};
use weft_names::IdentityName;

use super::client::Target;
use super::error::{Failure, TlsError};
use super::identity::{Identity, Offer};
use super::outgoing::Outgoing;
use super::sessions::Session;
use super::verify;

/// How many bytes of ciphertext may wait in a connection to be sent. [`TlsConn::send`] takes no more plaintext than
/// fits, give or take the frames of its records. The handshake and alerts always fit.
pub const MAX_PENDING_CIPHERTEXT: usize = 64 * 1024;

/// Longest piece of an unfinished record or handshake message that is kept until its rest arrives; longer is malformed.
/// Records have at most 16 KiB, and the longest message of a handshake is a peer's chain.
pub const MAX_UNFINISHED: usize = 64 * 1024;

/// What one record adds to its plaintext: head, content type, tag, and as much again to spare.
const RECORD_OVERHEAD: usize = 64;
/// The most plaintext in a record (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

thread_local! {
    /// Ciphertext is deciphered in place, so it is copied here first.
    static WORK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
/// A connection holds no bytes while it is idle, but for a server's ticket that nothing has taken along yet: the library
/// is given buffers that belong to the thread.
pub struct TlsConn(Box<Inner>);

struct Inner {
    tls: Side,
    ours: Option<IdentityName>,
    /// As a client, whom we expect; then whom the peer has proved to be.
    peer: Option<IdentityName>,
    handshaking: bool,
    peer_closed: bool,
    closed: bool,
    failed: Option<TlsError>,
    /// The beginning of a record, or of a handshake message in several, whose rest has not come.
    unfinished: Vec<u8>,
    outgoing: Outgoing,
    /// All that waits in there is a ticket, which is in no hurry.
    ticket_only: bool,
    session: Session,
}

/// One of the library's two kinds of connection.
pub(super) enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What the library is asked to do once it has nothing else to do.
#[derive(Clone, Copy)]
enum Then<'a> {
    Nothing,
    /// Seal this.
    Send(&'a [u8]),
    /// Say that nothing more will be sent.
    Close,
}

/// How far the library came.
enum Step {
    /// It has more to do.
    More,
    /// It needs more bytes, or has done what was asked for last.
    Done,
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
        match UnbufferedServerConnection::new(identity.resuming(offer)) {
            Ok(tls) => Ok(Self::new(Side::Server(tls), ours, None, Session::default())),
            Err(source) => Err(TlsError::new(source, ours, "a client".into())),
        }
    }

    /// The client's side. The ClientHello waits to be written at once.
    ///
    /// # Errors
    /// [`Failure::Internal`] only.
    pub fn client(target: &Target) -> Result<Self, TlsError> {
        let (ours, expected) = (target.ours().cloned(), target.expected().clone());
        let (config, mut session) = (target.resuming(), Session::default());
        match session.with(|| UnbufferedClientConnection::new(config, target.server_name())) {
            Ok(tls) => Ok(Self::new(Side::Client(tls), ours, Some(expected), session)),
            Err(source) => Err(TlsError::new(source, ours, expected.as_str().into())),
        }
    }

    pub(super) fn new(
        tls: Side,
        ours: Option<IdentityName>,
        peer: Option<IdentityName>,
        session: Session,
    ) -> Self {
        let mut inner = Inner {
            tls,
            ours,
            peer,
            handshaking: true,
            peer_closed: false,
            closed: false,
            failed: None,
            unfinished: Vec::new(),
            outgoing: Outgoing::default(),
            ticket_only: false,
            session,
        };
        // A client has something to say. What could go wrong shows with the first bytes from the peer.
        let _ = inner.ask(Then::Nothing);
        Self(Box::new(inner))
    }

    /// Takes all of `ciphertext` and appends what it says to `plaintext`.
    ///
    /// # Errors
    /// Once failed, a connection stays so. An alert for the peer may wait to be written.
    pub fn receive(&mut self, ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsError> {
        let inner = &mut *self.0;
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        let mut received = Received::default();
        if !inner.peer_closed {
            inner.take(ciphertext, plaintext)?;
            if inner.handshaking && !inner.tls.common().is_handshaking() {
                inner.established();
                received.established = true;
            }
        }
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
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        if inner.handshaking {
            return Ok(0);
        }
        let mut sent = 0;
        for piece in plaintext {
            let room = MAX_PENDING_CIPHERTEXT.saturating_sub(inner.outgoing.len());
            let piece = piece.get(..room).unwrap_or(piece);
            if piece.is_empty() {
                continue;
            }
            inner.ask(Then::Send(piece)).map_err(|source| inner.fail(source, &mut []))?;
            sent += piece.len();
        }
        Ok(sent)
    }

    /// Says that nothing more will be sent (`close_notify`). Receiving goes on. In the handshake, where the peer could
    /// not tell who says so, nothing is said.
    pub fn close(&mut self) {
        let inner = &mut *self.0;
        if inner.failed.is_none() && !std::mem::replace(&mut inner.closed, true) {
            // All that can go wrong is that the keys are used up, and then they cannot say goodbye either.
            let _ = inner.ask(Then::Close);
        }
    }

    /// Whether ciphertext waits to be written. A server's ticket, which waits for the first that is sent to go with it,
    /// does not count.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.0.outgoing.is_empty() && !self.0.ticket_only
    }

    /// Writes waiting ciphertext with one call of `write`; says how much was taken.
    ///
    /// # Errors
    /// Those of `sink`, which may be a socket that does not block: what it did not take stays.
    pub fn write_to(&mut self, sink: &mut dyn Write) -> io::Result<usize> {
        self.0.outgoing.write_to(sink)
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

    /// Whether the handshake continued an earlier session: the peer is who proved to be it then, at most
    /// [`super::MAX_CHAIN_AGE`] ago.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        !self.0.handshaking && self.0.tls.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether both sides agreed that a transport header comes first.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        !self.0.handshaking && self.0.tls.common().alpn_protocol() == Some(crate::transport_header::ALPN)
    }

    /// What was agreed on, as a debug log shows it: suite and key exchange group.
    #[must_use]
    pub fn parameters(&self) -> Option<(&'static str, &'static str)> {
        let suite = self.0.tls.common().negotiated_cipher_suite()?.suite().as_str()?;
        let group = self.0.tls.common().negotiated_key_exchange_group()?.name().as_str()?;
        Some((suite, group))
    }
}

impl Inner {
    /// Gives the library all bytes there are, and keeps what it cannot use yet.
    fn take(&mut self, ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsError> {
        // What is unfinished grows in its own place, so that a record that comes byte by byte is not copied each time.
        let waited = !self.unfinished.is_empty();
        let mut work = if waited { std::mem::take(&mut self.unfinished) } else { WORK.with(RefCell::take) };
        work.extend_from_slice(ciphertext);
        let (used, result) = self.run(&mut work, plaintext, Then::Nothing);
        let rest = work.get_mut(used..).unwrap_or_default();
        let result = match result {
            Ok(()) if rest.len() > MAX_UNFINISHED => Err(Error::PeerSentOversizedRecord),
            result => result,
        };
        if let Err(source) = result {
            return Err(self.fail(source, rest));
        }
        if waited && used == 0 {
            self.unfinished = work;
            return Ok(());
        }
        if !self.peer_closed {
            self.unfinished = rest.to_vec();
        }
        if !waited {
            work.clear();
            WORK.set(work);
        }
        Ok(())
    }

    /// Asks something of the library that needs no more bytes. It is shown those that it has seen and could not use
    /// yet, since it remembers where in them it stands.
    fn ask(&mut self, then: Then<'_>) -> Result<(), Error> {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        let mut plaintext = Vec::new();
        let (used, result) = self.run(&mut unfinished, &mut plaintext, then);
        debug_assert!(used == 0 && plaintext.is_empty(), "what could be used was used when it came");
        self.unfinished = unfinished;
        result
    }

    /// Lets the library work until it needs more bytes, then asks of it what is `then` to be done. Says how many bytes
    /// of `work` it is done with.
    fn run(
        &mut self,
        work: &mut [u8],
        plaintext: &mut Vec<u8>,
        then: Then<'_>,
    ) -> (usize, Result<(), Error>) {
        let mut session = self.session;
        let done = session.with(|| {
            let mut used = 0;
            loop {
                let rest = work.get_mut(used..).unwrap_or_default();
                let (discard, step) = self.step(rest, plaintext, then);
                used += discard;
                match step {
                    Ok(Step::More) => {}
                    Ok(Step::Done) => return (used, Ok(())),
                    Err(error) => return (used, Err(error)),
                }
            }
        });
        session.settle(self.tls.common().handshake_kind());
        self.session = session;
        if !matches!(then, Then::Nothing) {
            self.ticket_only = false;
        }
        done
    }

    fn step(
        &mut self,
        rest: &mut [u8],
        plaintext: &mut Vec<u8>,
        then: Then<'_>,
    ) -> (usize, Result<Step, Error>) {
        let (out, closed) = (&mut self.outgoing, &mut self.peer_closed);
        match &mut self.tls {
            Side::Client(tls) => step(tls.process_tls_records(rest), out, plaintext, closed, then),
            Side::Server(tls) => step(tls.process_tls_records(rest), out, plaintext, closed, then),
        }
    }

    fn established(&mut self) {
        self.handshaking = false;
        if let Side::Server(server) = &self.tls {
            let leaf = server.peer_certificates().and_then(<[_]>::first);
            self.peer = leaf.and_then(verify::identity_of);
            self.ticket_only = !self.outgoing.is_empty();
            self.outgoing.give_back();
        }
    }

    /// Whatever comes now, the connection has failed. An alert, if there is one, is put where it waits to be written.
    fn fail(&mut self, source: Error, rest: &mut [u8]) -> TlsError {
        self.ticket_only = false;
        let ours = self.ours.clone();
        let error = match verify::take_refused() {
            Some(refused) => TlsError::refused(source, ours, refused),
            None => TlsError::new(source, ours, self.peer_told()),
        };
        // While it has something to say, it does not look at what came.
        while self.tls.common().wants_write() && self.step(rest, &mut Vec::new(), Then::Nothing).1.is_ok() {}
        self.failed = Some(error.clone());
        error
    }

    fn peer_told(&self) -> Box<str> {
        self.peer.as_ref().map_or("a client", IdentityName::as_str).into()
    }
}

impl Side {
    fn common(&self) -> &CommonState {
        match self {
            Self::Client(tls) => tls,
            Self::Server(tls) => tls,
        }
    }
}

/// Does what the library wants done in its present state. Says how many bytes of its input it is done with.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Outgoing,
    plaintext: &mut Vec<u8>,
    peer_closed: &mut bool,
    then: Then<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    plaintext.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::More),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(out.room(0)) {
            Ok(len) => {
                out.filled(len);
                Ok(Step::More)
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                let encoded = data.encode(out.room(required_size));
                encoded.map(|len| out.filled(len)).map(|()| Step::More).map_err(internal)
            }
            Err(error) => Err(internal(error)),
        },
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::More)
        }
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Ok(Step::More)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let need = match then {
                Then::Nothing => return (discard, Ok(Step::Done)),
                Then::Send(bytes) => bytes.len() + (bytes.len() / RECORD + 2) * RECORD_OVERHEAD,
                Then::Close => 4 * RECORD_OVERHEAD,
            };
            let mut seal = |room: &mut [u8]| match then {
                Then::Send(bytes) => traffic.encrypt(bytes, room),
                Then::Nothing | Then::Close => traffic.queue_close_notify(room),
            };
            // More is needed only where a key update goes before.
            let sealed = match seal(out.room(need)) {
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    seal(out.room(required_size))
                }
                sealed => sealed,
            };
            sealed.map(|len| out.filled(len)).map(|()| Step::Done).map_err(internal)
        }
        // The handshake needs more bytes, or both sides have closed. (There is no early data: it is not allowed.)
        Ok(_) => Ok(Step::Done),
    };
    (discard, step)
}

fn internal(error: impl fmt::Display) -> Error {
    Error::General(error.to_string())
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
