//! Both workers over memory: the same events in the same order each time, so that what they cost can be counted.
//!
//! A client application, the worker of its proxy, the worker of the server's proxy and a server application take turns; in its
//! turn a worker gets everything that is ready for it as one batch, as the epoll loop gives it. Between the workers there
//! is mutual TLS; policies, endpoints and certificates are what a control plane would send. Instructions and
//! allocations are counted inside of `worker_turn` only.

mod apps;
mod net;
mod world;

use crate::{allocations, backend};

pub use world::World;

/// What is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// HTTP/1.1 from 16 clients, carried over HTTP/2 between the proxies.
    Http1,
    /// HTTP/1.1 from one client: nothing is shared by several requests.
    Http1Alone,
    /// gRPC, unary, 8 connections of 16 streams.
    Grpc,
    /// gRPC, 16 calls of many messages.
    GrpcStream,
    /// Opaque bytes, from the server: a unit is 64 KiB.
    Bytes,
    /// New opaque connections, each with a handshake: a byte there and back.
    Connect,
}

/// What one unit of a scenario costs, in both workers together, once everything is warm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Calls of the allocator.
    pub allocations: f64,
}

impl Scenario {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Http1, Self::Http1Alone, Self::Grpc, Self::GrpcStream, Self::Bytes, Self::Connect];

    /// Its name in `budget.toml` and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1-c16",
            Self::Http1Alone => "http1-c1",
            Self::Grpc => "grpc-c8m16",
            Self::GrpcStream => "grpc-stream-c16",
            Self::Bytes => "bytes-64k",
            Self::Connect => "connect",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// The port of the server that it is about.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Http1 | Self::Http1Alone => backend::HTTP1,
            Self::Grpc => backend::GRPC,
            Self::GrpcStream => backend::STREAM,
            Self::Bytes | Self::Connect => backend::TCP,
        }
    }

    /// Units after which nothing is new any more.
    #[must_use]
    pub fn warm_up(self) -> u64 {
        match self {
            Self::Connect => 20,
            Self::Bytes => 100,
            _ => 2_000,
        }
    }

    /// Counts allocations of `units`.
    #[must_use]
    pub fn count(self, units: u64) -> Cost {
        let mut world = World::new(self);
        world.run(self.warm_up());
        let before = allocations::counts();
        let done = world.run(units);
        let calls = allocations::counts().calls - before.calls;
        Cost { allocations: calls as f64 / done as f64 }
    }
}

/// What connections are that do nothing, for [`idle_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// HTTP/1.1, after one request.
    Http1,
    /// HTTP/2, after one request.
    Http2,
    /// Bytes over mutual TLS, after one byte there and back.
    Tcp,
}

impl Idle {
    /// All.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Tcp];

    /// Its name in `budget.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

/// Bytes that both workers hold for each idle connection of a client.
#[must_use]
pub fn idle_bytes(idle: Idle) -> f64 {
    let (first, second) = (100, 300);
    let scenario = match idle {
        Idle::Http1 => Scenario::Http1Alone,
        Idle::Http2 => Scenario::Grpc,
        Idle::Tcp => Scenario::Connect,
    };
    let mut world = World::idle(scenario);
    (0..first).for_each(|_| world.open());
    let before = allocations::counts().live;
    (0..second).for_each(|_| world.open());
    (allocations::counts().live - before) as f64 / f64::from(second)
}
