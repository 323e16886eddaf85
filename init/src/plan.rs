//! What is to be redirected, as a value: from it come every back end's rules, and what they are compared with.

use ipnet::IpNet;
use std::fmt;
use weft_names::{Cidr, Port};

/// Most ports and ranges in one list, and most subnets. A whole table is sent to the kernel as one message, whose
/// size is bounded.
pub const MAX_ENTRIES: usize = 128;
/// Most ports iptables' multiport match takes in one rule; a range counts twice.
const MULTIPORT_SLOTS: usize = 15;

/// Which connections the proxy gets and which it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// Where the proxy accepts inbound connections.
    pub inbound_port: Port,
    /// Where the proxy accepts outbound connections, on loopback.
    pub outbound_port: Port,
    /// Outbound connections of this user are the proxy's own.
    pub exempt_uid: Option<u32>,
    /// Outbound connections of this group are the proxy's own.
    pub exempt_gid: Option<u32>,
    /// Outbound connections with this socket mark are the proxy's own: for user namespaces that map one user only.
    pub exempt_mark: Option<u32>,
    /// Inbound ports to redirect; none means all.
    pub ports_to_redirect: Vec<u16>,
    /// Inbound ports left alone.
    pub skip_inbound_ports: Vec<PortRange>,
    /// Outbound ports left alone.
    pub skip_outbound_ports: Vec<PortRange>,
    /// Inbound connections from these networks are left alone.
    pub skip_subnets: Vec<Cidr>,
    /// Whether IPv6 is redirected too.
    pub ipv6: bool,
}

/// Ports from `low` to `high`. Port 0 is allowed as Linkerd allows it: "0-1023" is a common way to write a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub low: u16,
    /// The last.
    pub high: u16,
}

/// The rules of a redirection, in Linkerd's order and under Linkerd's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Connections that arrive, after routing decided they are for this namespace or are forwarded.
    pub inbound: Vec<Rule>,
    /// Connections that programs here open.
    pub outbound: Vec<Rule>,
    /// Whether the rules hold for IPv6 too.
    pub ipv6: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which connections.
    pub condition: Condition,
    /// What happens to them.
    pub action: Action,
    /// Its name: the comment in the kernel, after `proxy-init/`.
    pub name: String,
}

/// Which connections a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Those of a user's processes.
    Uid(u32),
    /// Those of a group's processes.
    Gid(u32),
    /// Those of sockets with this mark.
    Mark(u32),
    /// Those that stay on this machine.
    Loopback,
    /// TCP to these ports.
    Ports(Vec<PortRange>),
    /// Anything from this network.
    Subnet(Cidr),
    /// TCP.
    Tcp,
    /// TCP to this port.
    Port(u16),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave the connection alone.
    Return,
    /// Give it to the proxy's port.
    Redirect(Port),
}

/// The families of addresses, which iptables keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

// === impl Redirection ===

impl Redirection {
    /// Redirects everything, with the ports and the user of Linkerd's proxy: 4143, 4140, 2102.
    pub fn standard() -> Self {
        const fn port(n: u16) -> Port {
            match Port::new(n) {
                Some(p) => p,
                None => panic!("a port is not 0"),
            }
        }
        const INBOUND: Port = port(4143);
        const OUTBOUND: Port = port(4140);
        Self {
            inbound_port: INBOUND,
            outbound_port: OUTBOUND,
            exempt_uid: Some(2102),
            exempt_gid: None,
            exempt_mark: None,
            ports_to_redirect: Vec::new(),
            skip_inbound_ports: Vec::new(),
            skip_outbound_ports: Vec::new(),
            skip_subnets: Vec::new(),
            ipv6: true,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// The rules that make `wanted` true.
    pub fn new(wanted: &Redirection) -> Self {
        let rule = |condition, action, name: &str| Rule { condition, action, name: name.to_owned() };
        let leave = |condition, name: &str| rule(condition, Action::Return, name);

        let mut inbound = skipped_ports(&wanted.skip_inbound_ports);
        inbound.extend(
            wanted.skip_subnets.iter().map(|n| leave(Condition::Subnet(*n), &format!("ignore-subnet-{n}"))),
        );
        let redirect = Action::Redirect(wanted.inbound_port);
        if wanted.ports_to_redirect.is_empty() {
            inbound.push(rule(Condition::Tcp, redirect, "redirect-all-incoming-to-proxy-port"));
        }
        inbound.extend(
            wanted
                .ports_to_redirect
                .iter()
                .map(|p| rule(Condition::Port(*p), redirect, &format!("redirect-port-{p}-to-proxy-port"))),
        );

        let mut outbound = Vec::new();
        outbound.extend(wanted.exempt_uid.map(|u| leave(Condition::Uid(u), "ignore-proxy-user-id")));
        outbound.extend(wanted.exempt_gid.map(|g| leave(Condition::Gid(g), "ignore-proxy-group-id")));
        outbound.extend(wanted.exempt_mark.map(|m| leave(Condition::Mark(m), "ignore-proxy-mark")));
        outbound.push(leave(Condition::Loopback, "ignore-loopback"));
        outbound.extend(skipped_ports(&wanted.skip_outbound_ports));
        let redirect = Action::Redirect(wanted.outbound_port);
        outbound.push(rule(Condition::Tcp, redirect, "redirect-all-outgoing-to-proxy-port"));

        Self { inbound, outbound, ipv6: wanted.ipv6 }
    }

    /// The address families it is about.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] }
    }
}

/// One rule per fifteen ports.
fn skipped_ports(ranges: &[PortRange]) -> Vec<Rule> {
    let mut groups: Vec<Vec<PortRange>> = Vec::new();
    let mut free = 0;
    for range in ranges {
        match groups.last_mut() {
            Some(group) if range.slots() <= free => {
                group.push(*range);
                free -= range.slots();
            }
            _ => {
                groups.push(vec![*range]);
                free = MULTIPORT_SLOTS - range.slots();
            }
        }
    }
    groups
        .into_iter()
        .map(|group| Rule {
            name: format!("ignore-port-{}", Multiport(&group)),
            condition: Condition::Ports(group),
            action: Action::Return,
        })
        .collect()
}

// === impl Rule ===

impl Rule {
    /// Whether the rule can match packets of this family.
    pub fn concerns(&self, family: Family) -> bool {
        match &self.condition {
            Condition::Subnet(net) => Family::of(net.net()) == family,
            _ => true,
        }
    }

