//! `Service`: what is written about a service besides what the registry knows.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    annotations::Annotations,
    meta::{self, Meta},
    reader::{At, Fields, Reader},
    server,
};
use crate::fact::{Selector, Service, ServicePort};

/// The most ports of a service.
const MAX_PORTS: usize = 1_000;

/// Reads `spec` of a `Service`.
pub(super) fn read(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<Service> {
    let before = r.count();
    spec.ignore(&[
        "clusterIPs",
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "loadBalancerClass",
        "loadBalancerIP",
        "allocateLoadBalancerNodePorts",
        "loadBalancerSourceRanges",
        "healthCheckNodePort",
        "externalIPs",
        "publishNotReadyAddresses",
        "sessionAffinity",
        "sessionAffinityConfig",
        "trafficDistribution",
    ]);
    if let Some(kind) = spec.get("type")
        && kind.choice(
            r,
            &[("ClusterIP", true), ("NodePort", true), ("LoadBalancer", true), ("ExternalName", false)],
        ) == Some(false)
    {
        kind.reject(
            r,
            "services of type ExternalName have no workloads and cannot be reached through the mesh",
        );
    }
    spec.ignore(&["externalName"]);
    let ports: BTreeMap<u16, ServicePort> = match spec.get("ports") {
        Some(list) => list.items(r, MAX_PORTS, port).into_iter().collect(),
        None => BTreeMap::new(),
    };
    let selector = spec.get("selector").map(|at| Selector::exact(meta::labels(&at, r)));
    let addresses = match spec.get("clusterIP") {
        Some(at) if at.value() == &super::tree::Value::Text("None".into()) => Vec::new(),
        Some(at) => Vec::from_iter(at.parse(r, "an address, or None", str::parse::<IpAddr>)),
        None => Vec::new(),
    };
    let annotations = Annotations(&meta.annotations);
    let opaque_ports = annotations.opaque_ports(r, ports.iter());
    let traffic = annotations.service(r);
    if r.count() > before {
        return None;
    }
    Some(Service {
        id: meta.id,
        addresses,
        ports,
        opaque_ports,
        // An empty selector selects nothing, unlike everywhere else.
        selector: selector.filter(|selector| !selector.requirements.is_empty()),
        traffic,
        source: Some(meta.source),
    })
}

fn port(at: &At<'_>, r: &mut Reader) -> Option<(u16, ServicePort)> {
    at.fields(r, |f, r| {
        f.ignore(&["nodePort"]);
        let name = f.get("name").and_then(|at| at.text(r)).map(Into::into);
        let port = f.need(r, "port", "a port's number").and_then(|at| at.port(r));
        let target = f.get("targetPort").and_then(|at| server::port(&at, r));
        let app_protocol = f.get("appProtocol").and_then(|at| at.text(r)).map(Into::into);
        if let Some(protocol) = f.get("protocol") {
            protocol.choice(r, &[("TCP", ())]);
        }
        Some((port?, ServicePort { name, target, app_protocol }))
    })
}
