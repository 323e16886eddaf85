//! Authorities: a host and perhaps a port, as in `:authority`, `Host` and destination paths.

use crate::{
    dns::{DnsName, InvalidDnsName},
    port::{InvalidPort, Port},
};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};
use thiserror::Error;

/// A name or an address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(DnsName),
    /// An IP address, IPv6 in brackets when printed.
    Ip(IpAddr),
}

/// `host[:port]` (RFC 3986 section 3.2, without user information).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, if one is given.
    pub port: Option<Port>,
}

/// Why some text is not an authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAuthority {
    /// The host is neither an address nor a name.
    #[error("the host of the authority is invalid")]
    Host(#[source] InvalidDnsName),
    /// Brackets do not match or hold something else than an IPv6 address.
    #[error("an IPv6 address in brackets was expected")]
    Brackets,
    /// What follows the last colon is not a port.
    #[error("the port of the authority is invalid")]
    Port(#[source] InvalidPort),
}

// === impl Authority ===

impl Authority {
    /// An authority from its parts.
    pub fn new(host: Host, port: Option<Port>) -> Self {
        Self { host, port }
    }

    /// Parses an authority from the bytes of a request.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidAuthority> {
        std::str::from_utf8(bytes).map_err(|_| InvalidAuthority::Host(InvalidDnsName::Character))?.parse()
    }

    /// The same host with `port` if it has none of its own.
    #[must_use]
    pub fn with_default_port(mut self, port: Port) -> Self {
        self.port.get_or_insert(port);
        self
    }

    /// The address, if the host is one and a port is given.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match (&self.host, self.port) {
            (Host::Ip(ip), Some(port)) => Some(SocketAddr::new(*ip, port.get())),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Authority {
    /// Port 0 becomes no port.
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::Ip(addr.ip()), port: Port::new(addr.port()) }
    }
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(s: &str) -> Result<Self, InvalidAuthority> {
        if let Some(rest) = s.strip_prefix('[') {
            let (ip, rest) = rest.split_once(']').ok_or(InvalidAuthority::Brackets)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| InvalidAuthority::Brackets)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port.parse().map_err(InvalidAuthority::Port)?),
                None if rest.is_empty() => None,
                None => return Err(InvalidAuthority::Brackets),
            };
            return Ok(Self { host: Host::Ip(ip.into()), port });
        }
        let (host, port) = match s.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(InvalidAuthority::Port)?)),
            None => (s, None),
        };
        Ok(Self { host: host.parse().map_err(InvalidAuthority::Host)?, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({self})")
    }
}

// === impl Host ===

impl Host {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&DnsName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// Compares with the host part of a request's authority (as [`split`] returns it). Names compare without regard to
    /// case and to one trailing dot, addresses by value. Does not allocate.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Name(name) => name.matches(host),
            Self::Ip(ip) => parse_ip(host) == Some(*ip),
        }
    }
}

impl From<DnsName> for Host {
    fn from(name: DnsName) -> Self {
        Self::Name(name)
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl FromStr for Host {
    type Err = InvalidDnsName;

    /// An IPv6 address must be in brackets.
    fn from_str(s: &str) -> Result<Self, InvalidDnsName> {
        match parse_ip(s.as_bytes()) {
            Some(ip) => Ok(Self::Ip(ip)),
            None => s.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

fn parse_ip(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

/// Splits the bytes of an authority into host and port without checking the host and without allocating.
///
/// Brackets stay with the host. `None` if there is no host, or the port is not 1 to 65535; an empty port
/// (`example:`, allowed by RFC 3986 section 3.2.3) is no port.
pub fn split(authority: &[u8]) -> Option<(&[u8], Option<Port>)> {
    let colon = match authority.first()? {
        b'[' => {
            let end = authority.iter().position(|&b| b == b']')? + 1;
            match authority.get(end) {
                None => None,
                Some(b':') => Some(end),
                Some(_) => return None,
            }
        }
        _ => authority.iter().position(|&b| b == b':'),
    };
    let Some(colon) = colon else { return Some((authority, None)) };
    let (host, port) = (authority.get(..colon)?, authority.get(colon + 1..)?);
    if host.is_empty() {
        return None;
    }
    if port.is_empty() {
        return Some((host, None));
    }
    Some((host, Some(Port::from_bytes(port)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses() {
        for (text, expect) in [
            ("example", "example"),
            ("Example.:80", "example.:80"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[::1]", "[::1]"),
            ("[FD00::1]:443", "[fd00::1]:443"),
            ("web_1:80", "web_1:80"),
        ] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), expect, "{text}");
        }
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:b",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[10.0.0.1]",
            "u@a",
            "a/b",
            "[a]",
            "10.0.0.1.5:x",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts() {
        let authority: Authority = "10.0.0.1".parse().unwrap();
        assert_eq!(authority.socket_addr(), None);
        let authority = authority.with_default_port(Port::new(80).unwrap());
        assert_eq!(authority.socket_addr(), Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(authority.clone().with_default_port(Port::new(81).unwrap()), authority);
        assert_eq!(Authority::from("[::1]:80".parse::<SocketAddr>().unwrap()).to_string(), "[::1]:80");
        assert!("a:80".parse::<Authority>().unwrap().socket_addr().is_none());
    }

    #[test]
    fn splits_borrowed() {
        for (text, expect) in [
            ("a.b:80", Some(("a.b", Some(80)))),
            ("a.b", Some(("a.b", None))),
            ("a.b:", Some(("a.b", None))),
            ("[::1]:80", Some(("[::1]", Some(80)))),
            ("[::1]", Some(("[::1]", None))),
            ("[::1]x", None),
            ("[::1", None),
            ("", None),
            (":80", None),
            ("a:0", None),
            ("a:99999", None),
            ("a:80:90", None),
        ] {
            let got =
                split(text.as_bytes()).map(|(h, p)| (std::str::from_utf8(h).unwrap(), p.map(Port::get)));
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn hosts_match_wire_bytes() {
        for (host, bytes, expect) in [
            ("web.example", "WEB.example.", true),
            ("web.example", "web", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("[::1]", "[0::1]", true),
            ("[::1]", "::1", false),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().matches(bytes.as_bytes()), expect, "{host} {bytes}");
        }
    }

    proptest! {
        #[test]
        fn display_round_trips(host in "([a-z0-9]{1,5}\\.){0,3}[a-z]{1,5}", port: Option<u16>) {
            let authority = Authority::new(host.parse().unwrap(), port.and_then(Port::new));
            prop_assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
        }

        #[test]
        fn addresses_round_trip(addr: SocketAddr) {
            let authority = Authority::from(addr);
            prop_assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
        }

        #[test]
        fn split_agrees_with_parse(text in "[a-z0-9.:\\[\\]]{0,20}") {
            if let Ok(authority) = text.parse::<Authority>() {
                let (host, port) = split(text.as_bytes()).unwrap();
                prop_assert!(authority.host.matches(host));
                prop_assert_eq!(authority.port, port);
            }
        }

        #[test]
        fn split_never_panics(bytes: Vec<u8>) {
            let _ = split(&bytes);
            let _ = Authority::from_bytes(&bytes);
        }
    }
}
