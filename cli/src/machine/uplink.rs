//! The way from our network to the machine and beyond: what `weft run` needs and `weft demo` does not.
//!
//! The machine gets one end of a link whose other end is a port of our bridge, with the gateway's address, so that
//! unmeshed services of the machine are reached and reach members. Beyond the machine, members appear under its address,
//! over IPv4 only: forwarding IPv6 would make the machine ignore its own router's announcements.

use super::{
    Layout, MachineError, Network, Owner,
    network::{BRIDGE, give_addresses},
    owner::Change,
};
use ipnet::IpNet;
use std::{fs, os::fd::AsFd};
use weft_init::{
    NetNs,
    netlink::{Protocol, Socket, route::Route},
    nft::{Chain, Family, Hook, Part, Table, Transaction},
    plan,
};

/// The machine's end.
pub const LINK: &str = "weft0";
/// The bridge's end.
const PORT: &str = "uplink";
const FORWARD: &str = "net/ipv4/ip_forward";
/// Where NAT of sources happens, as iptables' nat table has it (NF_IP_PRI_NAT_SRC).
const NAT_PRIORITY: i32 = 100;

/// A way out. Its rules go when it is dropped or the process ends; the rest with its [`Owner`].
#[derive(Debug)]
pub struct Uplink {
    changes: Vec<Change>,
    /// The kernel removes the table when this is closed. `None` on kernels before 5.12, where the owner removes it.
    _table: Option<Socket>,
}

impl Uplink {
    /// Connects a shared network to this machine, as far as another process has not done so.
    pub fn open(owner: &mut Owner, network: &Network) -> Result<Self, MachineError> {
        let table = table(&network.layout(), std::process::id());
        let changes = vec![
            Change::Link { name: LINK.to_owned() },
            Change::sysctl(FORWARD, "1")?,
            Change::Table { name: table.name.clone() },
        ];
        owner.change(changes)?;
        {
            let _lock = owner.lock()?;
            connect(network)?;
        }
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let owned = Transaction::new().add_owned(&table).commit(&mut socket);
        let socket = match owned {
            Ok(()) => Some(socket),
            Err(_) => {
                Transaction::new().replace(&table).commit(&mut Socket::open(Protocol::Netfilter)?)?;
                None
            }
        };
        Ok(Self { changes: owner.record().changes.clone(), _table: socket })
    }

    /// All that is now different on this machine outside of our namespaces.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// The link between the machine and the bridge. It is gone when the bridge's namespace is.
fn connect(network: &Network) -> Result<(), MachineError> {
    let mut route = Route::open()?;
    let mut hub = super::network::open(network.hub())?;
    let links = route.links()?;
    let here = links.iter().any(|l| l.name == LINK);
    let there = hub.links()?.iter().any(|l| l.name == PORT);
    match (here, there) {
        (true, true) => return Ok(()),
        // Half of it is of a network that is no more; the kernel may be removing it just now.
        (true, false) => drop(route.delete(LINK)),
        (false, true) => drop(hub.delete(PORT)),
        (false, false) => {}
    }
    hub.add_veth(PORT, LINK, NetNs::current()?.as_fd())?;
    hub.set_master(PORT, BRIDGE)?;
    hub.set_up(PORT)?;
    let layout = network.layout();
    // Many machines have it switched off.
    let ipv6 = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{LINK}/disable_ipv6"))
        .is_ok_and(|t| t.trim() == "0");
    give_addresses(&mut route, LINK, &layout, layout.gateway(), ipv6)?;
    route.set_up(LINK)?;
    route.wait_until_ready(LINK)?;
    hub.wait_until_ready(PORT)?;
    Ok(())
}

/// What leaves the machine from our network leaves under its address. One table per process, so that each can remove
/// its own.
fn table(layout: &Layout, pid: u32) -> Table {
    let mut chain = Chain::nat("postrouting", Hook::Postrouting, NAT_PRIORITY);
    let parts = vec![
        Part::Family(plan::Family::V4),
        Part::Source(IpNet::V4(layout.v4)),
        Part::NotOutLink(LINK.to_owned()),
        Part::Masquerade,
    ];
    chain.push(parts, "weft: members leave under this machine's address");
    Table { family: Family::Inet, name: format!("weft-{pid}"), chains: vec![chain] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let layout = Layout::new("10.222.0.0/16".parse().unwrap()).unwrap();
        assert_eq!(
            table(&layout, 7).to_string(),
            r#"table inet weft-7 {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 10.222.0.0/16 oifname != "weft0" masquerade comment "weft: members leave under this machine's address"
	}
}
"#
        );
    }
}
