//! `weft`: the command line, and the whole mesh in one binary.
//!
//! Owns what a person types ([`cmd`]) and sees ([`output`]), the demo ([`demo`], its programs [`apps`] and their client
//! [`load`]), what it takes to run a program meshed ([`workload`]) and to make and unmake its network ([`machine`]).
//! Must not know: how the mesh does its work; proxy, control plane and redirection are libraries with a `run` each.
//!
//! Read first: [`cmd::Cli`], [`workload::Pod`], [`demo::topology`].

#![expect(unreachable_pub, reason = "a binary: `pub` is what other modules may use")]

mod apps;
mod cmd;
mod demo;
mod load;
#[allow(dead_code, reason = "its tests are a program of their own, and use more of it")]
mod machine;
mod output;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = machine::hidden(std::env::args_os()) {
        return code;
    }
    cmd::main(std::env::args_os().collect())
}
