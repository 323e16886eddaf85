//! Sockets in memory: what one end writes is at once what the other can read.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    time::Duration,
};
use weft_engine::io::{Answer, Io, Question, Refused, Side, SocketId};

use super::world::answer;

/// Where the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The client application.
    Client,
    /// A worker: 0 is the client's proxy's, 1 the server's.
    Worker(usize),
    /// The server application.
    Server,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) host: Host,
    pub(super) peer: usize,
    /// What came; the first `taken` of it are read.
    bytes: Vec<u8>,
    taken: usize,
    end: bool,
    /// Neither end is there any more, or it never was.
    pub(super) closed: bool,
    reads: bool,
    writes: bool,
    queued: bool,
    /// Its owner waits to hear that it is connected.
    pub(super) connecting: bool,
}

/// All sockets, and who has something to do.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) sockets: Vec<Socket>,
    free: Vec<usize>,
    /// Sockets of each worker with something to read, or newly connected.
    pub(super) ready: [Vec<usize>; 2],
    /// Sockets of the applications with something to read.
    pub(super) applications: Vec<usize>,
    /// Connections that hosts have not accepted yet: the accepting end, and where it was going.
    pub(super) arrived: Vec<(usize, SocketAddr)>,
    pub(super) answers: Vec<(usize, Answer)>,
    random: u64,
}

impl Net {
    /// A connection; the ends of `from` and `to`.
    pub(super) fn connect(&mut self, from: Host, to: Host, target: SocketAddr) -> (usize, usize) {
        let (a, b) = (self.add(from), self.add(to));
        (self.sockets[a].peer, self.sockets[b].peer) = (b, a);
        self.arrived.push((b, target));
        (a, b)
    }

    fn add(&mut self, host: Host) -> usize {
        let socket = Socket {
            host,
            peer: usize::MAX,
            bytes: Vec::new(),
            taken: 0,
            end: false,
            closed: false,
            reads: !matches!(host, Host::Worker(_)),
            writes: false,
            queued: false,
            connecting: false,
        };
        if let Some(id) = self.free.pop() {
            self.sockets[id] = socket;
            return id;
        }
        self.sockets.push(socket);
        self.sockets.len() - 1
    }

    /// Puts it in its owner's queue if there is something to do.
    pub(super) fn wake(&mut self, id: usize) {
        let s = &mut self.sockets[id];
        let readable = s.reads && (s.taken < s.bytes.len() || s.end);
        let writable = s.writes || s.connecting;
        if s.queued || s.closed || !(readable || writable) {
            return;
        }
        s.queued = true;
        match s.host {
            Host::Worker(w) => self.ready[w].push(id),
            Host::Client | Host::Server => self.applications.push(id),
        }
    }

    /// Taken from its owner's queue: what it is ready for.
    pub(super) fn woken(&mut self, id: usize) -> (bool, bool) {
        let s = &mut self.sockets[id];
        s.queued = false;
        let readable = s.reads && !s.closed && (s.taken < s.bytes.len() || s.end);
        (readable, !s.closed && (s.writes || s.connecting))
    }

    pub(super) fn write(&mut self, id: usize, bytes: &[u8]) {
        let peer = self.sockets[id].peer;
        let to = &mut self.sockets[peer];
        if to.closed {
            return;
        }
        to.bytes.extend_from_slice(bytes);
        self.wake(peer);
    }

    /// Everything that came, and whether nothing more will.
    pub(super) fn take(&mut self, id: usize, into: &mut Vec<u8>) -> bool {
        let s = &mut self.sockets[id];
        into.extend_from_slice(&s.bytes[s.taken..]);
        s.bytes.clear();
        s.taken = 0;
        s.end
    }

    /// How much is there that was not read.
    pub(super) fn unread(&self, id: usize) -> usize {
        self.sockets[id].bytes.len() - self.sockets[id].taken
    }

    pub(super) fn finish(&mut self, id: usize) {
        let peer = self.sockets[id].peer;
        if !self.sockets[peer].closed {
            self.sockets[peer].end = true;
            self.wake(peer);
        }
    }

    pub(super) fn close(&mut self, id: usize) {
        self.finish(id);
        let peer = self.sockets[id].peer;
        self.sockets[id].closed = true;
        self.sockets[id].bytes = Vec::new();
        if self.sockets[peer].closed {
            // Freed only when no queue can name them any more.
            for id in [id, peer] {
                if !self.sockets[id].queued {
                    self.free.push(id);
                }
            }
        }
    }
}

/// What a worker sees of it.
pub(super) struct Seen<'a> {
    pub(super) net: &'a mut Net,
    pub(super) me: usize,
}

impl Io for Seen<'_> {
    fn read(&mut self, socket: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        let s = &mut self.net.sockets[socket.0 as usize];
        let n = buf.len().min(s.bytes.len() - s.taken);
        if n == 0 {
            return if s.end { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        buf[..n].copy_from_slice(&s.bytes[s.taken..s.taken + n]);
        s.taken += n;
        if s.taken == s.bytes.len() {
            s.bytes.clear();
            s.taken = 0;
        }
        Ok(n)
    }

    fn write(&mut self, socket: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        bufs.iter().for_each(|b| self.net.write(socket.0 as usize, b));
        Ok(bufs.iter().map(|b| b.len()).sum())
    }

    fn connect(&mut self, target: SocketAddr, _: Side) -> io::Result<SocketId> {
        let to = if target.port() == super::world::INBOUND { Host::Worker(1) } else { Host::Server };
        let (mine, _) = self.net.connect(Host::Worker(self.me), to, target);
        self.net.sockets[mine].connecting = true;
        self.net.wake(mine);
        Ok(SocketId(mine as u32))
    }

    fn connect_result(&mut self, socket: SocketId) -> io::Result<()> {
        self.net.sockets[socket.0 as usize].connecting = false;
        Ok(())
    }

    fn interest(&mut self, socket: SocketId, read: bool, write: bool) {
        let s = &mut self.net.sockets[socket.0 as usize];
        (s.reads, s.writes) = (read, write);
        self.net.wake(socket.0 as usize);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.net.finish(socket.0 as usize);
    }

    fn close(&mut self, socket: SocketId) {
        self.net.close(socket.0 as usize);
    }

    fn reset(&mut self, socket: SocketId) {
        self.net.close(socket.0 as usize);
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        if let Some(answer) = answer(question) {
            self.net.answers.push((self.me, answer));
        }
        Ok(())
    }

    fn random(&mut self) -> u64 {
        // SplitMix64, the same every time.
        self.net.random = self.net.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.net.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_795_000_000)
    }
}
