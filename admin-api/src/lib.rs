//! The admin API: what a control plane tells about itself over REST.
//!
//! Owns every type that may appear on the wire ([`types`]), the routes, the errors (problem+json, RFC 9457) and the
//! OpenAPI document, which is `openapi/weft-admin.json` and checked for freshness. Reads what the control plane shows
//! ([`Views`]) and the store's ledger; changes nothing. Writing, tokens and roles are to come beside what is here.
//!
//! Must not know: gRPC, Kubernetes, where the views come from, how requests arrive (socket, TLS).
//!
//! Read first: [`types::Workload`] (what a type looks like), [`Problem`] (what an error looks like), [`Views`]
//! (what a control plane implements).
//!
//! Rules of the wire, so that generators of clients understand it: named structs, string enums, no tuples, no untagged
//! unions; times as RFC 3339 text; cursors are opaque strings; a field that may be missing is left out rather than null;
//! readers ignore fields they do not know.

pub mod types;

#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use server::{ADMIN_TOKEN_FILE, Router, Views, document, require_token, router};

pub use types::Problem;
