//! TCP ports and sets of them.

use std::{fmt, num::NonZeroU16, ops::RangeInclusive, str::FromStr};
use thiserror::Error;

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(NonZeroU16);

/// A set of ports, kept as sorted ranges that neither overlap nor touch (so at most 32,768 of them).
///
/// Written as a comma list of `N` and `A-B`; blanks around entries are ignored; the empty text is the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

/// Why some text is not a port or a set of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPort {
    /// Not a number from 1 to 65535.
    #[error("{0:?} is not a port: a number from 1 to 65535 was expected")]
    NotAPort(String),
    /// The first port of a range is above its last.
    #[error("the port range {0}-{1} is empty")]
    EmptyRange(u16, u16),
}

// === impl Port ===

impl Port {
    /// A port, unless it is 0.
    pub const fn new(port: u16) -> Option<Self> {
        match NonZeroU16::new(port) {
            Some(port) => Some(Self(port)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Parses decimal digits from the wire: no sign, no blanks, 1 to 65535.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > 5 {
            return None;
        }
        let mut value = 0u32;
        for b in bytes {
            if !b.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u32::from(b - b'0');
        }
        u16::try_from(value).ok().and_then(Self::new)
    }
}

impl TryFrom<u32> for Port {
    type Error = InvalidPort;

    fn try_from(port: u32) -> Result<Self, InvalidPort> {
        u16::try_from(port).ok().and_then(Self::new).ok_or_else(|| InvalidPort::NotAPort(port.to_string()))
    }
}

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(s: &str) -> Result<Self, InvalidPort> {
        Self::from_bytes(s.as_bytes()).ok_or_else(|| InvalidPort::NotAPort(s.to_owned()))
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> u16 {
        port.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl PortSet ===

impl PortSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(low, _)| low <= port);
        after.checked_sub(1).and_then(|i| self.ranges.get(i)).is_some_and(|&(_, high)| port <= high)
    }

    /// Whether there is no port in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        self.ranges.iter().map(|&(low, high)| low..=high)
    }

    /// Every port, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.ranges().flatten()
    }

    /// Adds one port.
    pub fn insert(&mut self, port: Port) {
        self.insert_ordered(port.get(), port.get());
    }

    /// Adds the ports from `low` to `high`, both included.
    pub fn insert_range(&mut self, low: Port, high: Port) -> Result<(), InvalidPort> {
        if low > high {
            return Err(InvalidPort::EmptyRange(low.get(), high.get()));
        }
        self.insert_ordered(low.get(), high.get());
        Ok(())
    }

    fn insert_ordered(&mut self, mut low: u16, mut high: u16) {
        let start = self.ranges.partition_point(|&(_, h)| h.saturating_add(1) < low);
        let end = self.ranges.partition_point(|&(l, _)| l <= high.saturating_add(1));
        for &(l, h) in self.ranges.get(start..end).unwrap_or_default() {
            low = low.min(l);
            high = high.max(h);
        }
        self.ranges.splice(start..end.max(start), [(low, high)]);
    }
}

impl FromIterator<Port> for PortSet {
    fn from_iter<I: IntoIterator<Item = Port>>(ports: I) -> Self {
        let mut set = Self::new();
        for port in ports {
            set.insert(port);
        }
        set
    }
}

impl FromStr for PortSet {
    type Err = InvalidPort;

    fn from_str(s: &str) -> Result<Self, InvalidPort> {
        let mut set = Self::new();
        if s.trim().is_empty() {
            return Ok(set);
        }
        for entry in s.split(',') {
            match entry.split_once('-') {
                Some((low, high)) => set.insert_range(low.trim().parse()?, high.trim().parse()?)?,
                None => set.insert(entry.trim().parse()?),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(low, high)) in self.ranges.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if low == high {
                write!(f, "{low}")?;
            } else {
                write!(f, "{low}-{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports() {
        for (text, expect) in [
            ("1", Some(1)),
            ("65535", Some(65535)),
            ("00080", Some(80)),
            ("0", None),
            ("65536", None),
            ("99999", None),
            ("", None),
            ("+80", None),
            (" 80", None),
            ("000080", None),
        ] {
            assert_eq!(text.parse::<Port>().ok().map(Port::get), expect, "{text:?}");
        }
        assert_eq!(Port::try_from(70_000), Err(InvalidPort::NotAPort("70000".into())));
    }

    #[test]
    fn sets() {
        for (text, expect) in [
            ("", ""),
            (" ", ""),
            ("80", "80"),
            ("25,587,3306,4444,5432", "25,587,3306,4444,5432"),
            ("3,1,2", "1-3"),
            (" 80 , 90 - 92 ,91", "80,90-92"),
            ("1-65535,80", "1-65535"),
            ("65535,1,65534", "1,65534-65535"),
            ("10-20,30-40,15-35", "10-40"),
        ] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), expect, "{text:?}");
        }
        for text in ["80,", ",80", "a", "0", "80-79", "80-", "-80", "1-2-3", "65536"] {
            assert!(text.parse::<PortSet>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in(entries in prop::collection::vec((1u16..60, 0u16..5), 0..30)) {
            let mut set = PortSet::new();
            let mut model = BTreeSet::new();
            for (low, more) in entries {
                set.insert_range(Port::new(low).unwrap(), Port::new(low + more).unwrap()).unwrap();
                model.extend(low..=low + more);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            for port in 0..80 {
                prop_assert_eq!(set.contains(port), model.contains(&port));
            }
            let ranges: Vec<_> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].end() + 1 < *w[1].start()));
            prop_assert_eq!(set.to_string().parse::<PortSet>().unwrap(), set);
        }

        #[test]
        fn parsing_never_panics(text in "[0-9, -]{0,40}") {
            let _ = text.parse::<PortSet>();
        }
    }
}
