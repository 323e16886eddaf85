//! The text of tables, in nft's language: `nft -f` accepts it, and `nft list table` shows the like.

use super::{Chain, Family, Part, Rule, Table};
use crate::plan::Family as IpFamily;
use std::fmt::{self, Display, Formatter};

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        for (i, chain) in self.chains.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            chain.fmt(f)?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        let (kind, hook, priority) = (self.kind.name(), self.hook.name(), self.priority);
        writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy accept;")?;
        for rule in &self.rules {
            write!(f, "\t\t{rule}")?;
            if let Some(comment) = &rule.comment {
                write!(f, " comment \"{}\"", comment.replace('"', "'"))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\t}}")
    }
}

/// Without the comment.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts = self.parts.iter().peekable();
        let mut blank = "";
        while let Some(part) = parts.next() {
            // nft's own text leaves out what the next phrase says as well.
            let implied = matches!(
                (part, parts.peek()),
                (Part::Tcp, Some(Part::Port(_)))
                    | (Part::Family(_), Some(Part::Source(_) | Part::NotDestination(_)))
            );
            if !implied {
                write!(f, "{blank}{part}")?;
                blank = " ";
            }
        }
        Ok(())
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let net = |f: &mut Formatter<'_>, n: &ipnet::IpNet, of: &str| {
            let family = if n.addr().is_ipv4() { "ip" } else { "ip6" };
            if n.prefix_len() == n.max_prefix_len() {
                write!(f, "{family} {of}{}", n.addr())
            } else {
                write!(f, "{family} {of}{n}")
            }
        };
        match self {
            Self::Family(IpFamily::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(IpFamily::V6) => f.write_str("meta nfproto ipv6"),
            Self::Tcp => f.write_str("meta l4proto tcp"),
            Self::Uid(n) => write!(f, "meta skuid {n}"),
            Self::Gid(n) => write!(f, "meta skgid {n}"),
            Self::Mark(n) => write!(f, "meta mark {n:#010x}"),
            Self::InLink(name) => write!(f, "iifname \"{name}\""),
            Self::OutLink(name) => write!(f, "oifname \"{name}\""),
            Self::NotOutLink(name) => write!(f, "oifname != \"{name}\""),
            Self::Port(p) if p.low == p.high => write!(f, "tcp dport {}", p.low),
            Self::Port(p) => write!(f, "tcp dport {}-{}", p.low, p.high),
            Self::Source(n) => net(f, n, "saddr "),
            Self::NotDestination(n) => net(f, n, "daddr != "),
            Self::Return => f.write_str("return"),
            Self::Accept => f.write_str("accept"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Unknown(exprs) => write!(f, "<{exprs:?}>"),
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}
