//! The seam between a worker and the world: sockets without waiting, questions, random numbers, notes.
//!
//! Two things implement [`Io`]: the epoll loop of the proxy and the simulated network of the tests. Everything a
//! worker does to the world goes through it, and everything the world does to a worker is a call of one of its
//! event methods ([`crate::Worker::accepted`], `readable`, `writable`, `answered`, `expired`), so a worker is a
//! function of its events.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_net::tls::Identity;
use weft_policy::inbound::ServerPolicy;
use weft_policy::outbound::{EndpointSet, Policy};

/// Names a socket between a worker and its [`Io`].
///
/// A small dense number (the worker keeps a vector by it): the slot of a table in the shell. After
/// [`Io::close`] or [`Io::reset`] no event may carry it until `connect` or an accept gives it out anew, so a
/// shell that hands out file descriptors has to drop what is left of a batch for a descriptor closed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Which of the proxy's two directions a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// From the application to the mesh.
    Outbound,
    /// From the mesh to the application.
    Inbound,
}

/// A connection that the shell accepted, its options already set.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The connected socket, not blocking, its interest at first neither reading nor writing.
    pub socket: SocketId,
    /// Which listener it came from.
    pub side: Side,
    /// The client.
    pub peer: SocketAddr,
    /// Where the client meant to connect to, before redirection. For a connection made to the listener itself this
    /// is the listener's own address as the client knew it.
    pub original_destination: SocketAddr,
}

/// What a worker can do to the world. Nothing here may block.
///
/// Readiness is level-triggered: the shell calls `readable` (`writable`) for as long as the last
/// [`Io::interest`] asks for it and the socket is ready; errors and hang-ups of a socket are reported as readable
/// and writable.
pub trait Io {
    /// Reads into `buf`; `Ok(0)` is the end of the stream, `WouldBlock` that there is nothing yet.
    fn read(&mut self, socket: SocketId, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes a prefix of `bufs` together; `WouldBlock` if the socket takes nothing now.
    fn write(&mut self, socket: SocketId, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Begins to connect, with the options configured for `side`; when the socket becomes writable,
    /// [`Io::connect_result`] says how it went. The interest of a new socket is neither reading nor writing.
    fn connect(&mut self, target: SocketAddr, side: Side) -> io::Result<SocketId>;
    /// How connecting went; asked once the socket is writable.
    fn connect_result(&mut self, socket: SocketId) -> io::Result<()>;
    /// Which readiness of `socket` to report from now on.
    fn interest(&mut self, socket: SocketId, read: bool, write: bool);
    /// Ends the stream towards the peer (FIN); reading goes on.
    fn shutdown_write(&mut self, socket: SocketId);
    /// Closes; what was written is still delivered.
    fn close(&mut self, socket: SocketId);
    /// Closes with a reset (linger 0): the peer learns that the stream was cut.
    fn reset(&mut self, socket: SocketId);
    /// Sends a question to the control thread. The answers come by [`crate::Worker::answered`].
    ///
    /// # Errors
    /// [`Refused`] when the queue of questions is full; nothing will come then.
    fn ask(&mut self, question: Question) -> Result<(), Refused>;
    /// A random number; seeded in simulation.
    fn random(&mut self) -> u64;
    /// The wall clock, as time since 1970: for the `date` field only.
    fn unix_time(&self) -> Duration;
    /// Something that an operator may want to read in the log. Called where it is handled, once.
    fn note(&mut self, note: &Note<'_>) {
        let _ = note;
    }
}

/// The queue to the control thread is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of questions to the control thread is full")]
pub struct Refused;

/// What a worker does not know. Each but [`Question::Forget`] is a subscription: answers come until forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How to treat outbound connections to this address: [`Answer::Discovered`].
    Discover {
        /// The original destination.
        target: SocketAddr,
    },
    /// Which endpoints stand behind this path: [`Answer::Endpoints`].
    Resolve {
        /// A destination path, as in [`weft_policy::outbound::Dispatcher::Balance`].
        path: Arc<str>,
    },
    /// How to treat inbound connections to this port: [`Answer::Port`].
    Port {
        /// The port that the application listens on.
        port: u16,
    },
    /// This worker no longer wants updates.
    Forget(Subject),
}

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The address of a [`Question::Discover`].
    Target(SocketAddr),
    /// The path of a [`Question::Resolve`].
    Path(Arc<str>),
    /// The port of a [`Question::Port`].
    Port(u16),
}

/// News from the control thread. Of several about one subject only the latest needs to be delivered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The policy for a target, first and again on each change. After an error nothing more comes unless asked again.
    Discovered {
        /// The address asked about.
        target: SocketAddr,
        /// Its policy, or why there is none.
        policy: Result<Arc<Policy>, DiscoverError>,
    },
    /// The latest whole set of endpoints behind a path.
    Endpoints {
        /// The path asked about.
        path: Arc<str>,
        /// All endpoints.
        endpoints: Arc<EndpointSet>,
    },
    /// The policy of an inbound port. Until the first one comes, the configured default is in force.
    Port {
        /// The port asked about.
        port: u16,
        /// Its policy.
        policy: Arc<ServerPolicy>,
    },
    /// A new certificate; connections made from now on use it.
    Identity(Arc<Identity>),
    /// The proxy is to end: see [`crate::Worker::drain`].
    Drain,
}

/// Why a target cannot be discovered; its connections are closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("discovery of the target failed: {reason}")]
pub struct DiscoverError {
    /// What the control plane said.
    pub reason: Arc<str>,
}

/// Something for the log.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// A request was answered by the proxy itself, or its response was cut short.
    RequestFailed {
        /// Of which direction.
        side: Side,
        /// The client's address.
        client: SocketAddr,
        /// Where the client's connection was going.
        target: SocketAddr,
        /// `HTTP/1.1`, `HTTP/2` or `gRPC`.
        protocol: &'static str,
        /// The row of [`weft_policy::FailureKind`]'s table.
        kind: &'static str,
        /// What the client was told, or would have been.
        message: &'a str,
        /// Nobody foresaw it: a warning, not information.
        unexpected: bool,
    },
    /// A connection was refused or broke before it carried anything to answer.
    ConnectionFailed {
        /// Of which direction.
        side: Side,
        /// The client's address.
        client: SocketAddr,
        /// Where it was going.
        target: SocketAddr,
        /// The stage of `accept.rs` or `relay.rs` that failed.
        stage: &'static str,
        /// Why, with both sides' names where TLS is the reason.
        message: &'a str,
    },
    /// An endpoint could not be connected to.
    ConnectFailed {
        /// Of which direction.
        side: Side,
        /// The endpoint.
        target: SocketAddr,
        /// Why.
        message: &'a str,
        /// For how long it is left alone; zero where its balancer decides that.
        backoff: Duration,
    },
    /// A request or connection that only an `audit` authorization allows.
    Audited {
        /// The client.
        client: SocketAddr,
        /// The client's identity, if it has one.
        client_id: Option<&'a str>,
        /// The original destination.
        target: SocketAddr,
        /// `HTTP` or `TCP`.
        protocol: &'static str,
    },
    /// A bound was met for the first time since the worker started.
    BoundMet {
        /// Its name in [`crate::limits`].
        bound: &'static str,
    },
}
