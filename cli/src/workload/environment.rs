//! What a proxy is told: the variables that Linkerd's injector sets, in its order, for a workload of ours.

use crate::machine::privilege::Exempt;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use weft_controlplane::registry::api::{Answer, Port};

/// Ports that are opaque unless said otherwise (Linkerd's default).
pub const OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11211];
/// Where a proxy accepts what its workload sends.
pub const OUTBOUND_PORT: u16 = 4140;
/// Where it accepts what is sent to its workload.
pub const INBOUND_PORT: u16 = 4143;
/// Where taps are served.
pub const CONTROL_PORT: u16 = 4190;
/// Where its metrics and probes are.
pub const ADMIN_PORT: u16 = 4191;

/// Where nothing is redirected: the first of the ports that each lead to one service.
const FIRST_TARGET: u16 = 15_001;

const PREFIX: &str = "LINKERD2_PROXY_";

/// A workload, as its proxy needs to know it.
#[derive(Clone, Debug)]
pub struct Environment<'a> {
    /// What the control plane said.
    pub answer: &'a Answer,
    /// The ports its program serves.
    pub ports: &'a [Port],
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Where the proxy listens.
    pub listen: Listen,
    /// The file with the join token.
    pub token: PathBuf,
    /// A directory for key and certificate request.
    pub identity: PathBuf,
    /// How redirection knows the proxy's own connections; nothing where there is no redirection.
    pub exempt: Option<Exempt>,
    /// The name of this machine.
    pub node: &'a str,
    /// Log filter; the injector's if not given.
    pub log: Option<&'a str>,
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For what the workload sends: one address, or one of each family.
    pub outbound: Vec<SocketAddr>,
    /// For what is sent to the workload.
    pub inbound: SocketAddr,
    /// For metrics and probes.
    pub admin: SocketAddr,
    /// For taps.
    pub control: SocketAddr,
    /// Where nothing is redirected: addresses that each lead to one service.
    pub targets: Vec<(SocketAddr, SocketAddr)>,
}

impl Listen {
    /// Linkerd's ports, in a namespace of the workload's own.
    pub fn standard(ipv6: bool) -> Self {
        let any: IpAddr = if ipv6 { [0u16; 8].into() } else { [0, 0, 0, 0].into() };
        let mut outbound = vec![SocketAddr::from(([127, 0, 0, 1], OUTBOUND_PORT))];
        if ipv6 {
            outbound.push((std::net::Ipv6Addr::LOCALHOST, OUTBOUND_PORT).into());
        }
        Self {
            outbound,
            inbound: (any, INBOUND_PORT).into(),
            admin: (any, ADMIN_PORT).into(),
            control: (any, CONTROL_PORT).into(),
            targets: Vec::new(),
        }
    }

    /// The same ports on an address of the workload's own, and an address for each service that it calls.
    pub fn loopback(ip: Ipv4Addr, services: &[SocketAddr]) -> Self {
        let on = |port: u16| SocketAddr::from((ip, port));
        let targets = (FIRST_TARGET..).zip(services).map(|(port, service)| (on(port), *service)).collect();
        Self {
            outbound: vec![on(OUTBOUND_PORT)],
            inbound: on(INBOUND_PORT),
            admin: on(ADMIN_PORT),
            control: on(CONTROL_PORT),
            targets,
        }
    }
}

