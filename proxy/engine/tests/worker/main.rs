//! One worker at a time: what it answers, what it refuses, and what happens at each of its bounds.

#![expect(clippy::unwrap_used, reason = "a test")]

mod answers;
mod bench;
mod bounds;
mod downgrade;
mod frames;
mod lives;
mod mesh;
mod noise;
mod relayed_http2;
mod slow;
mod smuggling;
mod smuggling_http2;
mod smuggling_mesh;
mod smuggling_servers;
mod streams;
