//! What is said over `/registry/v1`, and what is allowed in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use weft_admin_api::types::Fault;
use weft_model::fact::Id;
use weft_store::PortRow;

/// The most ports of a workload.
pub const MAX_PORTS: usize = 64;
/// The most labels of a workload.
pub const MAX_LABELS: usize = 64;
/// The longest label key or value, in bytes.
pub const MAX_LABEL: usize = 253;
/// The shortest lease.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest lease.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// The longest DNS label (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 63;

/// The body of `PUT /registry/v1/workloads/{namespace}/{pod}`. Sent again as it is, it renews the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    /// The service it belongs to, which is made if there is none. Absent: it only calls others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The service account its identity is made of. Absent: the service's name, or else the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The ports it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Its address. Absent: one is given, the same one for the same pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Its labels. `app` is the service's name unless given here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether it may be sent traffic.
    #[serde(default = "yes")]
    pub ready: bool,
    /// How long it stays without being renewed, in seconds. Absent: what the control plane has, 15 s by default.
    #[serde(default, rename = "ttlSeconds", with = "seconds", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Whether a join token is wanted even if there are some already: by whoever does not have one of those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub issue_token: bool,
}

/// A port of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// The number.
    pub port: u16,
    /// Its name, by which Servers can mean it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether nothing that is sent to it is to be looked at. The usual ports of protocols in which the server speaks
    /// first are opaque in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
    /// What is spoken there: `http`, `kubernetes.io/h2c`, `linkerd.io/opaque`. Absent: it is found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The workload's namespace.
    pub namespace: String,
    /// Its pod name.
    pub pod: String,
    /// Its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its service account.
    pub service_account: String,
    /// Its identity.
    pub identity: String,
    /// A join token for the identity, when it had none or asked for one. Not told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
    /// What it is to trust, PEM.
    pub trust_anchors: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its service's virtual address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ip: Option<IpAddr>,
    /// How long the lease lasts from now, in seconds. Renewing at a third of it survives two lost renewals.
    #[serde(rename = "ttlSeconds", with = "whole_seconds")]
    pub ttl: Duration,
    /// Whether it was not registered before.
    pub created: bool,
    /// Where the control plane's services are.
    pub addresses: Addresses,
    /// The networks of the mesh.
    pub networks: Networks,
}

/// Where the control plane's services are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// `LINKERD2_PROXY_DESTINATION_SVC_ADDR` and `…_NAME`.
    pub destination: Endpoint,
    /// `LINKERD2_PROXY_POLICY_SVC_ADDR` and `…_NAME`.
    pub policy: Endpoint,
    /// `LINKERD2_PROXY_IDENTITY_SVC_ADDR` and `…_NAME`.
    pub identity: Endpoint,
    /// The name server.
    pub dns: SocketAddr,
}

/// A service of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// The identity it proves.
    pub name: String,
}

/// The networks and names of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Networks {
    /// Where workloads' addresses are given from.
    pub workloads: String,
    /// Where services' virtual addresses are given from.
    pub services: String,
    /// What counts as the mesh's own (`LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS`, `…_DESTINATION_PROFILE_NETWORKS`).
    pub cluster: Vec<String>,
    /// The domain of service names.
    pub cluster_domain: String,
    /// The domain of identities.
    pub trust_domain: String,
    /// The namespace the control plane is said to be in.
    pub control_plane_namespace: String,
}

fn yes() -> bool {
    true
}

impl Port {
    pub(super) fn row(&self) -> PortRow {
        let Self { port, name, opaque, app_protocol } = self.clone();
        PortRow { port, name, opaque, app_protocol }
    }
}

/// Everything that is wrong with a registration.
#[must_use]
pub fn faults(id: &Id, registration: &Registration) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |location: &str, found: &dyn std::fmt::Display, expected: &str| {
        faults.push(Fault {
            location: location.to_owned(),
            found: Some(found.to_string()),
            expected: expected.to_owned(),
        });
    };
    const NAME: &str = "at most 63 lower-case letters, digits and `-`, which is not at the ends";
    let Registration { service, service_account, ports, ip, labels, ttl, .. } = registration;
    let names = [
        ("path.namespace", Some(&*id.namespace)),
        ("path.pod", Some(&*id.name)),
        ("body.service", service.as_deref()),
        ("body.serviceAccount", service_account.as_deref()),
    ];
    for (location, name) in names {
        if let Some(name) = name.filter(|name| !is_label(name)) {
            fault(location, &name, NAME);
        }
    }
    if ports.len() > MAX_PORTS {
        fault("body.ports", &ports.len(), &format!("at most {MAX_PORTS} ports"));
    }
    let mut seen = BTreeSet::new();
    for (index, Port { port, name, app_protocol, .. }) in ports.iter().enumerate().take(MAX_PORTS) {
        let at = |field: &str| format!("body.ports[{index}].{field}");
        if *port == 0 {
            fault(&at("port"), port, "a port from 1 to 65535");
        } else if !seen.insert(*port) {
            fault(&at("port"), port, "a port that is not listed before");
        }
        if let Some(name) = name.as_deref().filter(|name| !is_label(name)) {
            fault(&at("name"), &name, NAME);
        }
        let is_word = |text: &str| {
            !text.is_empty() && text.len() <= MAX_LABEL && text.bytes().all(|c| c.is_ascii_graphic())
        };
        if let Some(protocol) = app_protocol.as_deref().filter(|protocol| !is_word(protocol)) {
            fault(&at("appProtocol"), &protocol, "a word such as http or kubernetes.io/h2c");
        }
    }
    if let Some(ip) = ip.filter(|ip| ip.is_unspecified() || ip.is_multicast()) {
        fault("body.ip", &ip, "an address that one machine can have");
    }
    if labels.len() > MAX_LABELS {
        fault("body.labels", &labels.len(), &format!("at most {MAX_LABELS} labels"));
    }
    let is_bad = |text: &str| text.len() > MAX_LABEL || text.chars().any(char::is_control);
    for (key, value) in labels.iter().take(MAX_LABELS) {
        if key.is_empty() || is_bad(key) || is_bad(value) {
            fault("body.labels", key, "keys and values of at most 253 bytes without control characters");
        }
    }
    if let Some(ttl) = ttl.filter(|ttl| !(MIN_TTL..=MAX_TTL).contains(ttl)) {
        fault("body.ttlSeconds", &ttl.as_secs_f64(), "from 1 to 3600 seconds");
    }
    faults
}

/// A DNS-1123 label.
fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Optional seconds, whole or not.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => s.serialize_some(&duration.as_secs_f64()),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(d)?;
        let duration = |seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom);
        seconds.map(duration).transpose()
    }
}

/// Seconds.
mod whole_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(d)?).map_err(D::Error::custom)
    }
}
