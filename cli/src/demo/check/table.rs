//! The result of `weft demo --check`: one line per check, for people and for programs.

use crate::output::Table;
use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What was found out about one promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which: it does not change between versions.
    pub id: String,
    /// Whether the promise holds.
    pub ok: bool,
    /// What should be.
    pub expected: String,
    /// What was.
    pub observed: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In the order they were made.
    pub checks: Vec<Check>,
    /// Whether all promises hold. Without a check none does.
    pub ok: bool,
}

impl Outcome {
    /// Adds a check.
    pub fn push(&mut self, check: Check) {
        self.ok = check.ok && (self.ok || self.checks.is_empty());
        self.checks.push(check);
    }

    /// One row per check, and a last line with the numbers.
    pub fn render(&self) -> String {
        let mut text = self.table().render(false);
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        let passed = self.checks.len() - failed;
        let seconds = self.checks.iter().map(|check| check.ms).sum::<u64>() / 1000;
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{passed} hold, {failed} do not, in {seconds} s");
        text
    }

    /// The rows alone.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["", "CHECK", "EXPECTED", "OBSERVED", "TOOK"]);
        for check in &self.checks {
            let mark = if check.ok { "ok" } else { "NO" };
            let took = format!("{} ms", check.ms);
            table.row([mark, &check.id, &check.expected, &check.observed, &took]);
        }
        table
    }
}

impl Check {
    /// One line, as soon as it is made.
    pub fn line(&self) -> String {
        let (style, mark) = if self.ok {
            (Style::from(AnsiColor::Green.on_default()), "ok")
        } else {
            (AnsiColor::Red.on_default().bold(), "NO")
        };
        let Self { id, expected, observed, ms, .. } = self;
        let seconds = *ms / 100;
        let took = format!("{}.{} s", seconds / 10, seconds % 10);
        if self.ok {
            format!("{style}{mark}{style:#} {id:<22} {took:>7}  {observed}")
        } else {
            format!("{style}{mark}{style:#} {id:<22} {took:>7}  {observed}\n{:35}expected: {expected}", "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, ok: bool) -> Check {
        Check { id: id.into(), ok, expected: "0 failed".into(), observed: "3 failed".into(), ms: 1200 }
    }

    #[test]
    fn nothing_checked_is_not_ok() {
        let mut outcome = Outcome::default();
        assert!(!outcome.ok);
        outcome.push(check("a", true));
        assert!(outcome.ok);
        outcome.push(check("b", false));
        outcome.push(check("c", true));
        assert!(!outcome.ok);
    }

    #[test]
    fn in_json() {
        let mut outcome = Outcome::default();
        outcome.push(check("drain", false));
        assert_eq!(
            serde_json::to_string(&outcome).unwrap(),
            r#"{"checks":[{"id":"drain","ok":false,"expected":"0 failed","observed":"3 failed","ms":1200}],"ok":false}"#
        );
    }

    #[test]
    fn for_people() {
        let mut outcome = Outcome::default();
        outcome.push(check("http1", true));
        outcome.push(check("drain", false));
        assert_eq!(
            outcome.render(),
            "\
    CHECK  EXPECTED  OBSERVED     TOOK
ok  http1  0 failed  3 failed  1200 ms
NO  drain  0 failed  3 failed  1200 ms

1 hold, 1 do not, in 2 s
"
        );
        let line = anstream::adapter::strip_str(&check("drain", false).line()).to_string();
        assert_eq!(line.lines().next().unwrap(), "NO drain                    1.2 s  3 failed");
    }
}
