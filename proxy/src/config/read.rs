//! From the environment to [`Config`]: every variable with its parser and default, every problem collected.

use super::{
    Backoff, Config, Control, ControlService, Env, Http2, Identity, Inbound, KeepAlive, Log, Outbound,
    PREFIX, Problem, Problems, Side,
    parse::{self, Parsed},
};
use std::{num::NonZeroUsize, path::PathBuf, time::Duration};
use weft_names::{Cidr, DnsName, IdentityName, PortSet};

/// Variables that stock injectors set and that change nothing here: not worth a warning.
const IGNORED: &[&str] = &[
    "INBOUND_PORTS_REQUIRE_IDENTITY",
    "INBOUND_PORTS_REQUIRE_TLS",
    "TRACE_ANNOTATIONS_PATH",
    "TRACE_PROTOCOL",
    "METRICS_RETAIN_IDLE",
    "CONTROL_LISTEN_ADDR",
    "TAP_SVC_NAME",
    "ACCESS_LOG",
    "INBOUND_METRICS_AUTHORITY_LABELS",
    "INBOUND_GATEWAY_SUFFIXES",
    "DNS_MIN_TTL",
    "DNS_MAX_TTL",
];

impl Config {
    /// Reads all variables. `cpus` is how many this host gives us.
    ///
    /// # Errors
    /// Every problem found, not only the first.
    pub fn from_env(env: &impl Env, cpus: NonZeroUsize) -> Result<Self, Problems> {
        let mut reader = Reader { env, problems: Problems::default(), known: Vec::new() };
        let config = reader.config(cpus);
        let known = std::mem::take(&mut reader.known);
        let problems = reader.problems;
        match config {
            Some(mut config) if problems.0.is_empty() => {
                let is_known =
                    |name: &str| known.iter().any(|known| known == name) || IGNORED.contains(&name);
                config.unknown = env
                    .names()
                    .into_iter()
                    .filter(|name| !is_known(name.trim_start_matches(PREFIX)))
                    .collect();
                Ok(config)
            }
            _ => Err(problems),
        }
    }
}

/// Reads variables one by one and collects what is wrong with them.
struct Reader<'e, E> {
    env: &'e E,
    problems: Problems,
    known: Vec<String>,
}

