//! A mesh with something of every kind in it, for the targets that need facts.

use std::sync::Arc;

use weft_model::{
    Event, Projection, Settings,
    fact::{Id, Proxy, Service, ServicePort, Workload, WorkloadPort},
    manifest,
    view::{endpoints::EndpointsKey, inbound::InboundKey, outbound, profile},
};
use weft_policy::{
    inbound::ServerPolicy,
    outbound::{EndpointSet, Policy, Profile},
};

/// A manifest with every kind of object.
pub(crate) const MANIFEST: &str =
    include_str!("../../../../controlplane/model/src/manifest/golden/good.yaml");

/// Services, workloads with proxies, and the objects of [`MANIFEST`].
pub(crate) fn mesh() -> Projection {
    let mut projection = Projection::new(Settings::with_defaults());
    projection.apply(registered());
    let objects = manifest::read(&Arc::from("good.yaml"), MANIFEST).expect("a good manifest");
    projection.apply(objects.into_iter().map(Event::Written));
    projection
}

/// What a registry knows.
pub(crate) fn registered() -> Vec<Event> {
    let service = |namespace: &str, name: &str, addresses: &[&str]| {
        let mut service = Service::new(Id::new(namespace, name));
        service.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        service.ports.insert(80, ServicePort { name: Some("http".into()), ..ServicePort::default() });
        Event::Service(service.into())
    };
    let workload = |namespace: &str, name: &str, service: &str, address: &str| {
        let workload = Workload {
            id: Id::new(namespace, name),
            addresses: vec![address.parse().unwrap()],
            service: Some(service.into()),
            hostname: Some(name.into()),
            service_account: service.into(),
            labels: [("app".into(), service.into()), ("tier".into(), "front".into())].into(),
            owner: Some(("deployment".into(), service.into())),
            ports: vec![WorkloadPort { name: Some("http".into()), port: 8080 }],
            ready: true,
            proxy: Some(Proxy::default()),
            opaque_ports: None,
            default_policy: None,
        };
        Event::Workload(workload.into())
    };
    vec![
        service("default", "web", &["10.9.0.1", "fd00::1"]),
        service("shop", "web", &["10.9.0.2"]),
        service("default", "greeter", &["10.9.0.3"]),
        service("default", "headless", &[]),
        workload("default", "web-0", "web", "10.8.0.1"),
        workload("default", "web-1", "web", "fd01::1"),
        workload("shop", "web-2", "web", "10.8.0.3"),
        workload("default", "headless-0", "headless", "10.8.0.4"),
    ]
}

/// What proxies are told of a mesh.
pub(crate) struct Told {
    pub(crate) outbound: Vec<Policy>,
    pub(crate) inbound: Vec<ServerPolicy>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) endpoints: Vec<EndpointSet>,
}

/// What proxies are told of some services and workloads, whichever there are.
pub(crate) fn told(mesh: &mut Projection) -> Told {
    let web = Id::new("default", "web");
    let mut told = Told { outbound: vec![], inbound: vec![], profiles: vec![], endpoints: vec![] };
    let services =
        [(web.clone(), 80), (web, 9000), (Id::new("default", "greeter"), 80), (Id::new("shop", "web"), 80)];
    for (service, port) in services {
        let client: Arc<str> = "default".into();
        let key = outbound::OutboundKey {
            target: outbound::Target::Service(service.clone(), port),
            client: client.clone(),
        };
        let view = mesh.outbound(key).expect("few views").latest();
        told.outbound.extend(view.view.as_ref().ok().cloned());
        let key = profile::ProfileKey { target: profile::Target::Service(service.clone(), port), client };
        let view = mesh.profile(key).expect("few views").latest();
        told.profiles.extend(view.view.as_ref().ok().cloned());
        let key = EndpointsKey { service, port, instance: None };
        let view = mesh.endpoints(key).expect("few views").latest();
        told.endpoints.extend(view.view.as_ref().ok().cloned());
    }
    for (workload, port) in [
        (Id::new("shop", "web-2"), 8080),
        (Id::new("default", "web-0"), 8080),
        (Id::new("default", "web-0"), 25),
    ] {
        let view = mesh.inbound(InboundKey { workload, port }).expect("few views").latest();
        told.inbound.extend(view.view.as_ref().ok().cloned());
    }
    told
}
