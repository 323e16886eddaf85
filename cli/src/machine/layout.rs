//! Which addresses a network of ours has.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use weft_init::netlink::route::Entry;

/// The addresses of a network: an IPv4 network, and an IPv6 network that mirrors it.
///
/// The IPv6 address of a member ends in its IPv4 address, so that one allocation serves both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Between /8 and /28; addresses outside it are not on the network.
    pub v4: Ipv4Net,
    /// A /64 of unique local addresses (RFC 4193).
    pub v6: Ipv6Net,
}

/// Networks to choose from: parts of 10.0.0.0/8 that are rarely taken.
const CANDIDATES: [[u8; 2]; 8] =
    [[10, 222], [10, 211], [10, 189], [10, 177], [10, 166], [10, 155], [10, 144], [10, 133]];

impl Layout {
    /// A network by its IPv4 addresses; `None` if it has fewer than 14 for members, or is absurdly large.
    pub fn new(v4: Ipv4Net) -> Option<Self> {
        let v4 = v4.trunc();
        // Members differ in their last 32 bits; the first 16 are there as well, so that captures tell networks apart.
        let [a, b, ..] = v4.network().octets();
        let prefix = Ipv6Addr::from([0xfd, 0x77, 0x65, 0x66, 0x74, 0, a, b, 0, 0, 0, 0, 0, 0, 0, 0]);
        let v6 = Ipv6Net::new(prefix, 64).ok()?;
        (8..=28).contains(&v4.prefix_len()).then_some(Self { v4, v6 })
    }

    /// The first candidate that this machine has no route into.
    pub fn free(routes: &[Entry]) -> Option<Self> {
        let taken = |net: &Ipv4Net| {
            routes.iter().any(|r| match r.destination {
                IpNet::V4(d) => d.prefix_len() > 0 && (d.contains(net) || net.contains(&d)),
                IpNet::V6(_) => false,
            })
        };
        CANDIDATES
            .iter()
            .filter_map(|[a, b]| Ipv4Net::new(Ipv4Addr::new(*a, *b, 0, 0), 16).ok())
            .find(|net| !taken(net))
            .and_then(Self::new)
    }

    /// The address of the bridge, or of the machine itself where there is an uplink: the first one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.v4.network()).saturating_add(1))
    }

    /// The nth address for a member, from 0; `None` past the end.
    pub fn member(&self, n: u32) -> Option<Ipv4Addr> {
        let address = u32::from(self.v4.network()).checked_add(2)?.checked_add(n)?;
        Some(Ipv4Addr::from(address)).filter(|a| self.is_member(*a))
    }

    /// Whether a member may have this address.
    pub fn is_member(&self, address: Ipv4Addr) -> bool {
        self.v4.contains(&address)
            && address != self.v4.network()
            && address != self.v4.broadcast()
            && address != self.gateway()
    }

    /// The IPv6 address that goes with an IPv4 address.
    pub fn v6_of(&self, address: Ipv4Addr) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.v6.network()) | u128::from(u32::from(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(net: &str) -> Option<Layout> {
        Layout::new(net.parse().unwrap())
    }

    fn route(to: &str) -> Entry {
        Entry { destination: to.parse().unwrap(), gateway: None, link: None }
    }

    #[test]
    fn addresses() {
        let l = layout("10.222.0.0/16").unwrap();
        assert_eq!(l.gateway(), Ipv4Addr::new(10, 222, 0, 1));
        assert_eq!(l.member(0), Some(Ipv4Addr::new(10, 222, 0, 2)));
        assert_eq!(l.v6_of(Ipv4Addr::new(10, 222, 0, 2)).to_string(), "fd77:6566:7400:ade::ade:2");
        assert!(l.v6.contains(&l.v6_of(l.gateway())));
        let small = layout("192.168.7.16/28").unwrap();
        assert_eq!(small.member(12), Some(Ipv4Addr::new(192, 168, 7, 30)));
        assert_eq!(small.member(13), None, "the broadcast address");
        assert_eq!(small.member(u32::MAX), None);
        for (net, ok) in
            [("10.0.0.0/7", false), ("10.0.0.0/8", true), ("10.0.0.0/28", true), ("10.0.0.0/29", false)]
        {
            assert_eq!(layout(net).is_some(), ok, "{net}");
        }
        for a in ["10.222.0.0", "10.222.0.1", "10.222.255.255", "10.223.0.5"] {
            assert!(!l.is_member(a.parse().unwrap()), "{a}");
        }
    }

    #[test]
    fn a_network_nobody_routes_to() {
        let first = |routes: &[Entry]| Layout::free(routes).map(|l| l.v4.to_string());
        assert_eq!(first(&[route("0.0.0.0/0"), route("192.168.0.0/16")]).as_deref(), Some("10.222.0.0/16"));
        assert_eq!(first(&[route("10.222.3.0/24")]).as_deref(), Some("10.211.0.0/16"));
        assert_eq!(first(&[route("10.0.0.0/8")]), None, "a company's network");
    }
}
