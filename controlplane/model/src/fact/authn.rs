//! Who a client is: `MeshTLSAuthentication` and `NetworkAuthentication`.

use std::sync::Arc;

use weft_names::IdentityPattern;
use weft_policy::inbound::Network;

use super::Id;
use crate::problem::Source;

/// A `MeshTLSAuthentication` of `policy.linkerd.io`: any of these identities.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshTlsAuthentication {
    /// Its name.
    pub id: Id,
    /// The identities; one of them is enough.
    pub identities: Vec<IdentityMatch>,
    /// Where it was written.
    pub source: Source,
}

/// One way to name identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityMatch {
    /// By name: one, those below a suffix, or any.
    Pattern(IdentityPattern),
    /// A service account, by reference.
    ServiceAccount(Id),
    /// Every service account of a namespace, by reference.
    Namespace(Arc<str>),
}

/// A `NetworkAuthentication` of `policy.linkerd.io`: any of these networks.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkAuthentication {
    /// Its name.
    pub id: Id,
    /// The networks; one of them is enough.
    pub networks: Vec<Network>,
    /// Where it was written.
    pub source: Source,
}
