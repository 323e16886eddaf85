//! Networks in CIDR notation.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};
use thiserror::Error;

/// A network: an address and a prefix length, the bits after the prefix cleared.
///
/// An IPv4-mapped IPv6 address is looked up as the IPv4 address it stands for: that is how IPv4 peers of a
/// dual-stack socket appear.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr(IpNet);

/// Why some text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a network: ADDRESS or ADDRESS/PREFIX was expected")]
pub struct InvalidCidr(String);

impl Cidr {
    /// Every IPv4 address.
    pub const ANY_V4: Self = Self(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)));

    /// Every IPv6 address.
    pub const ANY_V6: Self = Self(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)));

    /// The network of `addr` with `prefix_len` leading bits; `None` if the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Option<Self> {
        IpNet::new(addr, prefix_len).ok().map(Self::from)
    }

    /// The network of one address.
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNet::from(addr))
    }

    /// The lowest address.
    pub fn addr(&self) -> IpAddr {
        self.0.addr()
    }

    /// How many leading bits all its addresses share.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether `addr` is in the network.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr.to_canonical())
    }

    /// The network as ipnet's type.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl From<IpAddr> for Cidr {
    fn from(addr: IpAddr) -> Self {
        Self::host(addr)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(s: &str) -> Result<Self, InvalidCidr> {
        if let Ok(net) = s.parse::<IpNet>() {
            return Ok(net.into());
        }
        s.parse::<IpAddr>().map(Self::host).map_err(|_| InvalidCidr(s.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cidr({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_and_clears_host_bits() {
        for (text, expect) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::1/8", "fd00::/8"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), expect);
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "a", "10.0.0.0/-1", " 10.0.0.0/8"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
        assert_eq!(Cidr::new("10.0.0.0".parse().unwrap(), 33), None);
    }

    #[test]
    fn contains() {
        for (net, addr, expect) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "fd00::1", false),
            ("::/0", "fd00::1", true),
            ("::/0", "10.0.0.1", false),
            ("127.0.0.1/32", "127.0.0.2", false),
        ] {
            assert_eq!(net.parse::<Cidr>().unwrap().contains(addr.parse().unwrap()), expect, "{net} {addr}");
        }
        assert!(Cidr::ANY_V4.contains(Ipv4Addr::BROADCAST.into()));
        assert!(Cidr::ANY_V6.contains(Ipv6Addr::LOCALHOST.into()));
    }

    proptest! {
        #[test]
        fn display_round_trips(addr: IpAddr, prefix in 0u8..=128) {
            if let Some(net) = Cidr::new(addr, prefix) {
                prop_assert_eq!(net.to_string().parse::<Cidr>().unwrap(), net);
                prop_assert!(net.net().contains(&addr));
            }
        }
    }
}
