//! The kernel's event queue, and how its events are told apart.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The mailbox.
    Mailbox,
    /// The listener of this index.
    Listener(u32),
    /// A socket: its slot, and the slot's generation, by which events that outlived their socket are told.
    Socket { slot: u32, generation: u32 },
}

pub(super) struct Epoll(OwnedFd);

/// The events of one round, kept for the next. Stays on its thread.
pub(super) struct Events(Vec<Event>);

/// The first generation of a slot; below it are the sources that are not sockets.
pub(super) const FIRST_GENERATION: u32 = 2;
const MAILBOX: u32 = 0;
const LISTENER: u32 = 1;

impl Source {
    fn data(self) -> EventData {
        let (high, low) = match self {
            Self::Mailbox => (MAILBOX, 0),
            Self::Listener(index) => (LISTENER, index),
            Self::Socket { slot, generation } => (generation, slot),
        };
        EventData::new_u64(u64::from(high) << 32 | u64::from(low))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    fn of(data: EventData) -> Self {
        let (high, low) = ((data.u64() >> 32) as u32, data.u64() as u32);
        match high {
            MAILBOX => Self::Mailbox,
            LISTENER => Self::Listener(low),
            generation => Self::Socket { slot: low, generation },
        }
    }
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(super) fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, source.data(), flags)?)
    }

    pub(super) fn modify(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, source.data(), flags)?)
    }

    pub(super) fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Waits for events, for at most `timeout`; none: for ever.
    pub(super) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.0, spare_capacity(&mut events.0), timeout.as_ref()) {
            // A signal is nothing special here; the control thread handles them.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Events {
    /// Room for so many.
    pub(super) fn new(room: usize) -> Self {
        Self(Vec::with_capacity(room.max(1)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Source, EventFlags)> {
        self.0.iter().map(|event| (Source::of(event.data), event.flags))
    }
}
