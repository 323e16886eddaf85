//! Three pods on a bridge, each a network namespace, with servers that tell who they are.

use socket2::{Domain, SockRef, Socket, Type};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};
use weft_init::{NetNs, netlink::route::Route};

/// The user the proxy runs as.
pub(crate) const PROXY_UID: u32 = 2102;
/// The mark of the proxy's sockets where it has no user of its own.
pub(crate) const PROXY_MARK: u32 = 0x2102;
/// Redirected or not, connections here are answered at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pods with addresses 10.77.0.N and fd77::N, N from 1. All is gone when the value is dropped.
pub(crate) struct World {
    pub(crate) pods: Vec<Pod>,
    /// For files; removed at the end.
    pub(crate) directory: PathBuf,
    _bridge: NetNs,
}

pub(crate) struct Pod {
    pub(crate) ns: NetNs,
}

/// As whom a connection is made.
#[derive(Clone, Copy)]
pub(crate) enum As {
    User(u32),
    Marked(u32),
}

impl World {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique =
            format!("weft-init-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir(&directory).unwrap();
        let bridge = NetNs::create().expect("root");
        let mut hub = bridge.run(Route::open).unwrap().unwrap();
        hub.add_bridge("br0").unwrap();
        hub.add_address("br0", "10.77.0.254/24".parse().unwrap()).unwrap();
        hub.add_address("br0", "fd77::fe/64".parse().unwrap()).unwrap();
        hub.set_up("br0").unwrap();
        let pods = (1..=3).map(|n| Pod::new(&mut hub, n)).collect();
        Self { pods, directory, _bridge: bridge }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Pod {
    fn new(hub: &mut Route, n: u8) -> Self {
        let ns = NetNs::create().unwrap();
        let port = format!("veth{n}");
        hub.add_veth(&port, "eth0", ns.as_fd()).unwrap();
        hub.set_master(&port, "br0").unwrap();
        hub.set_up(&port).unwrap();
        let mut own = ns.run(Route::open).unwrap().unwrap();
        own.set_up("lo").unwrap();
        own.add_address("eth0", format!("10.77.0.{n}/24").parse().unwrap()).unwrap();
        own.add_address("eth0", format!("fd77::{n}/64").parse().unwrap()).unwrap();
        own.set_up("eth0").unwrap();
        own.add_route("0.0.0.0/0".parse().unwrap(), Some("10.77.0.254".parse().unwrap()), None).unwrap();
        own.add_route("::/0".parse().unwrap(), Some("fd77::fe".parse().unwrap()), Some("eth0")).unwrap();
        own.wait_until_ready("eth0").unwrap();
        hub.wait_until_ready(&port).unwrap();
        Self { ns }
    }

    /// A path that leads to the namespace while this process lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.ns.as_fd().as_raw_fd()).into()
    }

    /// Servers that say a name.
    pub(crate) fn serve(&self, ports: &[u16], name: &'static str) {
        for port in ports {
            let listener = self.ns.run(|| TcpListener::bind(("::", *port))).unwrap().unwrap();
            answer(listener, move |_| name.to_owned());
        }
    }

    /// Servers that say where connections were going, as a proxy sees it.
    pub(crate) fn serve_proxy(&self) {
        for (address, side) in
            [("127.0.0.1:4140", "outbound"), ("[::1]:4140", "outbound"), ("[::]:4143", "inbound")]
        {
            let listener = self.ns.run(|| TcpListener::bind(address)).unwrap().unwrap();
            answer(listener, move |stream| format!("{side} {}", original_destination(stream)));
        }
    }

    /// What answers at an address, "nobody" if nothing does.
    pub(crate) fn ask(&self, who: As, address: &str) -> String {
        let address: SocketAddr = address.parse().unwrap();
        self.ns
            .run(|| {
                if let As::User(uid) = who {
                    become_user(uid);
                }
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
                if let As::Marked(mark) = who {
                    socket.set_mark(mark).unwrap();
                }
                if socket.connect_timeout(&address.into(), PATIENCE).is_err() {
                    return "nobody".to_owned();
                }
                let mut stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
            .unwrap()
    }
}

/// Changes the calling thread's user, which is what the packet filter sees of its sockets.
pub(crate) fn become_user(uid: u32) {
    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
}

fn answer(listener: TcpListener, says: impl Fn(&TcpStream) -> String + Send + 'static) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let text = says(&stream);
            // The other side may have seen enough.
            let _ = stream.write_all(text.as_bytes());
        }
    });
}

fn original_destination(stream: &TcpStream) -> SocketAddr {
    let socket = SockRef::from(stream);
    let v4 = stream.local_addr().unwrap().ip().to_canonical().is_ipv4();
    let found = if v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    found.unwrap().as_socket().unwrap()
}
