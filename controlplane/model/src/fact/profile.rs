//! `ServiceProfile`: routes, retries and splits the way they were before HTTPRoute.

use weft_names::{Authority, PortSet};
use weft_policy::outbound::{ProfileRoute, RetryBudget};

use super::Id;
use crate::problem::Source;

/// A `ServiceProfile` of `linkerd.io`. Its name is the full DNS name of the service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceProfile {
    /// Its name, and the namespace it was written in: the client's or the service's.
    pub id: Id,
    /// The routes, first match wins.
    pub routes: Vec<ProfileRoute>,
    /// How much of the traffic may be retries. `None` is the default budget.
    pub budget: Option<RetryBudget>,
    /// Where the traffic goes instead, by weight. Empty: to the service itself.
    pub overrides: Vec<DestinationOverride>,
    /// Ports whose bytes are never looked at.
    pub opaque_ports: PortSet,
    /// Where it was written.
    pub source: Source,
}

/// A share of the traffic that goes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationOverride {
    /// Where. Without a port, the one that was asked for.
    pub authority: Authority,
    /// Its weight in the API's unit: a tenth of a thousandth, so `1` is 10000.
    pub weight: u32,
}