impl Environment<'_> {
    /// The variables and their values.
    pub fn variables(&self) -> Vec<(String, String)> {
        let Self { answer, listen, .. } = self;
        let (ns, pod) = (&answer.namespace, &answer.pod);
        let networks = &answer.networks;
        let suffix = format!("svc.{}.", networks.cluster_domain);
        let cluster = networks.cluster.join(",");
        let mut out = Variables(Vec::new());
        for (name, value) in [("pod_name", pod), ("pod_ns", ns), ("pod_sa", &answer.service_account)] {
            out.plain(format!("_{name}"), value);
        }
        out.plain("_pod_nodeName", self.node);
        out.plain("_l5d_ns", &networks.control_plane_namespace);
        out.plain("_l5d_trustdomain", &networks.trust_domain);
        out.set("CORES", 1);
        out.set("CORES_MIN", 1);
        out.set("SHUTDOWN_ENDPOINT_ENABLED", false);
        out.set("LOG", self.log.unwrap_or("warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"));
        out.set("LOG_FORMAT", "plain");
        out.set("DESTINATION_SVC_ADDR", answer.addresses.destination.address);
        out.set("DESTINATION_PROFILE_NETWORKS", &cluster);
        out.set("POLICY_SVC_ADDR", answer.addresses.policy.address);
        out.set("POLICY_WORKLOAD", format_args!("{{\"ns\":\"{ns}\", \"pod\":\"{pod}\"}}\n"));
        out.set("INBOUND_DEFAULT_POLICY", "all-unauthenticated");
        out.set("POLICY_CLUSTER_NETWORKS", &cluster);
        out.set("CONTROL_STREAM_INITIAL_TIMEOUT", "3s");
        out.set("CONTROL_STREAM_IDLE_TIMEOUT", "5m");
        out.set("CONTROL_STREAM_LIFETIME", "1h");
        out.set("INBOUND_CONNECT_TIMEOUT", "100ms");
        out.set("OUTBOUND_CONNECT_TIMEOUT", "1000ms");
        out.set("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s");
        out.set("INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s");
        out.set("CONTROL_LISTEN_ADDR", listen.control);
        out.set("ADMIN_LISTEN_ADDR", listen.admin);
        if let Some(first) = listen.outbound.first() {
            out.set("OUTBOUND_LISTEN_ADDR", first);
        }
        out.set("OUTBOUND_LISTEN_ADDRS", list(&listen.outbound));
        out.set("INBOUND_LISTEN_ADDR", listen.inbound);
        out.set("INBOUND_IPS", list(&self.ips));
        let ports: BTreeSet<_> = self.ports.iter().map(|port| port.port).collect();
        out.set("INBOUND_PORTS", list(&ports));
        out.set("DESTINATION_PROFILE_SUFFIXES", suffix);
        out.set("INBOUND_ACCEPT_KEEPALIVE", "10000ms");
        out.set("OUTBOUND_CONNECT_KEEPALIVE", "10000ms");
        out.set("INBOUND_ACCEPT_USER_TIMEOUT", "30s");
        out.set("OUTBOUND_CONNECT_USER_TIMEOUT", "30s");
        out.set("OUTBOUND_METRICS_HOSTNAME_LABELS", false);
        for side in ["OUTBOUND", "INBOUND"] {
            out.set(&format!("{side}_SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), "10s");
            out.set(&format!("{side}_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), "3s");
        }
        let opaque = self.ports.iter().filter(|port| port.opaque).map(|port| port.port);
        let opaque: BTreeSet<u16> = OPAQUE_PORTS.into_iter().chain(opaque).collect();
        out.set("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", list(&opaque));
        out.set(
            "DESTINATION_CONTEXT",
            format_args!("{{\"ns\":\"{ns}\", \"nodeName\":\"{}\", \"pod\":\"{pod}\"}}\n", self.node),
        );
        out.set("IDENTITY_DIR", self.identity.display());
        out.set("IDENTITY_TRUST_ANCHORS", &answer.trust_anchors);
        out.set("IDENTITY_TOKEN_FILE", self.token.display());
        out.set("IDENTITY_SVC_ADDR", answer.addresses.identity.address);
        out.set("IDENTITY_LOCAL_NAME", &answer.identity);
        out.set("IDENTITY_SVC_NAME", &answer.addresses.identity.name);
        out.set("DESTINATION_SVC_NAME", &answer.addresses.destination.name);
        out.set("POLICY_SVC_NAME", &answer.addresses.policy.name);
        match self.exempt {
            // Ours: the stock proxy has no other way than a user of its own.
            Some(Exempt::Mark(mark)) => out.plain("WEFT_SOCKET_MARK", mark),
            Some(Exempt::User(_)) => {}
            None => out.plain("WEFT_ALLOW_LOOPBACK", true),
        }
        if !self.listen.targets.is_empty() {
            let pairs = self.listen.targets.iter().map(|(listen, target)| format!("{listen}={target}"));
            out.plain("WEFT_OUTBOUND_TARGETS", pairs.collect::<Vec<_>>().join(","));
        }
        out.0
    }
}

struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: &str, value: impl ToString) {
        self.plain(format!("{PREFIX}{name}"), value);
    }

    fn plain(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push((name.into(), value.to_string()));
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};
    use weft_controlplane::registry::api::{Addresses, Endpoint, Networks};

    fn answer() -> Answer {
        let endpoint = |port: u16, name: &str| Endpoint {
            address: ([10, 222, 0, 1], port).into(),
            name: format!("{name}.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        };
        Answer {
            namespace: "default".into(),
            pod: "web-0".into(),
            service: Some("web".into()),
            service_account: "web".into(),
            identity: "web.default.serviceaccount.identity.linkerd.cluster.local".into(),
            join_token: Some("secret".into()),
            trust_anchors: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into(),
            ip: [10, 222, 0, 7].into(),
            service_ip: Some([10, 223, 0, 1].into()),
            ttl: Duration::from_secs(15),
            created: true,
            addresses: Addresses {
                destination: endpoint(8086, "linkerd-destination"),
                policy: endpoint(8090, "linkerd-destination"),
                identity: endpoint(8080, "linkerd-identity"),
                dns: ([10, 222, 0, 1], 53).into(),
            },
            networks: Networks {
                workloads: "10.222.0.0/16".into(),
                services: "10.223.0.0/16".into(),
                cluster: vec!["10.222.0.0/16".into(), "10.223.0.0/16".into()],
                cluster_domain: "cluster.local".into(),
                trust_domain: "cluster.local".into(),
                control_plane_namespace: "linkerd".into(),
            },
        }
    }

    fn variables(exempt: Option<Exempt>) -> BTreeMap<String, String> {
        let port = |port, opaque| Port { port, opaque, ..Port::default() };
        let environment = Environment {
            answer: &answer(),
            ports: &[port(8080, false), port(2525, true)],
            ips: vec![[10, 222, 0, 7].into()],
            listen: Listen::standard(true),
            token: "/run/weft/1-2/token".into(),
            identity: "/run/weft/1-2/identity".into(),
            exempt,
            node: "here",
            log: None,
        };
        environment.variables().into_iter().collect()
    }

    /// The proxy takes every variable, and knows every one.
    #[test]
    fn the_proxy_takes_it() {
        let variables = variables(Some(Exempt::Mark(0x2102)));
        let config = weft_proxy::config::Config::from_env(&variables, NonZeroUsize::MIN).unwrap();
        assert_eq!(config.unknown, Vec::<String>::new());
        assert_eq!(config.socket_mark, Some(0x2102));
        assert_eq!(config.outbound.side.listen.len(), 2);
        assert_eq!(config.identity.local.to_string(), answer().identity);
        assert!(config.inbound.opaque_ports.contains(2525.try_into().unwrap()));
    }

    #[test]
    fn without_redirection_services_have_addresses() {
        let service = SocketAddr::from(([127, 89, 0, 1], 8080));
        let listen = Listen::loopback([127, 88, 0, 2].into(), &[service]);
        let port = Port { port: 8080, ..Port::default() };
        let environment = Environment {
            answer: &answer(),
            ports: &[port],
            ips: vec![[127, 88, 0, 2].into()],
            listen,
            token: "/token".into(),
            identity: "/identity".into(),
            exempt: None,
            node: "here",
            log: None,
        };
        let variables: BTreeMap<_, _> = environment.variables().into_iter().collect();
        let config = weft_proxy::config::Config::from_env(&variables, NonZeroUsize::MIN).unwrap();
        assert!(config.allow_loopback);
        assert_eq!(config.outbound_targets, [("127.88.0.2:15001".parse().unwrap(), service)]);
    }

    #[test]
    fn a_user_of_its_own_needs_no_mark() {
        let variables = variables(Some(Exempt::User(2102)));
        assert!(!variables.keys().any(|name| name.starts_with("WEFT_")));
        let value = |name: &str| variables.get(&format!("{PREFIX}{name}")).map(String::as_str);
        assert_eq!(value("OUTBOUND_LISTEN_ADDRS"), Some("127.0.0.1:4140,[::1]:4140"));
        assert_eq!(value("INBOUND_PORTS"), Some("2525,8080"));
        assert_eq!(
            value("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"),
            Some("25,587,2525,3306,4444,5432,6379,9300,11211")
        );
        assert_eq!(value("POLICY_WORKLOAD"), Some("{\"ns\":\"default\", \"pod\":\"web-0\"}\n"));
    }
}
