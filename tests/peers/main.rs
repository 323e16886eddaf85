//! Level: programs that others wrote, as clients and servers, through a pair of proxies with mutual TLS between them.
//!
//! `prepare` beside this file installs what is needed; README.md there tells what every peer does. Not part of a plain `cargo test`.

#![expect(clippy::unwrap_used, reason = "a test")]

mod curl;
mod differential;
mod grpc;
mod h2spec;
mod http;
mod nginx;
mod program;
mod scene;
mod web;
