//! The sockets of a data thread: which slot each has, what it is ready for, and what its worker wants of it.
//!
//! Each socket is registered with the kernel once, edge-triggered, and what the kernel said is remembered here until a
//! read or a write finds it used up. So a worker may change its mind about what it wants as often as it likes without
//! a system call, and a socket that stays ready is not reported again and again. The worker sees none of that: for it,
//! readiness is level-triggered.
//!
//! Invariants:
//! 1. A slot's generation changes when its socket goes; an event or a place in the queue of another generation is void.
//! 2. A socket that is ready for something wanted is in the queue, once.
//! 3. Readiness is forgotten only when the kernel will tell of its return: after a call that would have waited or did
//!    less than it was asked for. The end of a stream is never forgotten.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

use rustix::event::epoll::EventFlags;
use weft_engine::io::SocketId;

use super::epoll::{Epoll, FIRST_GENERATION, Source};

#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: VecDeque<Ready>,
    open: usize,
}

struct Slot {
    generation: u32,
    socket: Option<TcpStream>,
    state: State,
}

#[derive(Clone, Copy, Default)]
struct State {
    readable: bool,
    writable: bool,
    /// The peer has ended its stream, or the connection has failed: there is something to read for ever.
    ended: bool,
    wants_read: bool,
    wants_write: bool,
    /// Registered for writability, too. Accepted sockets are only once a write would have waited: they begin writable,
    /// and the kernel would tell so in an event that nobody needs.
    watches_write: bool,
    queued: bool,
}

/// A socket that is ready for something wanted.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    slot: u32,
    generation: u32,
}

const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
const READ_WRITE: EventFlags = READ.union(EventFlags::OUT);
const ENDED: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
const FAILED: EventFlags = EventFlags::HUP.union(EventFlags::ERR);

impl Sockets {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Takes a connected socket.
    pub(super) fn accepted(&mut self, epoll: &Epoll, socket: TcpStream) -> io::Result<SocketId> {
        let state = State { writable: true, ..State::default() };
        self.insert(epoll, socket, state, READ)
    }

    /// Takes a socket that is connecting.
    pub(super) fn connecting(&mut self, epoll: &Epoll, socket: TcpStream) -> io::Result<SocketId> {
        let state = State { watches_write: true, ..State::default() };
        self.insert(epoll, socket, state, READ_WRITE)
    }

    fn insert(
        &mut self,
        epoll: &Epoll,
        socket: TcpStream,
        state: State,
        flags: EventFlags,
    ) -> io::Result<SocketId> {
        let next =
            || u32::try_from(self.slots.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let slot = self.free.last().copied().map_or_else(next, Ok)?;
        let generation = self.slots.get(slot as usize).map_or(FIRST_GENERATION, |slot| slot.generation);
        epoll.add(&socket, Source::Socket { slot, generation }, flags)?;
        let entry = Slot { generation, socket: Some(socket), state };
        match self.slots.get_mut(slot as usize) {
            Some(place) => {
                *place = entry;
                self.free.pop();
            }
            None => self.slots.push(entry),
        }
        self.open += 1;
        Ok(SocketId(slot))
    }

    /// Gives the socket up; nothing about it will be told any more.
    pub(super) fn remove(&mut self, id: SocketId) -> Option<TcpStream> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        let socket = slot.socket.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(FIRST_GENERATION);
        self.free.push(id.0);
        self.open -= 1;
        Some(socket)
    }

    pub(super) fn socket(&self, id: SocketId) -> io::Result<&TcpStream> {
        self.slots.get(id.0 as usize).and_then(|slot| slot.socket.as_ref()).ok_or_else(gone)
    }

    /// What the kernel said.
    pub(super) fn event(&mut self, slot: u32, generation: u32, flags: EventFlags) {
        let Some(entry) = self.slots.get_mut(slot as usize) else { return };
        if entry.generation != generation || entry.socket.is_none() {
            return;
        }
        let state = &mut entry.state;
        state.ended |= flags.intersects(ENDED);
        state.readable |= state.ended || flags.contains(EventFlags::IN);
        state.writable |= flags.contains(EventFlags::OUT) || flags.intersects(FAILED);
        self.queue(slot);
    }

    pub(super) fn interest(&mut self, id: SocketId, read: bool, write: bool) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.state.wants_read = read;
            slot.state.wants_write = write;
            self.queue(id.0);
        }
    }

    pub(super) fn read(&mut self, id: SocketId, buf: &mut [u8]) -> io::Result<usize> {
        let slot = self.slots.get_mut(id.0 as usize).ok_or_else(gone)?;
        let mut socket = slot.socket.as_ref().ok_or_else(gone)?;
        let result = retry(|| socket.read(buf));
        match &result {
            // What arrives later is told anew. An end that came in between is not: then it has been told already.
            Ok(taken) if *taken < buf.len() && *taken > 0 => slot.state.readable = slot.state.ended,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.state.readable = false,
            _ => {}
        }
        result
    }

    pub(super) fn write(&mut self, epoll: &Epoll, id: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let slot = self.slots.get_mut(id.0 as usize).ok_or_else(gone)?;
        let mut socket = slot.socket.as_ref().ok_or_else(gone)?;
        let result = retry(|| match bufs {
            // `send` where it will do: it takes less than `writev`, and gives no SIGPIPE.
            [one] => socket.write(one),
            several => socket.write_vectored(several),
        });
        let full = match &result {
            Ok(taken) => *taken < bufs.iter().map(|buf| buf.len()).sum(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if full {
            slot.state.writable = false;
            if !slot.state.watches_write {
                slot.state.watches_write = true;
                let source = Source::Socket { slot: id.0, generation: slot.generation };
                // If it has become writable by now, the kernel says so at once.
                epoll.modify(socket, source, READ_WRITE)?;
            }
        }
        result
    }

    /// Whether a socket is ready for something wanted.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many places the queue has now: what one round works off.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The next socket of the queue; none if its place is void.
    pub(super) fn next_ready(&mut self) -> Option<Ready> {
        let ready = self.ready.pop_front()?;
        let slot = self.slots.get_mut(ready.slot as usize)?;
        if slot.generation != ready.generation {
            return None;
        }
        slot.state.queued = false;
        Some(ready)
    }

    /// The socket, if it is still the same one and ready to be read.
    pub(super) fn to_read(&self, ready: Ready) -> Option<SocketId> {
        let state = self.state(ready)?;
        (state.readable && state.wants_read).then_some(SocketId(ready.slot))
    }

    /// The socket, if it is still the same one and ready to be written to.
    pub(super) fn to_write(&self, ready: Ready) -> Option<SocketId> {
        let state = self.state(ready)?;
        (state.writable && state.wants_write).then_some(SocketId(ready.slot))
    }

    /// Puts a socket that is still ready at the end of the queue, for the next round.
    pub(super) fn again(&mut self, ready: Ready) {
        if self.state(ready).is_some() {
            self.queue(ready.slot);
        }
    }

    fn state(&self, ready: Ready) -> Option<State> {
        let slot = self.slots.get(ready.slot as usize)?;
        (slot.generation == ready.generation && slot.socket.is_some()).then_some(slot.state)
    }

    fn queue(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let state = &mut slot.state;
        let wanted = (state.readable && state.wants_read) || (state.writable && state.wants_write);
        if wanted && !state.queued && slot.socket.is_some() {
            state.queued = true;
            self.ready.push_back(Ready { slot: index, generation: slot.generation });
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
