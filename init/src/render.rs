//! A plan as each back end's rules: text to read and to feed to iptables-restore, and nf_tables values.

pub mod iptables;

use crate::{
    nft::{Chain, Family, Hook, Part, Table},
    plan::{self, Action, Condition, Plan, Rule},
};
use ipnet::IpNet;

/// The nf_tables table that holds the rules.
pub const TABLE: &str = "weft_init";
/// The chain of inbound rules, under Linkerd's name.
pub const INBOUND_CHAIN: &str = "PROXY_INIT_REDIRECT";
/// The chain of outbound rules, under Linkerd's name.
pub const OUTBOUND_CHAIN: &str = "PROXY_INIT_OUTPUT";

/// Where NAT of destinations happens, as iptables' nat table has it (NF_IP_PRI_NAT_DST).
const NAT_PRIORITY: i32 = -100;

/// The nf_tables table of a plan: one for both address families.
pub fn nft(plan: &Plan) -> Table {
    let mut inbound = Chain::nat(INBOUND_CHAIN, Hook::Prerouting, NAT_PRIORITY);
    let mut outbound = Chain::nat(OUTBOUND_CHAIN, Hook::Output, NAT_PRIORITY);
    for (chain, rules) in [(&mut inbound, &plan.inbound), (&mut outbound, &plan.outbound)] {
        if !plan.ipv6 {
            chain.push(vec![Part::Family(plan::Family::V6), Part::Return], "proxy-init/ignore-ipv6");
        }
        for rule in rules {
            for mut parts in conditions(rule) {
                parts.push(match rule.action {
                    Action::Return => Part::Return,
                    Action::Redirect(port) => Part::Redirect(port.get()),
                });
                chain.push(parts, &rule.comment());
            }
        }
    }
    Table { family: Family::Inet, name: TABLE.to_owned(), chains: vec![inbound, outbound] }
}

/// The alternatives of a rule's condition: a port list is one rule each, the rest one rule in all.
fn conditions(rule: &Rule) -> Vec<Vec<Part>> {
    match &rule.condition {
        Condition::Uid(n) => vec![vec![Part::Uid(*n)]],
        Condition::Gid(n) => vec![vec![Part::Gid(*n)]],
        Condition::Mark(n) => vec![vec![Part::Mark(*n)]],
        Condition::Loopback => vec![vec![Part::OutLink("lo".into())]],
        Condition::Ports(ranges) => ranges.iter().map(|r| vec![Part::Tcp, Part::Port(*r)]).collect(),
        Condition::Subnet(net) => vec![source(net.net())],
        Condition::Tcp => vec![vec![Part::Tcp]],
        Condition::Port(p) => vec![vec![Part::Tcp, Part::Port(plan::PortRange::one(*p))]],
    }
}

fn source(net: IpNet) -> Vec<Part> {
    vec![Part::Family(plan::Family::of(net)), Part::Source(net)]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::{PortRange, Redirection};

    /// Everything at once.
    pub(crate) fn full() -> Plan {
        Plan::new(&Redirection {
            exempt_gid: Some(2103),
            exempt_mark: Some(0x2102),
            ports_to_redirect: vec![],
            skip_inbound_ports: vec![
                PortRange::one(4190),
                PortRange::one(4191),
                PortRange { low: 4567, high: 4568 },
            ],
            skip_outbound_ports: vec![PortRange::one(443), PortRange { low: 5000, high: 5010 }],
            skip_subnets: vec![
                "10.1.0.0/16".parse().unwrap(),
                "192.0.2.7".parse().unwrap(),
                "fd00::/8".parse().unwrap(),
            ],
            ..Redirection::standard()
        })
    }

    #[test]
    fn nft_text() {
        assert_eq!(
            nft(&full()).to_string(),
            r#"table inet weft_init {
	chain PROXY_INIT_REDIRECT {
		type nat hook prerouting priority -100; policy accept;
		tcp dport 4190 return comment "proxy-init/ignore-port-4190,4191,4567:4568"
		tcp dport 4191 return comment "proxy-init/ignore-port-4190,4191,4567:4568"
		tcp dport 4567-4568 return comment "proxy-init/ignore-port-4190,4191,4567:4568"
		ip saddr 10.1.0.0/16 return comment "proxy-init/ignore-subnet-10.1.0.0/16"
		ip saddr 192.0.2.7 return comment "proxy-init/ignore-subnet-192.0.2.7/32"
		ip6 saddr fd00::/8 return comment "proxy-init/ignore-subnet-fd00::/8"
		meta l4proto tcp redirect to :4143 comment "proxy-init/redirect-all-incoming-to-proxy-port"
	}

	chain PROXY_INIT_OUTPUT {
		type nat hook output priority -100; policy accept;
		meta skuid 2102 return comment "proxy-init/ignore-proxy-user-id"
		meta skgid 2103 return comment "proxy-init/ignore-proxy-group-id"
		meta mark 0x00002102 return comment "proxy-init/ignore-proxy-mark"
		oifname "lo" return comment "proxy-init/ignore-loopback"
		tcp dport 443 return comment "proxy-init/ignore-port-443,5000:5010"
		tcp dport 5000-5010 return comment "proxy-init/ignore-port-443,5000:5010"
		meta l4proto tcp redirect to :4140 comment "proxy-init/redirect-all-outgoing-to-proxy-port"
	}
}
"#
        );
    }

    #[test]
    fn without_ipv6_and_with_listed_ports() {
        let plan = Plan::new(&Redirection {
            exempt_uid: None,
            ports_to_redirect: vec![80],
            ipv6: false,
            ..Redirection::standard()
        });
        assert_eq!(
            nft(&plan).to_string(),
            r#"table inet weft_init {
	chain PROXY_INIT_REDIRECT {
		type nat hook prerouting priority -100; policy accept;
		meta nfproto ipv6 return comment "proxy-init/ignore-ipv6"
		tcp dport 80 redirect to :4143 comment "proxy-init/redirect-port-80-to-proxy-port"
	}

	chain PROXY_INIT_OUTPUT {
		type nat hook output priority -100; policy accept;
		meta nfproto ipv6 return comment "proxy-init/ignore-ipv6"
		oifname "lo" return comment "proxy-init/ignore-loopback"
		meta l4proto tcp redirect to :4140 comment "proxy-init/redirect-all-outgoing-to-proxy-port"
	}
}
"#
        );
    }
}
