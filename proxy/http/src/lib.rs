//! HTTP/1 and HTTP/2 as pure codecs: bytes in, bytes out.
//!
//! Owns: the message head, what each field name means, HTTP/1 heads and bodies, HTTP/2 frames, streams, windows and
//! HPACK, `l5d-orig-proto`, and the bounds of all of these. Must not know: sockets, clocks, TLS, runtimes, policy.
//! hyper and h2 are used by tests only, as oracles.
//!
//! Read first: [`head::Head`] (a message head as ranges of a buffer, from either protocol), [`fields::Kind`] (the one
//! table of what a field name means to a proxy), [`head::Outgoing`] (a head on its way out, for either protocol).
//!
//! ```text
//! HTTP/1 bytes ─▶ h1::Parser ─┐                        ┌─▶ h1::write ─▶ HTTP/1 bytes
//!                             ├─▶ Head ─▶ Outgoing ────┤
//! HTTP/2 bytes ─▶ h2, hpack ──┘   + its buffer         └─▶ h2, hpack ─▶ HTTP/2 bytes
//! ```

pub mod fields;
pub mod h1;
pub mod h2;
pub mod head;
pub mod hpack;
pub mod limits;
pub mod orig_proto;
