//! Links, addresses and routes of one network namespace.

use super::{
    Error, Protocol, Socket,
    attr::{self, Attr, Attrs, Malformed},
    message::{CREATE, EXCLUSIVE, Message},
};
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;

/// How long a link may take to carry packets once both its ends are up.
pub const READY_TIMEOUT: Duration = Duration::from_secs(5);
const READY_POLL: Duration = Duration::from_millis(1);

/// The longest name of a link, bytes (IFNAMSIZ without its NUL).
pub const MAX_LINK_NAME: usize = 15;

/// The hardware address of bridges: locally administered, and seen in their own namespace only.
const BRIDGE_ADDRESS: [u8; 6] = [0x02, 0x77, 0x65, 0x66, 0x74, 0x01];

const IFF_UP: u32 = 1;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// if_link.h: attributes of a link.
mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const OPERATIONAL_STATE: u16 = 16;
    /// Flags also say "running" for a state that is not known yet.
    pub(super) const OPERATIONAL: u8 = 6;
    pub(super) const INFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_PORT_DATA: u16 = 5;
    pub(super) const BRIDGE_PORT_STATE: u16 = 1;
    pub(super) const FORWARDING: u8 = 3;
    pub(super) const NET_NS_FD: u16 = 28;
    pub(super) const VETH_PEER: u16 = 1;
}

/// if_addr.h: attributes of an address.
mod addr {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const FLAGS: u16 = 8;
    /// Use the address at once, without asking the link whether somebody has it.
    pub(super) const NODAD: u32 = 2;
}

/// rtnetlink.h: attributes and constants of a route.
mod rt {
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const LINK: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const TABLE: u16 = 15;
    pub(super) const MAIN: u8 = 254;
    pub(super) const BY_ADMINISTRATOR: u8 = 4;
    pub(super) const UNIVERSE: u8 = 0;
    pub(super) const ON_LINK: u8 = 253;
    pub(super) const UNICAST: u8 = 1;
}

/// A connection to the routing tables of the network namespace it was opened in.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Whether it carries packets: it is up, so is its other end, and as a port of a bridge it forwards. The kernel gets
    /// there some time after a link is taken up; what is sent before is lost, and TCP tries again a second later. Never
    /// so for loopback, which has no such state.
    pub ready: bool,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Hardware address; empty where there is none.
    pub address: Vec<u8>,
    /// What it is: "veth", "bridge", …; empty for plain devices.
    pub kind: String,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it leads to; a default route has a prefix length of 0.
    pub destination: IpNet,
    /// The router, unless the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The link it leaves by.
    pub link: Option<u32>,
}

// === impl Route ===

