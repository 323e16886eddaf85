//! What is wrong with something a person wrote: where, the value, what was expected.
//!
//! Problems are values that are collected, never the first one only: a person who made three mistakes
//! sees three lines.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

/// The most problems kept for one file. What is beyond is counted, not kept.
pub const MAX_PROBLEMS_PER_FILE: usize = 200;

/// The longest piece of a value that is repeated in a message, in characters.
const MAX_SHOWN_VALUE: usize = 60;

/// The longest field path or message that is shown, in characters: both may have names from the file in them.
const MAX_SHOWN_TEXT: usize = 600;

/// The shortest word that may be meant as a part of another.
const MIN_PART: usize = 4;

/// A place in a file. Lines and columns count from 1; line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// Where an object was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// Where in the file.
    pub at: Position,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.at {
            Position { line: 0, .. } => Ok(()),
            Position { line, column: 0 } => write!(f, ":{line}"),
            Position { line, column } => write!(f, ":{line}:{column}"),
        }
    }
}

/// One thing that is wrong.
///
/// Displayed as `FILE:LINE:COLUMN: PATH: VALUE: expected EXPECTED (did you mean SUGGESTION?)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it was written.
    pub source: Source,
    /// The field, from the object's root: `spec.rules[0].filters[1].type`. Empty for the whole object.
    pub path: String,
    /// The value that was found, shortened. `None` when it is absent or has no short form.
    pub value: Option<String>,
    /// What is wrong or what was expected, as a phrase: `expected a port between 1 and 65535`.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem with a file as a whole.
    #[must_use]
    pub fn file(file: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            source: Source { file: file.clone(), at: Position::default() },
            path: String::new(),
            value: None,
            message: message.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", OneLine(&self.path))?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value}: ")?;
        }
        write!(f, "{}", OneLine(&self.message))?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " (did you mean {suggestion:?}?)"),
            None => Ok(()),
        }
    }
}

/// Text with names that somebody else chose: control characters escaped, and no longer than is read.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == MAX_SHOWN_TEXT {
                return f.write_char('…');
            }
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A value as it is repeated in a message: quoted, control characters escaped, at most a line long.
#[must_use]
pub fn shown(value: &str) -> String {
    let mut out = String::from("\"");
    for (count, c) in value.chars().enumerate() {
        if count == MAX_SHOWN_VALUE {
            out.push('…');
            break;
        }
        out.extend(c.escape_debug());
    }
    out.push('"');
    out
}

/// The candidate nearest to `word`, if one is near enough to be what was meant: letters in another
/// case, at most a third of them wrong, or only a part of it written.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = (word.len() / 3).max(1);
    let part = String::from_iter(&word);
    candidates
        .into_iter()
        .map(|candidate| match candidate.to_lowercase().contains(&part) {
            true if word.len() >= MIN_PART => (allowed, candidate),
            _ => (distance(&word, candidate), candidate),
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance with neighbouring transpositions counted as one.
fn distance(word: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in word.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(a != b)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && word.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_what_was_meant() {
        let fields = ["podSelector", "port", "proxyProtocol", "accessPolicy"];
        for (word, meant) in [
            ("podSelctor", Some("podSelector")),
            ("PodSelector", Some("podSelector")),
            ("prot", Some("port")),
            ("proxyprotocl", Some("proxyProtocol")),
            ("protocol", Some("proxyProtocol")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, fields), meant, "{word}");
        }
    }

    #[test]
    fn a_problem_reads_as_one_line() {
        let problem = Problem {
            source: Source { file: "a.yaml".into(), at: Position { line: 7, column: 3 } },
            path: "spec.port".into(),
            value: Some(shown("80\n80")),
            message: "expected a port".into(),
            suggestion: Some("80".into()),
        };
        assert_eq!(
            problem.to_string(),
            r#"a.yaml:7:3: spec.port: "80\n80": expected a port (did you mean "80"?)"#
        );
        assert_eq!(Problem::file(&"b.yaml".into(), "cannot be read").to_string(), "b.yaml: cannot be read");
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown(&"x".repeat(500)).chars().count(), MAX_SHOWN_VALUE + 3);
    }
}