impl<E: Env> Reader<'_, E> {
    fn raw(&mut self, name: &str) -> Option<String> {
        self.known.push(name.to_owned());
        self.env.get(&format!("{PREFIX}{name}"))
    }

    fn problem(&mut self, name: &str, value: Option<String>, expected: impl Into<String>) {
        self.problems.0.push(Problem {
            variable: format!("{PREFIX}{name}"),
            value,
            expected: expected.into(),
        });
    }

    fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let value = self.raw(name)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.problem(name, Some(value), expected);
                None
            }
        }
    }

    /// A variable of our own, without Linkerd's prefix.
    fn own<T>(&mut self, variable: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let value = self.env.get(variable)?;
        let parsed = parse(&value);
        parsed
            .map_err(|expected| {
                self.problems.0.push(Problem {
                    variable: variable.to_owned(),
                    value: Some(value),
                    expected: expected.into(),
                })
            })
            .ok()
    }

    fn or<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>, default: T) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    fn required<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        match self.raw(name) {
            None => {
                self.problem(name, None, expected);
                None
            }
            Some(value) => parse(&value).map_err(|expected| self.problem(name, Some(value), expected)).ok(),
        }
    }

    fn config(&mut self, cpus: NonZeroUsize) -> Option<Config> {
        let log = Log {
            filter: self.or("LOG", |text| Ok(text.to_owned()), "warn,linkerd=info,weft=info".to_owned()),
            json: self.or("LOG_FORMAT", log_format, false),
        };
        let cores = self.cores(cpus);
        let outbound = self.outbound();
        let inbound = self.inbound();
        let http2 = Http2 {
            initial_stream_window: self.or("HTTP2_INITIAL_STREAM_WINDOW_SIZE", window, 65_535),
            initial_connection_window: self.or("HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", window, 1 << 20),
            max_concurrent_streams: self
                .optional("INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", parse::number),
        };
        let shutdown_grace = self.or("SHUTDOWN_GRACE_PERIOD", parse::duration, Duration::from_secs(120));
        let shutdown_endpoint = self.or("SHUTDOWN_ENDPOINT_ENABLED", parse::boolean, false);
        let admin_listen = self.or("ADMIN_LISTEN_ADDR", parse::socket_addr, ([127, 0, 0, 1], 4191).into());
        let identity = self.identity();
        let control = self.control();
        let socket_mark = self.own("WEFT_SOCKET_MARK", parse::number);
        let allow_loopback = self.own("WEFT_ALLOW_LOOPBACK", parse::boolean).unwrap_or(false);
        let outbound_targets = self
            .own("WEFT_OUTBOUND_TARGETS", |text| parse::list(text, parse::fixed_target))
            .unwrap_or_default();
        Some(Config {
            log,
            cores,
            shutdown_grace,
            shutdown_endpoint,
            admin_listen,
            outbound: outbound?,
            inbound: inbound?,
            http2,
            identity: identity?,
            control: control?,
            socket_mark,
            allow_loopback,
            outbound_targets,
            unknown: Vec::new(),
        })
    }

    /// Maximum, else ratio of the host, else one; raised to the minimum; capped to the host.
    fn cores(&mut self, cpus: NonZeroUsize) -> NonZeroUsize {
        let one = NonZeroUsize::MIN;
        let alias = self.optional("CORES", parse::positive);
        let min = self.optional("CORES_MIN", parse::positive).or(alias).unwrap_or(one);
        let max = self.optional("CORES_MAX", parse::positive);
        let ratio = self.optional("CORES_MAX_RATIO", parse::ratio);
        let by_ratio = ratio.map(|ratio| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a few hundred CPUs at most"
            )]
            let rounded = (cpus.get() as f64 * ratio).round() as usize;
            NonZeroUsize::new(rounded).unwrap_or(one)
        });
        max.or(by_ratio).unwrap_or(one).max(min).min(cpus)
    }

    fn side(&mut self, name: &str, defaults: SideDefaults) -> Side {
        let var = |rest: &str| format!("{name}_{rest}");
        let keep_alive = (
            self.optional(&var("SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), parse::duration),
            self.optional(&var("SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), parse::duration),
        );
        let min = self.or(&var("CONNECT_EXP_BACKOFF_MIN"), parse::duration, Duration::from_millis(100));
        let max = self.or(&var("CONNECT_EXP_BACKOFF_MAX"), parse::duration, defaults.backoff_max);
        let jitter = self.or(&var("CONNECT_EXP_BACKOFF_JITTER"), parse::jitter, 0.1);
        if min > max || max.is_zero() {
            self.problem(
                &var("CONNECT_EXP_BACKOFF_MAX"),
                Some(format!("{max:?}")),
                format!("at least the minimum, {min:?}, and above zero"),
            );
        }
        let queue = defaults.queue;
        Side {
            listen: Vec::new(),
            backlog: self.optional(&var("TCP_LISTEN_BACKLOG"), parse::number),
            accept_keepalive: self.optional(&var("ACCEPT_KEEPALIVE"), parse::duration),
            connect_keepalive: self.optional(&var("CONNECT_KEEPALIVE"), parse::duration),
            accept_user_timeout: self.optional(&var("ACCEPT_USER_TIMEOUT"), parse::duration),
            connect_user_timeout: self.optional(&var("CONNECT_USER_TIMEOUT"), parse::duration),
            connect_timeout: self.or(&var("CONNECT_TIMEOUT"), parse::duration, defaults.connect_timeout),
            connect_backoff: Backoff { min, max, jitter },
            detect_timeout: self.or(&var("DETECT_TIMEOUT"), parse::duration, Duration::from_secs(10)),
            queue_capacity: self.or(&var("HTTP_QUEUE_CAPACITY"), parse::number, queue),
            failfast_timeout: self.or(&var("HTTP_FAILFAST_TIMEOUT"), parse::duration, defaults.failfast),
            max_in_flight: self.or(&var("MAX_IN_FLIGHT"), parse::number, 100_000),
            max_idle_per_endpoint: self.or(defaults.max_idle, parse::number, 10_000),
            pool_idle_timeout: self.or(
                &var("HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"),
                parse::duration,
                Duration::from_secs(3),
            ),
            discovery_idle_timeout: self.or(
                &var("DISCOVERY_IDLE_TIMEOUT"),
                parse::duration,
                defaults.discovery_idle,
            ),
            http2_keep_alive: keep_alive.0.map(|interval| KeepAlive {
                interval,
                timeout: keep_alive.1.unwrap_or(Duration::from_secs(3)),
            }),
        }
    }

    fn outbound(&mut self) -> Option<Outbound> {
        let mut side = self.side(
            "OUTBOUND",
            SideDefaults {
                connect_timeout: Duration::from_secs(1),
                backoff_max: Duration::from_secs(60),
                queue: 10_000,
                failfast: Duration::from_secs(3),
                discovery_idle: Duration::from_secs(5),
                max_idle: "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT",
            },
        );
        let single = self.optional("OUTBOUND_LISTEN_ADDR", parse::socket_addr);
        side.listen = match self.optional("OUTBOUND_LISTEN_ADDRS", parse::listen_addrs) {
            Some(addrs) => addrs,
            None => vec![single.unwrap_or_else(|| ([127, 0, 0, 1], 4140).into())],
        };
        let ingress_mode = self.or("INGRESS_MODE", parse::boolean, false);
        if ingress_mode {
            self.problem(
                "INGRESS_MODE",
                Some("true".into()),
                "false: this version has no ingress mode; use linkerd.io/inject: enabled",
            );
        }
        Some(Outbound {
            side,
            disable_informational_headers: self.or(
                "OUTBOUND_DISABLE_INFORMATIONAL_HEADERS",
                parse::boolean,
                ingress_mode,
            ),
            profile_networks: self.or(
                "DESTINATION_PROFILE_NETWORKS",
                |text| parse::list(text, cidr),
                Vec::new(),
            ),
            hostname_labels: self.or("OUTBOUND_METRICS_HOSTNAME_LABELS", parse::boolean, false),
            ingress_mode,
        })
    }

    fn inbound(&mut self) -> Option<Inbound> {
        let mut side = self.side(
            "INBOUND",
            SideDefaults {
                connect_timeout: Duration::from_millis(300),
                backoff_max: Duration::from_secs(10),
                queue: 10_000,
                failfast: Duration::from_secs(1),
                discovery_idle: Duration::from_secs(90),
                // No INBOUND_ prefix: that is how Linkerd reads it.
                max_idle: "MAX_IDLE_CONNS_PER_ENDPOINT",
            },
        );
        side.listen = vec![self.or("INBOUND_LISTEN_ADDR", parse::socket_addr, ([0, 0, 0, 0], 4143).into())];
        let policy = self.or(
            "INBOUND_DEFAULT_POLICY",
            default_policy,
            weft_policy::inbound::DefaultPolicy::AllUnauthenticated,
        );
        let cluster_networks = self.or("POLICY_CLUSTER_NETWORKS", |text| parse::list(text, cidr), Vec::new());
        if policy.needs_cluster_networks() && cluster_networks.is_empty() {
            self.problem(
                "POLICY_CLUSTER_NETWORKS",
                None,
                "the cluster's networks, such as 10.0.0.0/8, as the default policy speaks of them",
            );
        }
        Some(Inbound {
            side,
            default_policy: policy,
            cluster_networks,
            ports: self.or("INBOUND_PORTS", port_set, PortSet::default()),
            opaque_ports: self.or("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", port_set, PortSet::default()),
            ips: self.or("INBOUND_IPS", parse::ip_set, Vec::new()),
            profile_suffixes: self.or(
                "DESTINATION_PROFILE_SUFFIXES",
                |text| parse::list(text, dns_suffix),
                Vec::new(),
            ),
        })
    }

    fn identity(&mut self) -> Option<Identity> {
        if self.raw("IDENTITY_DISABLED").is_some_and(|value| !value.is_empty()) {
            self.problem("IDENTITY_DISABLED", Some("set".into()), "to be unset: identity is not optional");
        }
        if let Some(socket) =
            self.raw("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS").or_else(|| self.raw("IDENTITY_SPIRE_SOCKET"))
        {
            self.problem(
                "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
                Some(socket),
                "to be unset: this version gets certificates from the identity service only",
            );
        }
        let whole = self.optional("IDENTITY_LOCAL_NAME", dns_name);
        let (local, server_name) = match whole {
            Some(name) => (Some(IdentityName::from(name.clone())), Some(name)),
            None => (
                self.required(
                    "IDENTITY_SERVER_ID",
                    "our identity, in IDENTITY_LOCAL_NAME or here: a DNS name or spiffe:// URI",
                    identity_name,
                ),
                self.required("IDENTITY_SERVER_NAME", "the DNS name that peers use as SNI", dns_name),
            ),
        };
        let min_refresh = self.or("IDENTITY_MIN_REFRESH", parse::duration, Duration::from_secs(10));
        let max_refresh = self.or("IDENTITY_MAX_REFRESH", parse::duration, Duration::from_secs(86_400));
        if min_refresh > max_refresh {
            self.problem(
                "IDENTITY_MIN_REFRESH",
                Some(format!("{min_refresh:?}")),
                format!("at most the maximum, {max_refresh:?}"),
            );
        }
        let trust_anchors =
            self.required("IDENTITY_TRUST_ANCHORS", "PEM certificates of the trust anchors", |text| {
                if text.contains("-----BEGIN CERTIFICATE-----") {
                    Ok(text.to_owned())
                } else {
                    Err("PEM certificates, each between BEGIN CERTIFICATE and END CERTIFICATE lines")
                }
            });
        let dir = self.optional("IDENTITY_DIR", path);
        let token_file = self.required(
            "IDENTITY_TOKEN_FILE",
            "the path of the token that proves who we are to the identity service",
            path,
        );
        Some(Identity {
            local: local?,
            server_name: server_name?,
            trust_anchors: trust_anchors?,
            dir,
            token_file: token_file?,
            min_refresh,
            max_refresh,
        })
    }

    fn control(&mut self) -> Option<Control> {
        let destination = self.service("DESTINATION");
        let policy = self.service("POLICY");
        let identity = self.service("IDENTITY");
        let initial = self.or("CONTROL_STREAM_INITIAL_TIMEOUT", parse::duration_or_off, None);
        let idle = self.or("CONTROL_STREAM_IDLE_TIMEOUT", parse::duration_or_off, None);
        let lifetime = self.or("CONTROL_STREAM_LIFETIME", parse::duration_or_off, None);
        let ordered: Vec<_> = [initial, idle, lifetime].into_iter().flatten().collect();
        if !ordered.is_sorted() {
            self.problem(
                "CONTROL_STREAM_LIFETIME",
                lifetime.map(|value| format!("{value:?}")),
                "initial ≤ idle ≤ lifetime among CONTROL_STREAM_INITIAL_TIMEOUT, _IDLE_TIMEOUT and _LIFETIME",
            );
        }
        let destination_context = self.or("DESTINATION_CONTEXT", |text| Ok(text.to_owned()), String::new());
        let policy_workload = self.required(
            "POLICY_WORKLOAD",
            "this workload, such as {\"ns\":\"default\",\"pod\":\"web-0\"}",
            |text| Ok(text.to_owned()),
        );
        let profile_initial_timeout =
            self.or("DESTINATION_PROFILE_INITIAL_TIMEOUT", parse::duration, Duration::from_millis(500));
        Some(Control {
            destination: destination?,
            policy: policy?,
            identity: identity?,
            destination_context,
            policy_workload: policy_workload?,
            stream_initial_timeout: initial,
            stream_idle_timeout: idle,
            stream_lifetime: lifetime,
            profile_initial_timeout,
        })
    }

    fn service(&mut self, which: &str) -> Option<ControlService> {
        let addr = self.required(
            &format!("{which}_SVC_ADDR"),
            "a host and a port, such as linkerd-dst-headless.linkerd.svc.cluster.local.:8086",
            parse::control_addr,
        );
        let name_variable = format!("{which}_SVC_NAME");
        let name = self.optional(&name_variable, dns_name);
        let addr = addr?;
        if name.is_none()
            && !addr.is_loopback()
            && self.env.get(&format!("{PREFIX}{name_variable}")).is_none()
        {
            self.problem(
                &name_variable,
                None,
                "the identity of the service, which may be left out for loopback addresses only",
            );
        }
        // Loopback is spoken to in plaintext, whatever name is given.
        let name = if addr.is_loopback() { None } else { name };
        Some(ControlService { addr, name })
    }
}

/// What differs between the sides.
struct SideDefaults {
    connect_timeout: Duration,
    backoff_max: Duration,
    queue: usize,
    failfast: Duration,
    discovery_idle: Duration,
    max_idle: &'static str,
}

fn log_format(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "plain" => Ok(false),
        "json" => Ok(true),
        _ => Err("plain or json"),
    }
}

/// RFC 9113 6.9.1: a window is at most 2^31-1.
fn window(text: &str) -> Parsed<u32> {
    match parse::number::<u32>(text) {
        Ok(value) if value <= i32::MAX.unsigned_abs() => Ok(value),
        _ => Err("a number of bytes up to 2147483647"),
    }
}

fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("a path") } else { Ok(PathBuf::from(text)) }
}

fn cidr(text: &str) -> Parsed<Cidr> {
    text.parse().map_err(|_| "a comma list of networks, such as 10.0.0.0/8,fd00::/8")
}

fn port_set(text: &str) -> Parsed<PortSet> {
    text.parse().map_err(|_| "a comma list of ports and ranges, such as 25,3306,8000-8010")
}

fn dns_name(text: &str) -> Parsed<DnsName> {
    text.parse().map_err(|_| "a DNS name, such as web.default.serviceaccount.identity.linkerd.cluster.local")
}

fn dns_suffix(text: &str) -> Parsed<DnsName> {
    text.parse().map_err(|_| "a comma list of DNS suffixes, such as svc.cluster.local.")
}

fn identity_name(text: &str) -> Parsed<IdentityName> {
    text.parse().map_err(|_| "a DNS name or a spiffe:// URI")
}

fn default_policy(text: &str) -> Parsed<weft_policy::inbound::DefaultPolicy> {
    text.parse().map_err(|_| "all-unauthenticated, all-authenticated, cluster-unauthenticated, cluster-authenticated, deny or audit")
}
