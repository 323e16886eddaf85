//! Configuration: flags to final types, once, with every problem at once.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;
use weft_model::{Settings, duration};
use weft_names::{Cidr, DnsName, TrustDomain};
use weft_policy::inbound::DefaultPolicy;
use weft_store::Retention;

use crate::identity;

/// Linkerd's ports, and ours.
const PORTS: Ports = Ports { destination: 8086, policy: 8090, identity: 8080, metrics: 9990, dns: DNS_PORT };
/// Where the admin API listens on HTTPS.
const ADMIN_LISTEN: &str = "127.0.0.1:7443";
/// Where workloads get addresses from. Neither Docker's nor Podman's nor Kubernetes' usual ranges.
const WORKLOAD_NETWORK: &str = "10.209.0.0/16";
/// Where services get virtual addresses from.
const SERVICE_NETWORK: &str = "10.210.0.0/16";
/// Addresses at the beginning of the workload network that are never given: a gateway's.
const RESERVED: u32 = 1;
/// The most upstream resolvers.
const MAX_UPSTREAMS: usize = 3;
/// The port of a resolver that names none.
const DNS_PORT: u16 = 53;

/// The flags of a control plane on one machine. Everything is text here: [`Options::resolve`] finds what is wrong, all
/// of it at once.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Directory of the state: trust root, ledger, registry [default: ~/.local/state/weft, or /var/lib/weft]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub listen: Option<String>,
    /// Address that workloads are told; needed when listening on any address
    #[arg(long, value_name = "IP")]
    pub advertise: Option<String>,
    /// Manifests to load and follow: a file or a directory; may be given more than once
    #[arg(short = 'f', long = "manifests", value_name = "DIR-OR-FILE")]
    pub manifests: Vec<PathBuf>,
    /// Where workloads get addresses from [default: 10.209.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub workload_network: Option<String>,
    /// Where services get virtual addresses from [default: 10.210.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub service_network: Option<String>,
    /// Networks that count as the mesh's own [default: the private ones]
    #[arg(long, value_name = "CIDR,CIDR...")]
    pub cluster_networks: Option<String>,
    /// Domain of service names [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Domain of identities [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,
    /// Namespace the control plane is said to be in [default: linkerd]
    #[arg(long, value_name = "NAMESPACE")]
    pub control_plane_namespace: Option<String>,
    /// Who may connect where nothing says otherwise [default: all-unauthenticated]
    #[arg(long, value_name = "POLICY")]
    pub default_inbound_policy: Option<String>,
    /// Let clients override time-outs and retries with l5d-* headers
    #[arg(long)]
    pub allow_l5d_request_headers: bool,
    /// How long a workload stays that does not renew [default: 15s]
    #[arg(long, value_name = "DURATION")]
    pub lease_ttl: Option<String>,
    /// How long a service stays without workloads [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub service_linger: Option<String>,
    /// How long certificates are valid [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub certificate_lifetime: Option<String>,
    /// How far clocks may be apart [default: 20s]
    #[arg(long, value_name = "DURATION")]
    pub clock_skew: Option<String>,
    /// How long a join token lasts after its workload's last renewal [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub join_token_ttl: Option<String>,
    /// Resolver for names that are not the mesh's; may be given more than once; "none" for none [default: those of
    /// /etc/resolv.conf]
    #[arg(long, value_name = "IP[:PORT]")]
    pub dns_upstream: Vec<String>,
    /// Port of the destination service [default: 8086]
    #[arg(long, value_name = "PORT")]
    pub destination_port: Option<String>,
    /// Port of the policy service [default: 8090]
    #[arg(long, value_name = "PORT")]
    pub policy_port: Option<String>,
    /// Port of the identity service [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub identity_port: Option<String>,
    /// Port of health and metrics [default: 9990]
    #[arg(long, value_name = "PORT")]
    pub metrics_port: Option<String>,
    /// Port of DNS [default: 53]
    #[arg(long, value_name = "PORT")]
    pub dns_port: Option<String>,
    /// Address of the admin API over HTTPS, or "off" [default: 127.0.0.1:7443]
    #[arg(long, value_name = "IP:PORT")]
    pub admin_listen: Option<String>,
}

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who runs it, such as `weft up`: told to whoever finds the state in use.
    pub holder: String,
    /// Directory of the state.
    pub state: PathBuf,
    /// Address to listen on.
    pub listen: IpAddr,
    /// Address that workloads are told.
    pub advertise: IpAddr,
    /// Ports to listen on; 0 is any free one.
    pub ports: Ports,
    /// Where the admin API listens on HTTPS, if it does.
    pub admin: Option<SocketAddr>,
    /// Manifests to load and follow.
    pub manifests: Vec<PathBuf>,
    /// Names, networks and defaults of the mesh.
    pub settings: Settings,
    /// Names and times of the certificate authority.
    pub identity: identity::Config,
    /// Where workloads get addresses from.
    pub workload_network: IpNet,
    /// Where services get virtual addresses from.
    pub service_network: IpNet,
    /// Addresses at the beginning of the workload network that are never given.
    pub reserved: u32,
    /// A lease where none is asked for.
    pub lease_ttl: Duration,
    /// How long a service stays without workloads.
    pub service_linger: Duration,
    /// Resolvers for names that are not the mesh's.
    pub upstreams: Vec<SocketAddr>,
}

