//! The worker: connections, exchanges, pools, relays, timers and buffers of one thread as one state machine.
#![expect(dead_code, reason = "being assembled")]

mod buffers;
pub mod limits;
mod slab;
pub mod time;
mod timers;

pub use limits::{Bound, Limits};
