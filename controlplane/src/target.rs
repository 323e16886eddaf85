//! What proxies ask with: authorities, context tokens, workload tokens. Pure.

use std::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;
use weft_model::fact::Id;
use weft_names::DnsName;

/// The port of an authority without one.
const DEFAULT_PORT: u16 = 80;

/// An authority, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// An address, or a name as it was written.
    pub host: Host<'a>,
    /// The port; 80 where none is written.
    pub port: u16,
}

/// The host of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// Anything else.
    Name(&'a str),
}

/// A name that is one of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// The service.
    pub service: Id,
    /// The hostname of one of its workloads.
    pub instance: Option<String>,
}

impl<'a> Authority<'a> {
    /// Reads `HOST` or `HOST:PORT`; IPv6 addresses need brackets. `None` if the port is not one, or the host is
    /// empty.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                let host: Ipv6Addr = host.parse().ok()?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':')?),
                };
                (Host::Ip(host.into()), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                let host = match host.parse::<IpAddr>() {
                    Ok(ip) => Host::Ip(ip),
                    Err(_) if host.is_empty() => return None,
                    Err(_) => Host::Name(host),
                };
                (host, port)
            }
        };
        let port = match port {
            Some(port) => weft_names::Port::from_bytes(port.as_bytes())?.get(),
            None => DEFAULT_PORT,
        };
        Some(Self { host, port })
    }
}

/// Reads `SERVICE.NS.svc.DOMAIN` or `INSTANCE.SERVICE.NS.svc.DOMAIN`: label by label, in the case given, without
/// a dot at the end, as Linkerd compares. `None` for any other name.
#[must_use]
pub fn service_name(name: &str, domain: &DnsName) -> Option<ServiceName> {
    below_svc(name.strip_suffix(domain.as_str())?.strip_suffix('.')?)
}

/// Reads `SERVICE.NS.svc`, with the domain or without.
#[must_use]
pub fn service_name_short(name: &str, domain: &DnsName) -> Option<ServiceName> {
    service_name(name, domain).or_else(|| below_svc(name))
}

fn below_svc(name: &str) -> Option<ServiceName> {
    let labels: Vec<&str> = name.strip_suffix(".svc")?.split('.').collect();
    if labels.iter().any(|label| label.is_empty()) {
        return None;
    }
    match labels[..] {
        [service, namespace] => Some(ServiceName { service: Id::new(namespace, service), instance: None }),
        [instance, service, namespace] => {
            Some(ServiceName { service: Id::new(namespace, service), instance: Some(instance.to_owned()) })
        }
        _ => None,
    }
}

/// Who asks, as far as it says (`context_token`, `source_workload`). What is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Context {
    /// The client's namespace.
    pub ns: String,
    /// Its pod.
    pub pod: String,
    /// Its node.
    #[serde(rename = "nodeName")]
    pub node: String,
}

impl Context {
    /// Reads `{"ns":…,"pod":…,"nodeName":…}`, `ns:NAMESPACE` or `NAMESPACE:POD`. Anything else is a token that says
    /// nothing.
    #[must_use]
    pub fn parse(token: &str) -> Self {
        if token.starts_with('{') {
            return serde_json::from_str(token).unwrap_or_default();
        }
        match token.split_once(':') {
            Some(("ns", namespace)) => Self { ns: namespace.to_owned(), ..Self::default() },
            Some((namespace, pod)) => {
                Self { ns: namespace.to_owned(), pod: pod.to_owned(), ..Self::default() }
            }
            None => Self::default(),
        }
    }

    /// The workload that asks for its inbound policy: both its namespace and its name are needed.
    #[must_use]
    pub fn workload(&self) -> Option<Id> {
        (!self.ns.is_empty() && !self.pod.is_empty()).then(|| Id::new(&*self.ns, &*self.pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        for (text, expected) in [
            ("web.default.svc.cluster.local:8080", Some((Host::Name("web.default.svc.cluster.local"), 8080))),
            ("web", Some((Host::Name("web"), 80))),
            ("10.1.2.3:80", Some((ip("10.1.2.3"), 80))),
            ("10.1.2.3", Some((ip("10.1.2.3"), 80))),
            ("[::1]:443", Some((ip("::1"), 443))),
            ("[::1]", Some((ip("::1"), 80))),
            ("::1", None),
            ("[::1]443", None),
            ("[web]:80", None),
            ("web:0", None),
            ("web:65536", None),
            ("web:", None),
            ("web:80:80", None),
            (":80", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| Authority { host, port });
            assert_eq!(Authority::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn service_names() {
        let domain: DnsName = "cluster.local".parse().unwrap();
        for (text, full, short) in [
            ("web.default.svc.cluster.local", Some("web/-"), Some("web/-")),
            ("web-0.web.default.svc.cluster.local", Some("web/web-0"), Some("web/web-0")),
            ("web.default.svc", None, Some("web/-")),
            ("web.default", None, None),
            ("web.default.svc.cluster.local.", None, None),
            ("web.default.SVC.cluster.local", None, None),
            ("web.default.svc.xcluster.local", None, None),
            ("a.web-0.web.default.svc.cluster.local", None, None),
            ("default.svc.cluster.local", None, None),
            (".default.svc.cluster.local", None, None),
            ("svc.cluster.local", None, None),
            ("cluster.local", None, None),
            ("example.com", None, None),
        ] {
            let show = |name: Option<ServiceName>| {
                let name = name?;
                assert_eq!(&*name.service.namespace, "default");
                Some(format!("{}/{}", name.service.name, name.instance.as_deref().unwrap_or("-")))
            };
            assert_eq!(show(service_name(text, &domain)).as_deref(), full, "{text}");
            assert_eq!(show(service_name_short(text, &domain)).as_deref(), short, "{text}");
        }
    }

    #[test]
    fn context_tokens() {
        for (token, ns, pod, node) in [
            (r#"{"ns":"shop","nodeName":"n1","pod":"web-0"}"#, "shop", "web-0", "n1"),
            (r#"{"ns":"shop"}"#, "shop", "", ""),
            (r#"{"ns":"shop","extra":1}"#, "shop", "", ""),
            ("{broken", "", "", ""),
            ("ns:shop", "shop", "", ""),
            ("shop:web-0", "shop", "web-0", ""),
            ("shop", "", "", ""),
            ("", "", "", ""),
        ] {
            let context = Context::parse(token);
            assert_eq!((&*context.ns, &*context.pod, &*context.node), (ns, pod, node), "{token}");
            assert_eq!(context.workload().is_some(), !ns.is_empty() && !pod.is_empty());
        }
    }
}
