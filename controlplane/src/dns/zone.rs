//! What names mean. Pure.
//!
//! | name | means |
//! |---|---|
//! | `web` | service `web` of the client's namespace (of `default` for a client that is no workload) |
//! | `web.shop`, `web.shop.svc`, `web.shop.svc.DOMAIN` | service `web` of namespace `shop` |
//! | `web-0.web.shop`, `….svc`, `….svc.DOMAIN` | workload `web-0` of that service |
//! | `linkerd-identity-headless.linkerd…` and its like | the control plane |
//! | anything else below `svc` or `DOMAIN` | nothing: NXDOMAIN |
//! | anything else | not ours: passed on |
//!
//! A service's name is its virtual address; a service without one is its ready workloads.

use std::net::IpAddr;

use weft_model::{
    fact::{Id, Service},
    facts::Facts,
};
use weft_names::DnsName;

/// The namespace of names that do not say theirs, from clients that have none.
const DEFAULT_NAMESPACE: &str = "default";

/// Names of the control plane's own services, as stock proxies are configured with them.
const CONTROL_PLANE: [&str; 5] = [
    "linkerd-dst",
    "linkerd-dst-headless",
    "linkerd-policy",
    "linkerd-identity",
    "linkerd-identity-headless",
];

/// The names that are answered here.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The domain of service names.
    pub domain: DnsName,
    /// The namespace of the control plane's own names.
    pub control_plane_namespace: String,
    /// The address of the control plane's own names.
    pub control_plane: IpAddr,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// These addresses. None: the name exists and has no address.
    Addresses(Vec<IpAddr>),
    /// There is no such name, and nobody else has it.
    Nothing,
    /// Somebody else may know it.
    NotOurs,
}

impl Zone {
    /// What a name means to a client. `name` is in lower case, without a dot at the end.
    #[must_use]
    pub fn find(&self, facts: &Facts, name: &str, client: IpAddr) -> Meaning {
        let domain = self.domain.as_str();
        let below_domain = match name.strip_suffix(domain) {
            Some("") => return Meaning::Addresses(Vec::new()),
            Some(rest) => rest.strip_suffix('.'),
            None => None,
        };
        if let Some(name) = below_domain {
            return match below_svc(name) {
                Some(labels) => self.ours(facts, &labels),
                None => Meaning::Nothing,
            };
        }
        if let Some(labels) = below_svc(name) {
            return self.ours(facts, &labels);
        }
        let client_namespace =
            facts.workloads_at(client).next().map_or(DEFAULT_NAMESPACE, |w| &w.id.namespace);
        let meaning = match labels(name)[..] {
            [service] => self.ours(facts, &[service, client_namespace]),
            [service, namespace] => self.ours(facts, &[service, namespace]),
            [instance, service, namespace] => self.ours(facts, &[instance, service, namespace]),
            _ => Meaning::Nothing,
        };
        match meaning {
            Meaning::Nothing => Meaning::NotOurs,
            meaning => meaning,
        }
    }

    /// What labels in front of `svc` mean.
    fn ours(&self, facts: &Facts, labels: &[&str]) -> Meaning {
        match *labels {
            // Names that others are below of exist and have no address (RFC 8020).
            [] => Meaning::Addresses(Vec::new()),
            [namespace] if facts.services().any(|service| &*service.id.namespace == namespace) => {
                Meaning::Addresses(Vec::new())
            }
            [service, namespace]
                if namespace == self.control_plane_namespace && CONTROL_PLANE.contains(&service) =>
            {
                Meaning::Addresses(vec![self.control_plane])
            }
            [service, namespace] => match facts.service(&Id::new(namespace, service)) {
                Some(service) => Meaning::Addresses(addresses(facts, service)),
                None => Meaning::Nothing,
            },
            [instance, service, namespace] => {
                let service = Id::new(namespace, service);
                let workload =
                    facts.members(&service).find(|workload| workload.hostname.as_deref() == Some(instance));
                match workload {
                    Some(workload) => Meaning::Addresses(workload.addresses.clone()),
                    None => Meaning::Nothing,
                }
            }
            _ => Meaning::Nothing,
        }
    }

    /// The name of an address of the mesh: of the service or workload that has it.
    #[must_use]
    pub fn name_of(&self, facts: &Facts, address: IpAddr) -> Option<String> {
        if let Some(service) = facts.services_at(address).next() {
            return Some(self.full(&service.id));
        }
        let workload = facts.workloads_at(address).next()?;
        let (hostname, service) = (workload.hostname.as_ref()?, workload.service.clone()?);
        let service = Id { namespace: workload.id.namespace.clone(), name: service };
        Some(format!("{hostname}.{}", self.full(&service)))
    }

    fn full(&self, service: &Id) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.domain)
    }
}

fn labels(name: &str) -> Vec<&str> {
    name.split('.').collect()
}

/// The labels in front of `svc`, if a name ends in that.
fn below_svc(name: &str) -> Option<Vec<&str>> {
    match name.strip_suffix("svc")? {
        "" => Some(Vec::new()),
        rest => rest.strip_suffix('.').map(labels),
    }
}

fn addresses(facts: &Facts, service: &Service) -> Vec<IpAddr> {
    if !service.addresses.is_empty() {
        return service.addresses.clone();
    }
    facts.members(&service.id).filter(|workload| workload.ready).flat_map(|w| w.addresses.clone()).collect()
}
