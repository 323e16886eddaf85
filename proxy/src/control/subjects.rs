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
    from_pb,
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
            let (profile, problems) = from_pb::profile(&message);
            tell(&format!("profile of {target}"), &problems);
            let profile = Arc::new(profile);
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
    let mut endpoints = Endpoints::default();
    follow(shared.limits, &shared.counts.destinations, open, |event| {
        match event {
            Event::Message { message, first } => {
                let (change, problems) = from_pb::update(&message);
                tell(&format!("endpoints of {path}"), &problems);
                let Some(change) = change else { return Next::Continue };
                endpoints.change(change, first);
            }
            Event::Failed(status) => match status.code() {
                Code::NotFound | Code::InvalidArgument => {
                    endpoints.change(Change::NoEndpoints { exists: false }, true)
                }
                // What was known stays in force.
                _ => return Next::Continue,
            },
        }
        let endpoints = Arc::clone(&endpoints.set);
        shared.publish(
            Subject::Path(Arc::clone(&path)),
            Answer::Endpoints { path: Arc::clone(&path), endpoints },
        );
        Next::Continue
    })
    .await;
}

/// The set that a stream's changes come to, over all streams about one path.
#[derive(Default)]
struct Endpoints {
    set: Arc<EndpointSet>,
    /// A new stream has not said yet what there is: what happened while there was none is not told, so the first that it
    /// adds replaces everything.
    stale: bool,
}

impl Endpoints {
    fn change(&mut self, change: Change, first: bool) {
        self.stale |= first;
        let replaces = self.stale && !matches!(change, Change::Remove(_));
        let base = if replaces { Arc::default() } else { Arc::clone(&self.set) };
        self.stale &= !replaces;
        self.set = Arc::new(base.changed(change));
    }
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

/// What of a message could not be understood and was left out.
fn tell(of: &str, problems: &[from_pb::Problem]) {
    for problem in problems {
        tracing::warn!(problem = %problem.text(), "{of}: part of what the control plane sent is left out");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use weft_policy::outbound::Endpoint;

    fn add(ports: &[u16]) -> Change {
        Change::Add(
            ports.iter().map(|port| Arc::new(Endpoint::plain(([10, 0, 0, 1], *port).into()))).collect(),
        )
    }

    fn ports(endpoints: &Endpoints) -> Vec<u16> {
        endpoints.set.endpoints().iter().map(|endpoint| endpoint.addr.port()).collect()
    }

    #[test]
    fn the_first_addition_of_a_new_stream_replaces_what_an_old_one_said() {
        let mut endpoints = Endpoints::default();
        endpoints.change(add(&[1, 2]), true);
        endpoints.change(add(&[3]), false);
        assert_eq!(ports(&endpoints), [1, 2, 3]);
        endpoints.change(Change::Remove(vec![([10, 0, 0, 1], 2).into()]), false);
        assert_eq!(ports(&endpoints), [1, 3]);
        // The stream breaks; while it is away 1 and 3 go and 4 and 5 come.
        endpoints.change(Change::Remove(vec![([10, 0, 0, 1], 3).into()]), true);
        assert_eq!(ports(&endpoints), [1]);
        endpoints.change(add(&[4]), false);
        endpoints.change(add(&[5]), false);
        assert_eq!(ports(&endpoints), [4, 5]);
        endpoints.change(Change::NoEndpoints { exists: true }, false);
        assert!(ports(&endpoints).is_empty());
    }
}
