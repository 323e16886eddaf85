//! Speed and memory of weft beside its peers, and what a request may cost.
//!
//! Owns two kinds of measurement. *Beside peers*: whole proxies in network namespaces behind redirection, the same load on
//! each in turn, CPU and memory read from `/proc` ([`suite`], [`peers`], [`load`], [`backend`]). *Alone*: both workers
//! over memory instead of sockets, in which instructions and allocations per request can be counted to the last one
//! ([`drive`]); a test compares these with `budget.toml`. Must not know the insides of the programs it runs beside each
//! other: those are told what a user would tell them.
//!
//! Read first: [`suite::Suite`], [`load::Load`], [`drive::Scenario`].

#![expect(clippy::expect_used, reason = "a bench: what fails here, fails the run or the test that uses it")]

pub mod allocations;
pub mod backend;
pub mod drive;
pub mod frames;
pub mod load;
pub mod mesh;
pub mod peers;
pub mod pki;
pub mod process;
pub mod relay;
pub mod report;
pub mod site;
pub mod suite;
