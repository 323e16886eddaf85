//! The life of a data thread: round after round until it is drained.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use tracing::{debug, error, warn};
use weft_engine::io::{Accepted, Answer};
use weft_engine::time::Instant;
use weft_net::socket::{self, AcceptFailure};

use super::epoll::{Events, Source};
use super::listeners::Listener;
use super::mailbox::Mailbox;
use super::{Config, Counters, Drive, Limits, Shell};

pub(super) struct DataThread {
    shell: Shell,
    listeners: Vec<Listener>,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    limits: Limits,
    drain_limit: Duration,
    accepting: Accepting,
    /// Listeners with connections waiting, by index.
    calling: Vec<u32>,
    has_mail: bool,
    /// When accepting last gave reason for a warning.
    warned: Option<Instant>,
}

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// There is no certificate yet.
    NotYet,
    Yes,
    /// Too many sockets are open; until enough have gone.
    Full,
    /// The system had nothing left; until then.
    Paused(Instant),
    /// The thread is draining, since then; there are no listeners any more.
    Ended(Instant),
}

/// Connections accepted at the start of a drain from one listener, so that none that a client has made before is lost.
const LAST_ACCEPTS: usize = 65_536;

/// Between two warnings about accepting.
const WARN_EVERY: Duration = Duration::from_secs(10);

impl DataThread {
    pub(super) fn new(
        config: &Config,
        shell: Shell,
        listeners: Vec<Listener>,
        mailbox: Arc<Mailbox>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        shell.epoll.add(&*mailbox, Source::Mailbox, EventFlags::IN)?;
        Ok(Self {
            shell,
            listeners,
            mailbox,
            counters,
            limits: config.limits,
            drain_limit: config.drain_limit,
            accepting: Accepting::NotYet,
            calling: Vec::new(),
            has_mail: false,
            warned: None,
        })
    }

    /// Until drained.
    pub(super) fn run<D: Drive>(mut self, build: impl FnOnce(&mut Shell) -> D) -> io::Result<()> {
        let mut worker = build(&mut self.shell);
        let mut events = Events::new(self.limits.events);
        loop {
            self.shell.epoll.wait(&mut events, self.timeout(&worker))?;
            self.sort(&events);

            let now = self.shell.now();
            if std::mem::take(&mut self.has_mail) {
                self.read_mail(&mut worker, now)?;
            }
            self.resume_accepting(now)?;
            self.accept_waiting(&mut worker, now)?;
            self.serve_ready(&mut worker, now);

            let now = self.shell.now();
            worker.expired(&mut self.shell, now);
            worker.flush(&mut self.shell, now);
            if let Accepting::Ended(since) = self.accepting {
                let overdue = now.since(since) >= self.drain_limit;
                if worker.is_idle() || overdue {
                    debug!(overdue, "data thread drained");
                    return Ok(());
                }
            }
        }
    }

    /// How long to wait for events; none: until one comes.
    fn timeout<D: Drive>(&self, worker: &D) -> Option<Duration> {
        // Sockets closed at the end of the round may have made room for clients that wait.
        if self.shell.sockets.has_ready() || (self.accepting == Accepting::Full && !self.is_full()) {
            return Some(Duration::ZERO);
        }
        let own = match self.accepting {
            Accepting::Paused(until) => Some(until),
            Accepting::Ended(since) => Some(since + self.drain_limit),
            Accepting::NotYet | Accepting::Yes | Accepting::Full => None,
        };
        let next = [worker.next_deadline(), own].into_iter().flatten().min()?;
        Some(next.since(self.shell.now()))
    }

    fn sort(&mut self, events: &Events) {
        self.calling.clear();
        for (source, flags) in events.iter() {
            match source {
                Source::Socket { slot, generation } => self.shell.sockets.event(slot, generation, flags),
                Source::Listener(index) => self.calling.push(index),
                Source::Mailbox => self.has_mail = true,
            }
        }
        self.counters.rounds.count();
        self.counters.events.add(events.len() as u64);
    }

    fn read_mail<D: Drive>(&mut self, worker: &mut D, now: Instant) -> io::Result<()> {
        let mail = self.mailbox.take();
        if mail.accept && self.accepting == Accepting::NotYet {
            self.begin_accepting()?;
        }
        for answer in mail.answers() {
            if matches!(answer, Answer::Drain) {
                self.end_accepting(worker, now);
            }
            worker.answered(&mut self.shell, answer, now);
        }
        Ok(())
    }

    /// One turn for each socket that is ready now; those that become ready meanwhile are next.
    fn serve_ready<D: Drive>(&mut self, worker: &mut D, now: Instant) {
        for _ in 0..self.shell.sockets.ready_len() {
            let Some(ready) = self.shell.sockets.next_ready() else { continue };
            if let Some(socket) = self.shell.sockets.to_read(ready) {
                worker.readable(&mut self.shell, socket, now);
            }
            if let Some(socket) = self.shell.sockets.to_write(ready) {
                worker.writable(&mut self.shell, socket, now);
            }
            self.shell.sockets.again(ready);
        }
    }

    // --- accepting

    fn begin_accepting(&mut self) -> io::Result<()> {
        for (index, listener) in (0..).zip(&self.listeners) {
            self.shell.epoll.add(&listener.socket, Source::Listener(index), EventFlags::IN)?;
        }
        self.accepting = Accepting::Yes;
        Ok(())
    }

