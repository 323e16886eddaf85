//! Makes plans true in the calling thread's network namespace, and checks that they are.

mod iptables;

pub use iptables::{Tools, ToolsError, Variant};

use crate::{
    netlink::{self, Protocol, Socket},
    nft::{self, Table, Transaction},
    plan::Plan,
    render,
};
use std::fmt;
use thiserror::Error;

/// How rules get into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// nf_tables, spoken over netlink: nothing needs to be installed.
    Netlink,
    /// iptables-restore and its relatives.
    Iptables(Tools),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// By which back end.
    pub backend: String,
    /// How many rules of the plan are in force (0 after a cleanup).
    pub rules: usize,
    /// What was changed, a line each, for logs and for showing.
    pub changes: Vec<String>,
}

/// Why a plan is not in force. Whatever was in force before still is.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// nf_tables said no.
    #[error("could not change the packet filter (is CAP_NET_ADMIN there, and nf_tables in the kernel?)")]
    Netlink(#[from] netlink::Error),
    /// iptables said no.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// The kernel holds something else than what it was given.
    #[error("the rules read back are not the rules that were applied: {}", .0.join("; "))]
    Differs(Vec<String>),
}

/// Applies a plan over netlink in the calling thread's network namespace, and checks it.
///
/// Applying twice is the same as applying once; a failure leaves what was there.
pub fn apply(plan: &Plan) -> Result<Report, ApplyError> {
    Backend::Netlink.apply(plan)
}

// === impl Backend ===

impl Backend {
    /// Applies a plan and reads it back.
    pub fn apply(&self, plan: &Plan) -> Result<Report, ApplyError> {
        let changes = match self {
            Self::Netlink => apply_table(&render::nft(plan))?,
            Self::Iptables(tools) => tools.apply(plan)?,
        };
        let rules = plan.inbound.len() + plan.outbound.len();
        Ok(Report { backend: self.to_string(), rules, changes })
    }

    /// Removes what [`Backend::apply`] made. Nothing there is no error.
    pub fn cleanup(&self) -> Result<Report, ApplyError> {
        let changes = match self {
            Self::Netlink => {
                let mut socket = Socket::open(Protocol::Netfilter)?;
                Transaction::new().remove(nft::Family::Inet, render::TABLE).commit(&mut socket)?;
                vec![format!("removed table inet {}", render::TABLE)]
            }
            Self::Iptables(tools) => tools.cleanup()?,
        };
        Ok(Report { backend: self.to_string(), rules: 0, changes })
    }

    /// What is in force that the plan does not say, and the reverse. Empty if the plan is true.
    pub fn differences(&self, plan: &Plan) -> Result<Vec<String>, ApplyError> {
        match self {
            Self::Netlink => Ok(table_differences(&render::nft(plan))?),
            Self::Iptables(tools) => Ok(tools.differences(plan)?),
        }
    }

    /// What [`Backend::apply`] would hand over, as text.
    pub fn simulate(&self, plan: &Plan) -> String {
        match self {
            Self::Netlink => render::nft(plan).to_string(),
            Self::Iptables(_) => plan
                .families()
                .iter()
                .map(|family| {
                    let text = render::iptables::restore(plan, *family, &Default::default());
                    format!("# {family}\n{text}")
                })
                .collect(),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink => f.write_str("nft-netlink"),
            Self::Iptables(tools) => f.write_str(tools.variant().name()),
        }
    }
}

/// Puts a table in place and reads it back; what was there before returns if it is not what was given.
fn apply_table(table: &Table) -> Result<Vec<String>, ApplyError> {
    let before = nft::list(table.family, &table.name)?;
    let mut socket = Socket::open(Protocol::Netfilter)?;
    Transaction::new().replace(table).commit(&mut socket)?;
    let differences = table_differences(table)?;
    if !differences.is_empty() {
        let back = match &before {
            Some(before) => Transaction::new().replace(before),
            None => Transaction::new().remove(table.family, &table.name),
        };
        back.commit(&mut socket)?;
        return Err(ApplyError::Differs(differences));
    }
    let verb = if before.is_some() { "replaced" } else { "added" };
    let rules: usize = table.chains.iter().map(|c| c.rules.len()).sum();
    Ok(vec![format!(
        "{verb} table {} {}: {} chains, {rules} rules",
        table.family,
        table.name,
        table.chains.len()
    )])
}

fn table_differences(wanted: &Table) -> Result<Vec<String>, netlink::Error> {
    let Some(found) = nft::list(wanted.family, &wanted.name)? else {
        return Ok(vec![format!("table {} {} is not there", wanted.family, wanted.name)]);
    };
    Ok(compare(wanted, &found))
}

fn compare(wanted: &Table, found: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    for chain in &wanted.chains {
        let Some(there) = found.chains.iter().find(|c| c.name == chain.name) else {
            problems.push(format!("chain {} is missing", chain.name));
            continue;
        };
        if (chain.kind, chain.hook, chain.priority) != (there.kind, there.hook, there.priority) {
            problems.push(format!("chain {} hangs elsewhere", chain.name));
        }
        for i in 0..chain.rules.len().max(there.rules.len()) {
            match (chain.rules.get(i), there.rules.get(i)) {
                (Some(w), Some(f)) if w == f => {}
                (Some(w), Some(f)) => {
                    problems.push(format!("expected \"{w}\", found \"{f}\" in {}", chain.name))
                }
                (Some(w), None) => problems.push(format!("\"{w}\" is missing in {}", chain.name)),
                (None, Some(f)) => problems.push(format!("\"{f}\" is one too many in {}", chain.name)),
                (None, None) => {}
            }
        }
    }
    let known = |name: &str| wanted.chains.iter().any(|c| c.name == name);
    problems.extend(
        found.chains.iter().filter(|c| !known(&c.name)).map(|c| format!("chain {} is one too many", c.name)),
    );
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nft::Part, plan::Redirection};

    #[test]
    fn tables_are_compared_rule_by_rule() {
        let wanted = render::nft(&Plan::new(&Redirection::standard()));
        assert_eq!(compare(&wanted, &wanted), Vec::<String>::new());
        type Change = fn(&mut Table);
        let cases: [(Change, &str); 6] = [
            (|t| drop(t.chains.remove(0)), "chain PROXY_INIT_REDIRECT is missing"),
            (|t| t.chains[0].priority = 0, "chain PROXY_INIT_REDIRECT hangs elsewhere"),
            (
                |t| t.chains[1].rules[0].parts[0] = Part::Uid(0),
                "expected \"meta skuid 2102 return\", found \"meta skuid 0 return\" in PROXY_INIT_OUTPUT",
            ),
            (
                |t| drop(t.chains[1].rules.pop()),
                "\"meta l4proto tcp redirect to :4140\" is missing in PROXY_INIT_OUTPUT",
            ),
            (
                |t| t.chains[0].push(vec![Part::Accept], "x"),
                "\"accept\" is one too many in PROXY_INIT_REDIRECT",
            ),
            (|t| t.chains.push(nft::Chain::nat("more", nft::Hook::Output, 0)), "chain more is one too many"),
        ];
        for (change, expect) in cases {
            let mut found = wanted.clone();
            change(&mut found);
            assert_eq!(compare(&wanted, &found), [expect]);
        }
    }
}
