//! The usual scene on loopback: a client's proxy, a server's proxy, an application behind it, and a control plane.

use crate::{
    ca::identity,
    control::ControlPlane,
    place::Place,
    policy::{self, Speaks},
    proxy::{Builder, INBOUND, Proxy},
};
use std::net::SocketAddr;

/// Two workloads, `client` and `server`, each with a proxy.
pub struct Pair {
    /// The control plane.
    pub control: ControlPlane,
    /// The client's proxy.
    pub client: Proxy,
    /// The server's proxy.
    pub server: Proxy,
    /// Where the client's application thinks the server is.
    pub target: SocketAddr,
}

/// The port that the server's application listens on.
pub const APP_PORT: u16 = 8080;

/// Whether the server has a proxy in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Through both proxies, with mutual TLS between them.
    Mutual,
    /// Through the client's proxy only.
    Plain,
}

/// A service's address, which nobody has.
pub fn virtual_address() -> SocketAddr {
    ([10, 96, 0, 10], 80).into()
}

impl Pair {
    /// Starts both proxies; the target speaks what the policy says.
    pub async fn start(speaks: Speaks, security: Security) -> Self {
        Self::with(speaks, security, |client| client, |server| server).await
    }

    /// The same, with changes to the proxies' environments.
    pub async fn with(
        speaks: Speaks,
        security: Security,
        client: impl FnOnce(Builder) -> Builder,
        server: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let control = ControlPlane::start(&Place::loopback()).await;
        let target = virtual_address();
        let (client_place, server_place) = (Place::loopback(), Place::loopback());
        control.script(|script| {
            script.outbound.insert(target, policy::service("server", speaks, policy::balancer("server")));
            let address = server_place.at(APP_PORT);
            let endpoint = match security {
                Security::Mutual => {
                    policy::meshed(address, &identity("server"), INBOUND, speaks == Speaks::Opaque)
                }
                Security::Plain => policy::plain(address),
            };
            script.endpoints.insert(policy::path("server"), vec![endpoint]);
        });
        let mut client = client(Builder::new(&client_place, &control, "client").target(target)).start();
        let mut server =
            server(Builder::new(&server_place, &control, "server").set("INBOUND_PORTS", APP_PORT)).start();
        client.wait_until_ready().await;
        server.wait_until_ready().await;
        // Until it is there, another policy is in force.
        let labels = [("stream", "inbound_policies")];
        let family = "weft_control_stream_messages_total";
        server.wait_for_metrics(family, |page| page.sum(family, &labels) >= 1.0).await;
        Self { control, client, server, target }
    }

    /// Where to connect to reach the server.
    pub fn entrance(&self) -> SocketAddr {
        self.client.to(self.target)
    }

    /// Where the application is to be.
    pub fn app_place(&self) -> &Place {
        self.server.place()
    }
}
