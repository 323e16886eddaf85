//! Where things run: a client's namespace and a server's, joined by a link, and redirection in both.

use std::{fs, net::Ipv4Addr};
use weft_init::{
    NetNs, Plan, Redirection, apply,
    netlink::route::Route,
    plan::{Action, Condition, Rule},
};
use weft_names::Port;

use crate::backend::PORTS;

/// The user that proxies run as, whose connections are not redirected.
pub const PROXY_USER: u32 = 2102;

/// A pair of namespaces. They are gone when this value is.
#[derive(Debug)]
pub struct Site {
    /// Where clients are.
    pub client: NetNs,
    /// Where servers are.
    pub server: NetNs,
    /// The client's address.
    pub client_ip: Ipv4Addr,
    /// The server's address.
    pub server_ip: Ipv4Addr,
}

/// How connections get to proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// There are none.
    Nothing,
    /// All to one port of each proxy (4140, 4143), which looks where they were going.
    ToOnePort,
    /// Each backend's port to one of its own: [`outbound_port`], [`inbound_port`].
    ByPort,
}

/// Where a proxy that cannot look accepts what is for this port of the server.
#[must_use]
pub fn outbound_port(port: u16) -> u16 {
    port + 10_000
}

/// The same on the server's side.
#[must_use]
pub fn inbound_port(port: u16) -> u16 {
    port + 20_000
}

impl Site {
    /// The n-th pair: 10.55.N.1 and 10.55.N.2.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn new(n: u8, redirect: Redirect) -> Self {
        let site = Self {
            client: NetNs::create().expect("a network namespace: root is needed"),
            server: NetNs::create().expect("a network namespace"),
            client_ip: [10, 55, n, 1].into(),
            server_ip: [10, 55, n, 2].into(),
        };
        link(&site.client, "eth0", site.client_ip, &site.server, "eth0", site.server_ip);
        // Addresses that nobody has are redirected only if there is a way to them.
        for (namespace, via) in [(&site.client, site.server_ip), (&site.server, site.client_ip)] {
            let mut route = route(namespace);
            route
                .add_route("0.0.0.0/0".parse().expect("a network"), Some(via.into()), None)
                .expect("a route");
            // Many short connections between the same two addresses.
            inside(namespace, || {
                fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1").expect("a setting of the namespace");
                fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10240 65000\n").expect("another");
            });
        }
        if let Some(plan) = plan(redirect) {
            for namespace in [&site.client, &site.server] {
                inside(namespace, || apply(&plan).expect("rules"));
            }
        }
        site
    }
}

/// Does something in a namespace.
///
/// # Panics
/// When it cannot be entered.
pub fn inside<T: Send>(namespace: &NetNs, f: impl FnOnce() -> T + Send) -> T {
    namespace.run(f).expect("a namespace of ours")
}

/// Joins two namespaces by a link with an address at either end.
///
/// # Panics
/// When the system refuses.
pub fn link(a: &NetNs, a_name: &str, a_ip: Ipv4Addr, b: &NetNs, b_name: &str, b_ip: Ipv4Addr) {
    use std::os::fd::AsFd;
    let (mut at_a, mut at_b) = (route(a), route(b));
    at_a.add_veth(a_name, b_name, b.as_fd()).expect("a link");
    for (route, name, ip) in [(&mut at_a, a_name, a_ip), (&mut at_b, b_name, b_ip)] {
        route.set_up("lo").expect("lo");
        route.add_address(name, format!("{ip}/24").parse().expect("a network")).expect("an address");
        route.set_up(name).expect("up");
    }
    at_a.wait_until_ready(a_name).expect("a link that carries packets");
    at_b.wait_until_ready(b_name).expect("a link that carries packets");
}

fn route(namespace: &NetNs) -> Route {
    inside(namespace, Route::open).expect("netlink")
}

fn plan(redirect: Redirect) -> Option<Plan> {
    let standard = Redirection { ipv6: false, ..Redirection::standard() };
    let mut plan = Plan::new(&standard);
    match redirect {
        Redirect::Nothing => return None,
        Redirect::ToOnePort => {}
        Redirect::ByPort => {
            let to = |to: fn(u16) -> u16| {
                PORTS.map(|port| Rule {
                    condition: Condition::Port(port),
                    action: Action::Redirect(Port::new(to(port)).expect("not 0")),
                    name: format!("redirect-port-{port}"),
                })
            };
            plan.inbound.pop();
            plan.inbound.extend(to(inbound_port));
            plan.outbound.pop();
            plan.outbound.extend(to(outbound_port));
        }
    }
    Some(plan)
}
