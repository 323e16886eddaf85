//! Where things run: a loopback address of its own, or a network namespace of its own.
//!
//! A [`Place`] is what a pod is to Kubernetes: an address nobody else has, so that every test can use the standard ports, and
//! a runtime for what the test itself does there (servers, clients). On loopback any address of 127/8 will do, no privileges
//! needed. A namespace is reached by a descriptor of this process, has no name in the file system, and is gone with it.

use std::{
    fmt::Debug,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    process::Command,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::runtime::{Builder, Runtime};
use weft_init::{NetNs, netlink::route::Route};

use crate::wait::PATIENCE;

/// The user a proxy runs as, which redirect rules let pass.
pub const PROXY_UID: u32 = 2102;
/// The user an application runs as.
pub const APP_UID: u32 = 1000;

/// An address, and a runtime whose sockets are there. Cheap to clone; lives until the last clone is dropped.
#[derive(Clone)]
pub struct Place(Arc<Inner>);

struct Inner {
    ip: IpAddr,
    ip6: Option<IpAddr>,
    namespace: Option<Arc<NetNs>>,
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not be waited for by a task of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Place {
    /// A loopback address that nobody else uses.
    ///
    /// # Panics
    /// When there are no threads left.
    pub fn loopback() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        raise_descriptor_limit();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // 127.A.B.N: A and B tell test processes apart, N counts within one; A is never 0, where everybody else is.
        let pid = std::process::id();
        let [_, _, _, n] = (next % 254 + 1).to_be_bytes();
        let [_, extra, b, a] = (pid ^ (next / 254) << 16).to_be_bytes();
        let ip = Ipv4Addr::new(127, a.max(1), b ^ extra, n);
        Self::new(ip.into(), None, None)
    }

    fn new(ip: IpAddr, ip6: Option<IpAddr>, namespace: Option<NetNs>) -> Self {
        let namespace = namespace.map(Arc::new);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().thread_name(format!("at-{ip}"));
        if let Some(namespace) = namespace.clone() {
            builder.on_thread_start(move || namespace.enter().expect("a namespace of ours"));
        }
        let runtime = builder.build().expect("a runtime");
        Self(Arc::new(Inner { ip, ip6, namespace, runtime: Some(runtime) }))
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.0.ip
    }

    /// Its IPv6 address.
    ///
    /// # Panics
    /// On loopback, where there is none.
    pub fn ip6(&self) -> IpAddr {
        self.0.ip6.expect("an IPv6 address")
    }

    /// A port of its address.
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.0.ip, port).into()
    }

    /// A port of its IPv6 address.
    pub fn at6(&self, port: u16) -> SocketAddr {
        (self.ip6(), port).into()
    }

    /// Whether it is a namespace.
    pub fn is_namespace(&self) -> bool {
        self.0.namespace.is_some()
    }

    /// A path that leads to its namespace while this process lives.
    ///
    /// # Panics
    /// On loopback.
    pub fn namespace_path(&self) -> String {
        let namespace = self.0.namespace.as_ref().expect("a namespace");
        format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
    }

    /// Does something there that takes no time, on a thread of its own.
    ///
    /// # Panics
    /// On loopback, and when it panics.
    pub fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.0.namespace.as_ref().expect("a namespace").run(what).expect("a namespace of ours")
    }

    /// Starts a task there.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let runtime = self.0.runtime.as_ref().expect("taken only when dropped");
        runtime.spawn(future)
    }

    /// Starts a task there that ends with `tasks`.
    ///
    /// # Panics
    /// Never: the runtime is there until the last clone of the place is dropped.
    pub fn spawn_on(
        &self,
        tasks: &mut tokio::task::JoinSet<()>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let runtime = self.0.runtime.as_ref().expect("taken only when dropped");
        tasks.spawn_on(future, runtime.handle())
    }

    /// Does something there and waits for its end.
    ///
    /// # Panics
    /// When it panics, and when it takes longer than [`PATIENCE`].
    pub async fn run<T: Send + 'static>(
        &self,
        what: impl Debug,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match tokio::time::timeout(PATIENCE, self.spawn(future)).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Err(_) => panic!("waited {PATIENCE:?} in vain for {what:?}"),
        }
    }

    /// A command that will run there, as this process's user.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.0.namespace {
            None => Command::new(program),
            Some(_) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", self.namespace_path())).arg("--");
                // Whatever happens to the test, what it started in a namespace ends with it.
                command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
        }
    }

    /// A command that will run there as another user. On loopback, where that takes privileges, as this process's.
    pub fn command_as(&self, uid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.0.namespace {
            None => Command::new(program),
            Some(_) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", self.namespace_path())).args(["--", "setpriv"]);
                command.args(["--pdeathsig", "KILL", "--clear-groups"]);
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}")).arg("--").arg(program);
                command
            }
        }
    }
}

