//! Everything between a socket and the bytes a protocol is made of.
//!
//! Owns: TCP sockets and their options, the original destination of redirected connections, protocol detection, TLS
//! (the only home of rustls types on the data path) and the transport header of tagged connections.
//!
//! Must not know: HTTP beyond its first line, policy, routes, balancing, who calls it (no runtime, no event loop, no
//! clock but the one that certificates are checked against).
//!
//! Apart from [`socket`], whose functions are thin wrappers of system calls that never wait, everything is a pure
//! state machine: bytes in, bytes out. Read first:
//!
//! - [`detect::detect`]: what a client speaks, from its first bytes;
//! - [`tls::Identity`] and [`tls::TlsConn`]: who we are, and a connection that proves it;
//! - [`transport_header::TransportHeader`]: which port a meshed connection is for.
//!
//! ```text
//! socket::accept ─▶ detect ─┬─ ClientHello for us ─▶ tls::TlsConn ─▶ transport_header::decode ─▶ bytes
//!                           └─ anything else ─▶ bytes
//! ```

pub mod detect;
pub mod socket;
pub mod tls;
pub mod transport_header;
