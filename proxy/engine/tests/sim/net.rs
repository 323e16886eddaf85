//! A network in memory: ordered streams that split, delay, stall, fill up, are cut and half-closed, all by seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;

use crate::rng::Rng;

/// Who owns a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// 0 outbound, 1 inbound.
    Worker(usize),
    App,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Connecting,
    Open,
    Refused,
}

pub(crate) struct Sock {
    pub(crate) host: Host,
    pub(crate) state: State,
    peer: usize,
    /// Closed by its owner.
    closed: bool,
    rx: VecDeque<u8>,
    rx_end: bool,
    reset: bool,
    /// Bytes that the peer's writes may have under way or unread here.
    capacity: usize,
    under_way: usize,
    fin_sent: bool,
    /// Nothing arrives here before.
    not_before: u64,
    pub(crate) interest: (bool, bool),
    /// Bytes that crossed it, for the log of a failing seed.
    pub(crate) local: SocketAddr,
}

enum Arrival {
    Data(usize, Vec<u8>),
    Fin(usize),
    Reset(usize),
    Connected { sock: usize, to: SocketAddr },
}

/// A connection that somebody has to accept.
pub(crate) struct Incoming {
    pub(crate) sock: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) to: SocketAddr,
}

pub(crate) enum Read {
    Data(Vec<u8>),
    Nothing,
    End,
    Reset,
}

pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) socks: Vec<Sock>,
    rng: Rng,
    arrivals: BinaryHeap<Reverse<(u64, u64)>>,
    carried: HashMap<u64, Arrival>,
    seq: u64,
    /// Who listens where.
    pub(crate) listeners: HashMap<SocketAddr, Host>,
    pub(crate) incoming: VecDeque<(Host, Incoming)>,
    next_port: u16,
}

