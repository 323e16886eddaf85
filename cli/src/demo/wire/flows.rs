//! Every TCP connection between workloads, checked byte by byte as it goes by.
//!
//! A frame is seen twice or more, once per port of the bridge it crosses: bytes that were seen are skipped. Bytes that
//! come before their turn are kept, a bounded number of them; a connection with bytes that never came is counted as
//! one with a gap, and not judged from there on.

use super::{
    frame::{self, Content, Packet},
    tls::{NotTls13, Records, Role, group_name},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

/// Most connections watched at once; further ones are counted and not judged.
const MAX_FLOWS: usize = 20_000;
/// Most bytes kept that came before their turn, per direction.
const MAX_WAITING: usize = 1 << 20;
/// Most findings kept in words.
const MAX_TOLD: usize = 10;

/// Everything that was seen so far.
#[derive(Debug)]
pub struct Wire {
    workloads: BTreeSet<IpAddr>,
    marker: Vec<u8>,
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
    findings: Findings,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Frames read.
    pub frames: u64,
    /// TCP connections between workloads.
    pub connections: u64,
    /// Those of them on which both hellos were TLS 1.3.
    pub tls13: u64,
    /// Those on which nobody said anything: refused ones.
    pub silent: u64,
    /// Bytes of application data records between workloads.
    pub encrypted: u64,
    /// Connections with bytes that were not seen, or beyond the number that is watched.
    pub gaps: u64,
    /// Connections by key exchange.
    pub groups: BTreeMap<String, u64>,
    /// What went between workloads and is not TLS 1.3.
    pub wrong: u64,
    /// How often the marker went between workloads in plaintext.
    pub leaked: u64,
    /// How often it was seen elsewhere: proof that it would have been seen.
    pub marker_elsewhere: u64,
    /// The first things that were wrong, in words.
    pub told: Vec<String>,
}

#[derive(Debug)]
struct Flow {
    /// The number in the SYN: another one is another connection.
    number: u32,
    client: Direction,
    server: Direction,
    judged: bool,
    counted: bool,
}

#[derive(Debug)]
struct Direction {
    next: Option<u32>,
    records: Records,
    waiting: BTreeMap<u32, Vec<u8>>,
    waiting_bytes: usize,
    spoke: bool,
}

impl Wire {
    /// Watches what these addresses say to each other, and looks for a marker anywhere.
    pub fn new(workloads: impl IntoIterator<Item = IpAddr>, marker: &str) -> Self {
        Self {
            workloads: workloads.into_iter().collect(),
            marker: marker.as_bytes().to_vec(),
            flows: HashMap::new(),
            findings: Findings::default(),
        }
    }

    /// Another workload to watch.
    pub fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.workloads.extend(addresses);
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        let mut findings = self.findings.clone();
        for flow in self.flows.values() {
            findings.encrypted += flow.encrypted();
            let broken = !flow.judged || !flow.client.waiting.is_empty() || !flow.server.waiting.is_empty();
            findings.gaps += u64::from(broken);
            findings.silent += u64::from(!flow.client.spoke && !flow.server.spoke);
        }
        findings
    }

    /// The next frame.
    pub fn frame(&mut self, bytes: &[u8]) {
        self.findings.frames += 1;
        let Some(packet) = frame::parse(bytes) else { return };
        let between = self.workloads.contains(&packet.source) && self.workloads.contains(&packet.destination);
        let marked =
            !self.marker.is_empty() && bytes.windows(self.marker.len()).any(|part| part == self.marker);
        match (marked, between) {
            (true, true) => {
                self.findings.leaked += 1;
                self.tell(&packet, "the marker in plaintext");
            }
            (true, false) => self.findings.marker_elsewhere += 1,
            _ => {}
        }
        if between {
            self.between(&packet);
        }
    }

    fn between(&mut self, packet: &Packet<'_>) {
        let (Content::Tcp(segment), Some((from, to))) = (packet.content, packet.ends()) else {
            // Neighbours look for each other (ICMPv6) and that is all.
            if !matches!(packet.content, Content::Other(1 | 58, _)) {
                self.findings.wrong += 1;
                self.tell(packet, "a packet that is not TCP");
            }
            return;
        };
        if segment.syn && !self.flows.contains_key(&(to, from)) && !self.open(from, to, segment.sequence) {
            return;
        }
        let (key, role) = match self.flows.contains_key(&(from, to)) {
            true => ((from, to), Role::Client),
            false => ((to, from), Role::Server),
        };
        // A connection older than the capture.
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let direction = match role {
            Role::Client => &mut flow.client,
            Role::Server => &mut flow.server,
        };
        if segment.syn {
            direction.next.get_or_insert_with(|| segment.sequence.wrapping_add(1));
            return;
        }
        if segment.payload.is_empty() {
            return;
        }
        direction.spoke = true;
        if !flow.judged {
            return;
        }
        match direction.take(segment.sequence, segment.payload) {
            Ok(true) => {}
            Ok(false) => flow.judged = false,
            Err(why) => {
                flow.judged = false;
                self.findings.wrong += 1;
                self.tell(packet, &why.to_string());
                return;
            }
        }
        if !flow.counted && flow.client.records.greeted() && flow.server.records.greeted() {
            flow.counted = true;
            self.findings.tls13 += 1;
            let group = flow.server.records.group.map_or_else(|| "resumed".to_owned(), group_name);
            *self.findings.groups.entry(group).or_default() += 1;
        }
    }

    /// A connection is opened, perhaps with the ports of an earlier one. False if no further one is watched.
    fn open(&mut self, from: SocketAddr, to: SocketAddr, number: u32) -> bool {
        match self.flows.get(&(from, to)) {
            Some(flow) if flow.number == number => return true,
            None if self.flows.len() >= MAX_FLOWS => {
                self.findings.gaps += 1;
                return false;
            }
            Some(earlier) => {
                self.findings.encrypted += earlier.encrypted();
                self.findings.silent += u64::from(!earlier.client.spoke && !earlier.server.spoke);
            }
            None => {}
        }
        self.findings.connections += 1;
        self.flows.insert((from, to), Flow::new(number));
        true
    }

    fn tell(&mut self, packet: &Packet<'_>, what: &str) {
        if self.findings.told.len() < MAX_TOLD {
            let ends = match packet.ends() {
                Some((from, to)) => format!("{from} to {to}"),
                None => format!("{} to {}", packet.source, packet.destination),
            };
            self.findings.told.push(format!("{ends}: {what}"));
        }
    }
}

