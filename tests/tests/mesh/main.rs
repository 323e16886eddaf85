//! A mesh as a user runs it: `weft up`, `weft run`, and programs that nobody here wrote. Needs root, and Debian's packages that
//! `tests/run packages` installs.

#![expect(clippy::unwrap_used, reason = "a test")]

mod command_line;
mod ends;
mod exec;
mod mesh;
mod policy;
mod programs;
