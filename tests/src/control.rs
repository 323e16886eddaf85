//! A control plane that says what the test wants: destination, policy and identity as Linkerd serves them.
//!
//! What it answers is one value, [`Script`], that a test changes at any time; open streams get what changed for them. It counts
//! streams, can be stopped (connections cut, ports closed) and started again, can be slow, and can refuse with any status. On
//! loopback it speaks plaintext, elsewhere mesh TLS under the names a stock installation has.

mod api;

use crate::{
    ca::{Ca, Leaf, SUFFIX, Validity},
    place::Place,
};
use linkerd2_proxy_api::{
    destination::{DestinationProfile, WeightedAddr, destination_server::DestinationServer},
    identity::identity_server::IdentityServer,
    inbound::{Server, inbound_server_policies_server::InboundServerPoliciesServer},
    outbound::{OutboundPolicy, outbound_policies_server::OutboundPoliciesServer},
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, service::Routes};

/// Ports and names as Linkerd's.
const DESTINATION: (u16, &str) = (8086, "linkerd-destination");
const POLICY: (u16, &str) = (8090, "linkerd-destination");
const IDENTITY: (u16, &str) = (8080, "linkerd-identity");

/// A scripted control plane. Stops when dropped.
pub struct ControlPlane {
    place: Place,
    ca: Arc<Ca>,
    script: watch::Sender<Script>,
    counts: Arc<Counts>,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Held for the tasks in it: they end when it is dropped.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What it answers.
#[derive(Clone, Default)]
pub struct Script {
    /// Policies of outbound targets. Not there: NotFound.
    pub outbound: HashMap<SocketAddr, OutboundPolicy>,
    /// Profiles by path (`IP:PORT`). Not there: NotFound.
    pub profiles: HashMap<String, DestinationProfile>,
    /// Endpoints by destination path. Not there: there is no such service.
    pub endpoints: HashMap<String, Vec<WeightedAddr>>,
    /// Policies of inbound ports, by a part of the workload's text, and port. Not there: [`crate::policy::inbound_detect`].
    pub inbound: HashMap<(String, u16), Server>,
    /// Services that refuse, and with what. Their open streams end with it.
    pub refusals: HashMap<Service, Status>,
    /// How long everything takes.
    pub delay: Duration,
    /// How long certificates last; a day if not set.
    pub lifetime: Option<Duration>,
    /// Who may have a certificate with which token. Empty: everybody with any.
    pub tokens: HashMap<String, String>,
}

/// What can refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Destination.Get
    Endpoints,
    /// Destination.GetProfile
    Profiles,
    /// OutboundPolicies.Watch
    Outbound,
    /// InboundServerPolicies.WatchPort
    Inbound,
    /// Identity.Certify
    Identity,
}

/// What was asked of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Certificates issued.
    pub certified: AtomicU64,
    /// Certificates refused.
    pub refused: AtomicU64,
    /// Streams opened since the start.
    pub opened: HashMapOfCounts,
    /// Streams open now.
    pub open: HashMapOfCounts,
    /// Connections accepted.
    pub connections: AtomicU64,
}

/// A count for each of the services that stream.
#[derive(Debug, Default)]
pub struct HashMapOfCounts([AtomicU64; 4]);

impl HashMapOfCounts {
    fn of(&self, service: Service) -> &AtomicU64 {
        let [endpoints, profiles, outbound, inbound] = &self.0;
        match service {
            Service::Endpoints => endpoints,
            Service::Profiles => profiles,
            Service::Outbound => outbound,
            Service::Inbound | Service::Identity => inbound,
        }
    }

    /// The count of one service.
    pub fn get(&self, service: Service) -> u64 {
        self.of(service).load(Relaxed)
    }

    /// Of all of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl ControlPlane {
    /// Starts one at `place`.
    pub async fn start(place: &Place) -> Self {
        let control = Self::stopped(place);
        control.restart().await;
        control
    }

    /// One that has yet to be started.
    pub fn stopped(place: &Place) -> Self {
        let (script, _) = watch::channel(Script::default());
        Self {
            place: place.clone(),
            ca: Arc::new(Ca::new()),
            script,
            counts: Arc::default(),
            running: Mutex::new(None),
        }
    }

    /// The authority that signs its certificates.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What was asked of it.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Changes what it answers; open streams are told.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        self.script.send_modify(change);
    }

    /// Cuts all connections and closes the ports.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Starts it again, on the same ports with the same script.
    ///
    /// # Panics
    /// When it runs already.
    pub async fn restart(&self) {
        let api = api::Api {
            ca: Arc::clone(&self.ca),
            script: self.script.clone(),
            counts: Arc::clone(&self.counts),
        };
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let services: [((u16, &str), Routes); 3] = [
            (DESTINATION, Routes::new(DestinationServer::new(api.clone()))),
            (
                POLICY,
                Routes::new(OutboundPoliciesServer::new(api.clone()))
                    .add_service(InboundServerPoliciesServer::new(api.clone())),
            ),
            (IDENTITY, Routes::new(IdentityServer::new(api))),
        ];
        for ((port, name), routes) in services {
            let tls = (!self.place.ip().is_loopback()).then(|| {
                let leaf: Leaf = self.ca.leaf(&service_identity(name), Validity::DAY);
                TlsAcceptor::from(self.ca.server(&leaf, &[]))
            });
            let (address, counts, connections) =
                (self.place.at(port), Arc::clone(&self.counts), Arc::downgrade(&tasks));
            // Bound before this returns, so that a proxy started next finds it.
            let listener =
                self.place.run("a port of the control plane", async move { bind(address).await }).await;
            let accept =
                self.place.spawn_on(&mut tasks.lock().unwrap_or_else(PoisonError::into_inner), async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        counts.connections.fetch_add(1, Relaxed);
                        let (tls, routes) = (tls.clone(), routes.clone());
                        let Some(tasks) = connections.upgrade() else { return };
                        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
                        while tasks.try_join_next().is_some() {}
                        tasks.spawn(async move {
                            let _ = stream.set_nodelay(true);
                            match tls {
                                None => serve(stream, routes).await,
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        serve(stream, routes).await;
                                    }
                                }
                            }
                        });
                    }
                });
            let _ = accept;
        }
        let before =
            self.running.lock().unwrap_or_else(PoisonError::into_inner).replace(Running { _tasks: tasks });
        assert!(before.is_none(), "it runs already");
    }

    /// The variables that lead a proxy to it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for (what, (port, name)) in [("DESTINATION", DESTINATION), ("POLICY", POLICY), ("IDENTITY", IDENTITY)]
        {
            variables.push((format!("LINKERD2_PROXY_{what}_SVC_ADDR"), self.place.at(port).to_string()));
            variables.push((format!("LINKERD2_PROXY_{what}_SVC_NAME"), service_identity(name)));
        }
        variables.push(("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS".into(), self.ca.anchors()));
        variables
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
    let socket = socket.expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    socket.bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.listen(1024).expect("a listening socket")
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Routes) {
    let service = hyper_util::service::TowerToHyperService::new(routes);
    let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    // A proxy that goes away is nothing to report.
    let _ = server.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
}

/// The identity of a service of the control plane.
pub fn service_identity(account: &str) -> String {
    format!("{account}.linkerd.{SUFFIX}")
}