impl Flow {
    fn new(number: u32) -> Self {
        let (client, server) = (Direction::new(Role::Client), Direction::new(Role::Server));
        Self { number, client, server, judged: true, counted: false }
    }

    fn encrypted(&self) -> u64 {
        self.client.records.encrypted + self.server.records.encrypted
    }
}

impl Direction {
    fn new(role: Role) -> Self {
        Self {
            next: None,
            records: Records::new(role),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            spoke: false,
        }
    }

    /// Takes a segment's bytes in their turn. False if too many wait for bytes that did not come.
    fn take(&mut self, sequence: u32, payload: &[u8]) -> Result<bool, NotTls13> {
        // Without the SYN nobody knows where it starts.
        let Some(next) = self.next else { return Ok(false) };
        if precedes(next, sequence) && !payload.is_empty() {
            if self.waiting.insert(sequence, payload.to_vec()).is_none() {
                self.waiting_bytes += payload.len();
            }
            return Ok(self.waiting_bytes <= MAX_WAITING);
        }
        self.append(sequence, payload)?;
        while let Some((sequence, bytes)) = self.due() {
            self.append(sequence, &bytes)?;
        }
        Ok(true)
    }

    /// Takes those of the bytes that were not seen yet.
    fn append(&mut self, sequence: u32, bytes: &[u8]) -> Result<(), NotTls13> {
        let next = self.next.unwrap_or(sequence);
        let seen = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
        let new = bytes.get(seen..).unwrap_or_default();
        self.next = Some(next.wrapping_add(u32::try_from(new.len()).unwrap_or(u32::MAX)));
        self.records.push(new)
    }

