//! A network: a bridge in a namespace of its own, and members on it, each in theirs.
//!
//! Nothing of it is in the machine's own namespace: host firewalls do not see what members say to each other, and all of
//! it goes when the last process that holds it goes.

use super::{Layout, MachineError, Owner, Program, Running, owner::MemberRecord};
use ipnet::IpNet;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use weft_init::{ApplyError, NetNs, Plan, Report, netlink::route::Route};

/// The bridge in the hub.
pub const BRIDGE: &str = "weft";
/// The link of a member, in its namespace.
pub const MEMBER_LINK: &str = "eth0";
/// Most members: a bridge has 1,023 ports, and an uplink needs one.
pub const MAX_MEMBERS: usize = 1000;
/// How long a member that has ended may take to be gone before its address is said to be taken.
const VACATED_IN: Duration = Duration::from_secs(5);
/// Between two looks.
const VACATED_POLL: Duration = Duration::from_millis(5);

const RESOLV_CONF: &str = "/etc/resolv.conf";
const NSSWITCH_CONF: &str = "/etc/nsswitch.conf";

/// A network of ours.
#[derive(Debug)]
pub struct Network {
    hub: NetNs,
    layout: Layout,
}

/// A namespace on the network.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub v4: Ipv4Addr,
    /// The one that goes with it.
    pub v6: Ipv6Addr,
    ns: NetNs,
    port: String,
    files: Vec<(PathBuf, PathBuf)>,
}

// === impl Network ===

impl Network {
    /// Makes a network of this process' own. The bridge has the gateway's addresses; nothing lies behind it.
    pub fn create(layout: Layout) -> Result<Self, MachineError> {
        let hub = NetNs::create()?;
        let mut route = open(&hub)?;
        route.set_up("lo")?;
        route.add_bridge(BRIDGE)?;
        give_addresses(&mut route, BRIDGE, &layout, layout.gateway(), has_ipv6())?;
        route.set_up(BRIDGE)?;
        Ok(Self { hub, layout })
    }

    /// Joins the network that other processes of this user hold, or makes it. Its bridge has no address: the gateway is
    /// the machine itself, see [`super::Uplink`].
    pub fn shared(owner: &mut Owner, layout: Layout) -> Result<Self, MachineError> {
        let _lock = owner.lock()?;
        let hub = match owner.others_hub() {
            Some(hub) => hub,
            None => {
                let hub = NetNs::create()?;
                let mut route = open(&hub)?;
                route.add_bridge(BRIDGE)?;
                route.set_up(BRIDGE)?;
                hub
            }
        };
        owner.set_hub(&hub)?;
        Ok(Self { hub, layout })
    }

    /// The namespace with the bridge: where all that members say to each other can be captured.
    pub fn hub(&self) -> &NetNs {
        &self.hub
    }

    /// Its addresses.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Makes a namespace with a link to the bridge, addresses, and routes to the gateway for everything else.
    ///
    /// `name` is for people and need only be unique in this process; the address must be free on the network.
    pub fn add(&self, name: &str, v4: Ipv4Addr) -> Result<Member, MachineError> {
        if !self.layout.is_member(v4) {
            return Err(MachineError::Address {
                address: v4.to_string(),
                network: self.layout.v4.to_string(),
            });
        }
        let mut hub = open(&self.hub)?;
        if hub.links()?.iter().filter(|l| l.master.is_some()).count() >= MAX_MEMBERS {
            return Err(MachineError::Full { what: "members of a network", limit: MAX_MEMBERS });
        }
        let ns = NetNs::create()?;
        let port = port_name(v4);
        wait_until_vacated(&mut hub, &port)?;
        hub.add_veth(&port, MEMBER_LINK, ns.as_fd())?;
        hub.set_master(&port, BRIDGE)?;
        hub.set_up(&port)?;
        let mut own = open(&ns)?;
        own.set_up("lo")?;
        give_addresses(&mut own, MEMBER_LINK, &self.layout, v4, has_ipv6())?;
        own.set_up(MEMBER_LINK)?;
        own.wait_until_ready(MEMBER_LINK)?;
        hub.wait_until_ready(&port)?;
        let gateway = self.layout.gateway();
        // Services' addresses are nowhere on a link, but must have a route to be redirected.
        own.add_route(IpNet::V4(Default::default()), Some(gateway.into()), Some(MEMBER_LINK))?;
        if has_ipv6() {
            let gateway = self.layout.v6_of(gateway);
            own.add_route(IpNet::V6(Default::default()), Some(gateway.into()), Some(MEMBER_LINK))?;
        }
        Ok(Member { name: name.to_owned(), v4, v6: self.layout.v6_of(v4), ns, port, files: Vec::new() })
    }

    /// Removes a member from the network at once, whatever runs in it: its connections break.
    pub fn unplug(&self, member: &Member) -> Result<(), MachineError> {
        Ok(open(&self.hub)?.delete(&member.port)?)
    }

    /// Pulls a member's cable, or plugs it in again: connections stall and go on.
    pub fn set_cable(&self, member: &Member, plugged: bool) -> Result<(), MachineError> {
        let mut hub = open(&self.hub)?;
        if plugged {
            hub.set_up(&member.port)?
        } else {
            hub.set_down(&member.port)?
        }
        Ok(())
    }
}

/// The kernel takes a namespace apart some time after its last process has ended: who had the address before may still
/// be there for a moment. If it stays, adding fails and says so.
fn wait_until_vacated(hub: &mut Route, port: &str) -> Result<(), MachineError> {
    let start = Instant::now();
    while hub.links()?.iter().any(|link| link.name == port) && start.elapsed() < VACATED_IN {
        std::thread::sleep(VACATED_POLL);
    }
    Ok(())
}