/// Ports on the listen address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Destination: `--destination-port`.
    pub destination: u16,
    /// Policy: `--policy-port`.
    pub policy: u16,
    /// Identity: `--identity-port`.
    pub identity: u16,
    /// Health and metrics: `--metrics-port`.
    pub metrics: u16,
    /// DNS: `--dns-port`.
    pub dns: u16,
}

/// What surrounds the process, read once by whoever calls [`Options::resolve`].
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `$XDG_STATE_HOME`, an absolute path.
    pub state_home: Option<PathBuf>,
    /// `$HOME`
    pub home: Option<PathBuf>,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// One option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The option.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

/// Every option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Options {
    /// Makes a configuration of the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn resolve(&self, holder: &str, surroundings: &Surroundings) -> Result<Config, Problems> {
        let mut p = Problems(Vec::new());
        let listen =
            p.parse("--listen", &self.listen, "an IP address", ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let advertise = p.parse("--advertise", &self.advertise, "an IP address", ip);
        let advertise = match advertise {
            Some(address) if address.is_unspecified() => {
                p.add("--advertise", &address, "an address that workloads can connect to");
                listen
            }
            None if listen.is_unspecified() => {
                p.add(
                    "--listen",
                    &listen,
                    "--advertise IP with it, because workloads need an address to connect to",
                );
                listen
            }
            other => other.unwrap_or(listen),
        };
        let ports = self.ports(&mut p);
        let admin = match self.admin_listen.as_deref() {
            Some("off") => None,
            _ => p
                .parse("--admin-listen", &self.admin_listen, "IP:PORT, or off", |text| text.parse().ok())
                .or_else(|| ADMIN_LISTEN.parse().ok()),
        };
        let network = |p: &mut Problems, option, value: &Option<String>, default: &str| {
            let parsed = p.parse(option, value, "a network such as 10.209.0.0/16", network);
            parsed.or_else(|| network(default)).unwrap_or_default()
        };
        let workload_network =
            network(&mut p, "--workload-network", &self.workload_network, WORKLOAD_NETWORK);
        let service_network = network(&mut p, "--service-network", &self.service_network, SERVICE_NETWORK);
        if workload_network.contains(&service_network.network())
            || service_network.contains(&workload_network.network())
        {
            p.add("--service-network", &service_network, "a network apart from the workload network");
        }
        let settings = self.settings(&mut p, workload_network, service_network);
        let mut time = |option, value: &Option<String>, default: u64, least: Duration, most: Duration| {
            let expected =
                format!("a duration from {}s to {}s, such as 15s, 10m, 24h", least.as_secs(), most.as_secs());
            let parsed = p.parse(option, value, &expected, |text| {
                duration::go(text).ok().filter(|duration| (least..=most).contains(duration))
            });
            parsed.unwrap_or_else(|| Duration::from_secs(default))
        };
        let (second, hour, year) =
            (Duration::from_secs(1), Duration::from_secs(3600), Duration::from_secs(365 * 86_400));
        let lease_ttl = time("--lease-ttl", &self.lease_ttl, 15, second, hour);
        let service_linger = time("--service-linger", &self.service_linger, 600, Duration::ZERO, year);
        let validity = time("--certificate-lifetime", &self.certificate_lifetime, 86_400, 10 * second, year);
        let clock_skew = time("--clock-skew", &self.clock_skew, 20, Duration::ZERO, hour);
        let token_ttl = time("--join-token-ttl", &self.join_token_ttl, 86_400, 60 * second, year);
        let upstreams = self.upstreams(&mut p, surroundings, listen, ports.dns);
        if !p.0.is_empty() {
            return Err(p);
        }
        Ok(Config {
            holder: holder.to_owned(),
            state: self.state.clone().unwrap_or_else(|| default_state(surroundings)),
            listen,
            advertise,
            ports,
            admin,
            manifests: self.manifests.clone(),
            identity: identity::Config {
                namespace: settings.control_plane_namespace.to_string(),
                trust_domain: settings.trust_domain.clone(),
                lifetime: identity::Lifetime { validity, clock_skew },
                token_ttl,
                retention: Retention::default(),
            },
            settings,
            workload_network,
            service_network,
            reserved: RESERVED,
            lease_ttl,
            service_linger,
            upstreams,
        })
    }

    fn ports(&self, p: &mut Problems) -> Ports {
        let port = |text: &str| text.parse::<u16>().ok();
        let mut given = |option, value: &Option<String>, default| {
            p.parse(option, value, "a port from 0 to 65535; 0 is any free one", port).unwrap_or(default)
        };
        let ports = Ports {
            destination: given("--destination-port", &self.destination_port, PORTS.destination),
            policy: given("--policy-port", &self.policy_port, PORTS.policy),
            identity: given("--identity-port", &self.identity_port, PORTS.identity),
            metrics: given("--metrics-port", &self.metrics_port, PORTS.metrics),
            dns: given("--dns-port", &self.dns_port, PORTS.dns),
        };
        let mut taken = BTreeMap::new();
        for (option, port) in ports.by_option() {
            if port != 0
                && let Some(other) = taken.insert(port, option)
            {
                p.add(option, &port, &format!("another port than {other}"));
            }
        }
        ports
    }

    fn settings(&self, p: &mut Problems, workloads: IpNet, services: IpNet) -> Settings {
        let domain = |text: &str| text.parse::<DnsName>().ok().map(|name| name.without_root());
        let cluster_domain = p.parse("--cluster-domain", &self.cluster_domain, "a domain name", domain);
        let trust_domain = p.parse("--trust-domain", &self.trust_domain, "a domain name", |text| {
            text.parse::<TrustDomain>().ok()
        });
        let namespace = p.parse(
            "--control-plane-namespace",
            &self.control_plane_namespace,
            "a namespace: at most 63 lower-case letters, digits and `-`",
            |text| is_label(text).then(|| text.to_owned()),
        );
        let default_policy = p.parse(
            "--default-inbound-policy",
            &self.default_inbound_policy,
            &format!("one of {}", DefaultPolicy::ALL.map(DefaultPolicy::name).join(", ")),
            |text| text.parse().ok(),
        );
        let cluster_networks =
            p.parse("--cluster-networks", &self.cluster_networks, "networks, separated by commas", |text| {
                text.split(',').map(|net| net.trim().parse::<Cidr>().ok()).collect::<Option<Vec<_>>>()
            });
        let namespace = namespace.as_deref().unwrap_or("linkerd");
        let mut settings = Settings::with_defaults();
        settings.control_plane_namespace = namespace.into();
        if let Some(domain) = cluster_domain {
            settings.cluster_domain = domain;
        }
        if let Some(domain) = trust_domain {
            settings.trust_domain = domain;
        }
        if let Some(networks) = cluster_networks {
            settings.cluster_networks = networks;
        }
        for own in [workloads, services] {
            if !settings.cluster_networks.iter().any(|net| net.net().contains(&own)) {
                settings.cluster_networks.push(own.into());
            }
        }
        settings.default_policy = default_policy.unwrap_or(settings.default_policy);
        settings.allow_l5d_request_headers = self.allow_l5d_request_headers;
        settings
    }

    fn upstreams(
        &self,
        p: &mut Problems,
        surroundings: &Surroundings,
        listen: IpAddr,
        dns: u16,
    ) -> Vec<SocketAddr> {
        let given: Vec<&str> = self.dns_upstream.iter().map(String::as_str).collect();
        if given == ["none"] {
            return Vec::new();
        }
        if given.is_empty() {
            let servers = surroundings.resolv_conf.lines().filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next() == Some("nameserver")).then(|| words.next()).flatten()
            });
            let ourselves = SocketAddr::new(listen, dns);
            let servers = servers.filter_map(resolver).filter(|server| *server != ourselves);
            return servers.take(MAX_UPSTREAMS).collect();
        }
        if given.len() > MAX_UPSTREAMS {
            p.add("--dns-upstream", &given.len(), &format!("at most {MAX_UPSTREAMS} resolvers"));
        }
        let mut upstreams = Vec::new();
        for text in given {
            match resolver(text) {
                Some(upstream) => upstreams.push(upstream),
                None => p.add("--dns-upstream", &text, "IP or IP:PORT, or none alone"),
            }
        }
        upstreams
    }
}

