//! The worker: one deterministic state machine per thread.
