//! The control plane's services: each stream follows the part of the script that it is about.

use super::{Counts, Script, Service};
use crate::{
    ca::{Ca, Validity},
    policy,
};
use linkerd2_proxy_api::{
    destination::{
        AddrSet, DestinationProfile, GetDestination, NoEndpoints, Update, WeightedAddr, WeightedAddrSet,
        destination_server::Destination, update,
    },
    identity::{CertifyRequest, CertifyResponse, identity_server::Identity},
    inbound::{PortSpec, Server, inbound_server_policies_server::InboundServerPolicies},
    outbound::{OutboundPolicy, TrafficSpec, outbound_policies_server::OutboundPolicies, traffic_spec},
};
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(super) struct Api {
    pub(super) ca: Arc<Ca>,
    pub(super) script: watch::Sender<Script>,
    pub(super) counts: Arc<Counts>,
}

/// Counts a stream as open until it is dropped.
struct Open(Arc<Counts>, Service);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.of(self.1).fetch_sub(1, Relaxed);
    }
}

/// What a stream is while it waits for the next change.
struct Follow<T, F> {
    script: watch::Receiver<Script>,
    service: Service,
    news: F,
    waiting: VecDeque<T>,
    ended: bool,
    first: bool,
    _open: Open,
}

impl Api {
    /// A stream of what `news` finds in the script, now and whenever it changes. `news` remembers what it has said.
    fn follow<T: Send + 'static>(
        &self,
        service: Service,
        news: impl FnMut(&Script) -> Result<Vec<T>, Status> + Send + 'static,
    ) -> Streaming<T> {
        self.counts.opened.of(service).fetch_add(1, Relaxed);
        self.counts.open.of(service).fetch_add(1, Relaxed);
        let follow = Follow {
            script: self.script.subscribe(),
            service,
            news,
            waiting: VecDeque::new(),
            ended: false,
            first: true,
            _open: Open(Arc::clone(&self.counts), service),
        };
        Box::pin(futures_util::stream::unfold(follow, |mut follow| async move {
            if let Some(item) = follow.waiting.pop_front() {
                return Some((Ok(item), follow));
            }
            if follow.ended {
                return None;
            }
            loop {
                if !std::mem::take(&mut follow.first) && follow.script.changed().await.is_err() {
                    return None;
                }
                let delay = follow.script.borrow().delay;
                tokio::time::sleep(delay).await;
                let said = {
                    let script = follow.script.borrow_and_update();
                    match script.refusals.get(&follow.service) {
                        Some(status) => Err(status.clone()),
                        None => (follow.news)(&script),
                    }
                };
                match said {
                    Err(status) => {
                        follow.ended = true;
                        return Some((Err(status), follow));
                    }
                    Ok(items) => follow.waiting.extend(items),
                }
                if let Some(item) = follow.waiting.pop_front() {
                    return Some((Ok(item), follow));
                }
            }
        }))
    }
}

/// News of a single value: the value when it is not what was said last.
fn latest<T: Clone + PartialEq + Send + 'static>(
    mut find: impl FnMut(&Script) -> Result<T, Status> + Send + 'static,
) -> impl FnMut(&Script) -> Result<Vec<T>, Status> + Send + 'static {
    let mut said: Option<T> = None;
    move |script| {
        let now = find(script)?;
        if said.as_ref() == Some(&now) {
            return Ok(Vec::new());
        }
        said = Some(now.clone());
        Ok(vec![now])
    }
}

