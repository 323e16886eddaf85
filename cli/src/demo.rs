//! `weft demo`: a whole mesh on this machine, to look at or to prove.
pub mod metrics;
pub mod topology;
pub mod wire;
