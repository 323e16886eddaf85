//! Views: what proxies are told, made of facts by pure functions.
//!
//! | view | asked for with | told as |
//! |---|---|---|
//! | [`endpoints`] | a service's port | `Destination/Get` |
//! | [`profile`] | a service's port or an address | `Destination/GetProfile` |
//! | [`outbound`] | a service's port or an address, and the client's namespace | `OutboundPolicies` |
//! | [`inbound`] | a workload's port | `InboundServerPolicies` |
//!
//! A view reads facts through a [`Lens`] only; that is how the projection knows when to make it again.

use std::fmt::Debug;

use crate::facts::{Conflict, Lens};

pub mod endpoints;
pub mod inbound;
pub mod outbound;
pub mod profile;

mod endpoint;
mod routes;

#[cfg(test)]
pub(crate) mod tests;

use self::{endpoints::EndpointsKey, inbound::InboundKey, outbound::OutboundKey, profile::ProfileKey};

/// Something that can be subscribed to.
pub trait View: PartialEq + Debug + Sized {
    /// What it is asked for with.
    type Key: Ord + Clone + Debug;

    /// Makes the view.
    ///
    /// # Errors
    /// Why there is nothing to tell.
    fn make(key: &Self::Key, lens: &Lens<'_>) -> Result<Self, Absent>;

    /// The key among those of all views.
    fn key(key: &Self::Key) -> ViewKey;
}

/// Why there is no view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// What was asked for does not exist.
    #[error("not found")]
    NotFound,
    /// It is not clear which one was asked for.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// The key of any view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewKey {
    /// Of [`endpoints`].
    Endpoints(EndpointsKey),
    /// Of [`profile`].
    Profile(ProfileKey),
    /// Of [`outbound`].
    Outbound(OutboundKey),
    /// Of [`inbound`].
    Inbound(InboundKey),
}
