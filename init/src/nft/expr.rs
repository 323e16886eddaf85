//! The kernel's register machine: each expression loads a register, compares it, or decides.
//!
//! weft uses one register, and writes what `nft` would write for the same rule.

use super::Part;
use crate::{
    netlink::{
        Attr, Attrs, Malformed,
        attr::{find, need},
    },
    plan::{Family, PortRange},
};
use ipnet::IpNet;
use std::net::IpAddr;

const REGISTER: u32 = 1;
const LINK_NAME: usize = 16;
const TCP: u8 = 6;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads a property of the packet or its socket.
    Meta(u32),
    /// Loads bytes of the packet.
    Payload {
        /// Which header they are in.
        base: Base,
        /// The first byte.
        offset: u32,
        /// How many bytes.
        length: u32,
    },
    /// Clears bits of what was loaded.
    Mask(Vec<u8>),
    /// Goes on only if what was loaded compares so with the value.
    Compare(Op, Vec<u8>),
    /// Loads a constant.
    Load(Vec<u8>),
    /// Ends the chain: NF_ACCEPT, NFT_RETURN, ….
    Verdict(i32),
    /// Sends the connection to the loaded port of this namespace.
    Redirect,
    /// Lets the connection leave under the address of its link.
    Masquerade,
    /// An instruction weft does not write: its name.
    Other(String),
}

/// How to compare, byte by byte from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Less or the same.
    AtMost,
    /// More or the same.
    AtLeast,
}

/// A header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// IPv4 or IPv6.
    Network,
    /// TCP or UDP.
    Transport,
}

/// Keys of "meta" (nf_tables.h, NFT_META_*).
mod meta {
    pub(super) const MARK: u32 = 3;
    pub(super) const IIFNAME: u32 = 6;
    pub(super) const OIFNAME: u32 = 7;
    pub(super) const SKUID: u32 = 10;
    pub(super) const SKGID: u32 = 11;
    pub(super) const NFPROTO: u32 = 15;
    pub(super) const L4PROTO: u32 = 16;
}

const ACCEPT: i32 = 1;
const RETURN: i32 = -5;

/// Loads the destination port of TCP or UDP.
const DPORT: Expr = Expr::Payload { base: Base::Transport, offset: 2, length: 2 };

/// The instructions of a rule's parts.
pub fn compile(parts: &[Part]) -> Vec<Expr> {
    let equal = |value: &[u8]| Expr::Compare(Op::Equal, value.to_vec());
    let unequal = |value: &[u8]| Expr::Compare(Op::NotEqual, value.to_vec());
    let number = |key, n: u32| vec![Expr::Meta(key), equal(&n.to_ne_bytes())];
    let mut exprs = Vec::new();
    for part in parts {
        exprs.extend(match part {
            Part::Family(family) => vec![Expr::Meta(meta::NFPROTO), equal(&[nfproto(*family)])],
            Part::Tcp => vec![Expr::Meta(meta::L4PROTO), equal(&[TCP])],
            Part::Uid(n) => number(meta::SKUID, *n),
            Part::Gid(n) => number(meta::SKGID, *n),
            Part::Mark(n) => number(meta::MARK, *n),
            Part::InLink(name) => vec![Expr::Meta(meta::IIFNAME), equal(&link_name(name))],
            Part::OutLink(name) => vec![Expr::Meta(meta::OIFNAME), equal(&link_name(name))],
            Part::NotOutLink(name) => vec![Expr::Meta(meta::OIFNAME), unequal(&link_name(name))],
            Part::Port(PortRange { low, high }) if low == high => vec![DPORT, equal(&low.to_be_bytes())],
            Part::Port(PortRange { low, high }) => vec![
                DPORT,
                Expr::Compare(Op::AtLeast, low.to_be_bytes().to_vec()),
                Expr::Compare(Op::AtMost, high.to_be_bytes().to_vec()),
            ],
            Part::Source(net) => address(*net, false, Op::Equal),
            Part::NotDestination(net) => address(*net, true, Op::NotEqual),
            Part::Return => vec![Expr::Verdict(RETURN)],
            Part::Accept => vec![Expr::Verdict(ACCEPT)],
            Part::Redirect(port) => vec![Expr::Load(port.to_be_bytes().to_vec()), Expr::Redirect],
            Part::Masquerade => vec![Expr::Masquerade],
            Part::Unknown(other) => other.clone(),
        });
    }
    exprs
}

/// The parts that instructions say; what is not recognised stays as it is, in one [`Part::Unknown`] per run.
pub fn recognise(exprs: &[Expr]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = exprs;
    while let Some((first, after)) = rest.split_first() {
        let (part, taken) = match recognise_one(rest) {
            Some((part, taken)) => (part, taken),
            None => (Part::Unknown(vec![first.clone()]), 1),
        };
        match (parts.last_mut(), part) {
            (Some(Part::Unknown(seen)), Part::Unknown(more)) => seen.extend(more),
            (_, part) => parts.push(part),
        }
        rest = rest.get(taken..).unwrap_or(after);
    }
    parts
}

