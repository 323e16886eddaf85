//! What is known of a target beside its policy (`Destination/GetProfile`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use weft_names::{Port, ResourceRef};
use weft_policy::outbound::{Endpoint, Hint, ProfileTarget, RetryBudget};

use super::{Absent, View, ViewKey, endpoint};
use crate::{
    fact::{
        Id, Service, ServiceProfile, Workload,
        service::{DEFAULT_OPAQUE_PORTS, group},
    },
    facts::Lens,
};

/// Which profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileKey {
    /// Of what.
    pub target: Target,
    /// The client's namespace: a ServiceProfile there wins over one where the service is.
    pub client: Arc<str>,
}

/// What a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A service's port.
    Service(Id, u16),
    /// A port of the workload of a service with this hostname.
    Instance(Id, Arc<str>, u16),
    /// An address: of a service, a workload, or anything else.
    Address(SocketAddr),
}

/// The view is the policy model's own profile.
pub type Profile = weft_policy::outbound::Profile;

impl View for Profile {
    type Key = ProfileKey;

    fn key(key: &ProfileKey) -> ViewKey {
        ViewKey::Profile(key.clone())
    }

    fn make(key: &ProfileKey, lens: &Lens<'_>) -> Result<Self, Absent> {
        match &key.target {
            Target::Service(id, port) => {
                let service = lens.service(id).ok_or(Absent::NotFound)?;
                Ok(of_service(service, *port, &key.client, lens))
            }
            Target::Instance(id, instance, port) => {
                lens.service(id).ok_or(Absent::NotFound)?;
                let is_meant = |workload: &&Arc<Workload>| workload.hostname.as_ref() == Some(instance);
                let workload = lens.members(id).into_iter().find(is_meant).ok_or(Absent::NotFound)?;
                Ok(of_workload(workload, *port, lens))
            }
            Target::Address(address) => {
                if let Some(service) = lens.service_at(address.ip())? {
                    return Ok(of_service(service, address.port(), &key.client, lens));
                }
                match lens.workload_at(address.ip())? {
                    Some(workload) => Ok(of_workload(workload, address.port(), lens)),
                    None => Ok(of_anything(*address)),
                }
            }
        }
    }
}

fn of_service(service: &Service, port: u16, client: &Arc<str>, lens: &Lens<'_>) -> Profile {
    if !service.ports.contains_key(&port) {
        // Nothing is known of it: the outbound policy says what is done with it.
        return Profile::default();
    }
    let name = lens.settings().service_name(&service.id);
    let written: Arc<str> = name.as_str().into();
    let in_namespace =
        |namespace: &Arc<str>| lens.profile(&Id { namespace: namespace.clone(), name: written.clone() });
    let written = in_namespace(client).or_else(|| in_namespace(&service.id.namespace));
    let object = match written {
        Some(profile) => {
            let id = &profile.id;
            ResourceRef::new("linkerd.io", "ServiceProfile", id.namespace.clone(), id.name.clone())
        }
        None => ResourceRef::new("linkerd.io", "", "", ""),
    };
    let mut parent =
        ResourceRef::new(group::CORE, "Service", service.id.namespace.clone(), service.id.name.clone());
    parent.port = Port::new(port);
    let opaque =
        service.is_opaque(port) || written.is_some_and(|profile| profile.opaque_ports.contains(port));
    Profile {
        name: name.parse().ok(),
        opaque,
        endpoint: None,
        targets: written.map(|profile| targets(profile, port)).unwrap_or_default(),
        routes: written.map(|profile| profile.routes.clone()).unwrap_or_default(),
        retry_budget: written.and_then(|profile| profile.budget).or_else(default_budget),
        parent: Some(Arc::new(parent.into())),
        profile: Some(Arc::new(object.into())),
    }
}

fn targets(profile: &ServiceProfile, port: u16) -> Vec<ProfileTarget> {
    let target = |to: &crate::fact::profile::DestinationOverride| {
        let authority = match Port::new(port) {
            Some(port) => to.authority.clone().with_default_port(port),
            None => to.authority.clone(),
        };
        ProfileTarget { authority, weight: to.weight, backend: None }
    };
    profile.overrides.iter().map(target).collect()
}

fn of_workload(workload: &Workload, port: u16, lens: &Lens<'_>) -> Profile {
    let labels = [("namespace".into(), workload.id.namespace.clone())];
    Profile {
        opaque: endpoint::is_opaque(workload, port, lens),
        endpoint: endpoint::make(workload, port, &labels, lens).map(Arc::new),
        retry_budget: default_budget(),
        ..Profile::default()
    }
}

/// An address nothing is known of: as it is, opaque where the port is one of those that usually are.
fn of_anything(address: SocketAddr) -> Profile {
    let opaque = DEFAULT_OPAQUE_PORTS.contains(&address.port());
    let mut endpoint = Endpoint::plain(address);
    if opaque {
        endpoint.hint = Hint::Opaque;
    }
    Profile {
        opaque,
        endpoint: Some(Arc::new(endpoint)),
        retry_budget: default_budget(),
        ..Profile::default()
    }
}

/// What Linkerd gives where nothing is written: 0.2, 10 per second, 10 s.
fn default_budget() -> Option<RetryBudget> {
    RetryBudget::new(Duration::from_secs(10), 0.2, 10)
}
