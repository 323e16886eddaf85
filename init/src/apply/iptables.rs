//! Rules by way of iptables-restore: one call per address family, each all or nothing.

use super::ApplyError;
use crate::{
    plan::{Family, Plan},
    render::iptables::{self as text, Saved},
};
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// The programs of one iptables variant, found on a search path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    variant: Variant,
    v4: Pair,
    v6: Option<Pair>,
    wait: bool,
}

/// A program that writes rules and one that prints them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    restore: PathBuf,
    save: PathBuf,
}

/// Which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `iptables-nft`: iptables' language, nf_tables in the kernel.
    Nft,
    /// `iptables-legacy`: x_tables in the kernel.
    Legacy,
    /// `iptables`: whichever of the two the system prefers.
    Plain,
}

/// Why iptables did not do it.
#[derive(Debug, Error)]
pub enum ToolsError {
    /// Not installed.
    #[error(
        "{0} is not on the search path; install iptables, or use --backend nft-netlink, which needs nothing"
    )]
    NotFound(String),
    /// Could not be started or fed.
    #[error("could not run {}", .program.display())]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{} failed ({status}): {output}", .program.display())]
    Failed {
        /// Which.
        program: PathBuf,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        output: String,
    },
}

// === impl Variant ===

impl Variant {
    /// In the order they are looked for when the wanted one is not there.
    pub const ALL: [Self; 3] = [Self::Nft, Self::Plain, Self::Legacy];

    /// The name of its IPv4 program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
            Self::Plain => "iptables",
        }
    }

    fn program(self, family: Family) -> String {
        match family {
            Family::V4 => self.name().to_owned(),
            Family::V6 => self.name().replacen("ip", "ip6", 1),
        }
    }
}

// === impl Tools ===

impl Tools {
    /// Finds a variant's programs on a search path (`PATH`); with `ipv6` also those for IPv6.
    pub fn find(variant: Variant, path: &OsStr, ipv6: bool) -> Result<Self, ToolsError> {
        let pair = |family| {
            let program = variant.program(family);
            let find = |name: String| on_path(&name, path).ok_or(ToolsError::NotFound(name));
            Ok(Pair { restore: find(format!("{program}-restore"))?, save: find(format!("{program}-save"))? })
        };
        let v4 = pair(Family::V4)?;
        let v6 = if ipv6 { Some(pair(Family::V6)?) } else { None };
        Ok(Self { variant, v4, v6, wait: false })
    }

    /// Waits for other users of x_tables instead of failing (`-w`).
    #[must_use]
    pub fn with_wait(self, wait: bool) -> Self {
        Self { wait, ..self }
    }

    /// Which iptables this is.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    pub(super) fn apply(&self, plan: &Plan) -> Result<Vec<String>, ApplyError> {
        let mut wanted = Vec::new();
        for (family, pair) in self.pairs(plan.ipv6)? {
            let before = self.saved(pair)?;
            let rules = text::restore(plan, family, &before);
            self.restore(pair, &rules, true)?;
            wanted.push((family, pair, before, rules));
        }
        for (_, pair, _, rules) in &wanted {
            if let Err(e) = self.restore(pair, rules, false) {
                self.put_back(wanted.iter().map(|(_, pair, before, _)| (*pair, before)))?;
                return Err(e.into());
            }
        }
        let differences = self.differences(plan)?;
        if !differences.is_empty() {
            self.put_back(wanted.iter().map(|(_, pair, before, _)| (*pair, before)))?;
            return Err(ApplyError::Differs(differences));
        }
        Ok(wanted
            .iter()
            .map(|(family, pair, before, rules)| {
                let verb = if *before == Saved::default() { "added" } else { "replaced" };
                let rules = rules.lines().filter(|l| l.starts_with("-A")).count();
                format!("{verb} {rules} {family} rules in table nat by {}", pair.restore.display())
            })
            .collect())
    }

    pub(super) fn cleanup(&self) -> Result<Vec<String>, ToolsError> {
        let mut changes = Vec::new();
        for (family, pair) in self.pairs(self.v6.is_some())? {
            match text::remove(&self.saved(pair)?) {
                Some(rules) => {
                    self.restore(pair, &rules, false)?;
                    changes.push(format!("removed the {family} chains from table nat"));
                }
                None => changes.push(format!("there were no {family} chains to remove")),
            }
        }
        Ok(changes)
    }

    pub(super) fn differences(&self, plan: &Plan) -> Result<Vec<String>, ToolsError> {
        let mut problems = Vec::new();
        for (family, pair) in self.pairs(plan.ipv6)? {
            problems.extend(self.saved(pair)?.differences(plan, family));
        }
        Ok(problems)
    }

    fn pairs(&self, ipv6: bool) -> Result<Vec<(Family, &Pair)>, ToolsError> {
        let mut pairs = vec![(Family::V4, &self.v4)];
        match &self.v6 {
            Some(pair) if ipv6 => pairs.push((Family::V6, pair)),
            None if ipv6 => return Err(ToolsError::NotFound(self.variant.program(Family::V6))),
            _ => {}
        }
        Ok(pairs)
    }

    /// Families are changed one after the other: when the second fails the first returns to what it was.
    fn put_back<'a>(&self, all: impl Iterator<Item = (&'a Pair, &'a Saved)>) -> Result<(), ToolsError> {
        for (pair, before) in all {
            if let Some(rules) = text::put_back(before, &self.saved(pair)?) {
                self.restore(pair, &rules, false)?;
            }
        }
        Ok(())
    }

    fn saved(&self, pair: &Pair) -> Result<Saved, ToolsError> {
        run(&pair.save, &["-t", "nat"], "").map(|out| Saved::parse(&out))
    }

    fn restore(&self, pair: &Pair, rules: &str, only_test: bool) -> Result<(), ToolsError> {
        let mut args = vec!["--noflush"];
        args.extend(self.wait.then_some("-w"));
        args.extend(only_test.then_some("--test"));
        run(&pair.restore, &args, rules).map(drop)
    }
}

fn run(program: &Path, args: &[&str], input: &str) -> Result<String, ToolsError> {
    let could_not = |source| ToolsError::Run { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(could_not)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // It ended without reading all: its exit status and its words say why.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.map_err(could_not)?,
        }
    }
    let output = child.wait_with_output().map_err(could_not)?;
    if !output.status.success() {
        return Err(ToolsError::Failed {
            program: program.to_owned(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|p| p.is_file())
}
