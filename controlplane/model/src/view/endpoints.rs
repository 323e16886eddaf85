//! The endpoints of a service's port (`Destination/Get`).

use std::sync::Arc;

use weft_policy::outbound::EndpointSet;

use super::{Absent, View, ViewKey, endpoint};
use crate::{
    fact::{Id, PortRef, Workload},
    facts::Lens,
};

/// Which endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointsKey {
    /// The service.
    pub service: Id,
    /// The service's port. One it does not define stands for the same port of its workloads.
    pub port: u16,
    /// Only the workload with this hostname (`INSTANCE.SERVICE.NS.svc…`).
    pub instance: Option<Arc<str>>,
}

/// The view is the policy model's own set.
pub type Endpoints = EndpointSet;

impl View for EndpointSet {
    type Key = EndpointsKey;

    fn key(key: &EndpointsKey) -> ViewKey {
        ViewKey::Endpoints(key.clone())
    }

    fn make(key: &EndpointsKey, lens: &Lens<'_>) -> Result<Self, Absent> {
        let service = lens.service(&key.service).ok_or(Absent::NotFound)?;
        let target = match service.ports.get(&key.port) {
            Some(port) => port.target.clone().unwrap_or(PortRef::Number(key.port)),
            None => PortRef::Number(key.port),
        };
        let labels = [
            ("service".into(), key.service.name.clone()),
            ("namespace".into(), key.service.namespace.clone()),
        ];
        let is_meant = |workload: &&Arc<Workload>| {
            workload.ready && (key.instance.is_none() || workload.hostname == key.instance)
        };
        let members = lens.members(&key.service).into_iter().filter(is_meant);
        let endpoints = members.filter_map(|workload| {
            let port = workload.port_number(&target)?;
            endpoint::make(workload, port, &labels, lens).map(Arc::new)
        });
        Ok(Self::new(endpoints))
    }
}
