//! Fields that many messages have.

use super::{At, Invalid, Problem};
use crate::{
    Meta, Method,
    limits::MAX_DURATION,
    matching::{HostMatch, InvalidHostMatch},
};
use linkerd2_proxy_api as pb;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use weft_names::{Cidr, Port, ResourceRef};

pub(super) fn meta(meta: &pb::meta::Metadata) -> Result<Arc<Meta>, Problem> {
    use pb::meta::metadata::Kind;
    Ok(Arc::new(match meta.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::Default(name) => Meta::default_named(name.as_str()),
        Kind::Resource(r) => {
            let port = match r.port {
                0 => None,
                port => Some(Port::try_from(port).map_err(Invalid::Port).at("port")?),
            };
            let section = (!r.section.is_empty()).then(|| Arc::from(r.section.as_str()));
            let resource =
                ResourceRef::new(r.group.as_str(), r.kind.as_str(), r.namespace.as_str(), r.name.as_str());
            Meta::Resource(ResourceRef { section, port, ..resource })
        }
    }))
}

pub(super) fn required_meta(field: &Option<pb::meta::Metadata>) -> Result<Arc<Meta>, Problem> {
    meta(super::required(field, "metadata")?).at("metadata")
}

pub(super) fn duration(duration: &prost_types::Duration) -> Result<Duration, Invalid> {
    let duration = Duration::try_from(*duration).map_err(|_| Invalid::Duration)?;
    if duration > MAX_DURATION { Err(Invalid::Duration) } else { Ok(duration) }
}

/// A time that may be absent.
pub(super) fn maybe(field: &Option<prost_types::Duration>, name: &str) -> Result<Option<Duration>, Problem> {
    field.as_ref().map(duration).transpose().at(name)
}

pub(super) fn ip(ip: &Option<pb::net::IpAddress>) -> Result<IpAddr, Problem> {
    let ip = super::required(ip, "ip")?;
    IpAddr::try_from(*ip).map_err(|_| Invalid::Address).at("ip")
}

pub(super) fn socket_addr(addr: &pb::net::TcpAddress) -> Result<SocketAddr, Problem> {
    let port = Port::try_from(addr.port).map_err(Invalid::Port).at("port")?;
    Ok(SocketAddr::new(ip(&addr.ip)?, port.get()))
}

pub(super) fn network(net: &pb::net::IpNetwork) -> Result<Cidr, Problem> {
    let addr = ip(&net.ip)?;
    let prefix = u8::try_from(net.prefix_len).ok();
    Ok(prefix.and_then(|prefix| Cidr::new(addr, prefix)).ok_or(Invalid::Address)?)
}

pub(super) fn method(method: &pb::http_types::HttpMethod) -> Result<Method, Problem> {
    use pb::http_types::http_method::{Registered, Type};
    Ok(match method.r#type.as_ref().ok_or(Invalid::UnknownKind)? {
        Type::Registered(n) => match Registered::try_from(*n).map_err(|_| Invalid::UnknownKind)? {
            Registered::Get => Method::Get,
            Registered::Post => Method::Post,
            Registered::Put => Method::Put,
            Registered::Delete => Method::Delete,
            Registered::Patch => Method::Patch,
            Registered::Options => Method::Options,
            Registered::Connect => Method::Connect,
            Registered::Head => Method::Head,
            Registered::Trace => Method::Trace,
        },
        Type::Unregistered(name) => name.parse().map_err(Invalid::Header)?,
    })
}

pub(super) fn scheme(scheme: &pb::http_types::Scheme) -> Result<Arc<str>, Problem> {
    use pb::http_types::scheme::{Registered, Type};
    Ok(match scheme.r#type.as_ref().ok_or(Invalid::UnknownKind)? {
        Type::Registered(n) => match Registered::try_from(*n).map_err(|_| Invalid::UnknownKind)? {
            Registered::Http => Arc::from("http"),
            Registered::Https => Arc::from("https"),
        },
        Type::Unregistered(name) => {
            let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            if !valid {
                return Err(Invalid::Scheme.into());
            }
            Arc::from(name.to_ascii_lowercase())
        }
    })
}

pub(super) fn host(host: &pb::http_route::HostMatch) -> Result<HostMatch, Problem> {
    use pb::http_route::host_match::Match;
    match host.r#match.as_ref().ok_or(Invalid::UnknownKind)? {
        Match::Exact(name) => exact(name),
        Match::Suffix(suffix) => suffixed(&suffix.reverse_labels),
    }
}

pub(super) fn sni(sni: &pb::tls_route::SniMatch) -> Result<HostMatch, Problem> {
    use pb::tls_route::sni_match::Match;
    match sni.r#match.as_ref().ok_or(Invalid::UnknownKind)? {
        Match::Exact(name) => exact(name),
        Match::Suffix(suffix) => suffixed(&suffix.reverse_labels),
    }
}

fn exact(name: &str) -> Result<HostMatch, Problem> {
    let invalid = |_| Invalid::Host(InvalidHostMatch(name.to_owned()));
    Ok(HostMatch::Exact(name.parse().map_err(invalid)?))
}

fn suffixed(reverse_labels: &[String]) -> Result<HostMatch, Problem> {
    Ok(HostMatch::from_reverse_labels(reverse_labels).map_err(Invalid::Host)?)
}