#[tonic::async_trait]
impl Destination for Api {
    type GetStream = Streaming<Update>;
    type GetProfileStream = Streaming<DestinationProfile>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        let mut said: Option<Vec<WeightedAddr>> = None;
        let stream = self.follow(Service::Endpoints, move |script| {
            let updates = match (script.endpoints.get(&path), said.take()) {
                (None, None) => Vec::new(),
                (None, Some(_)) => vec![update::Update::NoEndpoints(NoEndpoints { exists: false })],
                (Some(now), before) => {
                    let known = before.is_some();
                    let before = before.unwrap_or_default();
                    let (added, gone) = difference(&before, now);
                    said = Some(now.clone());
                    let mut updates = Vec::new();
                    if !added.is_empty() {
                        let set = WeightedAddrSet { addrs: added, ..WeightedAddrSet::default() };
                        updates.push(update::Update::Add(set));
                    }
                    if !gone.is_empty() {
                        updates.push(update::Update::Remove(AddrSet {
                            addrs: gone.into_iter().filter_map(|endpoint| endpoint.addr).collect(),
                        }));
                    }
                    if !known && now.is_empty() {
                        updates.push(update::Update::NoEndpoints(NoEndpoints { exists: true }));
                    }
                    updates
                }
            };
            Ok(updates.into_iter().map(|update| Update { update: Some(update) }).collect())
        });
        Ok(Response::new(stream))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let path = request.into_inner().path;
        let news = latest(move |script: &Script| {
            script.profiles.get(&path).cloned().ok_or_else(|| Status::not_found("no profile in the script"))
        });
        Ok(Response::new(self.follow(Service::Profiles, news)))
    }
}

/// What is new or changed, and what is gone.
fn difference(before: &[WeightedAddr], now: &[WeightedAddr]) -> (Vec<WeightedAddr>, Vec<WeightedAddr>) {
    let added = now.iter().filter(|endpoint| !before.contains(endpoint)).cloned().collect();
    let still = |gone: &WeightedAddr| now.iter().any(|endpoint| endpoint.addr == gone.addr);
    let gone = before.iter().filter(|endpoint| !still(endpoint)).cloned().collect();
    (added, gone)
}

#[tonic::async_trait]
impl OutboundPolicies for Api {
    type WatchStream = Streaming<OutboundPolicy>;

    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch(&self, request: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let spec = request.into_inner();
        let Some(traffic_spec::Target::Addr(target)) = spec.target else {
            return Err(Status::invalid_argument("no address"));
        };
        let ip: IpAddr = target
            .ip
            .and_then(|ip| ip.try_into().ok())
            .ok_or_else(|| Status::invalid_argument("no IP address"))?;
        let port = u16::try_from(target.port).map_err(|_| Status::invalid_argument("no port"))?;
        let target = SocketAddr::new(ip, port);
        let news = latest(move |script: &Script| {
            script.outbound.get(&target).cloned().ok_or_else(|| Status::not_found("no policy in the script"))
        });
        Ok(Response::new(self.follow(Service::Outbound, news)))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Api {
    type WatchPortStream = Streaming<Server>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(
        &self,
        request: Request<PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let PortSpec { workload, port } = request.into_inner();
        let news = latest(move |script: &Script| {
            let matches =
                |(of, number): &(String, u16)| u32::from(*number) == port && workload.contains(of.as_str());
            let policy =
                script.inbound.iter().find(|(key, _)| matches(key)).map(|(_, policy)| policy.clone());
            Ok(policy.unwrap_or_else(policy::inbound_detect))
        });
        Ok(Response::new(self.follow(Service::Inbound, news)))
    }
}

#[tonic::async_trait]
impl Identity for Api {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let CertifyRequest { identity, token, certificate_signing_request } = request.into_inner();
        let script = self.script.borrow().clone();
        tokio::time::sleep(script.delay).await;
        let refuse = |status: Status| {
            self.counts.refused.fetch_add(1, Relaxed);
            Err(status)
        };
        if let Some(status) = script.refusals.get(&Service::Identity) {
            return refuse(status.clone());
        }
        if let Some(expected) = script.tokens.get(&identity)
            && expected.as_bytes() != token
        {
            return refuse(Status::failed_precondition(format!("this is not the token of {identity}")));
        }
        let lifetime = script.lifetime.unwrap_or(std::time::Duration::from_secs(86_400));
        match self.ca.sign(&certificate_signing_request, Validity::lasting(lifetime)) {
            Err(error) => refuse(Status::invalid_argument(format!("the request cannot be signed: {error}"))),
            Ok(mut chain) => {
                self.counts.certified.fetch_add(1, Relaxed);
                let leaf_certificate = chain.remove(0);
                Ok(Response::new(CertifyResponse {
                    leaf_certificate,
                    intermediate_certificates: chain,
                    valid_until: Some((SystemTime::now() + lifetime).into()),
                }))
            }
        }
    }
}
