//! What is on the wire between the demo's workloads, seen from the bridge: an observer that trusts nobody.
//!
//! [`capture`] reads frames from the kernel; [`frame`], [`tls`] and [`flows`] say what they are, without IO. The
//! observer has a small TLS reader of its own, so that it does not share a mistake with the proxies.

pub mod capture;
pub mod flows;
pub mod frame;
pub mod tls;

pub use self::{capture::Capture, flows::Wire};
