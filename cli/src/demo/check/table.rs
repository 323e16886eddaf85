//! The result of `weft demo --check`: one line per check, for people and for programs.

use crate::output::Table;
use anstyle::AnsiColor;
use serde::{Deserialize, Serialize};

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

    /// How many hold.
    pub fn summary(&self) -> String {
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        let passed = self.checks.len() - failed;
        let seconds = self.checks.iter().map(|check| check.ms).sum::<u64>() / 1000;
        format!("{passed} hold, {failed} do not, in {seconds} s")
    }

    /// The rows alone.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["OK", "CHECK", "EXPECTED", "OBSERVED", "TOOK"]);
        for check in &self.checks {
            let mark = if check.ok { "ok" } else { "NO" };
            let took = format!("{} ms", check.ms);
            table.row([mark, &check.id, &check.expected, &check.observed, &took]);
        }
        table
    }
}

impl Check {
    /// As soon as it is made: its mark, name and time, then what was observed, wrapped to `width` columns.
    pub fn lines(&self, width: usize) -> String {
        let (style, mark) = if self.ok {
            (AnsiColor::Green.on_default(), "ok")
        } else {
            (AnsiColor::Red.on_default().bold(), "NO")
        };
        let Self { id, expected, observed, ms, .. } = self;
        let tenths = *ms / 100;
        let took = format!("{}.{} s", tenths / 10, tenths % 10);
        let mut text = format!("{style}{mark}{style:#}  {id:<22}{took:>7}  ");
        let told = if self.ok { observed.clone() } else { format!("{observed}\nexpected: {expected}") };
        let rest = width.saturating_sub(INDENT).max(MIN_TEXT);
        let lines: Vec<_> = told.lines().flat_map(|line| wrap(line, rest)).collect();
        text.push_str(&lines.join(&format!("\n{:INDENT$}", "")));
        text
    }
}

/// Columns before what was observed.
const INDENT: usize = 35;
/// What was observed gets at least so many columns.
const MIN_TEXT: usize = 30;

/// Breaks a line at blanks.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
            outcome.table().render(false),
            "\
OK  CHECK  EXPECTED  OBSERVED     TOOK
ok  http1  0 failed  3 failed  1200 ms
NO  drain  0 failed  3 failed  1200 ms
"
        );
    }

    #[test]
    fn lines_are_wrapped() {
        let long = Check {
            observed: "one two three four five six seven eight nine".into(),
            ..check("drain", false)
        };
        let text = anstream::adapter::strip_str(&long.lines(66)).to_string();
        let expected = "\
NO  drain                   1.2 s  one two three four five six
                                   seven eight nine
                                   expected: 0 failed";
        assert_eq!(text, expected);
    }
}
