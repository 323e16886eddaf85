//! Proxies as processes on loopback, with a scripted control plane: nothing here needs privileges.

#![expect(clippy::unwrap_used, reason = "a test")]

mod matrix;
mod start;
