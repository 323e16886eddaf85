//! `OutboundPolicies` and `InboundServerPolicies`: what proxies do with connections, on the way out and in.

use std::net::{IpAddr, SocketAddr};

use linkerd2_proxy_api::{
    inbound::PortSpec,
    outbound::{TrafficSpec, traffic_spec},
};
use tonic::Status;
use weft_model::{
    Mesh,
    view::{
        Absent,
        inbound::{Inbound, InboundKey},
        outbound::{Outbound, OutboundKey, Target},
    },
};
use weft_names::DnsName;
use weft_policy::to_pb;

use crate::{
    destination::full,
    grpc::{
        reply::{Message, Messages, encode},
        watch::{Stopping, follow},
    },
    target::{Authority, Context, Host, ServiceName, service_name_short},
};

/// `OutboundPolicies.Watch`: a stream of policies for a target.
///
/// # Errors
/// The status Linkerd answers with: specs that say nothing, targets that are not.
pub fn watch_outbound(
    mesh: &Mesh,
    domain: &DnsName,
    request: &TrafficSpec,
    stopping: Stopping,
) -> Result<Messages, Status> {
    let key = outbound_key(request, domain)?;
    let missing = missing_target(&key.target);
    let mut subscription = mesh.outbound(key).map_err(|error| full(&error))?;
    absent_or(&subscription.latest().view, missing)?;
    Ok(follow(subscription, stopping, move |published| {
        let policy = absent_or(&published.view, missing)?;
        Ok(Some(published.whole(|| encode(&to_pb::outbound(policy)))))
    }))
}

/// `OutboundPolicies.Get`: the policy for a target as it is.
///
/// # Errors
/// As for [`watch_outbound`].
pub fn get_outbound(mesh: &Mesh, domain: &DnsName, request: &TrafficSpec) -> Result<Message, Status> {
    let key = outbound_key(request, domain)?;
    let missing = missing_target(&key.target);
    let published = mesh.outbound(key).map_err(|error| full(&error))?.latest();
    let policy: &Outbound = absent_or(&published.view, missing)?;
    Ok(published.whole(|| encode(&to_pb::outbound(policy))))
}

/// `InboundServerPolicies.WatchPort`: a stream of policies of a workload's port.
///
/// # Errors
/// The status Linkerd answers with: bad workloads and ports, workloads that are not.
pub fn watch_port(mesh: &Mesh, request: &PortSpec, stopping: Stopping) -> Result<Messages, Status> {
    let mut subscription = mesh.inbound(inbound_key(request)?).map_err(|error| full(&error))?;
    absent_or(&subscription.latest().view, UNKNOWN_SERVER)?;
    Ok(follow(subscription, stopping, |published| {
        let policy = absent_or(&published.view, UNKNOWN_SERVER)?;
        Ok(Some(published.whole(|| encode(&to_pb::server(policy)))))
    }))
}

/// `InboundServerPolicies.GetPort`: the policy of a workload's port as it is.
///
/// # Errors
/// As for [`watch_port`].
pub fn get_port(mesh: &Mesh, request: &PortSpec) -> Result<Message, Status> {
    let published = mesh.inbound(inbound_key(request)?).map_err(|error| full(&error))?.latest();
    let policy: &Inbound = absent_or(&published.view, UNKNOWN_SERVER)?;
    Ok(published.whole(|| encode(&to_pb::server(policy))))
}

const UNKNOWN_SERVER: &str = "unknown server";

fn missing_target(target: &Target) -> &'static str {
    match target {
        Target::Service(..) => "unknown target",
        Target::Address(_) => "No such service",
    }
}

fn absent_or<'a, V>(view: &'a Result<V, Absent>, missing: &str) -> Result<&'a V, Status> {
    match view {
        Ok(view) => Ok(view),
        Err(Absent::NotFound) => Err(Status::not_found(missing)),
        Err(Absent::Conflict(conflict)) => Err(Status::failed_precondition(conflict.to_string())),
    }
}

fn outbound_key(request: &TrafficSpec, domain: &DnsName) -> Result<OutboundKey, Status> {
    let target = match &request.target {
        Some(traffic_spec::Target::Addr(address)) => Target::Address(address_of(address)?),
        Some(traffic_spec::Target::Authority(text)) => {
            let authority = Authority::parse(text);
            let authority =
                authority.ok_or_else(|| Status::invalid_argument(format!("invalid authority: {text}")))?;
            let name = match authority.host {
                Host::Ip(ip) => return key(Target::Address((ip, authority.port).into()), request),
                Host::Name(name) => name,
            };
            match service_name_short(name, domain) {
                Some(ServiceName { service, instance: None }) => Target::Service(service, authority.port),
                _ => return Err(Status::not_found("unknown target")),
            }
        }
        None => return Err(Status::invalid_argument("target is required")),
    };
    key(target, request)
}

fn key(target: Target, request: &TrafficSpec) -> Result<OutboundKey, Status> {
    Ok(OutboundKey { target, client: Context::parse(&request.source_workload).ns.into() })
}

fn address_of(address: &linkerd2_proxy_api::net::TcpAddress) -> Result<SocketAddr, Status> {
    let port = u16::try_from(address.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument(format!("invalid port: {}", address.port)))?;
    let ip = address.ip.as_ref().and_then(|ip| IpAddr::try_from(*ip).ok());
    let ip = ip.ok_or_else(|| Status::invalid_argument("invalid or missing IP address"))?;
    Ok(SocketAddr::new(ip.to_canonical(), port))
}

fn inbound_key(request: &PortSpec) -> Result<InboundKey, Status> {
    let port = u16::try_from(request.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::invalid_argument(format!("Invalid port: {}", request.port)))?;
    let workload = Context::parse(&request.workload).workload();
    let workload = workload
        .ok_or_else(|| Status::invalid_argument(format!("Invalid workload: {}", request.workload)))?;
    Ok(InboundKey { workload, port })
}
