//! Durable state of the control plane in SQLite: trust, certificates, tokens, the standalone registry.
//!
//! Owns the file format: the state directory and its lock ([`Directory`]), schema and upgrades, every SQL text, and
//! what each failure means for the person who runs the control plane ([`OpenError`], [`StoreError`] and their
//! `advice`). Everything is written in transactions that are there whole or not at all, also after `kill -9`; keys,
//! certificates, tokens and registrations are on the disk when a method returns.
//!
//! Must not know: gRPC, HTTP, Kubernetes, X.509 (certificates are bytes with a serial and two dates), clocks (`now`
//! is an argument).
//!
//! Read first: [`Store`], [`NewCertificate`] (the ledger), [`NewWorkload`] (the registry).
//!
//! | table | rows | ends |
//! |---|---|---|
//! | `meta` | 1 | – |
//! | `trust_roots`, `issuers` | one per rotation | kept, marked retired |
//! | `certificates` | one per certificate issued; never changed | [`Retention`] |
//! | `join_tokens` | at most [`MAX_TOKENS_PER_WORKLOAD`] live ones per workload | [`Store::prune_tokens`] |
//! | `services`, `workloads` | [`MAX_SERVICES`], [`MAX_WORKLOADS`] | removal; lease |
//! | `addresses` | [`MAX_POSITIONS`] per pool | reused, oldest released first |
//! | `settings` | a handful | – |
//!
//! There is one write connection; a write waits for the one before it, at most [`BUSY_TIMEOUT`]. The SQL keeps to
//! what PostgreSQL understands as well (`$1`, `ON CONFLICT`, `RETURNING`), so that a second database is a second
//! pool and a second `schema/`, not a second set of queries.

mod address;
mod column;
mod directory;
mod error;
mod ledger;
mod registry;
mod schema;
mod settings;
mod store;
mod token;
mod trust;

#[cfg(test)]
mod tests;

pub use self::{
    address::{MAX_POSITIONS, Pool},
    directory::Directory,
    error::{OpenError, StoreError, WriteState},
    ledger::{CertificateQuery, CertificateRow, MAX_PAGE, NewCertificate, Retention},
    registry::{
        Change, MAX_SERVICES, MAX_WORKLOADS, NewWorkload, PortRow, Registered, ServiceRow, WorkloadRow,
    },
    schema::SCHEMA_VERSION,
    store::{BUSY_TIMEOUT, READERS, Store},
    token::{MAX_TOKENS_PER_WORKLOAD, NewToken, TokenRow},
    trust::{IssuerRow, NewAuthority, PrivateKey, TrustRoot},
};
