//! What a worker can do to the world: the calls of [`Io`] as system calls.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weft_engine::io::{Io, Note, Question, Refused, Side, SocketId};
use weft_engine::time::Instant;
use weft_net::socket::{self, StreamOptions};

use super::epoll::Epoll;
use super::notes::Notes;
use super::questions::Asker;
use super::sockets::Sockets;
use super::{Config, Counters};

/// The world as one worker sees it. Lives on its thread.
pub struct Shell {
    pub(super) epoll: Epoll,
    pub(super) sockets: Sockets,
    pub(super) counters: Arc<Counters>,
    number: u32,
    max_sockets: usize,
    outbound: StreamOptions,
    inbound: StreamOptions,
    questions: Asker,
    notes: Notes,
    random: u64,
    started: std::time::Instant,
}

impl Shell {
    pub(super) fn new(
        config: &Config,
        number: u32,
        questions: Asker,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            sockets: Sockets::default(),
            number,
            max_sockets: config.limits.open_sockets,
            outbound: config.outbound.connect,
            inbound: config.inbound.connect,
            questions,
            notes: Notes::new(Arc::clone(&counters)),
            counters,
            random: rand::random(),
            started: std::time::Instant::now(),
        })
    }

    /// The time since the shell was made.
    pub(super) fn now(&self) -> Instant {
        Instant::START + self.started.elapsed()
    }

    /// Takes a connection that was just accepted.
    pub(super) fn accepted(&mut self, socket: TcpStream) -> io::Result<SocketId> {
        let id = self.sockets.accepted(&self.epoll, socket)?;
        self.counters.open_sockets.up();
        Ok(id)
    }

    fn remove(&mut self, id: SocketId) -> Option<TcpStream> {
        let socket = self.sockets.remove(id)?;
        self.counters.open_sockets.down();
        Some(socket)
    }
}

impl Io for Shell {
    fn read(&mut self, socket: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        self.sockets.read(socket, buf)
    }

    fn write(&mut self, socket: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sockets.write(&self.epoll, socket, bufs)
    }

    fn connect(&mut self, target: SocketAddr, side: Side) -> io::Result<SocketId> {
        if self.sockets.open() >= self.max_sockets {
            self.counters.connects_refused.count();
            return Err(rustix::io::Errno::MFILE.into());
        }
        let options = match side {
            Side::Outbound => &self.outbound,
            Side::Inbound => &self.inbound,
        };
        let id = self.sockets.connecting(&self.epoll, socket::connect(target, options)?)?;
        self.counters.open_sockets.up();
        Ok(id)
    }

    fn connect_result(&mut self, socket: SocketId) -> io::Result<()> {
        socket::connect_result(self.sockets.socket(socket)?)
    }

    fn interest(&mut self, socket: SocketId, read: bool, write: bool) {
        self.sockets.interest(socket, read, write);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        if let Ok(socket) = self.sockets.socket(socket) {
            // Fails only if the connection is gone already, which reading tells.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, socket: SocketId) {
        drop(self.remove(socket));
    }

    fn reset(&mut self, socket: SocketId) {
        if let Some(socket) = self.remove(socket) {
            socket::reset(socket);
        }
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        self.questions.ask(self.number, question).inspect_err(|_| self.counters.questions_refused.count())
    }

    /// SplitMix64: good enough to choose endpoints and to spread retries, which is all it is for.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn note(&mut self, note: &Note<'_>) {
        self.notes.write(note, self.started.elapsed());
    }
}
