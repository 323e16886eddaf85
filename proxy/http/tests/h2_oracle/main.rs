//! Our HTTP/2 connection against the h2 crate, as client and as server: both must agree on every field, octet,
//! trailer and reset, over a pipe that cuts anywhere, with windows from tiny to large, settings that change on the way, and
//! connections that are told to go away.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by failing")]

mod client;
mod drive;
mod exchange;
mod server;

/// Seeds of each test; more by `ORACLE_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("ORACLE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}
