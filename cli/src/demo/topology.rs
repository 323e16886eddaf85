//! What the demo is made of: which programs, in how many replicas, who calls whom, and how often. Pure.

use crate::load::{Plan, Protocol, Target};
use std::{collections::BTreeMap, net::Ipv4Addr};
use weft_controlplane::registry::api::{Port, Registration};

/// The namespace of the demo's workloads.
pub const NAMESPACE: &str = "default";
/// The workload that the load comes from.
pub const CLIENT: &str = "client";
/// How long the slow replica of the price service thinks, in milliseconds.
pub const SLOW_MS: u64 = 60;

/// A program of the demo and the workload it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its pod.
    pub pod: String,
    /// The service it belongs to; the client has none.
    pub service: Option<&'static str>,
    /// What is spoken on its port.
    pub speaks: &'static str,
    /// Its port.
    pub port: Option<Port>,
    /// Services it calls.
    pub calls: Vec<&'static str>,
    app: &'static str,
    flags: Vec<String>,
}

/// The port on which each of the demo's services listens.
pub const PORTS: [(&str, u16); 5] =
    [("shop", 8080), ("prices", 50051), ("feed", 8081), ("stock", 7000), ("greeter", 2525)];

/// Where a workload finds others: by name, or by an address where there are no names.
pub type Addresses = BTreeMap<&'static str, String>;

/// The demo's workloads, callers after those they call.
pub fn workloads() -> Vec<Workload> {
    let mut all = vec![
        workload("stock-0", "stock", "TCP, a protocol of its own"),
        workload("greeter-0", "greeter", "TCP, the server speaks first"),
        workload("feed-0", "feed", "WebSocket"),
    ];
    all.extend((0..3).map(|number| prices(number, if number == 2 { SLOW_MS } else { 0 })));
    all.push(Workload {
        calls: vec!["prices", "stock"],
        ..workload("shop-0", "shop", "HTTP/1.1 and HTTP/2")
    });
    all.push(client(CLIENT, services()));
    all
}

/// Every service.
pub fn services() -> Vec<&'static str> {
    PORTS.iter().map(|(service, _)| *service).collect()
}

/// A workload that only calls others.
pub fn client(pod: &str, calls: Vec<&'static str>) -> Workload {
    Workload {
        pod: pod.to_owned(),
        service: None,
        speaks: "calls the others",
        port: None,
        calls,
        app: "",
        flags: Vec::new(),
    }
}

/// A replica of the price service.
pub fn prices(number: u32, delay_ms: u64) -> Workload {
    let pod = format!("prices-{number}");
    let mut replica = workload(&pod, "prices", if delay_ms > 0 { "gRPC, slow" } else { "gRPC" });
    replica.flags = vec!["--replica".into(), pod];
    if delay_ms > 0 {
        replica.flags.extend(["--delay".into(), delay_ms.to_string()]);
    }
    replica
}

fn workload(pod: &str, service: &'static str, speaks: &'static str) -> Workload {
    let number = PORTS.iter().find(|(name, _)| *name == service).map(|(_, port)| *port);
    let port = number.map(|port| Port { port, opaque: service == "greeter", ..Port::default() });
    Workload {
        pod: pod.to_owned(),
        service: Some(service),
        speaks,
        port,
        calls: Vec::new(),
        app: service,
        flags: Vec::new(),
    }
}

/// The address of a service by its name.
pub fn by_name() -> Addresses {
    PORTS.iter().map(|(service, port)| (*service, format!("{service}:{port}"))).collect()
}

impl Workload {
    /// What is said to the registry.
    pub fn registration(&self) -> Registration {
        Registration {
            service: self.service.map(str::to_owned),
            ports: self.port.iter().cloned().collect(),
            ..Registration::default()
        }
    }

    /// The arguments of `weft` that run its program; none for the client. `listen` is none where any address will do.
    pub fn program(&self, listen: Option<Ipv4Addr>, addresses: &Addresses) -> Option<Vec<String>> {
        let port = self.port.as_ref()?.port;
        let listen = listen.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let mut args: Vec<String> =
            ["app", self.app, "--listen", &format!("{listen}:{port}")].map(str::to_owned).into();
        args.extend(self.flags.iter().cloned());
        for service in &self.calls {
            if let Some(address) = addresses.get(service) {
                args.extend([format!("--{service}"), address.clone()]);
            }
        }
        Some(args)
    }
}

/// What the load generator does while people look on: about 180 requests a second.
pub fn load(addresses: &Addresses) -> Plan {
    let get = |path: &str| Protocol::Http1 { path: path.to_owned() };
    let target = |name: &str, service: &'static str, protocol: Protocol, rate: f64, connections: u32| {
        let address = addresses.get(service).cloned().unwrap_or_default();
        Target::new(name, address, protocol, rate).connections(connections)
    };
    let targets = vec![
        target("shop http/1.1", "shop", get("/price/tea"), 60.0, 6),
        target("shop http/2", "shop", Protocol::Http2 { path: "/stock/tea".into() }, 20.0, 1),
        target("prices unary", "prices", Protocol::Unary, 40.0, 4),
        target("prices stream", "prices", Protocol::Stream { messages: 5 }, 4.0, 1),
        target("feed websocket", "feed", Protocol::WebSocket, 20.0, 2),
        target("stock tcp", "stock", Protocol::Stock, 20.0, 2),
        target("stock half-close", "stock", Protocol::HalfClose, 4.0, 1),
        target("greeter tcp", "greeter", Protocol::Greeter, 6.0, 1),
    ];
    Plan { targets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn pods_are_unique_and_called_services_exist() {
        let all = workloads();
        let pods: BTreeSet<_> = all.iter().map(|workload| &workload.pod).collect();
        assert_eq!(pods.len(), all.len());
        assert_eq!(all.iter().filter(|workload| workload.service == Some("prices")).count(), 3);
        for (number, workload) in all.iter().enumerate() {
            for called in &workload.calls {
                let before = all.iter().take(number).any(|other| other.service == Some(called));
                assert!(before, "{} calls {called}, which is not started before it", workload.pod);
            }
        }
        let loaded: BTreeSet<_> = load(&by_name()).targets.into_iter().map(|target| target.address).collect();
        assert_eq!(loaded, by_name().into_values().collect());
    }

    #[test]
    fn programs_are_told_where_others_are() {
        let all = workloads();
        let program = |pod: &str| {
            let workload = all.iter().find(|workload| workload.pod == pod).unwrap();
            workload.program(None, &by_name()).map(|args| args.join(" "))
        };
        assert_eq!(
            program("shop-0").unwrap(),
            "app shop --listen 0.0.0.0:8080 --prices prices:50051 --stock stock:7000"
        );
        assert_eq!(
            program("prices-2").unwrap(),
            "app prices --listen 0.0.0.0:50051 --replica prices-2 --delay 60"
        );
        assert_eq!(program("client"), None);
    }

    /// The programs understand what the plan has them told.
    #[test]
    fn programs_understand_it() {
        use clap::Parser as _;
        for workload in workloads() {
            if let Some(args) = workload.program(Some(Ipv4Addr::LOCALHOST), &by_name()) {
                crate::cmd::Cli::try_parse_from(std::iter::once("weft".to_owned()).chain(args)).unwrap();
            }
        }
    }
}
