//! Conditions of service profiles: nested `all`, `any` and `not` over a path or a method, or over a status.
//!
//! Depth is bounded when they are built from messages ([`crate::limits::MAX_CONDITION_DEPTH`]).

use crate::{Method, Pattern, RequestView};

/// What a profile's route asks of a request. Source: `destination.RequestMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of them; of none, true.
    All(Vec<Condition>),
    /// Any of them; of none, false.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// The path matches entirely.
    Path(Pattern),
    /// The method.
    Method(Method),
}

/// What a profile's response class asks of a response. Source: `destination.ResponseMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseCondition {
    /// All of them; of none, true.
    All(Vec<ResponseCondition>),
    /// Any of them; of none, false.
    Any(Vec<ResponseCondition>),
    /// Not this.
    Not(Box<ResponseCondition>),
    /// A status from `min` to `max`, both included.
    Status {
        /// Lowest.
        min: u16,
        /// Highest.
        max: u16,
    },
}

impl Condition {
    /// Whether it holds.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|c| c.matches(request)),
            Self::Any(any) => any.iter().any(|c| c.matches(request)),
            Self::Not(not) => !not.matches(request),
            Self::Path(pattern) => pattern.matches(request.path()),
            Self::Method(method) => method.matches(request.method),
        }
    }
}

impl ResponseCondition {
    /// Whether it holds.
    pub fn matches(&self, status: u16) -> bool {
        match self {
            Self::All(all) => all.iter().all(|c| c.matches(status)),
            Self::Any(any) => any.iter().any(|c| c.matches(status)),
            Self::Not(not) => !not.matches(status),
            Self::Status { min, max } => (*min..=*max).contains(&status),
        }
    }
}
