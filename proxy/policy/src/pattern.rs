//! Regular expressions that match a whole value, compiled once.

use crate::limits::MAX_REGEX_BYTES;
use regex::bytes::{Regex, RegexBuilder};
use std::{fmt, sync::Arc};
use thiserror::Error;

/// A compiled regular expression that has to match the entire value.
///
/// Equality is that of the source text. The source is kept as written, for the way back to the API.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: Regex,
}

/// A regular expression that does not compile, or would be larger than [`MAX_REGEX_BYTES`].
#[derive(Clone, Debug, PartialEq, Error)]
#[error("invalid regular expression {pattern:?}")]
pub struct InvalidPattern {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

impl Pattern {
    /// Compiles `source`.
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(MAX_REGEX_BYTES)
                .build()
                .map_err(|error| InvalidPattern { pattern: source.to_owned(), source: error })
        };
        // Alone first: `a)(b` must not become valid by being wrapped. In verbose mode a comment at the end swallows the
        // closing parenthesis; a line break ends it.
        compile(source)?;
        let regex =
            compile(&format!("\\A(?:{source})\\z")).or_else(|_| compile(&format!("\\A(?:{source}\n)\\z")))?;
        Ok(Self { source: Arc::from(source), regex })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_entire_value() {
        for (pattern, value, expect) in [
            ("a|ab", "ab", true),
            ("a|ab", "abc", false),
            ("/users/[0-9]+", "/users/17", true),
            ("/users/[0-9]+", "/users/17/x", false),
            ("", "", true),
            ("", "a", false),
            ("(?i)abc", "ABC", true),
            ("(?x) a b # comment", "ab", true),
            ("(?x) a b # comment", "ab\n", false),
            ("a#b", "a#b", true),
            ("a#b", "a#b\n", false),
            ("(?s).*", "a\nb", true),
            ("(?m)^a$", "a\nb", false),
            ("\\p{Lu}+", "ÄB", true),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            assert_eq!(compiled.matches(value.as_bytes()), expect, "{pattern:?} over {value:?}");
            assert_eq!(compiled.as_str(), pattern);
        }
    }

    #[test]
    fn refuses_what_does_not_compile_alone() {
        for pattern in ["(", "a)(b", "[", "\\", "a{2,1}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn refuses_what_would_be_too_large() {
        assert!(Pattern::new("(\\w{100}){100}").is_err());
    }
}