    fn pause_accepting(&mut self, pause: Accepting) -> io::Result<()> {
        match pause {
            Accepting::Full => self.counters.accept_pauses_full.count(),
            _ => self.counters.accept_pauses_exhausted.count(),
        }
        for listener in &self.listeners {
            self.shell.epoll.delete(&listener.socket)?;
        }
        self.calling.clear();
        self.accepting = pause;
        Ok(())
    }

    fn resume_accepting(&mut self, now: Instant) -> io::Result<()> {
        match self.accepting {
            Accepting::Paused(until) if now < until => return Ok(()),
            Accepting::Full | Accepting::Paused(_) => {}
            Accepting::NotYet | Accepting::Yes | Accepting::Ended(_) => return Ok(()),
        }
        if self.is_full() {
            self.accepting = Accepting::Full;
            return Ok(());
        }
        self.begin_accepting()
    }

    /// Whether what is left is for the connections that were accepted already.
    fn is_full(&self) -> bool {
        self.shell.sockets.open() >= self.limits.open_sockets - self.limits.open_sockets / 4
    }

    fn accept_waiting<D: Drive>(&mut self, worker: &mut D, now: Instant) -> io::Result<()> {
        while let Some(index) = self.calling.pop() {
            for _ in 0..self.limits.accept_batch {
                if self.is_full() {
                    if self.may_warn(now) {
                        warn!(open = self.shell.sockets.open(), "too many connections: clients have to wait");
                    }
                    return self.pause_accepting(Accepting::Full);
                }
                match self.accept_one(index, worker, now) {
                    Ok(()) => {}
                    Err(AcceptError { failure: AcceptFailure::Nothing, .. }) => break,
                    Err(AcceptError { failure: AcceptFailure::Connection, source }) => {
                        self.counters.accept_failures.count();
                        debug!(error = %source, "a connection was gone before it was accepted");
                    }
                    Err(AcceptError { failure: AcceptFailure::Exhausted, source }) => {
                        if self.may_warn(now) {
                            warn!(error = %source, "cannot accept: clients have to wait");
                        }
                        let until = now + self.limits.accept_pause;
                        return self.pause_accepting(Accepting::Paused(until));
                    }
                    Err(AcceptError { failure: AcceptFailure::Listener, source }) => return Err(source),
                }
            }
        }
        Ok(())
    }

    fn accept_one<D: Drive>(&mut self, index: u32, worker: &mut D, now: Instant) -> Result<(), AcceptError> {
        let Some(listener) = self.listeners.get(index as usize) else { return Err(AcceptError::nothing()) };
        let (side, target) = (listener.side, listener.target);
        let (socket, peer) = socket::accept(&listener.socket)?;
        // From here on, whatever fails is about this connection only.
        let lost = |source| AcceptError { failure: AcceptFailure::Connection, source };
        let original_destination = match target {
            Some(target) => target,
            None => socket::original_destination(&socket, peer).map(|known| known.address).map_err(|source| {
                if self.may_warn(now) {
                    warn!(error = %source, %peer, "the original destination of a connection cannot be told");
                }
                lost(source)
            })?,
        };
        let socket = self.shell.accepted(socket).map_err(lost)?;
        self.counters.accepted.count();
        let accepted = Accepted { socket, side, peer, original_destination };
        worker.accepted(&mut self.shell, accepted, now);
        Ok(())
    }

    /// Whether a warning about accepting is due: what goes wrong there goes wrong often, and is counted anyhow.
    fn may_warn(&mut self, now: Instant) -> bool {
        let due = self.warned.is_none_or(|last| now.since(last) >= WARN_EVERY);
        if due {
            self.warned = Some(now);
        }
        due
    }

    /// Takes what clients have connected already, then closes the listeners: who comes later is refused at once.
    fn end_accepting<D: Drive>(&mut self, worker: &mut D, now: Instant) {
        if matches!(self.accepting, Accepting::Ended(_)) {
            return;
        }
        if self.accepting != Accepting::NotYet {
            for index in (0..).take(self.listeners.len()) {
                for _ in 0..LAST_ACCEPTS {
                    match self.accept_one(index, worker, now) {
                        Ok(()) | Err(AcceptError { failure: AcceptFailure::Connection, .. }) => {}
                        Err(_) => break,
                    }
                }
            }
        }
        self.listeners.clear();
        self.calling.clear();
        self.accepting = Accepting::Ended(now);
    }
}

struct AcceptError {
    failure: AcceptFailure,
    source: io::Error,
}

impl AcceptError {
    fn nothing() -> Self {
        Self { failure: AcceptFailure::Nothing, source: io::ErrorKind::WouldBlock.into() }
    }
}

impl From<io::Error> for AcceptError {
    fn from(source: io::Error) -> Self {
        Self { failure: AcceptFailure::of(&source), source }
    }
}

/// Runs a data thread and reports how it failed, if it did.
pub(super) fn guarded(on_failure: fn(&str), run: impl FnOnce() -> io::Result<()>) {
    let message = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("the event loop of a data thread failed: {error}"),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            format!("a data thread panicked: {said}")
        }
    };
    on_failure(&message);
}

/// "Internal software error" of sysexits(3).
const EXIT_SOFTWARE: i32 = 70;

/// The default of [`Config::on_failure`].
pub(super) fn end_process(message: &str) {
    error!("{message}; the process ends");
    // Where there is no log yet, or it is off.
    eprintln!("weft-proxy: {message}; the process ends");
    std::process::exit(EXIT_SOFTWARE);
}
