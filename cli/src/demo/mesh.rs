//! The demo's mesh: made, changed, unmade.

use super::{
    control_plane::{self, ControlPlane, ControlPlaneError},
    topology::{self, Addresses, Workload},
};
use crate::{
    machine::{
        Layout, MachineError, Network, Owner, Program,
        owner::{own_runtime_directory, sweep},
        privilege::Exempt,
    },
    workload::{
        Pod, Site, Spec,
        environment::Listen,
        pod::{PodError, Registered},
        site::Ground,
    },
};
use futures_util::future::{join_all, try_join_all};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use weft_init::netlink::route::Route;

/// How long a program may take to open its port.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(20);
/// How long everything may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// Services' addresses where there are namespaces; nothing needs a route to them.
const SERVICES: &str = "10.96.0.0/16";
/// Addresses where there are none.
const LOOPBACK_WORKLOADS: &str = "127.88.0.0/16";
const LOOPBACK_SERVICES: &str = "127.96.0.0/16";
const LOOPBACK_CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(127, 88, 255, 254);

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How redirection knows proxies, where there are namespaces.
    pub exempt: Option<Exempt>,
    /// How long certificates are valid.
    pub certificate_lifetime: Duration,
    /// The user's run-time directory.
    pub xdg_runtime_dir: Option<PathBuf>,
}

/// A mesh that runs.
#[derive(Debug)]
pub struct Mesh {
    /// What all share.
    pub site: Site,
    /// Its control plane.
    pub control_plane: ControlPlane,
    /// Its workloads, in the order they were started.
    pub pods: Vec<Pod>,
    /// What a killed demo had left, and was removed.
    pub swept: Vec<String>,
    manifests: PathBuf,
}

