//! The control plane: destination, policy, identity, DNS, registry.

pub mod admin_http;
pub mod destination;
pub mod dns;
pub mod grpc;
pub mod identity;
pub mod mesh_tls;
pub mod metrics;
pub mod policy;
pub mod proxies;
pub mod registry;
pub mod target;

#[cfg(test)]
mod testkit;
