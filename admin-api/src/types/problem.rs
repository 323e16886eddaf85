//! Errors: problem details as RFC 9457 has them, with what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// An error (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem it is: `urn:weft:problem:` and a word that does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:weft:problem:not-found")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
    /// The path it happened at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub advice: Option<String>,
    /// Each part of the request that is wrong, all of them at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// One part of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Where: `query.limit`, `path.serial`, `header.accept`.
    #[serde(rename = "where")]
    #[schema(example = "query.limit")]
    pub location: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub found: Option<String>,
    /// What was expected.
    #[schema(example = "a whole number from 1 to 500")]
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for Fault { location, found, expected } in &self.faults {
            match found {
                Some(found) => write!(f, "; {location} is {found:?}, expected {expected}")?,
                None => write!(f, "; {location} is missing, expected {expected}")?,
            }
        }
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
