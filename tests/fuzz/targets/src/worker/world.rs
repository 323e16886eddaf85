//! The world of one worker: sockets whose other ends the input moves, some of them behind TLS, and questions that wait for
//! an answer. Checks that the worker keeps to the contract of [`Io`].

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    net::SocketAddr,
    time::Duration,
};

use weft_engine::io::{Io, Note, Question, Refused, Side, SocketId, Subject};
use weft_net::tls::TlsConn;

use crate::input::Rng;

/// How much of what the worker wrote is kept to be looked at.
const KEPT: usize = 64 * 1024;

/// A socket, with its other end.
#[derive(Default)]
pub(super) struct Sock {
    /// Sent by the other end, not yet read.
    rx: Vec<u8>,
    rx_end: bool,
    broken: bool,
    /// How much more the worker may write.
    room: usize,
    /// How much is read at once.
    piece: usize,
    connecting: bool,
    refused: bool,
    closed: bool,
    shut: bool,
    interest: (bool, bool),
    /// Whom the worker connected to; none for those that it accepted.
    pub(super) target: Option<SocketAddr>,
    /// The other end's TLS.
    tls: Option<Box<TlsConn>>,
    /// What the worker has written, as the other end understands it.
    pub(super) got: Vec<u8>,
    /// What is next on this connection, for peers that speak HTTP/2: the stream to open, or answered so far.
    pub(super) stream: u32,
    pub(super) started: bool,
}

impl Sock {
    fn is_readable(&self) -> bool {
        !self.connecting && (!self.rx.is_empty() || self.rx_end || self.broken || self.refused)
    }

    fn is_writable(&self) -> bool {
        !self.connecting && (self.room > 0 || self.broken || self.refused)
    }

    /// The other end of a connection that is open.
    pub(super) fn is_open(&self) -> bool {
        !self.closed && !self.connecting && !self.broken && !self.refused
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting && !self.closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The other end sends bytes.
    pub(super) fn send(&mut self, mut bytes: &[u8]) {
        if !self.is_open() || self.rx_end {
            return;
        }
        let Some(tls) = &mut self.tls else {
            self.rx.extend_from_slice(bytes);
            return;
        };
        while !bytes.is_empty() {
            match tls.send(&[IoSlice::new(bytes)]) {
                Ok(sent @ 1..) => bytes = &bytes[sent..],
                // In the handshake, or failed: it says something else.
                Ok(0) | Err(_) => break,
            }
            tls.take_ciphertext(&mut self.rx);
        }
        tls.take_ciphertext(&mut self.rx);
    }

    /// The other end sends bytes past its TLS.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        if self.is_open() && !self.rx_end {
            self.rx.extend_from_slice(bytes);
        }
    }

    /// The other end says that it is done.
    pub(super) fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            tls.take_ciphertext(&mut self.rx);
        }
        self.rx_end |= self.is_open();
    }

    /// The connection breaks, also one that is not there yet.
    pub(super) fn break_off(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.refused = true;
        }
        self.broken = true;
        self.rx.clear();
    }

    /// The connection is made.
    pub(super) fn connected(&mut self, tls: Option<TlsConn>) {
        self.connecting = false;
        self.tls = tls.map(Box::new);
    }

    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    pub(super) fn set_piece(&mut self, piece: usize) {
        self.piece = piece.max(1);
    }

    fn written(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => {
                // Whatever it makes of it: it may have failed already.
                let _ = tls.receive(bytes, &mut self.got);
                if !self.rx_end && !self.broken {
                    tls.take_ciphertext(&mut self.rx);
                }
            }
            None => self.got.extend_from_slice(bytes),
        }
        self.got.truncate(KEPT);
    }
}

/// Everything around a worker.
pub(super) struct World {
    pub(super) socks: Vec<Sock>,
    /// Asked and not forgotten, and whether an answer came.
    pub(super) subjects: BTreeMap<String, bool>,
    /// Asked, in order.
    pub(super) questions: Vec<Question>,
    pub(super) refuse: bool,
    /// Everything that the worker did, as one number.
    pub(super) trace: u64,
    rng: Rng,
}

