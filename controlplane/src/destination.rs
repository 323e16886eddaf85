//! `io.linkerd.proxy.destination.Destination`: the endpoints and the profile of what a proxy wants to reach.
//!
//! Deliberate differences to Linkerd: a service without endpoints is told at once (`NoEndpoints{exists: true}`), so
//! that a proxy knows that it is not merely waiting; a slow proxy's stream coalesces and is never closed.

use std::sync::Arc;

use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination};
use tonic::Status;
use weft_model::{
    Mesh, Published, SubscribeError,
    view::{
        Absent,
        endpoints::{Endpoints, EndpointsKey},
        profile::{ProfileKey, Target},
    },
};
use weft_names::DnsName;
use weft_policy::{
    outbound::{Change, EndpointSet},
    to_pb,
};

use crate::{
    grpc::{
        reply::{Message, Messages, encode},
        watch::{Stopping, follow},
    },
    target::{Authority, Context, Host, ServiceName, service_name},
};

/// `Get`: a stream of changes to a service's endpoints, the first from none.
///
/// # Errors
/// The status Linkerd answers with: bad authorities, addresses, services there are not.
pub fn get(
    mesh: &Mesh,
    domain: &DnsName,
    request: &GetDestination,
    stopping: Stopping,
) -> Result<Messages, Status> {
    let key = endpoints_key(request, domain)?;
    let missing = format!("Service {}.{} not found", key.service.name, key.service.namespace);
    let mut subscription = mesh.endpoints(key).map_err(|error| full(&error))?;
    match &subscription.latest().view {
        Ok(_) => {}
        Err(Absent::NotFound) => return Err(Status::not_found(missing)),
        Err(Absent::Conflict(conflict)) => return Err(Status::failed_precondition(conflict.to_string())),
    }
    let mut told: Option<Arc<Published<Endpoints>>> = None;
    Ok(follow(subscription, stopping, move |published| {
        let message = match &told {
            None => published.whole(|| first(set(published))),
            Some(before) => published.step(before.generation, || step(set(before), set(published))),
        };
        told = Some(published.clone());
        Ok((!message.is_empty()).then_some(message))
    }))
}

fn endpoints_key(request: &GetDestination, domain: &DnsName) -> Result<EndpointsKey, Status> {
    let authority = Authority::parse(&request.path).ok_or_else(|| invalid(&request.path))?;
    let name = match authority.host {
        Host::Ip(ip) => {
            let message = format!("IP queries not supported by Get API: host={ip}");
            return Err(Status::invalid_argument(message));
        }
        Host::Name(name) => name,
    };
    let ServiceName { service, instance } =
        service_name(name, domain).ok_or_else(|| invalid(&request.path))?;
    Ok(EndpointsKey { service, port: authority.port, instance: instance.map(Into::into) })
}

/// What is told of a set to whoever knows nothing yet.
fn first(set: &EndpointSet) -> Message {
    match set.endpoints() {
        [] => encode(&to_pb::update(&Change::NoEndpoints { exists: set.exists() })),
        endpoints => encode(&to_pb::update(&Change::Add(endpoints.to_vec()))),
    }
}

/// What is told to whoever knows the set before. Empty if nothing that shows has changed.
fn step(before: &EndpointSet, now: &EndpointSet) -> Message {
    let messages: Vec<Message> =
        before.changes_to(now).iter().map(|change| encode(&to_pb::update(change))).collect();
    match <[Message; 1]>::try_from(messages) {
        Ok([message]) => message,
        Err(messages) => messages.concat().into(),
    }
}

fn set(published: &Published<Endpoints>) -> &EndpointSet {
    static GONE: std::sync::LazyLock<EndpointSet> = std::sync::LazyLock::new(|| EndpointSet::empty(false));
    published.view.as_ref().unwrap_or(&GONE)
}

/// `GetProfile`: a stream of profiles of a service or an address.
///
/// # Errors
/// The status Linkerd answers with: bad authorities, services there are not, addresses that are two things.
pub fn get_profile(
    mesh: &Mesh,
    domain: &DnsName,
    request: &GetDestination,
    stopping: Stopping,
) -> Result<Messages, Status> {
    let key = profile_key(request, domain)?;
    let missing = match &key.target {
        Target::Service(service, _) => format!("Service {}.{} not found", service.name, service.namespace),
        Target::Instance(service, instance, _) => {
            format!("no pod with hostname {instance} in service {}.{}", service.name, service.namespace)
        }
        Target::Address(address) => format!("{address} not found"),
    };
    let mut subscription = mesh.profile(key).map_err(|error| full(&error))?;
    if let Err(absent) = &subscription.latest().view {
        return Err(absent_profile(absent, &missing));
    }
    Ok(follow(subscription, stopping, move |published| match &published.view {
        Ok(profile) => Ok(Some(published.whole(|| encode(&to_pb::profile(profile))))),
        // It was there when the call began: without it there is nothing to say of the target.
        Err(Absent::NotFound) => Ok(Some(published.whole(|| encode(&DestinationProfile::default())))),
        Err(absent) => Err(absent_profile(absent, &missing)),
    }))
}

fn absent_profile(absent: &Absent, missing: &str) -> Status {
    match absent {
        Absent::NotFound => Status::not_found(missing),
        Absent::Conflict(conflict) => Status::failed_precondition(conflict.to_string()),
    }
}

fn profile_key(request: &GetDestination, domain: &DnsName) -> Result<ProfileKey, Status> {
    let authority = Authority::parse(&request.path).ok_or_else(|| invalid(&request.path))?;
    let target = match authority.host {
        Host::Ip(ip) => Target::Address((ip, authority.port).into()),
        Host::Name(name) => match service_name(name, domain).ok_or_else(|| invalid(&request.path))? {
            ServiceName { service, instance: None } => Target::Service(service, authority.port),
            ServiceName { service, instance: Some(instance) } => {
                Target::Instance(service, instance.into(), authority.port)
            }
        },
    };
    Ok(ProfileKey { target, client: Context::parse(&request.context_token).ns.into() })
}

fn invalid(path: &str) -> Status {
    Status::invalid_argument(format!("Invalid authority: {path}"))
}

pub(crate) fn full(error: &SubscribeError) -> Status {
    Status::resource_exhausted(error.to_string())
}
