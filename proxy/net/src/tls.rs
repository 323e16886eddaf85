//! Mutual TLS 1.3 between meshed peers, without IO: ciphertext in, plaintext out, and the reverse.
//!
//! This is the only home of rustls types on the data path. What is decided here:
//!
//! - which versions, suites, groups and signatures are used ([`provider`]);
//! - what makes a peer's certificate good: a chain to our roots that is valid now and for this use, and, for servers,
//!   the exact identity that was expected among its names (the host name is not looked at);
//! - that verified chains are remembered for a minute, by their exact bytes ([`MAX_CACHED_CHAINS`]);
//! - that sessions between our own proxies are resumed for as long as the chain that they began with is remembered, and
//!   nobody else's ever (`sessions.rs`).
//!
//! Lifecycle: an [`Identity`] is built from a certificate that was just issued, handed to each worker, and replaced
//! whole at renewal; connections that live keep what they negotiated. [`Target`] adds whom a client expects.
//! [`TlsConn`] is one connection of either side.

mod chains;
mod client;
mod conn;
mod crypto;
mod error;
mod identity;
mod outgoing;
mod roots;
mod sessions;
mod verify;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use self::chains::{MAX_CACHED_CHAIN_LEN, MAX_CACHED_CHAINS, MAX_CHAIN_AGE};
pub use self::client::Target;
pub use self::conn::{End, MAX_PENDING_CIPHERTEXT, MAX_UNFINISHED, Received, TlsConn};
pub use self::crypto::provider;
pub use self::error::{Failure, TlsError};
pub use self::identity::{Identity, IdentityError, Issued, Offer, WallClock};
pub use self::roots::{Roots, RootsError};
pub use self::sessions::{MAX_KEPT_TICKETS, MAX_KEPT_TICKETS_PER_TARGET, MAX_TICKET_LEN};
