//! A network in memory: ordered streams that split, delay, stall, fill up, are cut, cut short and half-closed, all by seed.
//!
//! Whoever owns a socket is told when to look at it again: [`Net::touched`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

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
    /// Which actor's it is, of sockets that no worker has.
    pub(crate) actor: usize,
    peer: usize,
    /// Closed by its owner.
    pub(crate) closed: bool,
    rx: VecDeque<u8>,
    rx_end: bool,
    reset: bool,
    /// Nothing more gets here: what arrives is lost.
    deaf: bool,
    /// Bytes that the peer's writes may have under way or unread here.
    capacity: usize,
    under_way: usize,
    fin_sent: bool,
    /// Nothing arrives here before.
    not_before: u64,
    pub(crate) interest: (bool, bool),
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Bytes that its owner has read from it and written to it.
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Worker's side only: it was accepted, not made.
    pub(crate) accepted: bool,
    touched: bool,
    rng: Rng,
}

enum Arrival {
    Data(Vec<u8>),
    Fin,
    /// The end, as somebody in between forges it.
    CutShort,
    Reset,
    Connected,
}

/// A connection that somebody has to accept.
pub(crate) struct Incoming {
    pub(crate) host: Host,
    pub(crate) sock: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) to: SocketAddr,
}

pub(crate) enum Read {
    Data(usize),
    Nothing,
    End,
    Reset,
}