    /// Bytes that waited and whose turn it is.
    fn due(&mut self) -> Option<(u32, Vec<u8>)> {
        let next = self.next?;
        let key = self.waiting.keys().copied().find(|sequence| !precedes(next, *sequence))?;
        let bytes = self.waiting.remove(&key)?;
        self.waiting_bytes -= bytes.len();
        Some((key, bytes))
    }
}

/// Whether `a` comes before `b` in the circle of sequence numbers (RFC 9293 section 3.4).
fn precedes(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::{super::frame::tests::tcp4, *};

    const CLIENT: (u8, u16) = (1, 40_000);
    const SERVER: (u8, u16) = (2, 4143);

    fn wire() -> Wire {
        Wire::new([[10, 0, 0, 1].into(), [10, 0, 0, 2].into()], "the marker")
    }

    /// A record of change cipher spec: allowed at any time, so that tests need no hello.
    const BYTES: &[u8] = &[20, 3, 3, 0, 1, 1];

    #[test]
    fn order_and_repetition_do_not_matter() {
        let segments: Vec<_> = (0..6u32)
            .map(|n| tcp4(CLIENT, SERVER, 101 + n, false, &BYTES[n as usize..=n as usize]))
            .collect();
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 2, 1, 5, 4]] {
            let mut wire = wire();
            wire.frame(&tcp4(CLIENT, SERVER, 100, true, b""));
            for n in order.into_iter().chain([3, 3]) {
                wire.frame(&segments[n]);
            }
            let findings = wire.findings();
            assert_eq!((findings.connections, findings.wrong, findings.gaps), (1, 0, 0), "{order:?}");
            let flow = wire.flows.values().next().unwrap();
            assert_eq!(flow.client.next, Some(107));
        }
    }

    #[test]
    fn plaintext_is_wrong_once_per_connection() {
        let mut wire = wire();
        wire.frame(&tcp4(CLIENT, SERVER, u32::MAX, true, b""));
        wire.frame(&tcp4(CLIENT, SERVER, 0, false, b"GET / HTTP/1.1\r\nx: the marker\r\n"));
        wire.frame(&tcp4(CLIENT, SERVER, 50, false, b"more"));
        let findings = wire.findings();
        assert_eq!((findings.wrong, findings.leaked, findings.tls13), (1, 1, 0));
        assert!(
            findings.told[1].starts_with("10.0.0.1:40000 to 10.0.0.2:4143: bytes that are no TLS record")
        );
    }

    #[test]
    fn ports_are_used_again() {
        let mut wire = wire();
        for number in [7, 7, 9_000] {
            wire.frame(&tcp4(CLIENT, SERVER, number, true, b""));
            wire.frame(&tcp4(CLIENT, SERVER, number + 1, false, BYTES));
        }
        let findings = wire.findings();
        assert_eq!((findings.connections, findings.wrong, findings.gaps), (2, 0, 0));
    }

    #[test]
    fn what_was_not_seen_is_told() {
        let mut wire = wire();
        wire.frame(&tcp4(CLIENT, SERVER, 100, true, b""));
        wire.frame(&tcp4(CLIENT, SERVER, 200, false, BYTES));
        assert_eq!(wire.findings().gaps, 1);
    }

    #[test]
    fn others_are_not_watched_but_the_marker_is() {
        let mut wire = wire();
        wire.frame(&tcp4((9, 1), SERVER, 100, true, b""));
        wire.frame(&tcp4((9, 1), SERVER, 101, false, b"in the clear: the marker"));
        let findings = wire.findings();
        assert_eq!((findings.connections, findings.wrong, findings.leaked), (0, 0, 0));
        assert_eq!(findings.marker_elsewhere, 1);
    }
}