impl Route {
    /// Opens a connection in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Every link.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let action = "list links".to_owned();
        let list = message(GETLINK, 0, link_header(0, 0, 0), Attrs::new(), action.clone());
        let objects = self.socket.list(&list)?;
        read(objects, NEWLINK, &action, parse_link)
    }

    /// The link of this name.
    pub fn link(&mut self, name: &str) -> Result<Link, Error> {
        self.links()?
            .into_iter()
            .find(|l| l.name == name)
            .ok_or_else(|| Error::Missing(format!("link {name}")))
    }

    /// Makes a bridge. Its hardware address is its own: one that is not given changes with the ports to the lowest of
    /// theirs, and neighbours that have learnt the earlier one reach nobody until they ask again.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), Error> {
        let info = Attrs::new().str(link::INFO_KIND, "bridge");
        let attrs = Attrs::new()
            .str(link::NAME, name)
            .bytes(link::ADDRESS, &BRIDGE_ADDRESS)
            .nest_plain(link::INFO, info);
        self.add_link(attrs, format!("add bridge {name}"))
    }

    /// Makes a pair of connected links: `name` here, `peer` in the network namespace `namespace`.
    pub fn add_veth(&mut self, name: &str, peer: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let other = Attrs::new()
            .str(link::NAME, peer)
            .bytes(link::NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
            .after(&link_header(0, 0, 0));
        let info = Attrs::new()
            .str(link::INFO_KIND, "veth")
            .nest_plain(link::INFO_DATA, Attrs::new().nest_plain(link::VETH_PEER, other));
        let attrs = Attrs::new().str(link::NAME, name).nest_plain(link::INFO, info);
        self.add_link(attrs, format!("add veth pair {name} and {peer}"))
    }

    fn add_link(&mut self, attrs: Attrs, action: String) -> Result<(), Error> {
        let header = link_header(0, 0, 0);
        self.socket.request(&message(NEWLINK, CREATE | EXCLUSIVE, header, attrs, action)).map(drop)
    }

    /// Takes a link up.
    pub fn set_up(&mut self, name: &str) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let header = link_header(index, IFF_UP, IFF_UP);
        self.socket.request(&message(NEWLINK, 0, header, Attrs::new(), format!("take {name} up"))).map(drop)
    }

    /// Waits until a link carries packets, at most [`READY_TIMEOUT`].
    pub fn wait_until_ready(&mut self, name: &str) -> Result<(), Error> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.link(name)?.ready {
            if Instant::now() >= deadline {
                return Err(Error::NotReady { link: name.to_owned(), waited: READY_TIMEOUT });
            }
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// Takes a link down.
    pub fn set_down(&mut self, name: &str) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let header = link_header(index, 0, IFF_UP);
        self.socket.request(&message(NEWLINK, 0, header, Attrs::new(), format!("take {name} down"))).map(drop)
    }

    /// Makes a link a port of a bridge.
    pub fn set_master(&mut self, name: &str, bridge: &str) -> Result<(), Error> {
        let (index, master) = (self.link(name)?.index, self.link(bridge)?.index);
        let attrs = Attrs::new().u32(link::MASTER, master);
        let action = format!("make {name} a port of {bridge}");
        self.socket.request(&message(NEWLINK, 0, link_header(index, 0, 0), attrs, action)).map(drop)
    }

    /// Moves a link to another network namespace; it arrives down and without addresses.
    pub fn move_to(&mut self, name: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let attrs = Attrs::new().bytes(link::NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let action = format!("move {name} to another namespace");
        self.socket.request(&message(NEWLINK, 0, link_header(index, 0, 0), attrs, action)).map(drop)
    }

    /// Removes a link, and with one end of a pair the other.
    pub fn delete(&mut self, name: &str) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let header = link_header(index, 0, 0);
        self.socket.request(&message(DELLINK, 0, header, Attrs::new(), format!("remove {name}"))).map(drop)
    }

    /// Gives a link an address. An IPv6 address is usable at once (no duplicate address detection).
    pub fn add_address(&mut self, name: &str, address: IpNet) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let (family, bytes) = octets(address.addr());
        let mut header = vec![family, address.prefix_len(), 0, rt::UNIVERSE];
        header.extend_from_slice(&index.to_ne_bytes());
        let mut attrs = Attrs::new().bytes(addr::LOCAL, &bytes).bytes(addr::ADDRESS, &bytes);
        if family == AF_INET6 {
            attrs = attrs.u32(addr::FLAGS, addr::NODAD);
        }
        let action = format!("give {name} the address {address}");
        self.socket.request(&message(NEWADDR, CREATE | EXCLUSIVE, header, attrs, action)).map(drop)
    }

    /// Every address, with the number of its link.
    pub fn addresses(&mut self) -> Result<Vec<(u32, IpNet)>, Error> {
        let action = "list addresses".to_owned();
        let list = message(GETADDR, 0, vec![AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0], Attrs::new(), action.clone());
        let objects = self.socket.list(&list)?;
        Ok(read(objects, NEWADDR, &action, parse_address)?.into_iter().flatten().collect())
    }

    /// Adds a route to the main table: through a router, or out of a link, or both.
    pub fn add_route(&mut self, to: IpNet, via: Option<IpAddr>, link: Option<&str>) -> Result<(), Error> {
        let (family, bytes) = octets(to.addr());
        let scope = if via.is_none() && family == AF_INET { rt::ON_LINK } else { rt::UNIVERSE };
        let mut header =
            vec![family, to.prefix_len(), 0, 0, rt::MAIN, rt::BY_ADMINISTRATOR, scope, rt::UNICAST];
        header.extend_from_slice(&0u32.to_ne_bytes());
        let mut attrs = Attrs::new();
        if to.prefix_len() > 0 {
            attrs = attrs.bytes(rt::DESTINATION, &bytes);
        }
        if let Some(via) = via {
            attrs = attrs.bytes(rt::GATEWAY, &octets(via).1);
        }
        if let Some(name) = link {
            attrs = attrs.u32(rt::LINK, self.link(name)?.index);
        }
        let action = format!("add a route to {to}");
        self.socket.request(&message(NEWROUTE, CREATE | EXCLUSIVE, header, attrs, action)).map(drop)
    }

    /// The unicast routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Entry>, Error> {
        let action = "list routes".to_owned();
        let header = vec![AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let objects = self.socket.list(&message(GETROUTE, 0, header, Attrs::new(), action.clone()))?;
        Ok(read(objects, NEWROUTE, &action, parse_route)?.into_iter().flatten().collect())
    }
}