impl Net {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            now: 0,
            socks: Vec::new(),
            rng,
            arrivals: BinaryHeap::new(),
            carried: HashMap::new(),
            seq: 0,
            listeners: HashMap::new(),
            incoming: VecDeque::new(),
            next_port: 20_000,
        }
    }

    fn later(&mut self, to: usize, arrival: Arrival) {
        let delay = 20_000 + self.rng.below(200_000) as u64;
        let delay = if self.rng.one_in(60) { delay * 50 } else { delay };
        let at = (self.now + delay).max(self.socks[to].not_before);
        self.socks[to].not_before = at;
        self.seq += 1;
        self.arrivals.push(Reverse((at, self.seq)));
        self.carried.insert(self.seq, arrival);
    }

    fn sock(&mut self, host: Host, local: SocketAddr) -> usize {
        let capacity = self.rng.pick(&[1_000, 9_000, 65_536, 300_000]);
        self.socks.push(Sock {
            host,
            state: State::Connecting,
            peer: usize::MAX,
            closed: false,
            rx: VecDeque::new(),
            rx_end: false,
            reset: false,
            capacity,
            under_way: 0,
            fin_sent: false,
            not_before: 0,
            interest: (false, false),
            local,
        });
        self.socks.len() - 1
    }

    pub(crate) fn connect(&mut self, host: Host, to: SocketAddr) -> usize {
        self.next_port = self.next_port.wrapping_add(1).max(20_000);
        let local = SocketAddr::new([10, 9, 9, 9].into(), self.next_port);
        let sock = self.sock(host, local);
        self.later(sock, Arrival::Connected { sock, to });
        sock
    }

    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.arrivals.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets arrive what is due. True if something did.
    pub(crate) fn arrive(&mut self) -> bool {
        let mut any = false;
        while self.next_arrival().is_some_and(|at| at <= self.now) {
            let Some(Reverse((_, seq))) = self.arrivals.pop() else { break };
            let Some(arrival) = self.carried.remove(&seq) else { continue };
            any = true;
            match arrival {
                Arrival::Data(to, bytes) => {
                    self.socks[to].under_way -= bytes.len();
                    if self.socks[to].closed && !self.socks[to].reset {
                        // Nobody is there to read it: the sender learns that.
                        self.reset_peer(to);
                    } else if !self.socks[to].reset {
                        self.socks[to].rx.extend(bytes);
                    }
                }
                Arrival::Fin(to) => self.socks[to].rx_end = true,
                Arrival::Reset(to) => {
                    self.socks[to].reset = true;
                    self.socks[to].rx.clear();
                }
                Arrival::Connected { sock, to } => match self.listeners.get(&to).copied() {
                    Some(host) if !self.socks[sock].closed => {
                        let other = self.sock(host, to);
                        self.socks[other].state = State::Open;
                        self.socks[other].peer = sock;
                        self.socks[sock].peer = other;
                        self.socks[sock].state = State::Open;
                        let peer = self.socks[sock].local;
                        self.incoming.push_back((host, Incoming { sock: other, peer, to }));
                    }
                    _ => self.socks[sock].state = State::Refused,
                },
            }
        }
        any
    }

    fn reset_peer(&mut self, sock: usize) {
        let peer = self.socks[sock].peer;
        if peer != usize::MAX && !self.socks[sock].reset {
            self.socks[sock].reset = true;
            self.later(peer, Arrival::Reset(peer));
        }
    }

    pub(crate) fn readable(&self, sock: usize) -> bool {
        let s = &self.socks[sock];
        s.state != State::Connecting && (!s.rx.is_empty() || s.rx_end || s.reset || s.state == State::Refused)
    }

    pub(crate) fn writable(&self, sock: usize) -> bool {
        let s = &self.socks[sock];
        s.state != State::Connecting && (s.reset || s.state == State::Refused || self.room(sock) > 0)
    }

    fn room(&self, sock: usize) -> usize {
        let s = &self.socks[sock];
        if s.peer == usize::MAX {
            return 0;
        }
        let p = &self.socks[s.peer];
        p.capacity.saturating_sub(p.rx.len() + p.under_way)
    }

    pub(crate) fn read(&mut self, sock: usize, most: usize) -> Read {
        let s = &self.socks[sock];
        if s.reset || s.state == State::Refused {
            return Read::Reset;
        }
        if s.rx.is_empty() {
            return if s.rx_end { Read::End } else { Read::Nothing };
        }
        let n = s.rx.len().min(most);
        let n = if self.rng.one_in(4) { self.rng.between(1, n) } else { n };
        Read::Data(self.socks[sock].rx.drain(..n).collect())
    }

    /// How many bytes were taken; none for a broken stream.
    pub(crate) fn write(&mut self, sock: usize, bytes: &[u8]) -> Option<usize> {
        let s = &self.socks[sock];
        if s.reset || s.fin_sent || s.state != State::Open {
            return None;
        }
        let n = self.room(sock).min(bytes.len());
        let n = if n > 1 && self.rng.one_in(6) { self.rng.between(1, n) } else { n };
        let peer = self.socks[sock].peer;
        let mut at = 0;
        while at < n {
            let piece = if self.rng.one_in(3) { self.rng.between(1, n - at) } else { n - at };
            self.socks[peer].under_way += piece;
            self.later(peer, Arrival::Data(peer, bytes[at..at + piece].to_vec()));
            at += piece;
        }
        Some(n)
    }

    pub(crate) fn shutdown(&mut self, sock: usize) {
        let s = &mut self.socks[sock];
        if !std::mem::replace(&mut s.fin_sent, true) && s.state == State::Open {
            let peer = s.peer;
            self.later(peer, Arrival::Fin(peer));
        }
    }

    pub(crate) fn close(&mut self, sock: usize) {
        assert!(!self.socks[sock].closed, "closed once");
        self.shutdown(sock);
        self.socks[sock].closed = true;
        if !self.socks[sock].rx.is_empty() {
            // As kernels do: what was not read is told.
            self.reset_peer(sock);
        }
    }

    pub(crate) fn reset(&mut self, sock: usize) {
        assert!(!self.socks[sock].closed, "closed once");
        self.socks[sock].closed = true;
        self.socks[sock].fin_sent = true;
        if self.socks[sock].state == State::Open {
            self.reset_peer(sock);
        }
    }

    /// Cuts a stream in the middle: both ends learn of it.
    pub(crate) fn cut(&mut self, sock: usize) {
        let peer = self.socks[sock].peer;
        if self.socks[sock].state != State::Open || self.socks[sock].reset || self.socks[peer].reset {
            return;
        }
        self.later(sock, Arrival::Reset(sock));
        self.later(peer, Arrival::Reset(peer));
    }

    /// Lets nothing arrive at one end for a while.
    pub(crate) fn stall(&mut self, sock: usize, nanos: u64) {
        let until = self.now + nanos;
        let s = &mut self.socks[sock];
        s.not_before = s.not_before.max(until);
    }

    /// Sockets of a worker that it has not closed.
    pub(crate) fn open_of(&self, host: Host) -> Vec<usize> {
        (0..self.socks.len()).filter(|i| self.socks[*i].host == host && !self.socks[*i].closed).collect()
    }

    pub(crate) fn is_closed(&self, sock: usize) -> bool {
        self.socks[sock].closed
    }
}
