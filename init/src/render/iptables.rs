//! The text iptables-restore takes, and what iptables-save shows of it.
//!
//! With `--noflush` a line that declares a chain empties it and leaves all else alone, and everything up to `COMMIT`
//! happens at once: applying twice gives what applying once gives.

use super::{INBOUND_CHAIN, OUTBOUND_CHAIN};
use crate::plan::{Action, Condition, Family, Multiport, Plan, Rule};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// The nat table of one family as iptables-save printed it, as far as it is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Which of our chains exist.
    chains: Vec<String>,
    /// The rules of our chains and those that lead to them, as printed.
    rules: Vec<String>,
}

/// The chains and where they hang: chain, the built-in chain it is reached from, the name of the rule that leads there.
const CHAINS: [(&str, &str, &str); 2] = [
    (INBOUND_CHAIN, "PREROUTING", "install-proxy-init-prerouting"),
    (OUTBOUND_CHAIN, "OUTPUT", "install-proxy-init-output"),
];

/// The text that makes the plan true for one family, given what is there.
pub fn restore(plan: &Plan, family: Family, before: &Saved) -> String {
    let mut lines = vec!["*nat".to_owned()];
    lines.extend(CHAINS.map(|(chain, ..)| format!(":{chain} - [0:0]")));
    for ((chain, from, name), rules) in CHAINS.into_iter().zip([&plan.inbound, &plan.outbound]) {
        let rules = rules.iter().filter(|r| r.concerns(family));
        lines.extend(rules.map(|r| rule_text(chain, r)));
        if before.jump(from, chain).is_none() {
            lines.push(jump_text("-A", from, chain, name));
        }
    }
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// The text that removes our chains; `None` if there is nothing to remove.
pub fn remove(before: &Saved) -> Option<String> {
    if *before == Saved::default() {
        return None;
    }
    let mut lines = vec!["*nat".to_owned()];
    lines.extend(before.rules.iter().filter_map(|r| Some(format!("-D {}", jump(r)?))));
    lines.extend(before.chains.iter().map(|c| format!("-F {c}")));
    lines.extend(before.chains.iter().map(|c| format!("-X {c}")));
    lines.push("COMMIT\n".to_owned());
    Some(lines.join("\n"))
}

/// The text that puts our part of the table back to `before`, when it is now as `after` says.
pub fn put_back(before: &Saved, after: &Saved) -> Option<String> {
    if before == after {
        return None;
    }
    let mut lines = vec!["*nat".to_owned()];
    // Declared chains are emptied, so all rules can go and come again.
    let chains: BTreeSet<_> = before.chains.iter().chain(&after.chains).collect();
    lines.extend(chains.into_iter().map(|c| format!(":{c} - [0:0]")));
    lines.extend(after.rules.iter().filter_map(|r| Some(format!("-D {}", jump(r)?))));
    lines.extend(after.chains.iter().filter(|c| !before.chains.contains(c)).map(|c| format!("-X {c}")));
    lines.extend(before.rules.iter().cloned());
    lines.push("COMMIT\n".to_owned());
    Some(lines.join("\n"))
}

fn rule_text(chain: &str, rule: &Rule) -> String {
    let mut text = format!("-A {chain}");
    let redirect = |text: &mut String| match rule.action {
        Action::Return => text.push_str(" -j RETURN"),
        Action::Redirect(port) => {
            let _ = write!(text, " -j REDIRECT --to-port {port}");
        }
    };
    let _ = match &rule.condition {
        Condition::Uid(n) => write!(text, " -m owner --uid-owner {n}"),
        Condition::Gid(n) => write!(text, " -m owner --gid-owner {n}"),
        Condition::Mark(n) => write!(text, " -m mark --mark {n:#x}"),
        Condition::Loopback => write!(text, " -o lo"),
        Condition::Ports(ranges) => write!(text, " -p tcp --match multiport --dports {}", Multiport(ranges)),
        Condition::Subnet(net) => write!(text, " -p all -s {net}"),
        Condition::Tcp => write!(text, " -p tcp"),
        Condition::Port(p) => write!(text, " -p tcp --destination-port {p}"),
    };
    redirect(&mut text);
    let _ = write!(text, " -m comment --comment {}", rule.comment());
    text
}

fn jump_text(action: &str, from: &str, chain: &str, name: &str) -> String {
    format!("{action} {from} -j {chain} -m comment --comment proxy-init/{name}")
}

/// Of a rule that leads to one of our chains, what follows `-A`.
fn jump(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("-A ")?;
    CHAINS.iter().any(|(_, from, _)| rest.split(' ').next() == Some(from)).then_some(rest)
}

// === impl Saved ===

impl Saved {
    /// Picks our part out of what iptables-save printed.
    pub fn parse(text: &str) -> Self {
        let ours = |name: &str| CHAINS.iter().any(|(chain, ..)| *chain == name);
        let mut saved = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            if let Some(chain) = first.strip_prefix(':').filter(|c| ours(c)) {
                saved.chains.push(chain.to_owned());
            } else if first == "-A" {
                let in_ours = words.next().is_some_and(ours);
                let target = fields(line).get("-j").cloned().unwrap_or_default();
                if in_ours || ours(&target) {
                    saved.rules.push(line.to_owned());
                }
            }
        }
        saved
    }

    /// The rule that leads from a built-in chain to one of ours.
    fn jump(&self, from: &str, chain: &str) -> Option<&String> {
        self.rules.iter().find(|r| {
            let fields = fields(r);
            fields.get("-A").is_some_and(|a| a == from) && fields.get("-j").is_some_and(|j| j == chain)
        })
    }

    /// What is there but not meant, and what is meant but not there. Empty if the plan is true.
    pub fn differences(&self, plan: &Plan, family: Family) -> Vec<String> {
        let mut problems = Vec::new();
        for ((chain, from, _), rules) in CHAINS.into_iter().zip([&plan.inbound, &plan.outbound]) {
            let wanted: Vec<_> =
                rules.iter().filter(|r| r.concerns(family)).map(|r| rule_text(chain, r)).collect();
            let found: Vec<_> =
                self.rules.iter().filter(|r| fields(r).get("-A").is_some_and(|a| a == chain)).collect();
            for i in 0..wanted.len().max(found.len()) {
                match (wanted.get(i), found.get(i)) {
                    (Some(w), Some(f)) if fields(w) == fields(f) => {}
                    (Some(w), Some(f)) => problems.push(format!("{family}: expected {w:?}, found {f:?}")),
                    (Some(w), None) => problems.push(format!("{family}: {w:?} is missing")),
                    (None, Some(f)) => problems.push(format!("{family}: {f:?} is one too many")),
                    (None, None) => {}
                }
            }
            if self.jump(from, chain).is_none() {
                problems.push(format!("{family}: nothing leads from {from} to {chain}"));
            }
        }
        problems
    }
}

