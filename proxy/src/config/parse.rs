//! Parsers of single values, pure. Each says what it expects when it refuses.
//!
//! The syntax is Linkerd's: durations are an integer and a unit, booleans are literally `true` or `false`, addresses are
//! `ip:port` with IPv6 in brackets.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

/// A parser: the value, or what was expected.
pub type Parsed<T> = Result<T, &'static str>;

/// `10s`, `300ms`, `2m`, `1h`, `365d`, or `0`.
pub fn duration(text: &str) -> Parsed<Duration> {
    const EXPECTED: &str =
        "a duration: a whole number and one of ms, s, m, h, d, such as 300ms or 10s (or 0)";
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(EXPECTED),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or("a duration below 500 million years")
}

/// A duration, or nothing when the variable is set but empty (which switches the time-out off).
pub fn duration_or_off(text: &str) -> Parsed<Option<Duration>> {
    if text.is_empty() { Ok(None) } else { duration(text).map(Some) }
}

/// `true` or `false`, nothing else.
pub fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false"),
    }
}

/// `127.0.0.1:4140` or `[::1]:4140`.
pub fn socket_addr(text: &str) -> Parsed<SocketAddr> {
    text.trim().parse().map_err(|_| "an address and a port, such as 127.0.0.1:4140 or [::1]:4140")
}

/// A comma list of one or two socket addresses, at most one of each family.
pub fn listen_addrs(text: &str) -> Parsed<Vec<SocketAddr>> {
    const EXPECTED: &str =
        "one or two addresses with ports, at most one IPv4 and one IPv6, such as 127.0.0.1:4140,[::1]:4140";
    let addrs = text.split(',').map(socket_addr).collect::<Result<Vec<_>, _>>().map_err(|_| EXPECTED)?;
    let v4 = addrs.iter().filter(|addr| addr.is_ipv4()).count();
    if v4 > 1 || addrs.len() - v4 > 1 { Err(EXPECTED) } else { Ok(addrs) }
}

/// `127.0.0.1:15001=10.0.0.5:80`: where to listen, and where what comes in is going.
pub fn fixed_target(text: &str) -> Parsed<(SocketAddr, SocketAddr)> {
    const EXPECTED: &str = "a comma list of LISTEN=TARGET, such as 127.0.0.1:15001=10.0.0.5:80";
    let (listen, target) = text.split_once('=').ok_or(EXPECTED)?;
    Ok((socket_addr(listen).map_err(|_| EXPECTED)?, socket_addr(target).map_err(|_| EXPECTED)?))
}

/// A whole number.
pub fn number<T: std::str::FromStr>(text: &str) -> Parsed<T> {
    text.trim().parse().map_err(|_| "a whole number")
}

/// A whole number above zero.
pub fn positive(text: &str) -> Parsed<NonZeroUsize> {
    text.trim().parse().map_err(|_| "a whole number above zero")
}

/// A ratio above 0, up to 1.
pub fn ratio(text: &str) -> Parsed<f64> {
    const EXPECTED: &str = "a number above 0 and up to 1, such as 0.5";
    let value: f64 = text.trim().parse().map_err(|_| EXPECTED)?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err(EXPECTED) }
}

/// The jitter of a backoff: 0 to 100.
pub fn jitter(text: &str) -> Parsed<f64> {
    const EXPECTED: &str = "a number from 0 to 100, such as 0.1";
    let value: f64 = text.trim().parse().map_err(|_| EXPECTED)?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err(EXPECTED) }
}

/// A comma list of addresses without ports.
pub fn ip_set(text: &str) -> Parsed<Vec<IpAddr>> {
    list(text, |item| item.parse().map_err(|_| "a comma list of IP addresses, such as 10.1.2.3,fd00::5"))
}

/// Comma-separated items, empty text meaning none.
pub fn list<T>(text: &str, item: impl Fn(&str) -> Parsed<T>) -> Parsed<Vec<T>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| item(part.trim())).collect()
}

/// Where a control-plane service is: a literal address or a name to look up, with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ControlAddr {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A DNS name without its trailing dot, and a port.
    Name(String, u16),
}

impl ControlAddr {
    /// Whether this leads to this very host, where no TLS is needed.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Socket(addr) => addr.ip().is_loopback(),
            Self::Name(name, _) => name == "localhost",
        }
    }

    /// The HTTP/2 `:authority` of requests to it.
    pub fn authority(&self) -> String {
        match self {
            Self::Socket(addr) => addr.to_string(),
            Self::Name(name, port) => format!("{name}:{port}"),
        }
    }
}

/// `name:port` or `ip:port`.
pub fn control_addr(text: &str) -> Parsed<ControlAddr> {
    const EXPECTED: &str =
        "a host and a port, such as linkerd-policy.linkerd.svc.cluster.local.:8090 or 127.0.0.1:8090";
    let text = text.trim();
    if let Ok(addr) = text.parse() {
        return Ok(ControlAddr::Socket(addr));
    }
    let (name, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
    let port: u16 = port.parse().map_err(|_| EXPECTED)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if port == 0 || name.len() > 253 || !name.split('.').all(label_is_good) {
        return Err(EXPECTED);
    }
    Ok(ControlAddr::Name(name.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_a_unit_and_nothing_else() {
        for (text, millis) in [
            ("0", 0),
            ("300ms", 300),
            (" 10s ", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "10 s",
            "1s500ms",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn at_most_one_listener_of_each_family() {
        assert_eq!(listen_addrs("127.0.0.1:4140,[::1]:4140").map(|addrs| addrs.len()), Ok(2));
        assert!(listen_addrs("127.0.0.1:1,127.0.0.2:1").is_err());
        assert!(listen_addrs("").is_err());
        assert!(listen_addrs("localhost:4140").is_err());
    }

    #[test]
    fn control_addresses() {
        assert_eq!(control_addr("127.0.0.1:8086"), Ok(ControlAddr::Socket(([127, 0, 0, 1], 8086).into())));
        assert_eq!(
            control_addr("Linkerd-Policy.svc.:8090"),
            Ok(ControlAddr::Name("linkerd-policy.svc".into(), 8090))
        );
        assert!(control_addr("localhost.:8080").is_ok_and(|addr| addr.is_loopback()));
        for text in ["", "host", "host:", "host:0", "host:99999", "a..b:1", ":80", "http://x:1"] {
            assert!(control_addr(text).is_err(), "{text}");
        }
    }
}
