//! The one policy model and its pure decisions.
//!
//! Owns what a control plane tells a proxy, as immutable snapshots ([`outbound::Policy`],
//! [`inbound::ServerPolicy`], [`outbound::EndpointSet`]); both conversions to and from `linkerd2-proxy-api`
//! ([`from_pb`], [`to_pb`]); and the decisions on them: find a route, choose a backend, apply filters, authorize.
//! A decision borrows from the snapshot, allocates nothing, and says which rule and which layer made it, so that
//! refusal, log line, metric and explanation are views of one value. [`failure`] is the one table from what went
//! wrong to the answer the client gets.
//!
//! Must not know: sockets, clocks, runtimes, metrics. Whatever depends on time or on state (load, budgets, rate
//! limits, circuit breakers) is configured here and kept elsewhere; whatever is random takes the random number.
//!
//! Read first: [`outbound::Policy`], [`inbound::ServerPolicy`], [`RequestView`].
//!
//! ```text
//!  control plane:  facts ──▶ model ──to_pb──▶ API messages ─ ─ ▶ from_pb ──▶ model ──▶ decisions   :proxy
//! ```

pub mod failure;
pub mod filter;
pub mod from_pb;
pub mod header;
pub mod inbound;
pub mod limits;
pub mod matching;
pub mod outbound;
pub mod pattern;
pub mod request;
pub mod to_pb;

pub use self::{
    failure::FailureKind,
    filter::Filter,
    header::{HeaderName, HeaderValue, Method},
    pattern::Pattern,
    request::{HeaderLookup, NoHeaders, RequestView},
};
pub use weft_names::Meta;

#[cfg(test)]
mod testing;