fn recognise_one(exprs: &[Expr]) -> Option<(Part, usize)> {
    let found = match exprs {
        [Expr::Verdict(RETURN), ..] => (Part::Return, 1),
        [Expr::Verdict(ACCEPT), ..] => (Part::Accept, 1),
        [Expr::Masquerade, ..] => (Part::Masquerade, 1),
        [Expr::Load(port), Expr::Redirect, ..] => (Part::Redirect(number(port)?), 2),
        [Expr::Meta(key), Expr::Compare(op, value), ..] => (meta_part(*key, *op, value)?, 2),
        [DPORT, Expr::Compare(Op::Equal, port), ..] => (Part::Port(PortRange::one(number(port)?)), 2),
        [DPORT, Expr::Compare(Op::AtLeast, low), Expr::Compare(Op::AtMost, high), ..] => {
            (Part::Port(PortRange { low: number(low)?, high: number(high)? }), 3)
        }
        [
            Expr::Payload { base: Base::Network, offset, .. },
            Expr::Mask(mask),
            Expr::Compare(op, value),
            ..,
        ] => (address_part(*offset, *op, value, prefix_len(mask)?)?, 3),
        [Expr::Payload { base: Base::Network, offset, .. }, Expr::Compare(op, value), ..] => {
            (address_part(*offset, *op, value, u8::try_from(value.len() * 8).ok()?)?, 2)
        }
        _ => return None,
    };
    Some(found)
}

/// A port.
fn number(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn meta_part(key: u32, op: Op, value: &[u8]) -> Option<Part> {
    let number = || value.try_into().ok().map(u32::from_ne_bytes);
    let name = || {
        let end = value.iter().position(|b| *b == 0)?;
        String::from_utf8(value.get(..end)?.to_vec()).ok()
    };
    Some(match (key, op) {
        (meta::NFPROTO, Op::Equal) if value == [nfproto(Family::V4)] => Part::Family(Family::V4),
        (meta::NFPROTO, Op::Equal) if value == [nfproto(Family::V6)] => Part::Family(Family::V6),
        (meta::L4PROTO, Op::Equal) if value == [TCP] => Part::Tcp,
        (meta::SKUID, Op::Equal) => Part::Uid(number()?),
        (meta::SKGID, Op::Equal) => Part::Gid(number()?),
        (meta::MARK, Op::Equal) => Part::Mark(number()?),
        (meta::IIFNAME, Op::Equal) => Part::InLink(name()?),
        (meta::OIFNAME, Op::Equal) => Part::OutLink(name()?),
        (meta::OIFNAME, Op::NotEqual) => Part::NotOutLink(name()?),
        _ => return None,
    })
}

/// Loads the source or destination address and compares it under the network's mask.
fn address(net: IpNet, destination: bool, op: Op) -> Vec<Expr> {
    let (value, source_at) = match net.addr() {
        IpAddr::V4(a) => (a.octets().to_vec(), 12),
        IpAddr::V6(a) => (a.octets().to_vec(), 8),
    };
    let length = u32::try_from(value.len()).unwrap_or(16);
    let offset = if destination { source_at + length } else { source_at };
    let mut exprs = vec![Expr::Payload { base: Base::Network, offset, length }];
    if net.prefix_len() < net.max_prefix_len() {
        exprs.push(Expr::Mask(match net.netmask() {
            IpAddr::V4(m) => m.octets().to_vec(),
            IpAddr::V6(m) => m.octets().to_vec(),
        }));
    }
    exprs.push(Expr::Compare(op, value));
    exprs
}

fn address_part(offset: u32, op: Op, value: &[u8], prefix: u8) -> Option<Part> {
    let (addr, destination) = match (value.len(), offset) {
        (4, 12 | 16) => (IpAddr::from(<[u8; 4]>::try_from(value).ok()?), offset == 16),
        (16, 8 | 24) => (IpAddr::from(<[u8; 16]>::try_from(value).ok()?), offset == 24),
        _ => return None,
    };
    let net = IpNet::new(addr, prefix).ok()?;
    match (destination, op) {
        (false, Op::Equal) => Some(Part::Source(net)),
        (true, Op::NotEqual) => Some(Part::NotDestination(net)),
        _ => None,
    }
}

/// The length of a mask that is ones, then zeroes.
fn prefix_len(mask: &[u8]) -> Option<u8> {
    let ones: u32 = mask.iter().map(|b| b.leading_ones()).take_while(|n| *n > 0).sum();
    let total: u32 = mask.iter().map(|b| b.count_ones()).sum();
    let mut after = mask.iter().skip_while(|b| **b == 0xff);
    let contiguous =
        after.next().is_none_or(|b| b.leading_ones() == b.count_ones()) && after.all(|b| *b == 0);
    (contiguous && ones == total).then(|| u8::try_from(ones).ok())?
}

fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// A link's name as the kernel compares it: sixteen bytes, the unused ones zero.
fn link_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.truncate(LINK_NAME - 1);
    bytes.resize(LINK_NAME, 0);
    bytes
}

