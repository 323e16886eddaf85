//! From the model to API messages: what a control plane sends of what it has decided.
//!
//! What comes out is what [`crate::from_pb`] understands as the same model. Parts of the model that have no place in
//! messages are left out: conditions and rules of profiles that became routes, filters of policies that could not be
//! understood, whether an endpoint is local.

mod endpoint;
mod inbound;
mod outbound;
mod profile;
mod route;
mod shared;

pub use self::{
    endpoint::{endpoint, update},
    inbound::server,
    outbound::outbound,
    profile::profile,
};
