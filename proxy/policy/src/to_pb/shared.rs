//! Fields that many messages have.

use crate::{Meta, Method, limits::MAX_DURATION, matching::HostMatch};
use linkerd2_proxy_api as pb;
use std::{net::SocketAddr, time::Duration};
use weft_names::Cidr;

pub(super) fn meta(meta: &Meta) -> pb::meta::Metadata {
    use pb::meta::{Resource, metadata::Kind};
    let kind = match meta {
        Meta::Default { name } => Kind::Default(name.to_string()),
        Meta::Resource(r) => Kind::Resource(Resource {
            group: r.group.to_string(),
            kind: r.kind.to_string(),
            name: r.name.to_string(),
            namespace: r.namespace.to_string(),
            section: meta.section().to_owned(),
            port: r.port.map_or(0, |port| port.get().into()),
        }),
    };
    pb::meta::Metadata { kind: Some(kind) }
}

/// Times beyond what a message can say become the longest it can.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    let duration = duration.min(MAX_DURATION);
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn socket_addr(addr: SocketAddr) -> pb::net::TcpAddress {
    addr.into()
}

pub(super) fn network(net: &Cidr) -> pb::net::IpNetwork {
    net.net().into()
}

pub(super) fn method(method: &Method) -> pb::http_types::HttpMethod {
    use pb::http_types::http_method::{Registered, Type};
    let registered = match method {
        Method::Get => Registered::Get,
        Method::Post => Registered::Post,
        Method::Put => Registered::Put,
        Method::Delete => Registered::Delete,
        Method::Patch => Registered::Patch,
        Method::Options => Registered::Options,
        Method::Connect => Registered::Connect,
        Method::Head => Registered::Head,
        Method::Trace => Registered::Trace,
        Method::Other(name) => {
            return pb::http_types::HttpMethod { r#type: Some(Type::Unregistered(name.to_string())) };
        }
    };
    pb::http_types::HttpMethod { r#type: Some(Type::Registered(registered.into())) }
}

pub(super) fn scheme(scheme: &str) -> pb::http_types::Scheme {
    use pb::http_types::scheme::{Registered, Type};
    let r#type = match scheme {
        "http" => Type::Registered(Registered::Http.into()),
        "https" => Type::Registered(Registered::Https.into()),
        other => Type::Unregistered(other.to_owned()),
    };
    pb::http_types::Scheme { r#type: Some(r#type) }
}

pub(super) fn host(host: &HostMatch) -> pb::http_route::HostMatch {
    use pb::http_route::host_match::{Match, Suffix};
    let r#match = match reverse_labels(host) {
        Ok(reverse_labels) => Match::Suffix(Suffix { reverse_labels }),
        Err(exact) => Match::Exact(exact),
    };
    pb::http_route::HostMatch { r#match: Some(r#match) }
}

pub(super) fn sni(sni: &HostMatch) -> pb::tls_route::SniMatch {
    use pb::tls_route::sni_match::{Match, Suffix};
    let r#match = match reverse_labels(sni) {
        Ok(reverse_labels) => Match::Suffix(Suffix { reverse_labels }),
        Err(exact) => Match::Exact(exact),
    };
    pb::tls_route::SniMatch { r#match: Some(r#match) }
}

/// Labels of a suffix, or an exact host.
fn reverse_labels(host: &HostMatch) -> Result<Vec<String>, String> {
    match host {
        HostMatch::Exact(host) => Err(host.to_string()),
        HostMatch::Suffix(None) => Ok(Vec::new()),
        HostMatch::Suffix(Some(suffix)) => Ok(suffix.labels().rev().map(str::to_owned).collect()),
    }
}