// === netlink form ===

impl Expr {
    /// The expression as attributes: its name, then its own.
    pub fn encode(&self) -> Attrs {
        let value = |v: &[u8]| Attrs::new().bytes(1, v);
        let (name, attrs) = match self {
            Self::Meta(key) => ("meta", Attrs::new().be32(1, REGISTER).be32(2, *key)),
            Self::Payload { base, offset, length } => (
                "payload",
                Attrs::new().be32(1, REGISTER).be32(2, base.number()).be32(3, *offset).be32(4, *length),
            ),
            Self::Mask(mask) => (
                "bitwise",
                Attrs::new()
                    .be32(1, REGISTER)
                    .be32(2, REGISTER)
                    .be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX))
                    .nest(4, value(mask))
                    .nest(5, value(&vec![0; mask.len()])),
            ),
            Self::Compare(op, v) => {
                ("cmp", Attrs::new().be32(1, REGISTER).be32(2, op.number()).nest(3, value(v)))
            }
            Self::Load(v) => ("immediate", Attrs::new().be32(1, REGISTER).nest(2, value(v))),
            Self::Verdict(code) => {
                let code = Attrs::new().be32(1, u32::from_ne_bytes(code.to_ne_bytes()));
                ("immediate", Attrs::new().be32(1, 0).nest(2, Attrs::new().nest(2, code)))
            }
            Self::Redirect => ("redir", Attrs::new().be32(1, REGISTER)),
            Self::Masquerade => ("masq", Attrs::new()),
            Self::Other(name) => (name.as_str(), Attrs::new()),
        };
        Attrs::new().str(1, name).nest(2, attrs)
    }

    /// Reads an expression. One that weft would not write, or that uses other registers, is [`Expr::Other`].
    pub fn decode(attrs: &[Attr<'_>]) -> Result<Self, Malformed> {
        let name = need(attrs, 1)?.as_str()?;
        let inner = match find(attrs, 2) {
            Some(a) => a.nested()?,
            None => Vec::new(),
        };
        let number = |kind| need(&inner, kind)?.as_be32();
        let value = |kind| -> Result<Vec<u8>, Malformed> {
            Ok(need(&need(&inner, kind)?.nested()?, 1)?.value.to_vec())
        };
        let known = match name {
            "meta" if find(&inner, 1).is_some() => (number(1)? == REGISTER).then_some(Self::Meta(number(2)?)),
            "payload" if find(&inner, 1).is_some() => {
                let base = Base::from_number(number(2)?);
                let (register, offset, length) = (number(1)?, number(3)?, number(4)?);
                base.filter(|_| register == REGISTER).map(|base| Self::Payload { base, offset, length })
            }
            "bitwise" if find(&inner, 4).is_some() => {
                let plain =
                    number(1)? == REGISTER && number(2)? == REGISTER && value(5)?.iter().all(|b| *b == 0);
                plain.then_some(Self::Mask(value(4)?))
            }
            "cmp" => {
                let (op, value) = (Op::from_number(number(2)?), value(3)?);
                op.filter(|_| number(1) == Ok(REGISTER)).map(|op| Self::Compare(op, value))
            }
            "immediate" => match number(1)? {
                0 => verdict(&need(&inner, 2)?.nested()?)?.map(Self::Verdict),
                REGISTER => Some(Self::Load(value(2)?)),
                _ => None,
            },
            "redir" => (number(1) == Ok(REGISTER)).then_some(Self::Redirect),
            "masq" => find(&inner, 2).is_none().then_some(Self::Masquerade),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Other(name.to_owned())))
    }
}

/// A verdict without a chain to jump to.
fn verdict(data: &[Attr<'_>]) -> Result<Option<i32>, Malformed> {
    let inner = need(data, 2)?.nested()?;
    let code = need(&inner, 1)?.as_be32()?;
    Ok(find(&inner, 2).is_none().then(|| i32::from_ne_bytes(code.to_ne_bytes())))
}

impl Op {
    const ALL: [Self; 4] = [Self::Equal, Self::NotEqual, Self::AtMost, Self::AtLeast];

    /// NFT_CMP_*.
    fn number(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::NotEqual => 1,
            Self::AtMost => 3,
            Self::AtLeast => 5,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.number() == number)
    }
}

impl Base {
    fn number(self) -> u32 {
        match self {
            Self::Network => 1,
            Self::Transport => 2,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Network, Self::Transport].into_iter().find(|b| b.number() == number)
    }
}
