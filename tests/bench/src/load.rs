//! The load: generators that cost little, speak correctly and count what went wrong.
//!
//! A generator is a process of its own (`weft-bench load`, a [`Job`] as JSON on the command line), in the client's namespace. It reads the
//! CPU time of the processes under measurement itself, right before and right after the exchanges that it counts.

mod clients;
mod closed;
mod hold;
mod paced;
mod tcp;

pub use clients::{Client, Grpc, GrpcStream, Http1, Wrong};

use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

use crate::process::Cpu;

/// What is to be done, to whom, for how long, and whose CPU time is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What.
    pub load: Load,
    /// Where to.
    pub target: SocketAddr,
    /// Seconds before counting begins.
    pub warm_up: f64,
    /// Seconds that count.
    pub seconds: f64,
    /// The processes under measurement.
    pub pids: Vec<u32>,
}

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// HTTP/1.1: each connection sends a request when the last one is answered.
    Http1 {
        /// How many.
        connections: usize,
        /// Bytes of the answers' bodies.
        body: usize,
    },
    /// gRPC, unary: each of `streams` calls when the last one is answered.
    Grpc {
        /// How many.
        connections: usize,
        /// On each connection.
        streams: usize,
    },
    /// gRPC: one call per connection; each message is sent when the last one is answered.
    GrpcStream {
        /// How many.
        connections: usize,
    },
    /// HTTP/1.1 at a fixed rate.
    Http1Paced {
        /// How many.
        connections: usize,
        /// Requests per second, all together.
        rate: u32,
    },
    /// gRPC, unary, at a fixed rate.
    GrpcPaced {
        /// How many.
        connections: usize,
        /// Calls per second, all together.
        rate: u32,
    },
    /// The server sends as fast as it can.
    Down {
        /// How many.
        connections: usize,
    },
    /// The client sends as fast as it can.
    Up {
        /// How many.
        connections: usize,
    },
    /// Connections, one after the other: a byte there and back, closed.
    Connect {
        /// At the same time.
        clients: usize,
    },
    /// Connections that do one exchange each and then nothing; told by a line, kept until standard input ends.
    Hold {
        /// How many.
        connections: usize,
        /// What they speak.
        what: Held,
    },
}

/// What connections speak that are only held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Bytes.
    Tcp,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with gRPC.
    Http2,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests, messages, connections, or bytes.
    pub units: u64,
    /// What went wrong.
    pub errors: u64,
    /// In how many seconds.
    pub seconds: f64,
    /// What the processes under measurement used meanwhile, in microseconds.
    pub cpu: Cpu,
    /// Half took less than this, in microseconds. Only with a fixed rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 99 of 100 took less than this, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

impl Job {
    /// Does it.
    ///
    /// # Errors
    /// No connection could be made at all.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        raise_descriptor_limit();
        match self.load {
            Load::Http1 { connections, body } => {
                self.closed(connections, 1, &|| Http1::new(self.target.port(), body))
            }
            Load::Grpc { connections, streams } => self.closed(connections, streams, &Grpc::new),
            Load::GrpcStream { connections } => self.closed(connections, 1, &GrpcStream::new),
            Load::Http1Paced { connections, rate } => {
                paced::run(self, connections, rate, || Http1::new(self.target.port(), crate::backend::SMALL))
            }
            Load::GrpcPaced { connections, rate } => paced::run(self, connections, rate, Grpc::new),
            Load::Down { connections } => tcp::down(self, connections),
            Load::Up { connections } => tcp::up(self, connections),
            Load::Connect { clients } => tcp::connect(self, clients),
            Load::Hold { connections, what } => hold::run(self, connections, what),
        }
    }

    fn closed<C: Client + 'static>(
        &self,
        connections: usize,
        streams: usize,
        client: &dyn Fn() -> C,
    ) -> anyhow::Result<Outcome> {
        closed::run(self, connections, streams, client)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    fn counted(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// One runtime on one thread.
fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Thousands of connections need thousands of descriptors.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without them what needs them fails and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