/// A rule as its options and their values, in one spelling: what iptables-save prints differs from what
/// iptables-restore was given in order, quotes and synonyms.
fn fields(rule: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut words = words(rule).into_iter().peekable();
    while let Some(word) = words.next() {
        let value = match words.peek() {
            Some(next) if !next.starts_with('-') => words.next().unwrap_or_default(),
            _ => String::new(),
        };
        match (word.as_str(), value.as_str()) {
            // Loads a match whose options say the same.
            ("-m" | "--match", _) | ("-p", "all") => {}
            ("--to-port", _) => drop(fields.insert("--to-ports".into(), value)),
            ("--destination-port", _) => drop(fields.insert("--dport".into(), value)),
            ("-s", _) => {
                let canonical = value.parse::<IpNet>().map(|n| n.to_string());
                fields.insert(word, canonical.unwrap_or(value));
            }
            _ => drop(fields.insert(word, value)),
        }
    }
    fields
}

/// Splits at blanks outside double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                words.last_mut().map(|w| w.push(c)).unwrap_or_default();
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().map(|w| w.push(c)).unwrap_or_default(),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::{super::tests::full, *};
    use crate::plan::Redirection;
    use proptest::prelude::*;

    #[test]
    fn restore_text() {
        assert_eq!(
            restore(&full(), Family::V4, &Saved::default()),
            "*nat
:PROXY_INIT_REDIRECT - [0:0]
:PROXY_INIT_OUTPUT - [0:0]
-A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191,4567:4568 -j RETURN -m comment --comment proxy-init/ignore-port-4190,4191,4567:4568
-A PROXY_INIT_REDIRECT -p all -s 10.1.0.0/16 -j RETURN -m comment --comment proxy-init/ignore-subnet-10.1.0.0/16
-A PROXY_INIT_REDIRECT -p all -s 192.0.2.7/32 -j RETURN -m comment --comment proxy-init/ignore-subnet-192.0.2.7/32
-A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143 -m comment --comment proxy-init/redirect-all-incoming-to-proxy-port
-A PREROUTING -j PROXY_INIT_REDIRECT -m comment --comment proxy-init/install-proxy-init-prerouting
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN -m comment --comment proxy-init/ignore-proxy-user-id
-A PROXY_INIT_OUTPUT -m owner --gid-owner 2103 -j RETURN -m comment --comment proxy-init/ignore-proxy-group-id
-A PROXY_INIT_OUTPUT -m mark --mark 0x2102 -j RETURN -m comment --comment proxy-init/ignore-proxy-mark
-A PROXY_INIT_OUTPUT -o lo -j RETURN -m comment --comment proxy-init/ignore-loopback
-A PROXY_INIT_OUTPUT -p tcp --match multiport --dports 443,5000:5010 -j RETURN -m comment --comment proxy-init/ignore-port-443,5000:5010
-A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140 -m comment --comment proxy-init/redirect-all-outgoing-to-proxy-port
-A OUTPUT -j PROXY_INIT_OUTPUT -m comment --comment proxy-init/install-proxy-init-output
COMMIT
"
        );
    }

    #[test]
    fn each_family_has_its_own_subnets() {
        let v6 = restore(&full(), Family::V6, &Saved::default());
        assert!(v6.contains("-s fd00::/8") && !v6.contains("10.1.0.0") && !v6.contains("192.0.2.7"));
    }

    /// As iptables-nft-save 1.8.9 prints the rules above.
    const SAVED: &str = r#"# Generated by iptables-nft-save v1.8.9 (nf_tables) on Mon Nov 23 01:00:00 2026
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:PROXY_INIT_OUTPUT - [0:0]
:PROXY_INIT_REDIRECT - [0:0]
-A PREROUTING -m comment --comment "proxy-init/install-proxy-init-prerouting" -j PROXY_INIT_REDIRECT
-A OUTPUT -p udp -j ACCEPT
-A OUTPUT -m comment --comment "proxy-init/install-proxy-init-output" -j PROXY_INIT_OUTPUT
-A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -m comment --comment "proxy-init/ignore-proxy-user-id" -j RETURN
-A PROXY_INIT_OUTPUT -m owner --gid-owner 2103 -m comment --comment "proxy-init/ignore-proxy-group-id" -j RETURN
-A PROXY_INIT_OUTPUT -m mark --mark 0x2102 -m comment --comment "proxy-init/ignore-proxy-mark" -j RETURN
-A PROXY_INIT_OUTPUT -o lo -m comment --comment "proxy-init/ignore-loopback" -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -m multiport --dports 443,5000:5010 -m comment --comment "proxy-init/ignore-port-443,5000:5010" -j RETURN
-A PROXY_INIT_OUTPUT -p tcp -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port" -j REDIRECT --to-ports 4140
-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4190,4191,4567:4568 -m comment --comment "proxy-init/ignore-port-4190,4191,4567:4568" -j RETURN
-A PROXY_INIT_REDIRECT -s 10.1.0.0/16 -m comment --comment "proxy-init/ignore-subnet-10.1.0.0/16" -j RETURN
-A PROXY_INIT_REDIRECT -s 192.0.2.7/32 -m comment --comment "proxy-init/ignore-subnet-192.0.2.7/32" -j RETURN
-A PROXY_INIT_REDIRECT -p tcp -m comment --comment "proxy-init/redirect-all-incoming-to-proxy-port" -j REDIRECT --to-ports 4143
COMMIT
"#;

    #[test]
    fn saved_rules_are_the_same_rules() {
        let saved = Saved::parse(SAVED);
        assert_eq!((saved.chains.len(), saved.rules.len()), (2, 12));
        assert_eq!(saved.differences(&full(), Family::V4), Vec::<String>::new());
        let again = restore(&full(), Family::V4, &saved);
        assert!(
            !again.contains("-A PREROUTING") && !again.contains("-A OUTPUT"),
            "jumps only where there are none"
        );
    }

    #[test]
    fn differences_are_named() {
        let other = Plan::new(&Redirection { exempt_uid: Some(2103), ..Redirection::standard() });
        assert_eq!(
            Saved::parse(SAVED.split("-A PROXY_INIT_REDIRECT -s 10").next().unwrap())
                .differences(&full(), Family::V4)
                .len(),
            3,
            "three rules were cut off"
        );
        let found = Saved::parse(SAVED).differences(&other, Family::V4);
        assert!(found[0].contains("expected") && found[0].contains("found"), "{found:?}");
        let missing = Saved::default().differences(&other, Family::V6);
        assert!(
            missing.contains(&"IPv6: nothing leads from OUTPUT to PROXY_INIT_OUTPUT".to_owned()),
            "{missing:?}"
        );
    }

    #[test]
    fn removal() {
        assert_eq!(remove(&Saved::default()), None);
        assert_eq!(
            remove(&Saved::parse(SAVED)).unwrap(),
            "*nat
-D PREROUTING -m comment --comment \"proxy-init/install-proxy-init-prerouting\" -j PROXY_INIT_REDIRECT
-D OUTPUT -m comment --comment \"proxy-init/install-proxy-init-output\" -j PROXY_INIT_OUTPUT
-F PROXY_INIT_OUTPUT
-F PROXY_INIT_REDIRECT
-X PROXY_INIT_OUTPUT
-X PROXY_INIT_REDIRECT
COMMIT
"
        );
    }

    #[test]
    fn putting_back() {
        let full = Saved::parse(SAVED);
        assert_eq!(put_back(&full, &full), None);
        let none = put_back(&Saved::default(), &full).unwrap();
        assert!(
            none.contains("-X PROXY_INIT_OUTPUT") && none.contains("-D OUTPUT") && !none.contains("-A "),
            "{none}"
        );
        let all = put_back(&full, &Saved::default()).unwrap();
        assert_eq!(all.matches("\n-A ").count(), 12, "{all}");
    }

    #[test]
    fn quotes() {
        assert_eq!(
            words(r#"-A X --comment "a \"b\" c"  -j Y"#),
            ["-A", "X", "--comment", "a \"b\" c", "-j", "Y"]
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(\\*nat\n|:PROXY_INIT_OUTPUT|-A PROXY_INIT_OUTPUT|-A OUTPUT -j PROXY_INIT_OUTPUT|[ -~\n]){0,40}") {
            let saved = Saved::parse(&text);
            let _ = (saved.differences(&full(), Family::V4), remove(&saved), put_back(&saved, &Saved::default()));
        }
    }
}
