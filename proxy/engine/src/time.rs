//! Time as the worker sees it: nanoseconds since the worker started, given with every event.
//!
//! Nothing in this crate reads a clock, so a run is a function of its events and can be replayed.

pub use weft_balance::Instant;
