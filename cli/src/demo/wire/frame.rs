//! From an Ethernet frame to a TCP segment or to what else it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IP protocol numbers.
const TCP: u8 = 6;
/// TCP flags.
const SYN: u8 = 2;

/// An IP packet, as much of it as matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// What is in it.
    pub content: Content<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// Another protocol: its number and bytes.
    Other(u8, &'a [u8]),
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Number of its first byte.
    pub sequence: u32,
    /// Whether it opens the connection (the number is one before the first byte's then).
    pub syn: bool,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl Packet<'_> {
    /// Sender and receiver with their ports, of a TCP segment.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.content {
            Content::Tcp(segment) => Some((
                SocketAddr::new(self.source, segment.source_port),
                SocketAddr::new(self.destination, segment.destination_port),
            )),
            Content::Other(..) => None,
        }
    }
}

/// Reads a frame. None if it is not IP (ARP, for one) or is cut off.
pub fn parse(frame: &[u8]) -> Option<Packet<'_>> {
    let kind = u16::from_be_bytes(array(frame, 12)?);
    let packet = frame.get(14..)?;
    let (source, destination, protocol, content) = match kind {
        IPV4 => ipv4(packet)?,
        IPV6 => ipv6(packet)?,
        _ => return None,
    };
    let content = match protocol {
        TCP => Content::Tcp(tcp(content)?),
        other => Content::Other(other, content),
    };
    Some(Packet { source, destination, content })
}

/// RFC 791 section 3.1.
fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    // Large packets that the kernel passes on whole have no length of their own here.
    let total = match usize::from(u16::from_be_bytes(array(packet, 2)?)) {
        0 => packet.len(),
        total => total,
    };
    let source = Ipv4Addr::from(array::<4>(packet, 12)?);
    let destination = Ipv4Addr::from(array::<4>(packet, 16)?);
    Some((source.into(), destination.into(), *packet.get(9)?, packet.get(header..total)?))
}

/// RFC 8200 section 3. Extension headers are not expected here: such a packet is one of another protocol.
fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let end = match usize::from(u16::from_be_bytes(array(packet, 4)?)) {
        0 => packet.len(),
        length => 40 + length,
    };
    let source = Ipv6Addr::from(array::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(array::<16>(packet, 24)?);
    Some((source.into(), destination.into(), *packet.get(6)?, packet.get(40..end)?))
}

/// RFC 9293 section 3.1.
fn tcp(segment: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    Some(Segment {
        source_port: u16::from_be_bytes(array(segment, 0)?),
        destination_port: u16::from_be_bytes(array(segment, 2)?),
        sequence: u32::from_be_bytes(array(segment, 4)?),
        syn: segment.get(13)? & SYN != 0,
        payload: segment.get(header..)?,
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame with a TCP segment over IPv4.
    pub(in super::super) fn tcp4(
        from: (u8, u16),
        to: (u8, u16),
        sequence: u32,
        syn: bool,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&from.1.to_be_bytes());
        tcp.extend_from_slice(&to.1.to_be_bytes());
        tcp.extend_from_slice(&sequence.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.extend_from_slice(&[5 << 4, if syn { SYN } else { 0x10 }, 0, 0, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&IPV4.to_be_bytes());
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&u16::try_from(20 + tcp.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, from.0, 10, 0, 0, to.0]);
        frame.extend_from_slice(&tcp);
        frame
    }

    #[test]
    fn a_segment_is_found() {
        let mut frame = tcp4((1, 1000), (2, 4143), 77, false, b"hello");
        // Ethernet pads short frames.
        frame.extend_from_slice(&[0; 7]);
        let packet = parse(&frame).unwrap();
        let Content::Tcp(segment) = packet.content else { panic!("{packet:?}") };
        assert_eq!((segment.sequence, segment.syn, segment.payload), (77, false, &b"hello"[..]));
        let (from, to) = packet.ends().unwrap();
        assert_eq!((from.to_string(), to.to_string()), ("10.0.0.1:1000".into(), "10.0.0.2:4143".into()));
    }

    #[test]
    fn ipv6_and_other_protocols() {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&IPV6.to_be_bytes());
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 4, 17, 64]);
        frame.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        frame.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        frame.extend_from_slice(&[1, 2, 3, 4, 5]);
        assert_eq!(parse(&frame).unwrap().content, Content::Other(17, &[1, 2, 3, 4]));
    }

    #[test]
    fn no_cut_makes_it_panic() {
        let frame = tcp4((1, 1000), (2, 4143), 77, true, b"hello");
        for end in 0..frame.len() {
            assert_eq!(parse(&frame[..end]), None, "{end}");
        }
        let mut arp = frame;
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(parse(&arp), None);
    }
}
