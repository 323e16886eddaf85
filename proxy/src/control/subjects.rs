//! One task for each thing the workers asked about: it follows the control plane's streams and publishes what they come to.

use super::{
    Shared,
    follow::{Event, Next, follow},
    status_text,
};
use linkerd2_proxy_api::{
    destination::{GetDestination, destination_client::DestinationClient},
    inbound::{PortSpec, inbound_server_policies_client::InboundServerPoliciesClient},
    net::TcpAddress,
    outbound::{TrafficSpec, outbound_policies_client::OutboundPoliciesClient, traffic_spec},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;
use tonic::Code;
use weft_engine::io::{Answer, DiscoverError, Subject};
use weft_policy::{
    inbound::ServerPolicy,
    outbound::{Change, EndpointSet, Policy, PolicyLookup, Profile},
};

/// What both streams about one target have said so far. Outer `None`: nothing yet; inner `None`: that there is none.
#[derive(Default)]
struct Known {
    profile: Option<Option<Arc<Profile>>>,
    policy: Option<Option<Arc<Policy>>>,
}

/// Follows profile and policy of an outbound target, and publishes the one policy they make together.
pub(super) async fn target(shared: Arc<Shared>, target: SocketAddr) {
    let known = Mutex::new(Known::default());
    let learn = |learn: &mut dyn FnMut(&mut Known)| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        learn(&mut known);
        let (Some(profile), Some(policy)) = (&known.profile, &known.policy) else { return };
        let policy = policy.as_ref().map_or(PolicyLookup::Absent, PolicyLookup::Found);
        let policy = Policy::resolve(target, profile.as_deref(), policy);
        shared.publish(Subject::Target(target), Answer::Discovered { target, policy: Ok(policy) });
    };
    let refused = Notify::new();
    let both = async {
        tokio::join!(profile(&shared, target, &learn), policy(&shared, target, &learn, &refused));
    };
    tokio::select! {
        () = both => {}
        () = refused.notified() => {}
    }
}

async fn profile(shared: &Shared, target: SocketAddr, learn: &impl Fn(&mut dyn FnMut(&mut Known))) {
    if !shared.takes_profile(target) {
        return learn(&mut |known| known.profile = Some(None));
    }
    let open = || {
        let mut client = DestinationClient::new(shared.destination.clone());
        let request = GetDestination {
            path: target.to_string(),
            context_token: shared.destination_context.clone(),
            ..GetDestination::default()
        };
        async move { client.get_profile(request).await }
    };
    follow(shared.limits, &shared.counts.profiles, open, |event| match event {
        Event::Message { message, .. } => {
            let profile = Arc::new(Profile::from_pb(&message));
            learn(&mut |known| known.profile = Some(Some(Arc::clone(&profile))));
            Next::Continue
        }
        // Any failure means "no profile" if there was none; what was known stays.
        Event::Failed(status) => {
            learn(&mut |known| {
                known.profile.get_or_insert(None);
            });
            match status.code() {
                Code::InvalidArgument | Code::FailedPrecondition => Next::Stop,
                _ => Next::Continue,
            }
        }
    })
    .await;
}

async fn policy(
    shared: &Shared,
    target: SocketAddr,
    learn: &impl Fn(&mut dyn FnMut(&mut Known)),
    refused: &Notify,
) {
    let open = || {
        let mut client = OutboundPoliciesClient::new(shared.policy.clone());
        let addr = TcpAddress { ip: Some(target.ip().into()), port: u32::from(target.port()) };
        let spec = TrafficSpec {
            source_workload: shared.workload.clone(),
            target: Some(traffic_spec::Target::Addr(addr)),
        };
        async move { client.watch(spec).await }
    };
    let mut found = false;
    follow(shared.limits, &shared.counts.outbound_policies, open, |event| match event {
        Event::Message { message, .. } => {
            found = true;
            let policy = Arc::new(Policy::from_pb(&message));
            learn(&mut |known| known.policy = Some(Some(Arc::clone(&policy))));
            Next::Continue
        }
        Event::Failed(status) => match status.code() {
            Code::NotFound | Code::Unimplemented => {
                learn(&mut |known| known.policy = Some(None));
                Next::Stop
            }
            // What was known stays in force; and what waits for a control plane that is away goes on waiting, up to its
            // own time-out.
            code if found || is_passing(code) => Next::Continue,
            _ => {
                let error = DiscoverError { reason: status_text(&status).into() };
                shared
                    .publish_last(Subject::Target(target), Answer::Discovered { target, policy: Err(error) });
                refused.notify_one();
                Next::Stop
            }
        },
    })
    .await;
}

/// Follows the endpoints of a destination path.
pub(super) async fn path(shared: Arc<Shared>, path: Arc<str>) {
    let open = || {
        let mut client = DestinationClient::new(shared.destination.clone());
        let request = GetDestination {
            path: path.to_string(),
            context_token: shared.destination_context.clone(),
            ..GetDestination::default()
        };
        async move { client.get(request).await }
    };
    let mut set: Option<Arc<EndpointSet>> = None;
    follow(shared.limits, &shared.counts.destinations, open, |event| {
        match event {
            Event::Message { message, first } => {
                let Some(change) = Change::from_pb(&message) else { return Next::Continue };
                // What happened while there was no stream is not told: its first message begins anew.
                let base = match (&set, &change) {
                    (Some(set), _) if !first => Arc::clone(set),
                    (_, Change::Remove(_)) => set.clone().unwrap_or_default(),
                    _ => Arc::default(),
                };
                set = Some(Arc::new(base.changed(change)));
            }
            Event::Failed(status) => match status.code() {
                Code::NotFound | Code::InvalidArgument => set = Some(Arc::new(EndpointSet::empty(false))),
                // What was known stays in force.
                _ => return Next::Continue,
            },
        }
        if let Some(set) = &set {
            shared.publish(
                Subject::Path(Arc::clone(&path)),
                Answer::Endpoints { path: Arc::clone(&path), endpoints: Arc::clone(set) },
            );
        }
        Next::Continue
    })
    .await;
}

/// Follows the policy of an inbound port.
pub(super) async fn port(shared: Arc<Shared>, port: u16) {
    let open = || {
        let mut client = InboundServerPoliciesClient::new(shared.policy.clone());
        let spec = PortSpec { workload: shared.workload.clone(), port: u32::from(port) };
        async move { client.watch_port(spec).await }
    };
    follow(shared.limits, &shared.counts.inbound_policies, open, |event| match event {
        Event::Message { message, .. } => {
            let policy = Arc::new(ServerPolicy::from_pb(&message));
            shared.publish(Subject::Port(port), Answer::Port { port, policy });
            Next::Continue
        }
        Event::Failed(status) => match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition => {
                tracing::warn!(port, status = %status_text(&status), "the policy of this port is not followed any more");
                Next::Stop
            }
            _ => Next::Continue,
        },
    })
    .await;
}

/// Statuses that say nothing about what was asked, only that now is a bad time.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
            | Code::Aborted
    )
}