impl std::fmt::Debug for Sock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, interest, rx_end, broken, refused, shut, room, .. } = self;
        write!(f, "to {target:?}, waits {interest:?}, ended {rx_end}, broken {broken}, refused {refused}, ")?;
        write!(f, "shut {shut}, room {room}, {} octets to read, {} written", self.rx.len(), self.got.len())
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            socks: Vec::new(),
            subjects: BTreeMap::new(),
            questions: Vec::new(),
            refuse: false,
            trace: 0,
            rng: Rng::new(1),
        }
    }

    /// A socket for a connection that was accepted, or begun.
    pub(super) fn open(&mut self, target: Option<SocketAddr>, tls: Option<TlsConn>) -> SocketId {
        let mut sock = Sock {
            room: usize::MAX,
            piece: usize::MAX,
            connecting: target.is_some(),
            target,
            tls: tls.map(Box::new),
            ..Sock::default()
        };
        if let Some(tls) = &mut sock.tls {
            tls.take_ciphertext(&mut sock.rx);
        }
        self.socks.push(sock);
        SocketId(u32::try_from(self.socks.len()).expect("few sockets") - 1)
    }

    /// A socket that the worker wants to hear of, and whether of reading.
    pub(super) fn ready(&self, from: usize) -> Option<(SocketId, bool)> {
        let n = self.socks.len();
        (from..from + n).map(|i| i % n).find_map(|i| {
            let sock = &self.socks[i];
            let (read, write) = sock.interest;
            let reads = read && sock.is_readable();
            let ready = !sock.closed && (reads || (write && sock.is_writable()));
            ready.then_some((SocketId(i as u32), reads))
        })
    }

    fn sock(&mut self, id: SocketId) -> &mut Sock {
        let sock = &mut self.socks[id.0 as usize];
        assert!(!sock.closed, "{id:?} was closed before");
        sock
    }

    fn note_act(&mut self, what: u64, id: SocketId, n: usize) {
        self.trace = (self.trace.rotate_left(7) ^ what ^ u64::from(id.0) << 8 ^ (n as u64) << 32)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What a question or an answer is about, in order.
pub(super) fn name(subject: &Subject) -> String {
    format!("{subject:?}")
}

impl Io for World {
    fn read(&mut self, id: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "a read into nothing looks like an end");
        let sock = self.sock(id);
        if sock.broken || sock.refused {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if sock.rx.is_empty() {
            return if sock.rx_end { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = sock.rx.len().min(buf.len()).min(sock.piece);
        buf[..n].copy_from_slice(&sock.rx[..n]);
        sock.rx.drain(..n);
        self.note_act(1, id, n);
        Ok(n)
    }

    fn write(&mut self, id: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let sock = self.sock(id);
        assert!(!sock.shut, "nothing is written after the end");
        assert!(!sock.connecting, "nothing is written before there is a connection");
        if sock.broken || sock.refused {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        assert!(!bytes.is_empty(), "something is written");
        bytes.truncate(sock.room);
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        sock.room -= bytes.len();
        sock.written(&bytes);
        self.note_act(2, id, bytes.len());
        Ok(bytes.len())
    }

    fn connect(&mut self, target: SocketAddr, side: Side) -> io::Result<SocketId> {
        let id = self.open(Some(target), None);
        self.note_act(3, id, usize::from(target.port()) + side as usize);
        Ok(id)
    }

    fn connect_result(&mut self, id: SocketId) -> io::Result<()> {
        let sock = self.sock(id);
        match (sock.connecting, sock.refused) {
            (true, _) => Err(io::ErrorKind::WouldBlock.into()),
            (_, true) => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok(()),
        }
    }

    fn interest(&mut self, id: SocketId, read: bool, write: bool) {
        self.sock(id).interest = (read, write);
    }

    fn shutdown_write(&mut self, id: SocketId) {
        self.sock(id).shut = true;
        self.note_act(4, id, 0);
    }

    fn close(&mut self, id: SocketId) {
        self.sock(id).closed = true;
        self.note_act(5, id, 0);
    }

    fn reset(&mut self, id: SocketId) {
        self.sock(id).closed = true;
        self.note_act(6, id, 0);
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        let subject = match &question {
            Question::Discover { target } => Subject::Target(*target),
            Question::Resolve { path } => Subject::Path(path.clone()),
            Question::Port { port } => Subject::Port(*port),
            Question::Forget(subject) => {
                // Also when the queue is full: it would never come otherwise.
                assert!(self.subjects.remove(&name(subject)).is_some(), "{subject:?} was asked about");
                return Ok(());
            }
        };
        if self.refuse {
            return Err(Refused);
        }
        assert!(self.subjects.insert(name(&subject), false).is_none(), "{subject:?} is asked about once");
        self.questions.push(question);
        Ok(())
    }

    fn random(&mut self) -> u64 {
        self.rng.number()
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(784_111_777)
    }

    fn note(&mut self, note: &Note<'_>) {
        assert!(!format!("{note:?}").is_empty());
    }
}
