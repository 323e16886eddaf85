//! Two pods and what they need: namespaces, redirect rules, proxies, a control plane behind mesh TLS.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};
use weft_tests::{
    binaries,
    ca::identity,
    control::ControlPlane,
    pair::APP_PORT,
    place::{Network, PROXY_UID, Place},
    policy::{self, Speaks},
    proxy::{Builder, INBOUND, Proxy},
};

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// An address of a place.
    pub(crate) fn of(self, place: &Place) -> IpAddr {
        match self {
            Self::V4 => place.ip(),
            Self::V6 => place.ip6(),
        }
    }

    /// The address of a service, which nobody has.
    pub(crate) fn service(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::new(10, 96, 0, 10), port).into(),
            Self::V6 => (Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10), port).into(),
        }
    }
}

/// Two pods, `client` and `server`, and a third place without a proxy.
pub(crate) struct Pods {
    pub(crate) client: Proxy,
    pub(crate) server: Proxy,
    pub(crate) outside: Place,
    pub(crate) control: ControlPlane,
    pub(crate) network: Network,
}

/// What weft-init is told, as an injector tells it.
pub(crate) const RULES: [&str; 8] =
    ["-p", "4143", "-o", "4140", "-u", "2102", "--inbound-ports-to-ignore", "4190,4191,4567"];

/// Runs weft-init in a place.
pub(crate) fn init(place: &Place, arguments: &[&str]) {
    let output = place.command(binaries::path("weft-init")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "weft-init {arguments:?}: {text}");
}

impl Pods {
    pub(crate) async fn start() -> Self {
        Self::with(&[], |client| client, |server| server).await
    }

    /// The same, with more flags for weft-init, and changes to the proxies' environments.
    pub(crate) async fn with(
        flags: &[&str],
        client: impl FnOnce(Builder) -> Builder,
        server: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let network = Network::new();
        let control = ControlPlane::start(network.bridge()).await;
        let (client_place, server_place, outside) = (network.place(), network.place(), network.place());
        for place in [&client_place, &server_place] {
            init(place, &[&RULES[..], flags].concat());
        }
        let mut client = client(Builder::new(&client_place, &control, "client")).start();
        let mut server =
            server(Builder::new(&server_place, &control, "server").set("INBOUND_PORTS", APP_PORT)).start();
        client.wait_until_ready().await;
        server.wait_until_ready().await;
        Self { client, server, outside, control, network }
    }

    /// A service on port 80 of [`Family::service`], whose one endpoint is the server's pod.
    pub(crate) fn service(&self, family: Family, speaks: Speaks) -> SocketAddr {
        let endpoint = SocketAddr::new(family.of(self.server.place()), APP_PORT);
        let address = family.service(80);
        self.control.script(|script| {
            script.outbound.insert(address, policy::service("server", speaks, policy::balancer("server")));
            let opaque = speaks == Speaks::Opaque;
            let meshed = policy::meshed(endpoint, &identity("server"), INBOUND, opaque);
            script.endpoints.insert(policy::path("server"), vec![meshed]);
            // What the client's side does not look into, the server's must not either.
            let server = if opaque { policy::inbound_opaque() } else { policy::inbound_detect() };
            script.inbound.insert(("server-0".into(), APP_PORT), server);
        });
        address
    }

    /// The addresses of the two pods.
    pub(crate) fn addresses(&self) -> [IpAddr; 4] {
        let (client, server) = (self.client.place(), self.server.place());
        [client.ip(), client.ip6(), server.ip(), server.ip6()]
    }

    /// A port of the server's pod.
    pub(crate) fn server_at(&self, family: Family, port: u16) -> SocketAddr {
        (family.of(self.server.place()), port).into()
    }
}

/// Runs a program to its end and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Connects to an address as another user, and returns all that comes.
pub(crate) fn ask_as(uid: u32, place: &Place, address: SocketAddr, text: &str) -> String {
    let script =
        format!("exec 3<>/dev/tcp/{}/{}; printf '{text}' >&3; cat <&3", address.ip(), address.port());
    output(place.command_as(uid, "bash").args(["-c", &script]))
}

/// The user of the proxies.
pub(crate) const PROXY: u32 = PROXY_UID;
