//! The data threads: each drives one worker with plain epoll, and nothing on them waits for anything else.
//!
//! ```text
//!                     ┌────────────── a data thread ──────────────┐
//!  kernel ─ events ──▶│ thread.rs: wait ▶ answers ▶ accept ▶      │   questions (bounded, all threads)
//!                     │   readable/writable ▶ expired ▶ flush     │──────────────────────────▶ control thread
//!  kernel ◀─ calls ───│ shell.rs: what the worker does            │◀────────────────────────── (tokio)
//!                     │ sockets.rs: which socket is ready         │   mailbox (latest answer per subject)
//!                     └───────────────────────────────────────────┘
//! ```
//!
//! There are as many threads as [`Config::workers`]. They share listening addresses (`SO_REUSEPORT`), the queue of
//! questions, and nothing else. Lifecycle: [`Listeners::bind`] at once, so that a port that is taken is told at the
//! start; [`start`]; [`Handle::accept`] when there is a certificate, until when clients wait in the kernel;
//! [`Handle::drain`]; [`Runtime::finished`].
//!
//! A worker that panics, or an event loop that fails, is the end of the process ([`Config::on_failure`]): half a proxy
//! that looks alive would be worse.

mod drive;
mod epoll;
mod listeners;
mod mailbox;
mod notes;
mod questions;
mod shell;
mod sockets;
mod thread;

#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weft_engine::io::Answer;
use weft_engine::metrics::{Counter, Gauge};
use weft_net::socket::StreamOptions;
use weft_net::tls::{Identity, IdentityError};

pub use self::drive::Drive;
pub use self::listeners::{BindError, Listeners};
pub use self::questions::{MAX_QUESTIONS, Questions};
pub use self::shell::Shell;

use self::mailbox::Mailbox;
use self::thread::DataThread;

/// What the data threads are told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many data threads. Default: 1.
    pub workers: NonZeroUsize,
    /// The application's side.
    pub outbound: Side,
    /// The mesh's side.
    pub inbound: Side,
    /// Bounds.
    pub limits: Limits,
    /// How long a thread may go on after [`Handle::drain`] at the very most; the worker's own grace period is
    /// shorter. Default: 125 s.
    pub drain_limit: Duration,
    /// What to do when a data thread fails, given the message for the log. Default: end the process with code 70.
    pub on_failure: fn(&str),
}

/// Sockets of one side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Where to listen. The original destination of what comes in is the kernel's to tell.
    pub listen: Vec<std::net::SocketAddr>,
    /// Where to listen for one target each, without redirection: listening address and target.
    pub fixed: Vec<(std::net::SocketAddr, std::net::SocketAddr)>,
    /// Connections that may wait in the kernel; none: [`weft_net::socket::DEFAULT_BACKLOG`].
    pub backlog: Option<u32>,
    /// Options of accepted connections; a mark is not for these.
    pub accept: StreamOptions,
    /// Options of connections that the worker makes.
    pub connect: StreamOptions,
}

/// Bounds of one data thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets open at once, accepted and connecting. At three quarters accepting pauses, so that what has been accepted
    /// can still reach its endpoints; at the bound connecting fails as when the system is out of descriptors. New
    /// clients wait in the kernel. Default: what the process may open, divided by the threads
    /// ([`Limits::from_system`]).
    pub open_sockets: usize,
    /// Connections accepted from one listener before everything else has its turn. Default: 64.
    pub accept_batch: usize,
    /// How long accepting pauses when descriptors or memory run out. Default: 50 ms.
    pub accept_pause: Duration,
    /// Events taken from the kernel at once. Default: 256.
    pub events: usize,
}

/// Descriptors that are left to the rest of the process when the bound on sockets is taken from the system.
const RESERVED_DESCRIPTORS: usize = 128;

/// What a data thread counts beside its worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sockets open now.
    pub open_sockets: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections that failed before the worker saw them, or whose original destination could not be told.
    pub accept_failures: Counter,
    /// How often accepting paused because [`Limits::open_sockets`] was near.
    pub accept_pauses_full: Counter,
    /// How often accepting paused because the system had no descriptor or memory left.
    pub accept_pauses_exhausted: Counter,
    /// Connections not made because [`Limits::open_sockets`] was met.
    pub connects_refused: Counter,
    /// Questions refused because [`MAX_QUESTIONS`] waited.
    pub questions_refused: Counter,
    /// Lines not logged because there were too many.
    pub notes_suppressed: Counter,
    /// Rounds of the event loop.
    pub rounds: Counter,
    /// Events from the kernel.
    pub events: Counter,
}

