//! What the admin API shows: facts in the API's words.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use weft_admin_api::{
    Views,
    types::{Port, Protocol, Proxy, Readiness, Service, Workload},
};
use weft_model::{
    Mesh,
    fact::{self, service::AppProtocol},
};

use crate::{
    health::Health,
    proxies::Proxies,
    registry::{Moment, Registry},
};

/// What the admin API reads.
pub struct Shown {
    /// Facts.
    pub mesh: Mesh,
    /// Leases.
    pub registry: Arc<Registry>,
    /// Connected proxies.
    pub proxies: Proxies,
    /// How the parts are.
    pub health: Arc<Health>,
}

impl Views for Shown {
    fn services(&self) -> Vec<Service> {
        self.mesh.read(|mesh| {
            let (facts, settings) = (mesh.facts(), mesh.settings());
            let service = |service: &Arc<fact::Service>| {
                let members: Vec<_> = facts.members(&service.id).collect();
                let ports = service.ports.iter().map(|(port, what)| Port {
                    port: *port,
                    name: what.name.as_deref().map(str::to_owned),
                    protocol: match what.app_protocol() {
                        AppProtocol::Http1 => Protocol::Http1,
                        AppProtocol::Http2 => Protocol::Http2,
                        AppProtocol::Opaque => Protocol::Opaque,
                        AppProtocol::Unset if service.is_opaque(*port) => Protocol::Opaque,
                        AppProtocol::Unset => Protocol::Detect,
                    },
                });
                Service {
                    namespace: service.id.namespace.to_string(),
                    name: service.id.name.to_string(),
                    host: settings.service_name(&service.id),
                    address: service.addresses.first().map(ToString::to_string),
                    ports: ports.collect(),
                    endpoints: count(members.len()),
                    ready_endpoints: count(members.iter().filter(|workload| workload.ready).count()),
                    created_at: None,
                }
            };
            facts.services().map(service).collect()
        })
    }

    fn workloads(&self) -> Vec<Workload> {
        let now = Moment::now();
        let leases = self.registry.leases(now);
        self.mesh.read(|mesh| {
            let workload = |workload: &Arc<fact::Workload>| {
                let lease = leases.get(&workload.id);
                let account = fact::Id {
                    namespace: workload.id.namespace.clone(),
                    name: workload.service_account.clone(),
                };
                let identity = mesh.settings().identity(&account);
                let ports = workload.ports.iter().map(|port| Port {
                    port: port.port,
                    name: port.name.as_deref().map(str::to_owned),
                    protocol: if workload.is_opaque(port.port) { Protocol::Opaque } else { Protocol::Detect },
                });
                Workload {
                    namespace: workload.id.namespace.to_string(),
                    name: workload.id.name.to_string(),
                    service: workload.service.as_deref().map(str::to_owned),
                    service_account: workload.service_account.to_string(),
                    identity: identity.map(|identity| identity.to_string()).unwrap_or_default(),
                    address: workload.addresses.first().map(ToString::to_string).unwrap_or_default(),
                    ports: ports.collect(),
                    labels: labels(&workload.labels),
                    ready: workload.ready,
                    lease_until: lease.and_then(|lease| after(now.date, lease.remaining)),
                    created_at: lease.map(|lease| lease.created_at),
                }
            };
            mesh.facts().workloads().map(workload).collect()
        })
    }

    fn proxies(&self) -> Vec<Proxy> {
        let proxy = |(id, proxy): (fact::Id, crate::proxies::Proxy)| Proxy {
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
            identity: proxy.identity.map(|identity| identity.to_string()),
            address: proxy.address.to_string(),
            connected_at: Some(proxy.since),
            destination_streams: proxy.destination,
            policy_streams: proxy.policy,
            certificate: None,
        };
        self.proxies.all().into_iter().map(proxy).collect()
    }

    fn readiness(&self) -> Readiness {
        self.health.readiness()
    }

    fn trust_domain(&self) -> String {
        self.mesh.read(|mesh| mesh.settings().trust_domain.to_string())
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn labels(labels: &fact::Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn after(now: Timestamp, remaining: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(remaining).ok()?).ok()
}
