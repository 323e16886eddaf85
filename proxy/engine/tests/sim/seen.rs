//! What a worker sees of the world: the seam, on the simulated network. Everything that crosses it goes into a hash, so
//! that two runs can be compared.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use weft_engine::io::{Io, Note, Question, Refused, Side, SocketId};

use crate::control::Control;
use crate::net::{Host, Net, Read, State};
use crate::rng::Rng;

/// FNV-1a over numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trace(pub(crate) u64);

impl Trace {
    pub(crate) fn add(&mut self, numbers: &[u64]) {
        for n in numbers {
            self.0 = (self.0 ^ n).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }
}

pub(crate) struct Seen<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) control: &'a mut Control,
    pub(crate) rng: &'a mut Rng,
    pub(crate) trace: &'a mut Trace,
    pub(crate) me: usize,
    pub(crate) log: bool,
}

impl Seen<'_> {
    fn did(&mut self, what: u64, socket: SocketId, n: usize) {
        self.trace.add(&[self.net.now, self.me as u64, what, u64::from(socket.0), n as u64]);
        if self.log {
            let what = ["read", "write", "connect", "interest", "shut", "close", "reset"][what as usize];
            if what != "interest" {
                eprintln!("{:>12} worker {} {what} {} {n}", self.net.now, self.me, socket.0);
            }
        }
    }
}

impl Io for Seen<'_> {
    fn read(&mut self, socket: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        match self.net.read(socket.0 as usize, buf) {
            Read::Data(n) => {
                self.did(0, socket, n);
                Ok(n)
            }
            Read::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Read::End => Ok(0),
            Read::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn write(&mut self, socket: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        match self.net.write(socket.0 as usize, &bytes) {
            Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(n) => {
                self.did(1, socket, n);
                Ok(n)
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn connect(&mut self, target: SocketAddr, _: Side) -> io::Result<SocketId> {
        let socket = SocketId(self.net.connect(Host::Worker(self.me), target) as u32);
        self.did(2, socket, usize::from(target.port()));
        Ok(socket)
    }

    fn connect_result(&mut self, socket: SocketId) -> io::Result<()> {
        match self.net.socks[socket.0 as usize].state {
            State::Open => Ok(()),
            State::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            State::Connecting => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn interest(&mut self, socket: SocketId, read: bool, write: bool) {
        self.did(3, socket, usize::from(read) * 2 + usize::from(write));
        self.net.socks[socket.0 as usize].interest = (read, write);
        self.net.touch(socket.0 as usize);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.did(4, socket, 0);
        self.net.shutdown(socket.0 as usize);
    }

    fn close(&mut self, socket: SocketId) {
        self.did(5, socket, 0);
        self.net.close(socket.0 as usize);
    }

    fn reset(&mut self, socket: SocketId) {
        self.did(6, socket, 0);
        self.net.reset(socket.0 as usize);
    }

    fn ask(&mut self, question: Question) -> Result<(), Refused> {
        self.control.asked(self.me, question, self.net.now);
        Ok(())
    }

    fn random(&mut self) -> u64 {
        self.rng.next()
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_893_456_000) + Duration::from_nanos(self.net.now)
    }

    fn note(&mut self, note: &Note<'_>) {
        if self.log {
            eprintln!("{:>12} worker {} {note:?}", self.net.now, self.me);
        }
    }
}