/// The running data threads, for whoever waits for them.
pub struct Runtime {
    handle: Handle,
    counters: Vec<Arc<Counters>>,
    running: mpsc::Receiver<std::convert::Infallible>,
}

/// Speaks to the data threads. Cheap to clone; nothing here blocks.
#[derive(Clone)]
pub struct Handle(Arc<[Arc<Mailbox>]>);

/// Starts the data threads. `build` makes each one's worker, on its thread, given its number from 0.
///
/// # Errors
/// What the system refuses: a thread, an epoll instance, a descriptor.
pub fn start<D: Drive>(
    config: &Config,
    listeners: Listeners,
    build: impl Fn(u32, &mut Shell) -> D + Send + Sync + 'static,
) -> io::Result<(Runtime, Questions)> {
    let build = Arc::new(build);
    let (asker, questions) = questions::channel();
    // Nothing is ever sent: the threads hold senders, and the channel closes when the last one has ended.
    let (alive, running) = mpsc::channel(1);
    let (mut mailboxes, mut counters) = (Vec::new(), Vec::new());
    for (number, listeners) in (0_u32..).zip(listeners.into_workers()) {
        let mailbox = Arc::new(Mailbox::new()?);
        let counted = Arc::new(Counters::default());
        let shell = Shell::new(config, number, asker.clone(), Arc::clone(&counted))?;
        let thread = DataThread::new(config, shell, listeners, Arc::clone(&mailbox), Arc::clone(&counted))?;
        let (build, alive, on_failure) = (Arc::clone(&build), alive.clone(), config.on_failure);
        std::thread::Builder::new().name(format!("weft-data-{number}")).spawn(move || {
            let _alive = alive;
            thread::guarded(on_failure, move || thread.run(|shell| build(number, shell)));
        })?;
        mailboxes.push(mailbox);
        counters.push(counted);
    }
    Ok((Runtime { handle: Handle(mailboxes.into()), counters, running }, questions))
}

impl Runtime {
    /// For whoever answers questions.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What each thread counts, in order of their numbers.
    #[must_use]
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Waits until all data threads have ended, which they do after [`Handle::drain`].
    pub async fn finished(&mut self) {
        let _ = self.running.recv().await;
    }
}

impl Handle {
    /// How many data threads there are.
    #[must_use]
    pub fn workers(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Gives an answer to the worker that asked. Of several about one subject that it has not looked at yet, it sees the
    /// latest.
    pub fn answer(&self, worker: u32, answer: Answer) {
        if let Some(mailbox) = usize::try_from(worker).ok().and_then(|worker| self.0.get(worker)) {
            mailbox.post(answer);
        }
    }

    /// Gives every worker the certificate to use from now on, each with caches of its own.
    ///
    /// # Errors
    /// See [`Identity::for_worker`].
    pub fn identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        for mailbox in self.0.iter() {
            mailbox.post(Answer::Identity(Arc::new(identity.for_worker()?)));
        }
        Ok(())
    }

    /// Begins to accept.
    pub fn accept(&self) {
        for mailbox in self.0.iter() {
            mailbox.accept();
        }
    }

    /// Stops accepting and lets connections end; threads end when they have none left.
    pub fn drain(&self) {
        for mailbox in self.0.iter() {
            mailbox.post(Answer::Drain);
        }
    }
}

impl Limits {
    /// Bounds for a process that may open as many descriptors as the system says, after the soft limit has been raised to
    /// the hard one.
    #[must_use]
    pub fn from_system(workers: NonZeroUsize) -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Not being allowed to raise it is no failure: the bound below follows what is in force.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        let may_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let may_open = usize::try_from(may_open).unwrap_or(usize::MAX).min(MAX_OPEN_SOCKETS);
        let open_sockets = may_open.saturating_sub(RESERVED_DESCRIPTORS).max(RESERVED_DESCRIPTORS) / workers;
        Self { open_sockets, accept_batch: 64, accept_pause: Duration::from_millis(50), events: 256 }
    }
}

/// The bound on sockets where the system sets none.
const MAX_OPEN_SOCKETS: usize = 1 << 20;

impl Config {
    /// Defaults for these sides.
    #[must_use]
    pub fn new(workers: NonZeroUsize, outbound: Side, inbound: Side) -> Self {
        Self {
            workers,
            outbound,
            inbound,
            limits: Limits::from_system(workers),
            drain_limit: Duration::from_secs(125),
            on_failure: thread::end_process,
        }
    }
}