pub(crate) struct Net {
    pub(crate) now: u64,
    pub(crate) socks: Vec<Sock>,
    seed: u64,
    arrivals: BinaryHeap<Reverse<(u64, u64, usize)>>,
    carried: HashMap<u64, Arrival>,
    seq: u64,
    /// Addresses from which connections are redirected to a worker. A worker's own connections are not redirected to it.
    pub(crate) redirected: HashMap<SocketAddr, usize>,
    /// Workers that accept nothing any more.
    pub(crate) closed: [bool; 2],
    /// Where applications listen.
    pub(crate) applications: BTreeSet<SocketAddr>,
    pub(crate) incoming: VecDeque<Incoming>,
    touched: VecDeque<usize>,
    next_port: u16,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            socks: Vec::new(),
            seed,
            arrivals: BinaryHeap::new(),
            carried: HashMap::new(),
            seq: 0,
            redirected: HashMap::new(),
            closed: [false; 2],
            applications: BTreeSet::new(),
            incoming: VecDeque::new(),
            touched: VecDeque::new(),
            next_port: 20_000,
        }
    }

    fn later(&mut self, to: usize, arrival: Arrival) {
        let s = &mut self.socks[to];
        let delay = 20_000 + s.rng.below(200_000) as u64;
        let delay = if s.rng.one_in(60) { delay * 50 } else { delay };
        let at = (self.now + delay).max(s.not_before);
        s.not_before = at;
        self.seq += 1;
        self.arrivals.push(Reverse((at, self.seq, to)));
        self.carried.insert(self.seq, arrival);
    }

    fn sock(&mut self, host: Host, local: SocketAddr, remote: SocketAddr) -> usize {
        // Of its own, so that what one connection does is not another's luck.
        let mut rng = Rng::new(self.seed ^ (self.socks.len() as u64) << 32);
        let capacity = rng.pick(&[700, 5_000, 20_000, 70_000]);
        self.socks.push(Sock {
            host,
            state: State::Connecting,
            actor: usize::MAX,
            peer: usize::MAX,
            closed: false,
            rx: VecDeque::new(),
            rx_end: false,
            reset: false,
            deaf: false,
            capacity,
            under_way: 0,
            fin_sent: false,
            not_before: 0,
            interest: (false, false),
            local,
            remote,
            read: 0,
            written: 0,
            accepted: false,
            touched: false,
            rng,
        });
        self.socks.len() - 1
    }

    pub(crate) fn connect(&mut self, host: Host, to: SocketAddr) -> usize {
        self.next_port = self.next_port.wrapping_add(1).max(20_000);
        let from: IpAddr = match to.ip() {
            IpAddr::V4(_) => [10, 9, 9, 9].into(),
            IpAddr::V6(_) => [0xfd00, 0, 0, 0, 0, 0, 9, 9].into(),
        };
        let sock = self.sock(host, SocketAddr::new(from, self.next_port), to);
        self.later(sock, Arrival::Connected);
        sock
    }

    /// Somebody should look at this socket.
    pub(crate) fn touch(&mut self, sock: usize) {
        if let Some(s) = self.socks.get_mut(sock)
            && !s.closed
            && !std::mem::replace(&mut s.touched, true)
        {
            self.touched.push_back(sock);
        }
    }

    /// The next socket to look at.
    pub(crate) fn touched(&mut self) -> Option<usize> {
        let sock = self.touched.pop_front()?;
        self.socks[sock].touched = false;
        Some(sock)
    }

    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.arrivals.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets arrive what is due.
    pub(crate) fn arrive(&mut self) {
        while let Some(Reverse((at, seq, to))) = self.arrivals.peek().copied()
            && at <= self.now
        {
            self.arrivals.pop();
            let Some(arrival) = self.carried.remove(&seq) else { continue };
            self.touch(to);
            match arrival {
                Arrival::Data(bytes) => {
                    let s = &mut self.socks[to];
                    s.under_way -= bytes.len();
                    let peer = s.peer;
                    if s.closed && !s.reset {
                        // Nobody is there to read it: the sender learns that.
                        self.reset_peer(to);
                    } else if !s.reset && !s.deaf {
                        s.rx.extend(bytes);
                    } else {
                        self.touch(peer);
                    }
                }
                Arrival::Fin => self.socks[to].rx_end |= !self.socks[to].deaf,
                Arrival::CutShort => {
                    let s = &mut self.socks[to];
                    (s.rx_end, s.deaf) = (true, true);
                }
                Arrival::Reset => {
                    let s = &mut self.socks[to];
                    s.reset = true;
                    s.rx.clear();
                }
                Arrival::Connected => self.connected(to),
            }
        }
    }

    fn connected(&mut self, sock: usize) {
        let (from, to, peer) = (self.socks[sock].host, self.socks[sock].remote, self.socks[sock].local);
        let worker = self.redirected.get(&to).copied().map(Host::Worker).filter(|w| *w != from);
        let app = || self.applications.contains(&to).then_some(Host::App);
        match worker.or_else(app) {
            Some(Host::Worker(w)) if self.closed[w] => self.socks[sock].state = State::Refused,
            Some(host) if !self.socks[sock].closed => {
                let other = self.sock(host, to, peer);
                self.socks[other].state = State::Open;
                self.socks[other].peer = sock;
                self.socks[other].accepted = true;
                self.socks[sock].peer = other;
                self.socks[sock].state = State::Open;
                self.incoming.push_back(Incoming { host, sock: other, peer, to });
            }
            _ => self.socks[sock].state = State::Refused,
        }
    }

    fn reset_peer(&mut self, sock: usize) {
        let peer = self.socks[sock].peer;
        if peer != usize::MAX && !self.socks[sock].reset {
            self.socks[sock].reset = true;
            self.later(peer, Arrival::Reset);
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

    /// All that will ever come has been read.
    pub(crate) fn has_ended(&self, sock: usize) -> bool {
        self.socks[sock].rx_end && self.socks[sock].rx.is_empty()
    }

    /// The stream was reset, by whomever.
    pub(crate) fn is_reset(&self, sock: usize) -> bool {
        self.socks[sock].reset
    }

    fn room(&self, sock: usize) -> usize {
        match self.socks.get(self.socks[sock].peer) {
            Some(p) => p.capacity.saturating_sub(p.rx.len() + p.under_way),
            None => 0,
        }
    }

    pub(crate) fn read(&mut self, sock: usize, buf: &mut [u8]) -> Read {
        let s = &mut self.socks[sock];
        if s.reset || s.state == State::Refused {
            return Read::Reset;
        }
        if s.rx.is_empty() {
            return if s.rx_end { Read::End } else { Read::Nothing };
        }
        let n = s.rx.len().min(buf.len());
        let n = if s.rng.one_in(4) { s.rng.between(1, n) } else { n };
        let (front, back) = s.rx.as_slices();
        let first = n.min(front.len());
        buf[..first].copy_from_slice(&front[..first]);
        buf[first..n].copy_from_slice(&back[..n - first]);
        s.rx.drain(..n);
        s.read += n as u64;
        let peer = s.peer;
        self.touch(sock);
        self.touch(peer);
        Read::Data(n)
    }

    /// How many bytes were taken; none for a broken stream.
    pub(crate) fn write(&mut self, sock: usize, bytes: &[u8]) -> Option<usize> {
        let s = &self.socks[sock];
        if s.reset || s.fin_sent || s.state != State::Open {
            return None;
        }
        let n = self.room(sock).min(bytes.len());
        let s = &mut self.socks[sock];
        let n = if n > 1 && s.rng.one_in(6) { s.rng.between(1, n) } else { n };
        s.written += n as u64;
        let peer = s.peer;
        let mut at = 0;
        while at < n {
            let rng = &mut self.socks[sock].rng;
            let piece = if rng.one_in(3) { rng.between(1, n - at) } else { n - at };
            self.socks[peer].under_way += piece;
            self.later(peer, Arrival::Data(bytes[at..at + piece].to_vec()));
            at += piece;
        }
        Some(n)
    }

    pub(crate) fn shutdown(&mut self, sock: usize) {
        let s = &mut self.socks[sock];
        if !std::mem::replace(&mut s.fin_sent, true) && s.state == State::Open {
            let peer = s.peer;
            self.later(peer, Arrival::Fin);
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

    // --- what goes wrong

    fn is_whole(&self, sock: usize) -> bool {
        let s = &self.socks[sock];
        s.state == State::Open && !s.reset && !self.socks[s.peer].reset
    }

    /// Cuts a stream in the middle: both ends learn of it.
    pub(crate) fn cut(&mut self, sock: usize) {
        if self.is_whole(sock) {
            self.later(sock, Arrival::Reset);
            self.later(self.socks[sock].peer, Arrival::Reset);
        }
    }

    /// Lets nothing arrive at one end for a while.
    pub(crate) fn stall(&mut self, sock: usize, nanos: u64) {
        let until = self.now + nanos;
        let s = &mut self.socks[sock];
        s.not_before = s.not_before.max(until);
    }

    /// Lets nothing arrive at either end any more; after a while the kernels give up.
    pub(crate) fn vanish(&mut self, sock: usize, nanos: u64) {
        if self.is_whole(sock) {
            for end in [sock, self.socks[sock].peer] {
                self.socks[end].deaf = true;
                self.stall(end, nanos);
                self.later(end, Arrival::Reset);
            }
        }
    }

    /// Somebody in between ends a stream in the middle as if the peer had; what was sent later is lost.
    pub(crate) fn cut_short(&mut self, sock: usize) {
        if self.is_whole(sock) {
            self.later(sock, Arrival::CutShort);
        }
    }

    /// Whether both ends are workers': what is between them is secured by TLS.
    pub(crate) fn is_between_workers(&self, sock: usize) -> bool {
        let s = &self.socks[sock];
        let worker = |h: Host| matches!(h, Host::Worker(_));
        worker(s.host) && self.socks.get(s.peer).is_some_and(|p| worker(p.host))
    }

    // --- what is left

    /// Sockets of a worker that it has not closed.
    pub(crate) fn open_of(&self, host: Host) -> usize {
        self.socks.iter().filter(|s| s.host == host && !s.closed).count()
    }

    /// Sockets that somebody has not closed.
    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.socks.len()).filter(|i| !self.socks[*i].closed).collect()
    }
}
