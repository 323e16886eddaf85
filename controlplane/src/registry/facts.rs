//! What is registered, as facts.

use std::{collections::BTreeMap, sync::Arc};

use weft_model::{
    Event,
    fact::{Id, Labels, Proxy, Service, ServicePort, Workload, WorkloadPort, service::DEFAULT_OPAQUE_PORTS},
};
use weft_names::{Port, PortSet};
use weft_store::{NewWorkload, PortRow, ServiceRow};

/// The label every workload has, so that Servers can select it: its service, or its own name.
pub(super) const APP_LABEL: &str = "app";

/// A service as the projection knows it.
pub(super) fn service(row: &ServiceRow) -> Event {
    let mut service = Service::new(Id::new(&*row.namespace, &*row.name));
    service.addresses = vec![row.vip];
    let port = |row: &PortRow| {
        let name = row.name.as_deref().map(Arc::from);
        let app_protocol = row.app_protocol.as_deref().map(Arc::from);
        (row.port, ServicePort { name, target: None, app_protocol })
    };
    service.ports = row.ports.iter().map(port).collect();
    service.opaque_ports = opaque(&row.ports);
    Event::Service(service.into())
}

/// A workload as the projection knows it.
pub(super) fn workload(row: &NewWorkload) -> Event {
    let mut labels: Labels = BTreeMap::from([(APP_LABEL.into(), app(row).into())]);
    labels.extend(row.labels.iter().map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))));
    let port = |row: &PortRow| WorkloadPort { name: row.name.as_deref().map(Arc::from), port: row.port };
    let workload = Workload {
        id: Id::new(&*row.namespace, &*row.name),
        addresses: vec![row.ip],
        service: row.service.as_deref().map(Arc::from),
        hostname: Some((&*row.name).into()),
        service_account: (&*row.service_account).into(),
        labels,
        owner: Some(("deployment".into(), app(row).into())),
        ports: row.ports.iter().map(port).collect(),
        ready: row.ready,
        proxy: Some(Proxy::default()),
        opaque_ports: opaque(&row.ports),
        default_policy: None,
    };
    Event::Workload(workload.into())
}

fn app(row: &NewWorkload) -> &str {
    row.service.as_deref().unwrap_or(&row.name)
}

/// The usual opaque ports and those that are said to be. `None` if none is said to be.
fn opaque(ports: &[PortRow]) -> Option<PortSet> {
    let said: Vec<u16> = ports.iter().filter(|port| port.opaque).map(|port| port.port).collect();
    let all = DEFAULT_OPAQUE_PORTS.into_iter().chain(said.iter().copied());
    (!said.is_empty()).then(|| all.filter_map(Port::new).collect())
}
