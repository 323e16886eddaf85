//! Matches over one value: exact bytes, or a regular expression over all of it.

use crate::{HeaderLookup, HeaderName, Pattern};
use std::sync::Arc;

/// What a value has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// These bytes.
    Exact(Arc<[u8]>),
    /// Anything the expression matches entirely.
    Regex(Pattern),
}

/// A header that a request must have. Source: `http_route.HeaderMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Which header.
    pub name: HeaderName,
    /// What one of its values has to be.
    pub value: ValueMatch,
}

impl ValueMatch {
    /// These bytes, exactly.
    pub fn exact(value: impl AsRef<[u8]>) -> Self {
        Self::Exact(Arc::from(value.as_ref()))
    }

    /// Whether `value` is it.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

impl HeaderMatch {
    /// Whether any value of the header matches.
    pub fn matches(&self, headers: &dyn HeaderLookup) -> bool {
        headers.any(self.name.as_str(), &mut |value| self.value.matches(value))
    }
}
