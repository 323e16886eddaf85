//! Our proxies and the control plane that they have everything from, in a namespace of its own.

use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
    os::unix::{fs::chown, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};
use weft_init::NetNs;

use crate::{
    backend::{PORTS, TCP},
    process::{Running, wait_until},
    site::{PROXY_USER, Site, link},
};

/// Where the control plane listens.
const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 56, 1, 1);

/// A control plane, and what proxies have to be told.
#[derive(Debug)]
pub(super) struct Support {
    _control: NetNs,
    _process: Running,
    /// The client's proxy's environment.
    pub(super) outbound: Vec<(String, String)>,
    /// The server's proxy's environment.
    pub(super) inbound: Vec<(String, String)>,
    /// The service's virtual address.
    pub(super) service: Ipv4Addr,
}

impl Support {
    pub(super) fn start(directory: &Path, programs: &Path, site: &Site, log: &Path) -> Self {
        let control = NetNs::create().expect("a network namespace");
        link(&control, "client", CONTROL, &site.client, "control", [10, 56, 1, 2].into());
        // The server's proxy reaches the same address by another link.
        link(&control, "server", [10, 56, 2, 1].into(), &site.server, "control", [10, 56, 2, 2].into());
        crate::site::inside(&site.server, || {
            let mut route = weft_init::netlink::route::Route::open().expect("netlink");
            let via = IpAddr::from([10, 56, 2, 1]);
            route
                .add_route(format!("{CONTROL}/32").parse().expect("a network"), Some(via), None)
                .expect("a route");
        });
        let state = directory.join("state");
        let arguments =
            ["--listen", "0.0.0.0", "--advertise", &CONTROL.to_string(), "--dns-upstream", "none", "--state"]
                .map(str::to_owned)
                .into_iter()
                .chain([state.display().to_string()])
                .collect::<Vec<_>>();
        let process = Running::start(&control, 0, &programs.join("weft-controlplane"), &arguments, &[], log);
        let socket = state.join("admin.sock");
        wait_until("the control plane's socket", Duration::from_secs(20), || {
            UnixStream::connect(&socket).is_ok()
        });
        let ports: Vec<_> = PORTS
            .map(
                |port| {
                    if port == TCP { json!({"port": port, "opaque": true}) } else { json!({"port": port}) }
                },
            )
            .into();
        let server = json!({"service": "server", "ports": ports, "ip": site.server_ip, "ttlSeconds": 3600});
        let server = register(&socket, "server-0", &server).expect("a registration");
        let client = json!({"serviceAccount": "client", "ip": site.client_ip, "ttlSeconds": 3600});
        let client = register(&socket, "client-0", &client).expect("a registration");
        let service = server["serviceIp"].as_str().and_then(|ip| ip.parse().ok()).expect("a virtual address");
        let environment = |answer, ip, ports: &[u16]| environment(answer, ip, ports, directory);
        Self {
            _control: control,
            _process: process,
            outbound: environment(&client, site.client_ip, &[]),
            inbound: environment(&server, site.server_ip, &PORTS),
            service,
        }
    }
}

/// Registers a workload.
///
/// # Errors
/// The control plane does not answer, or refuses.
pub(crate) fn register(socket: &Path, pod: &str, registration: &Value) -> anyhow::Result<Value> {
    let body = registration.to_string();
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "PUT /registry/v1/workloads/default/{pod} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    anyhow::ensure!(head.starts_with("HTTP/1.1 2"), "{answer}");
    Ok(serde_json::from_str(body)?)
}

/// What a stock injector would set.
fn environment(answer: &Value, ip: Ipv4Addr, ports: &[u16], directory: &Path) -> Vec<(String, String)> {
    let text = |pointer: &str| {
        answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} of {answer}"))
            .to_owned()
    };
    let pod = text("/pod");
    let identity = directory.join(format!("identity-{pod}"));
    fs::create_dir_all(&identity).expect("a directory");
    chown(&identity, Some(PROXY_USER), Some(PROXY_USER)).expect("root");
    let token: PathBuf = directory.join(format!("token-{pod}"));
    fs::write(&token, text("/joinToken")).expect("a file");
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let networks = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";
    let workload = json!({"ns": "default", "pod": pod}).to_string();
    [
        ("CORES", "1".to_owned()),
        ("LOG", "warn,linkerd=info".to_owned()),
        ("DESTINATION_SVC_ADDR", text("/addresses/destination/address")),
        ("DESTINATION_SVC_NAME", text("/addresses/destination/name")),
        ("POLICY_SVC_ADDR", text("/addresses/policy/address")),
        ("POLICY_SVC_NAME", text("/addresses/policy/name")),
        ("IDENTITY_SVC_ADDR", text("/addresses/identity/address")),
        ("IDENTITY_SVC_NAME", text("/addresses/identity/name")),
        ("IDENTITY_LOCAL_NAME", text("/identity")),
        ("IDENTITY_TRUST_ANCHORS", text("/trustAnchors")),
        ("IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("IDENTITY_DIR", identity.display().to_string()),
        ("DESTINATION_PROFILE_NETWORKS", networks.to_owned()),
        ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local.".to_owned()),
        ("POLICY_CLUSTER_NETWORKS", networks.to_owned()),
        ("POLICY_WORKLOAD", workload.clone()),
        ("DESTINATION_CONTEXT", workload),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated".to_owned()),
        ("INBOUND_IPS", ip.to_string()),
        ("INBOUND_PORTS", ports),
        ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", TCP.to_string()),
        ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140".to_owned()),
        ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:4140".to_owned()),
        ("INBOUND_LISTEN_ADDR", "0.0.0.0:4143".to_owned()),
        ("ADMIN_LISTEN_ADDR", "0.0.0.0:4191".to_owned()),
        ("CONTROL_LISTEN_ADDR", "0.0.0.0:4190".to_owned()),
        ("INBOUND_ACCEPT_KEEPALIVE", "10000ms".to_owned()),
        ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms".to_owned()),
        ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s".to_owned()),
        ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s".to_owned()),
        ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s".to_owned()),
        ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s".to_owned()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value))
    .collect()
}