/// A network of namespaces, each with a link to the same bridge. Nothing of it is in the machine's own namespace.
pub struct Network {
    bridge: Place,
    next: AtomicU32,
}

impl Network {
    /// A bridge with 10.77.0.254 and fd77::fe.
    ///
    /// # Panics
    /// Without root, with a message that says so.
    pub fn new() -> Self {
        require_root();
        raise_descriptor_limit();
        let namespace = NetNs::create().expect("a network namespace");
        let mut route = namespace.run(Route::open).expect("entered").expect("netlink");
        route.set_up("lo").expect("lo");
        route.add_bridge("br0").expect("a bridge");
        route.add_address("br0", "10.77.0.254/24".parse().expect("a network")).expect("an address");
        route.add_address("br0", "fd77::fe/64".parse().expect("a network")).expect("an address");
        route.set_up("br0").expect("up");
        let ip = Ipv4Addr::new(10, 77, 0, 254).into();
        let ip6 = "fd77::fe".parse().ok();
        Self { bridge: Place::new(ip, ip6, Some(namespace)), next: AtomicU32::new(1) }
    }

    /// The bridge's own namespace: where the control plane is.
    pub fn bridge(&self) -> &Place {
        &self.bridge
    }

    /// A namespace with an address, and a way to everywhere else through the bridge.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn place(&self) -> Place {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(n < 250, "250 places and no more");
        let namespace = NetNs::create().expect("a network namespace");
        let hub = self.bridge.0.namespace.as_ref().expect("a namespace");
        let mut hub = hub.run(Route::open).expect("entered").expect("netlink");
        let port = format!("veth{n}");
        hub.add_veth(&port, "eth0", namespace.as_fd()).expect("a link");
        hub.set_master(&port, "br0").expect("a port of the bridge");
        hub.set_up(&port).expect("up");
        let mut own = namespace.run(Route::open).expect("entered").expect("netlink");
        own.set_up("lo").expect("lo");
        own.add_address("eth0", format!("10.77.0.{n}/24").parse().expect("a network")).expect("an address");
        own.add_address("eth0", format!("fd77::{n:x}/64").parse().expect("a network")).expect("an address");
        own.set_up("eth0").expect("up");
        let everywhere = |text: &str| text.parse().expect("a network");
        own.add_route(everywhere("0.0.0.0/0"), Some(self.bridge.ip()), None).expect("a route");
        own.add_route(everywhere("::/0"), Some(self.bridge.ip6()), Some("eth0")).expect("a route");
        own.wait_until_ready("eth0").expect("a link that carries packets");
        hub.wait_until_ready(&port).expect("a link that carries packets");
        let ip = format!("10.77.0.{n}").parse().expect("an address");
        let ip6 = format!("fd77::{n:x}").parse().ok();
        Place::new(ip, ip6, Some(namespace))
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// Fails the test, plainly, where it cannot do what it is for.
///
/// # Panics
/// Without root.
pub fn require_root() {
    let uid = rustix::process::getuid();
    assert!(
        uid.is_root(),
        "this test needs root (network namespaces, redirect rules) and runs as uid {}: it has not been run. \
         `sudo tests/run` runs every level",
        uid.as_raw()
    );
}

/// Thousands of connections from one process need thousands of descriptors.
fn raise_descriptor_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .expect("a process may raise its soft limit to the hard one");
    });
}