    /// The comment it carries in the kernel.
    pub fn comment(&self) -> String {
        format!("proxy-init/{}", self.name)
    }
}

// === impl PortRange ===

impl PortRange {
    /// A single port.
    pub fn one(port: u16) -> Self {
        Self { low: port, high: port }
    }

    fn slots(self) -> usize {
        if self.low == self.high { 1 } else { 2 }
    }
}

/// As iptables writes it: `80` or `80:90`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}:{}", self.low, self.high)
        }
    }
}

/// Ports as iptables' multiport match takes them.
pub(crate) struct Multiport<'a>(pub(crate) &'a [PortRange]);

impl fmt::Display for Multiport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

// === impl Family ===

impl Family {
    /// The family of a network.
    pub fn of(net: IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range() -> impl Strategy<Value = PortRange> {
        prop_oneof![
            any::<u16>().prop_map(PortRange::one),
            (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange { low: a.min(b), high: a.max(b) }),
        ]
    }

    #[test]
    fn order_and_names_are_linkerds() {
        let wanted = Redirection {
            exempt_gid: Some(2103),
            exempt_mark: Some(7),
            ports_to_redirect: vec![80, 443],
            skip_inbound_ports: vec![PortRange::one(4190), PortRange { low: 1000, high: 2000 }],
            skip_outbound_ports: vec![PortRange::one(443)],
            skip_subnets: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..Redirection::standard()
        };
        let names = |rules: &[Rule]| rules.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
        let plan = Plan::new(&wanted);
        assert_eq!(
            names(&plan.inbound),
            [
                "ignore-port-4190,1000:2000",
                "ignore-subnet-10.0.0.0/8",
                "ignore-subnet-fd00::/8",
                "redirect-port-80-to-proxy-port",
                "redirect-port-443-to-proxy-port"
            ]
        );
        assert_eq!(
            names(&plan.outbound),
            [
                "ignore-proxy-user-id",
                "ignore-proxy-group-id",
                "ignore-proxy-mark",
                "ignore-loopback",
                "ignore-port-443",
                "redirect-all-outgoing-to-proxy-port"
            ]
        );
    }

    #[test]
    fn sixteen_ports_need_two_rules() {
        let ports: Vec<_> = (1..=16).map(PortRange::one).collect();
        let rules = skipped_ports(&ports);
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[1].name, "ignore-port-16");
        let ranges: Vec<_> = (1..=8).map(|n| PortRange { low: n * 10, high: n * 10 + 5 }).collect();
        assert_eq!(skipped_ports(&ranges).len(), 2, "a range takes two slots");
        assert!(skipped_ports(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_port_is_kept_in_order_and_no_rule_is_too_full(ranges in prop::collection::vec(range(), 0..100)) {
            let rules = skipped_ports(&ranges);
            let mut kept = Vec::new();
            for rule in rules {
                let Condition::Ports(group) = rule.condition else { panic!("not ports") };
                prop_assert!(!group.is_empty());
                prop_assert!(group.iter().map(|r| r.slots()).sum::<usize>() <= MULTIPORT_SLOTS);
                kept.extend(group);
            }
            prop_assert_eq!(kept, ranges);
        }
    }
}
