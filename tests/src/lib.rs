//! Harness of the end-to-end tests: programs of ours in places of their own, a control plane that says what a test wants, peers
//! that behave and peers that do not.
//!
//! Owns what a test needs around the programs under test. Must not know their insides: it speaks to them as a user, a peer
//! or a control plane does. One test binary per level, by what it needs (`tests/*/main.rs`).
//!
//! Read first: [`proxy::Proxy`], [`control::ControlPlane`], [`place::Place`].

#![expect(clippy::expect_used, reason = "a harness: what fails here, fails the test that uses it")]

pub mod app;
pub mod binaries;
pub mod ca;
pub mod client;
pub mod control;
pub mod machine;
pub mod metrics;
pub mod pair;
pub mod place;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod wait;
pub mod wire;