// === impl Member ===

impl Member {
    /// Its namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.ns
    }

    /// Puts redirect rules in force there.
    pub fn redirect(&self, plan: &Plan) -> Result<Report, MachineRedirectError> {
        Ok(self.ns.run(|| weft_init::apply(plan))??)
    }

    /// Sets a kernel parameter of the namespace: its file below /proc/sys, such as `net/ipv4/ip_unprivileged_port_start`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), MachineError> {
        let path = PathBuf::from("/proc/sys").join(name);
        self.ns.run(|| fs::write(&path, value))?.map_err(super::owner::file("write", &path))
    }

    /// Programs here see this file in this place: `/etc/resolv.conf`.
    pub fn show_file(&mut self, owner: &Owner, place: &str, content: &str) -> Result<(), MachineError> {
        let file = owner.add_file(&format!("files/{}{place}", self.name), content)?;
        self.files.retain(|(p, _)| p.as_os_str() != place);
        self.files.push((place.into(), file));
        Ok(())
    }

    /// Programs here look names up with this server, and complete them with these domains.
    pub fn use_dns(&mut self, owner: &Owner, server: IpAddr, search: &[&str]) -> Result<(), MachineError> {
        self.show_file(owner, RESOLV_CONF, &resolv_conf(server, search))?;
        match fs::read_to_string(NSSWITCH_CONF) {
            Ok(text) => self.show_file(owner, NSSWITCH_CONF, &plain_hosts(&text)),
            // Without the file the C library asks files, then the server.
            Err(_) => Ok(()),
        }
    }

    /// Makes the namespace findable by name for other commands, with the files shown so far; the path leads to it
    /// while this process lives.
    pub fn publish(&self, owner: &mut Owner) -> Result<PathBuf, MachineError> {
        owner.add_member(&self.name, &self.ns, MemberRecord { files: self.files.clone(), first: None })
    }

    /// Starts a program here.
    pub fn spawn(&self, mut program: Program) -> Result<Running, MachineError> {
        program.files.extend(self.files.iter().cloned());
        program.spawn(Some(&self.ns))
    }
}

/// Why redirect rules are not in force in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum MachineRedirectError {
    /// The namespace.
    #[error(transparent)]
    Namespace(#[from] weft_init::netns::NetNsError),
    /// The rules.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Routing tables of a namespace.
pub(super) fn open(ns: &NetNs) -> Result<Route, MachineError> {
    Ok(ns.run(Route::open)??)
}

/// Whether the kernel has IPv6. Without it networks are IPv4 only.
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Gives a link a host's addresses, with their networks' prefix lengths.
pub(super) fn give_addresses(
    route: &mut Route,
    link: &str,
    layout: &Layout,
    v4: Ipv4Addr,
    ipv6: bool,
) -> Result<(), MachineError> {
    for address in addresses(layout, v4, ipv6) {
        route.add_address(link, address)?;
    }
    Ok(())
}

fn addresses(layout: &Layout, v4: Ipv4Addr, ipv6: bool) -> Vec<IpNet> {
    let v6 = ipv6.then(|| IpNet::new(layout.v6_of(v4).into(), layout.v6.prefix_len()));
    [Some(IpNet::new(v4.into(), layout.v4.prefix_len())), v6].into_iter().flatten().flatten().collect()
}

fn resolv_conf(server: IpAddr, search: &[&str]) -> String {
    let search = if search.is_empty() { String::new() } else { format!("search {}\n", search.join(" ")) };
    format!("# by weft\nnameserver {server}\n{search}")
}

/// nsswitch.conf with host names looked up in files and by DNS only: other ways (systemd-resolved, mDNS) go through
/// sockets in the file system, past our server.
fn plain_hosts(nsswitch: &str) -> String {
    let lines =
        nsswitch.lines().map(|l| if l.trim_start().starts_with("hosts:") { "hosts: files dns" } else { l });
    lines.map(|l| format!("{l}\n")).collect()
}

/// The port of a member: as unique as its address.
fn port_name(v4: Ipv4Addr) -> String {
    format!("m{:08x}", u32::from(v4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_init::netlink::route::MAX_LINK_NAME;

    #[test]
    fn names_and_addresses() {
        let layout = Layout::new("10.222.0.0/16".parse().unwrap()).unwrap();
        assert_eq!(port_name(Ipv4Addr::new(10, 222, 0, 2)), "m0ade0002");
        assert!(port_name(Ipv4Addr::BROADCAST).len() <= MAX_LINK_NAME);
        let texts: Vec<_> =
            addresses(&layout, layout.gateway(), true).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.222.0.1/16", "fd77:6566:7400:ade::ade:1/64"]);
    }

    #[test]
    fn name_service_files() {
        let server = "10.222.0.1".parse().unwrap();
        assert_eq!(
            resolv_conf(server, &["default.svc.cluster.local", "svc.cluster.local"]),
            "# by weft\nnameserver 10.222.0.1\nsearch default.svc.cluster.local svc.cluster.local\n"
        );
        assert_eq!(resolv_conf(server, &[]), "# by weft\nnameserver 10.222.0.1\n");
        assert_eq!(
            plain_hosts("passwd: files\nhosts:  files resolve [!UNAVAIL=return] dns\n# hosts: x\n"),
            "passwd: files\nhosts: files dns\n# hosts: x\n"
        );
    }
}
