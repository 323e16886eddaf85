//! The worker: connections, exchanges, pools, relays, timers and buffers of one thread as one state machine.

mod accept;
mod balancer;
mod buffers;
mod config;
mod conn;
mod content;
mod counts;
mod describe;
mod dial;
mod discovery;
mod exchange;
mod flush;
mod http1;
mod http2;
pub mod io;
mod legs;
pub mod limits;
pub mod metrics;
mod opaque;
mod plan;
mod pool;
mod ports;
mod relay;
mod respond;
mod retry;
mod route;
mod slab;
pub mod time;
mod timers;
mod worker;

pub use config::{Backoff, Config, Inbound, Outbound};
pub use limits::{Bound, Limits};
pub use worker::Worker;
