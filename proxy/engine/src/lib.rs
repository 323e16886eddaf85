//! The worker: one thread's share of the proxy as one deterministic state machine.
//!
//! Owns: connections, exchanges, pools, balancers in use, relays, timers and buffers of one thread, both directions (the
//! application's connections into the mesh, the mesh's connections to the application), and everything that is counted
//! of them. Bytes and events go in, bytes and questions come out, through one seam: [`io::Io`].
//!
//! Must not know: runtimes, system calls, clocks, the control plane's protocols, configuration syntax. Codecs are
//! weft-http's, TLS is weft-net's, decisions are weft-policy's and weft-balance's: here they are tied together.
//!
//! Read first: [`Worker`] (events and what a batch is), [`io::Io`] (what it asks of the world), [`Limits`] (every
//! bound). Then the life of a request, in the order it is lived:
//!
//! ```text
//! accept.rs     a connection until its protocol is known: discover, detect, terminate
//!   opaque.rs     bytes: authorized, routed, connected        relay.rs      ... and carried
//!   http1.rs, http2.rs   from bytes to messages
//! exchange.rs   a request and its response: what is known of them, their times, their end
//!   request.rs    from the head to a server                   response.rs   ... and from it back to the client
//!   route.rs      where it goes, whether it may               respond.rs    ... or what is answered instead
//!   content.rs    bodies, and who is held when somebody is slow
//!   retry.rs      elsewhere, or once more                     counts.rs     what is counted of it
//! pool.rs       upstream connections: shared, idle, awaited   dial.rs       ... and made
//!   balancer.rs   which endpoint                              legs.rs       messages written
//! conn.rs       any connection: reading, interest, end        flush.rs      ... and sending, once per batch
//! worker.rs     who lives here, what events do, time
//! discovery.rs, plan.rs, ports.rs      policies: asked for, made ready, forgotten
//! ```
//!
//! Things are tied together by ids that find nothing once their owner is gone; an act that would reach around a
//! corner is left as a `Todo` for the end of the event. So no call ever comes back to the connection it
//! came from in the middle of its work.

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
mod request;
mod respond;
mod response;
mod retry;
mod route;
mod slab;
pub mod time;
mod timers;
mod worker;

pub use config::{Backoff, Config, Inbound, Outbound};
pub use limits::{Bound, Limits};
pub use worker::Worker;
