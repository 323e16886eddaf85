//! What is fuzzed, and what must hold whatever the input.
//!
//! Owns one file for each target: a safe function from bytes to nothing that panics when a property is broken, and the
//! seeds its corpus starts from. Must not know: the fuzzer. `tests/fuzz` wraps these functions for libFuzzer; the test
//! `fuzz_corpus` of this crate runs them on every committed input and on seeded changes of these.
//!
//! Read first: [`Target`] (what a target is), [`input::Input`] (how bytes become decisions), [`h1`] (the shape that
//! targets of byte streams have: the same result whatever the split, what is written is read back, bounds hold).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is a panic, which is what a fuzzer looks for"
)]

pub mod client_hello;
pub mod detect;
pub mod dns;
pub mod h1;
pub mod h1_write;
pub mod h2;
pub mod h2_frames;
pub mod hpack;
pub mod identity;
pub mod input;
pub mod manifest;
mod mesh;
pub mod names;
pub mod netlink;
mod pki;
pub mod policy;
pub mod tls;
pub mod transport_header;
pub mod worker;

/// Something that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the fuzz target, and of the folders of its inputs.
    pub name: &'static str,
    /// Panics if a property does not hold for these bytes.
    pub run: fn(&[u8]),
    /// Inputs that get far, from which a corpus is grown.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// All targets.
        pub const ALL: &[Target] =
            &[$(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*];
    };
}

targets! {
    client_hello detect dns h1 h1_write h2 h2_frames hpack identity manifest names netlink policy tls transport_header worker
}
