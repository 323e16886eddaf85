//! The control plane of a mesh on one machine: destination, policy, identity, DNS, registry, in one process.
//!
//! Owns the shells around the pure crates: listeners and their bounds, gRPC streams, the certificate authority, the
//! registry's leases, DNS, manifests that are followed, health and metrics, configuration. Facts and views are
//! `weft-model`'s, what is on the disk `weft-store`'s, messages `weft-policy`'s.
//!
//! Must not know: the inside of proxies, how workloads are started, Kubernetes.
//!
//! Read first: [`run::ControlPlane`] (what there is and how it is wired), [`grpc::service::Services`] (from a call to the
//! view that answers it), [`registry::Registry`] (from a registration to the event).
//!
//! ```text
//!  registry (Unix socket) ─┐                                  ┌─▶ grpc: destination, policy ─▶ proxies
//!  manifests (files) ──────┼─Event─▶ weft_model::Mesh ─views──┼─▶ dns
//!                          │                                  └─▶ admin API, health, metrics
//!                          └─▶ weft_store ◀── identity (Certify, ledger) ◀── proxies
//! ```
//!
//! One thread does everything but what SQLite and reading large files do on threads of their own.

pub mod admin_http;
pub mod config;
pub mod destination;
pub mod dns;
pub mod grpc;
pub mod health;
pub mod identity;
pub mod manifests;
pub mod mesh_tls;
pub mod metrics;
pub mod policy;
pub mod proxies;
pub mod registry;
pub mod run;
pub mod target;
pub mod views;

#[cfg(test)]
mod testkit;