impl Config {
    /// What the flags make where none is given, with the state in `state`.
    ///
    /// # Errors
    /// Never, as long as the defaults make sense; a test says that they do.
    pub fn with_state(state: &Path, holder: &str) -> Result<Self, Problems> {
        let options = Options { state: Some(state.to_owned()), ..Options::default() };
        options.resolve(holder, &Surroundings::default())
    }
}

impl Ports {
    /// The options and their ports.
    #[must_use]
    pub fn by_option(&self) -> [(&'static str, u16); 5] {
        [
            ("--destination-port", self.destination),
            ("--policy-port", self.policy),
            ("--identity-port", self.identity),
            ("--metrics-port", self.metrics),
            ("--dns-port", self.dns),
        ]
    }
}

impl Surroundings {
    /// What surrounds this process.
    #[must_use]
    pub fn read() -> Self {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
            // A machine without one has no resolvers.
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        }
    }
}

impl Problems {
    fn add(&mut self, option: &'static str, value: &dyn fmt::Display, expected: &str) {
        self.0.push(Problem { option, value: value.to_string(), expected: expected.to_owned() });
    }

    fn parse<T>(
        &mut self,
        option: &'static str,
        value: &Option<String>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = value.as_ref()?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.add(option, value, expected);
        }
        parsed
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: expected {}", self.option, self.value, self.expected)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn default_state(surroundings: &Surroundings) -> PathBuf {
    let home = surroundings.home.as_ref().map(|home| home.join(".local/state"));
    match surroundings.state_home.clone().or(home) {
        Some(state) => state.join("weft"),
        None => "/var/lib/weft".into(),
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A network that has room for workloads.
fn network(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    (net.max_prefix_len() - net.prefix_len() >= 3).then(|| net.trunc())
}

fn resolver(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| ip(text).map(|ip| SocketAddr::new(ip, DNS_PORT)))
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
