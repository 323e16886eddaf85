//! `Server`.

use weft_policy::inbound::DefaultPolicy;

use super::{
    meta::Meta,
    reader::{At, Fields, Reader},
    selector,
};
use crate::fact::{PortRef, Server, ServerProtocol};

const PROTOCOLS: [(&str, ServerProtocol); 6] = [
    ("unknown", ServerProtocol::Unknown),
    ("HTTP/1", ServerProtocol::Http1),
    ("HTTP/2", ServerProtocol::Http2),
    ("gRPC", ServerProtocol::Grpc),
    ("opaque", ServerProtocol::Opaque),
    ("TLS", ServerProtocol::Tls),
];

/// Reads `spec` of a `Server`.
pub(super) fn read(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<Server> {
    let port = spec.need(r, "port", "a port's number or name").and_then(|at| port(&at, r));
    let pods = match (spec.get("podSelector"), spec.get("externalWorkloadSelector")) {
        (Some(at), None) => selector::read(&at, r).map(Some),
        (None, Some(at)) => selector::read(&at, r).map(|_| None),
        (Some(pods), Some(at)) => {
            selector::read(&pods, r);
            at.reject(r, "expected either podSelector or externalWorkloadSelector, not both");
            None
        }
        (None, None) => {
            spec.here().reject(r, "expected podSelector or externalWorkloadSelector");
            None
        }
    };
    let protocol = match spec.get("proxyProtocol") {
        Some(at) => at.choice(r, &PROTOCOLS),
        None => Some(ServerProtocol::Unknown),
    };
    let access = match spec.get("accessPolicy") {
        Some(at) => at.choice(r, &DefaultPolicy::ALL.map(|policy| (policy.name(), policy))),
        None => Some(DefaultPolicy::Deny),
    };
    Some(Server {
        id: meta.id,
        labels: meta.labels,
        created: meta.created,
        pods: pods?,
        port: port?,
        protocol: protocol?,
        access: access?,
        source: meta.source,
    })
}

/// A port's number, or its name (IANA service name: at most 15 lower-case letters, digits, `-`).
pub(super) fn port(at: &At<'_>, r: &mut Reader) -> Option<PortRef> {
    use super::tree::Value;
    if let Value::Integer(_) = at.value() {
        return at.port(r).map(PortRef::Number);
    }
    at.parse(r, "a port's number, or its name", |text| {
        let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        match text.parse::<u16>() {
            Ok(_) => Err("a number is written without quotes"),
            Err(_) if !text.is_empty() && text.len() <= 15 && text.bytes().all(letter) => {
                Ok(PortRef::Name(text.into()))
            }
            Err(_) => Err("a name has at most 15 lower-case letters, digits and `-`"),
        }
    })
}