/// Why there is no mesh, or no workload.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Namespaces, links, files.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// A workload.
    #[error("workload {pod}")]
    Pod {
        /// Which.
        pod: String,
        /// Why.
        source: Box<PodError>,
    },
    /// Its program did not open its port.
    #[error("workload {pod}: its program {what}")]
    Program {
        /// Which.
        pod: String,
        /// What it did instead.
        what: String,
    },
    /// There is no such workload.
    #[error("there is no workload {0}")]
    Unknown(String),
    /// A file of the demo's own.
    #[error("could not write {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Mesh {
    /// Makes network, control plane and all workloads. `progress` is told what is done.
    ///
    /// # Errors
    /// See [`MeshError`]. What was made until then is removed again.
    pub async fn start(options: &Options, mut progress: impl FnMut(&str)) -> Result<Self, MeshError> {
        let base = own_runtime_directory(options.xdg_runtime_dir.as_deref());
        let swept = sweep(&base)?;
        let owner = Owner::claim(&base, "demo")?;
        let directory = owner.directory().to_owned();
        let (ground, workloads, services, listen) = match options.exempt {
            Some(exempt) => {
                let routes =
                    Route::open().and_then(|mut route| route.routes()).map_err(MachineError::from)?;
                let layout = Layout::free(&routes).ok_or_else(|| MachineError::Address {
                    address: "every candidate".into(),
                    network: "10.0.0.0/8, which this machine routes elsewhere".into(),
                })?;
                let network = Network::create(layout)?;
                (Ground::Namespaces(network, exempt), layout.v4.to_string(), SERVICES, layout.gateway())
            }
            None => {
                (Ground::Loopback, LOOPBACK_WORKLOADS.to_owned(), LOOPBACK_SERVICES, LOOPBACK_CONTROL_PLANE)
            }
        };
        progress("network");
        let manifests = directory.join("manifests");
        fs::create_dir(&manifests).map_err(|source| MeshError::File { path: manifests.clone(), source })?;
        let state = directory.join("state");
        let registry = crate::workload::Registry::in_state(&state);
        let site = Site::new(owner, ground, registry)?;
        let options = control_plane::Options {
            state,
            manifests: manifests.clone(),
            log: site.directory("log")?.join("control-plane.log"),
            listen,
            workloads,
            services: services.to_owned(),
            certificate_lifetime: options.certificate_lifetime,
            names: site.network().is_some(),
        };
        let hub = site.network().map(|network| network.hub().try_clone()).transpose();
        let hub = hub.map_err(|source| MeshError::File { path: "/proc/self/fd".into(), source })?;
        let control_plane = ControlPlane::start(options, hub).await?;
        progress("control plane");
        let mut mesh = Self { site, control_plane, pods: Vec::new(), swept, manifests };
        mesh.start_workloads(&topology::workloads(), progress).await?;
        Ok(mesh)
    }

    /// Where there are namespaces, all at once; else callers after those they call, whose addresses they need.
    async fn start_workloads(
        &mut self,
        workloads: &[Workload],
        mut progress: impl FnMut(&str),
    ) -> Result<(), MeshError> {
        let by_name = self.site.network().is_some();
        let (first, then): (Vec<_>, Vec<_>) =
            workloads.iter().partition(|workload| by_name || workload.calls.is_empty());
        let mut started = try_join_all(first.into_iter().map(|workload| self.make(workload))).await?;
        progress(&format!("{} workloads with a proxy each", started.len()));
        self.pods.append(&mut started);
        for workload in then {
            let pod = self.make(workload).await?;
            progress(&pod.spec.name);
            self.pods.push(pod);
        }
        Ok(())
    }

    /// Starts one more workload; when this returns it takes traffic.
    ///
    /// # Errors
    /// See [`MeshError`].
    pub async fn add(&mut self, workload: &Workload) -> Result<&Pod, MeshError> {
        let pod = self.make(workload).await?;
        self.pods.push(pod);
        self.pods.last().ok_or_else(|| MeshError::Unknown(workload.pod.clone()))
    }

    async fn make(&self, workload: &Workload) -> Result<Pod, MeshError> {
        let name = &workload.pod;
        let failed = |source: PodError| MeshError::Pod { pod: name.clone(), source: Box::new(source) };
        let spec = Spec {
            namespace: topology::NAMESPACE.to_owned(),
            name: name.clone(),
            registration: workload.registration(),
            proxy_log: None,
        };
        let services = self.services();
        let called: Vec<_> =
            workload.calls.iter().filter_map(|called| services.get(called).copied()).collect();
        let listen = |ip| match self.site.network() {
            Some(_) => Listen::standard(self.site.ipv6),
            None => Listen::loopback(ip, &called),
        };
        let registered = Registered::new(&self.site.registry, &spec).await.map_err(|e| failed(e.into()))?;
        let mut pod = Pod::create(&self.site, spec, registered, listen).await.map_err(failed)?;
        let own_ip = self.site.network().is_none().then(|| pod.place.ip());
        let addresses = self.addresses_for(&pod, &workload.calls);
        let Some(arguments) = workload.program(own_ip, &addresses) else {
            pod.ready().await.map_err(failed)?;
            pod.set_ready(true).await;
            return Ok(pod);
        };
        let program =
            Program { stdin: Stdio::null(), stdout: Stdio::piped(), ..Program::ourselves(arguments) };
        pod.start(program).map_err(failed)?;
        drain_output(&mut pod);
        pod.ready().await.map_err(failed)?;
        if pod.serve(PROGRAM_PATIENCE).await {
            return Ok(pod);
        }
        let what = match pod.program.as_ref().and_then(crate::machine::Running::ended) {
            Some(status) => format!("ended with {status}"),
            None => format!("did not open its port within {PROGRAM_PATIENCE:?}"),
        };
        Err(MeshError::Program { pod: name.clone(), what })
    }

    /// Ends a workload as a rollout does: no more traffic, then program and proxy.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn remove(&mut self, name: &str) -> Result<(), MeshError> {
        let at = self.pods.iter().position(|pod| pod.spec.name == name);
        let pod = self.pods.remove(at.ok_or_else(|| MeshError::Unknown(name.to_owned()))?);
        pod.stop(GRACE).await;
        Ok(())
    }

    /// A workload.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn pod(&self, name: &str) -> Result<&Pod, MeshError> {
        self.pods.iter().find(|pod| pod.spec.name == name).ok_or_else(|| MeshError::Unknown(name.to_owned()))
    }

    /// A workload, to be changed.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn pod_mut(&mut self, name: &str) -> Result<&mut Pod, MeshError> {
        let pod = self.pods.iter_mut().find(|pod| pod.spec.name == name);
        pod.ok_or_else(|| MeshError::Unknown(name.to_owned()))
    }

    /// The virtual address and port of each service.
    pub fn services(&self) -> BTreeMap<&'static str, SocketAddr> {
        let address = |service: &str| {
            let pod = self.pods.iter().find(|pod| pod.answer.service.as_deref() == Some(service));
            pod.and_then(|pod| pod.answer.service_ip)
        };
        let ports = topology::PORTS.iter();
        ports.filter_map(|(service, port)| Some((*service, (address(service)?, *port).into()))).collect()
    }

    /// Where a workload's program finds those it calls.
    fn addresses_for(&self, pod: &Pod, calls: &[&'static str]) -> Addresses {
        if self.site.network().is_some() {
            return topology::by_name();
        }
        let listen = Listen::loopback(pod.place.ip(), &self.called(calls));
        calls.iter().zip(listen.targets).map(|(called, (listen, _))| (*called, listen.to_string())).collect()
    }

    fn called(&self, calls: &[&'static str]) -> Vec<SocketAddr> {
        let services = self.services();
        calls.iter().filter_map(|called| services.get(called).copied()).collect()
    }

    /// Where the load generator finds services.
    ///
    /// # Errors
    /// There is no client.
    pub fn client_addresses(&self) -> Result<Addresses, MeshError> {
        Ok(self.addresses_for(self.pod(topology::CLIENT)?, &topology::services()))
    }

    /// The address on which a workload's program reaches a service.
    ///
    /// # Errors
    /// There is no such workload or service.
    pub fn target(&self, pod: &str, service: &str) -> Result<SocketAddr, MeshError> {
        let unknown = || MeshError::Unknown(service.to_owned());
        if self.site.network().is_some() {
            return self.services().get(service).copied().ok_or_else(unknown);
        }
        let pod = self.pod(pod)?;
        let workloads = topology::workloads();
        let known = workloads.iter().find(|workload| workload.pod == pod.spec.name);
        let calls = known.map_or_else(topology::services, |workload| workload.calls.clone());
        let addresses = self.addresses_for(pod, &calls);
        addresses.get(service).and_then(|address| address.parse().ok()).ok_or_else(unknown)
    }

    /// Addresses of all workloads.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.pods.iter().flat_map(|pod| pod.place.ips(self.site.ipv6)).collect()
    }

    /// Puts a manifest in force, under a name of its own.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn apply(&self, name: &str, manifest: &str) -> Result<(), MeshError> {
        let path = self.manifests.join(format!("{name}.yaml"));
        let new = path.with_extension("new");
        let written = fs::write(&new, manifest).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| MeshError::File { path, source })
    }

    /// Takes a manifest out of force.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn withdraw(&self, name: &str) -> Result<(), MeshError> {
        let path = self.manifests.join(format!("{name}.yaml"));
        fs::remove_file(&path).map_err(|source| MeshError::File { path, source })
    }

    /// The directory that holds all its files.
    pub fn directory(&self) -> PathBuf {
        let owner = self.site.owner();
        Path::new(owner.directory()).to_owned()
    }

    /// Ends everything. What was removed, in words.
    pub async fn stop(self) -> String {
        let directory = self.directory();
        let (pods, namespaces) = (self.pods.len(), self.site.network().is_some());
        join_all(self.pods.into_iter().map(|pod| pod.stop(GRACE))).await;
        self.control_plane.stop().await;
        drop(self.site);
        let what = if namespaces { format!("{} network namespaces, ", pods + 1) } else { String::new() };
        format!("removed: {what}{} processes, {}", 2 * pods, directory.display())
    }
}

/// Reads what a program prints, so that it never waits for a reader.
fn drain_output(pod: &mut Pod) {
    let stdout = pod.program.as_mut().and_then(|program| program.stdout.take());
    if let Some(stdout) = stdout.and_then(|stdout| tokio::process::ChildStdout::from_std(stdout).ok()) {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(_)) = lines.next_line().await {}
        });
    }
}