fn message(kind: u16, flags: u16, header: Vec<u8>, attrs: Attrs, action: String) -> Message {
    Message { kind, flags, header, attrs, action }
}

/// ifinfomsg.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![AF_UNSPEC, 0, 0, 0];
    for part in [index, flags, change] {
        header.extend_from_slice(&part.to_ne_bytes());
    }
    header
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (AF_INET, a.octets().to_vec()),
        IpAddr::V6(a) => (AF_INET6, a.octets().to_vec()),
    }
}

/// Parses the objects of one type of a list.
fn read<T>(
    objects: Vec<(u16, Vec<u8>)>,
    wanted: u16,
    action: &str,
    parse: impl Fn(&[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Error> {
    objects
        .iter()
        .filter(|(kind, _)| *kind == wanted)
        .map(|(_, payload)| parse(payload))
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Answer { action: action.to_owned(), source })
}

/// Splits a payload into its fixed part and its attributes.
fn split<const N: usize>(payload: &[u8]) -> Result<([u8; N], Vec<Attr<'_>>), Malformed> {
    let (header, rest) =
        payload.split_first_chunk::<N>().ok_or(Malformed::Length { length: N, available: payload.len() })?;
    Ok((*header, attr::parse(rest)?))
}

/// Reads a link from a message's payload: the fixed part and the attributes.
///
/// # Errors
/// It is not made of attributes, or has no name.
pub fn parse_link(payload: &[u8]) -> Result<Link, Malformed> {
    let (header, attrs) = split::<16>(payload)?;
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = header;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let info = attr::find(&attrs, link::INFO).map(|i| i.nested()).transpose()?.unwrap_or_default();
    let kind = attr::find(&info, link::INFO_KIND).map(|k| k.as_str()).transpose()?;
    let operational =
        attr::find(&attrs, link::OPERATIONAL_STATE).is_some_and(|s| s.value == [link::OPERATIONAL]);
    let forwards = match attr::find(&info, link::INFO_PORT_DATA) {
        Some(port) => {
            attr::find(&port.nested()?, link::BRIDGE_PORT_STATE).is_none_or(|s| s.value == [link::FORWARDING])
        }
        None => true,
    };
    Ok(Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: attr::need(&attrs, link::NAME)?.as_str()?.to_owned(),
        up: flags & IFF_UP != 0,
        ready: operational && forwards,
        master: attr::find(&attrs, link::MASTER).map(|a| a.as_u32()).transpose()?,
        mtu: attr::find(&attrs, link::MTU).map(|a| a.as_u32()).transpose()?.unwrap_or(0),
        address: attr::find(&attrs, link::ADDRESS).map(|a| a.value.to_vec()).unwrap_or_default(),
        kind: kind.unwrap_or_default().to_owned(),
    })
}

/// Reads a link's index and an address of it from a message's payload; `None` for other than IPv4 and IPv6.
///
/// # Errors
/// It is not made of attributes, or an address has a wrong length.
pub fn parse_address(payload: &[u8]) -> Result<Option<(u32, IpNet)>, Malformed> {
    let (header, attrs) = split::<8>(payload)?;
    let [family, prefix, _, _, i0, i1, i2, i3] = header;
    // A point-to-point link has its own address in LOCAL and its peer's in ADDRESS; IPv6 has only ADDRESS.
    let own = attr::find(&attrs, addr::LOCAL).or_else(|| attr::find(&attrs, addr::ADDRESS));
    let Some(own) = own else { return Ok(None) };
    let net = address(family, &own)?.and_then(|a| IpNet::new(a, prefix).ok());
    Ok(net.map(|net| (u32::from_ne_bytes([i0, i1, i2, i3]), net)))
}

/// Reads a route from a message's payload; `None` for one that is not a unicast route of the main table.
///
/// # Errors
/// It is not made of attributes, or an address has a wrong length.
pub fn parse_route(payload: &[u8]) -> Result<Option<Entry>, Malformed> {
    let (header, attrs) = split::<12>(payload)?;
    let [family, prefix, _, _, table, _, _, kind, ..] = header;
    let table = match attr::find(&attrs, rt::TABLE) {
        Some(t) => t.as_u32()?,
        None => u32::from(table),
    };
    if kind != rt::UNICAST || table != u32::from(rt::MAIN) {
        return Ok(None);
    }
    let to = match attr::find(&attrs, rt::DESTINATION) {
        Some(a) => address(family, &a)?,
        None if family == AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        None if family == AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        None => None,
    };
    let Some(destination) = to.and_then(|a| IpNet::new(a, prefix).ok()) else { return Ok(None) };
    let gateway = match attr::find(&attrs, rt::GATEWAY) {
        Some(a) => address(family, &a)?,
        None => None,
    };
    let link = attr::find(&attrs, rt::LINK).map(|a| a.as_u32()).transpose()?;
    Ok(Some(Entry { destination, gateway, link }))
}

/// An address of a family; `None` for families other than IPv4 and IPv6.
fn address(family: u8, attr: &Attr<'_>) -> Result<Option<IpAddr>, Malformed> {
    match family {
        AF_INET => attr.array::<4>().map(|a| Some(IpAddr::from(a))),
        AF_INET6 => attr.array::<16>().map(|a| Some(IpAddr::from(a))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loopback_link_of_this_machine_is_listed() {
        let mut route = Route::open().unwrap();
        let lo = route.link("lo").unwrap();
        assert_eq!((lo.name.as_str(), lo.kind.as_str()), ("lo", ""));
        assert!(lo.index > 0 && lo.mtu > 0);
        let missing = route.link("no-such-link").unwrap_err();
        assert_eq!(missing.to_string(), "there is no link no-such-link");
        route.addresses().unwrap();
        route.routes().unwrap();
    }

    #[test]
    fn objects_are_read() {
        let port = |state| Attrs::new().u8(link::BRIDGE_PORT_STATE, state);
        let info = |state| Attrs::new().str(link::INFO_KIND, "veth").nest(link::INFO_PORT_DATA, port(state));
        for (operational, port, ready) in [(6, 3, true), (6, 0, false), (0, 3, false), (2, 3, false)] {
            let attrs = Attrs::new().str(link::NAME, "p").u8(link::OPERATIONAL_STATE, operational);
            let attrs = attrs.nest(link::INFO, info(port)).after(&link_header(1, IFF_UP, 0));
            assert_eq!(parse_link(attrs.as_bytes()).unwrap().ready, ready);
        }
        let info = Attrs::new().str(link::INFO_KIND, "veth");
        let attrs = Attrs::new()
            .str(link::NAME, "eth0")
            .u32(link::MTU, 1500)
            .u8(link::OPERATIONAL_STATE, link::OPERATIONAL)
            .u32(link::MASTER, 3)
            .bytes(link::ADDRESS, &[2, 0, 0, 0, 0, 1])
            .nest_plain(link::INFO, info)
            .after(&link_header(7, IFF_UP, 0));
        let expect = Link {
            index: 7,
            name: "eth0".into(),
            up: true,
            ready: true,
            master: Some(3),
            mtu: 1500,
            address: vec![2, 0, 0, 0, 0, 1],
            kind: "veth".into(),
        };
        assert_eq!(parse_link(attrs.as_bytes()), Ok(expect));

        let header = [AF_INET, 24, 0, 0, rt::MAIN, 4, 0, rt::UNICAST, 0, 0, 0, 0];
        let attrs = Attrs::new().bytes(rt::DESTINATION, &[10, 1, 2, 0]).u32(rt::LINK, 2).after(&header);
        let expect = Entry { destination: "10.1.2.0/24".parse().unwrap(), gateway: None, link: Some(2) };
        assert_eq!(parse_route(attrs.as_bytes()), Ok(Some(expect)));
        let default = Attrs::new()
            .bytes(rt::GATEWAY, &[10, 0, 0, 1])
            .after(&[AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        let expect = Entry {
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            link: None,
        };
        assert_eq!(parse_route(default.as_bytes()), Ok(Some(expect)));
        let wrong_prefix =
            Attrs::new().bytes(addr::ADDRESS, &[10, 0, 0, 1]).after(&[AF_INET, 40, 0, 0, 1, 0, 0, 0]);
        assert_eq!(parse_address(wrong_prefix.as_bytes()), Ok(None));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (parse_link(&bytes), parse_address(&bytes), parse_route(&bytes));
        }
    }
}
