//! nf_tables as values: tables, chains and rules, their netlink form, and the text `nft` would show.
//!
//! A rule is a list of [`Part`]s, each what one phrase of nft's language says ("tcp dport 80", "redirect to :4140").
//! [`expr`] turns parts into the kernel's register machine and recognises them again in what the kernel lists, so that
//! what was applied can be compared with what was meant. Only what weft needs is there.

pub mod expr;
mod kernel;
mod text;

pub use self::{
    expr::Expr,
    kernel::{Transaction, assemble, list},
};

use crate::plan::PortRange;
use ipnet::IpNet;

/// A table and all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whose packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its chains, in order.
    pub chains: Vec<Chain>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

/// A chain with a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub kind: Kind,
    /// Where packets meet it.
    pub hook: Hook,
    /// Its place among other chains of the hook: lower is earlier.
    pub priority: i32,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What a chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Let packets pass or not.
    Filter,
    /// Change addresses of connections.
    Nat,
}

/// Where packets meet a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// On arrival, before it is known where they go.
    Prerouting,
    /// On the way to a program here.
    Input,
    /// On the way through.
    Forward,
    /// When a program here sends them.
    Output,
    /// Before they leave.
    Postrouting,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, then what happens.
    pub parts: Vec<Part>,
    /// A remark, at most [`MAX_COMMENT`] bytes: longer ones are cut.
    pub comment: Option<String>,
}

/// The longest comment, bytes.
pub const MAX_COMMENT: usize = 128;

/// One phrase of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `meta nfproto ipv4`: packets of one family.
    Family(crate::plan::Family),
    /// `meta l4proto tcp`
    Tcp,
    /// `meta skuid N`: the user whose socket sent it.
    Uid(u32),
    /// `meta skgid N`: the group whose socket sent it.
    Gid(u32),
    /// `meta mark N`
    Mark(u32),
    /// `iifname "X"`: the link it came by.
    InLink(String),
    /// `oifname "X"`: the link it leaves by.
    OutLink(String),
    /// `oifname != "X"`
    NotOutLink(String),
    /// `tcp dport A-B`; needs [`Part::Tcp`] before it.
    Port(PortRange),
    /// `ip saddr N` or `ip6 saddr N`; in an inet table it needs [`Part::Family`] before it.
    Source(IpNet),
    /// `ip daddr != N`, ditto.
    NotDestination(IpNet),
    /// `return`
    Return,
    /// `accept`
    Accept,
    /// `redirect to :N`: to this port of this namespace.
    Redirect(u16),
    /// `masquerade`: leave under the address of the link it leaves by.
    Masquerade,
    /// Something weft does not write, as listed by the kernel.
    Unknown(Vec<Expr>),
}

// === impl Chain ===

impl Chain {
    /// A chain without rules that changes addresses.
    pub fn nat(name: &str, hook: Hook, priority: i32) -> Self {
        Self { name: name.to_owned(), kind: Kind::Nat, hook, priority, rules: Vec::new() }
    }

    /// Adds a rule at the end.
    pub fn push(&mut self, parts: Vec<Part>, comment: &str) {
        let end =
            comment.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|e| *e <= MAX_COMMENT).last();
        let comment = end.and_then(|e| comment.get(..e)).map(str::to_owned);
        self.rules.push(Rule { parts, comment });
    }
}

// === impl Family ===

impl Family {
    /// The kernel's number (NFPROTO_*).
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

// === impl Hook ===

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting]
            .into_iter()
            .find(|h| h.number() == number)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

// === impl Kind ===

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}
