//! Matches of HTTP routes.

use super::{Condition, HeaderMatch, Matches, QueryMatch};
use crate::{Method, Pattern, RequestView};
use std::{cmp::Ordering, sync::Arc};

/// What a rule of an HTTP route asks: all of its parts have to hold. Source: `http_route.HttpRouteMatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// The path; none is any path.
    pub path: Option<PathMatch>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters.
    pub query: Vec<QueryMatch>,
    /// The method; none is any.
    pub method: Option<Method>,
    /// A condition of a service profile, which has no place in policy messages.
    pub condition: Option<Condition>,
}

/// What a path has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path.
    Exact(Arc<str>),
    /// This path or one below it, by whole segments. A trailing slash makes no difference. `/` is every path, and
    /// also the targets that are no paths (`*`, and none at all for `CONNECT`).
    Prefix(Arc<str>),
    /// A path that the expression matches entirely.
    Regex(Pattern),
}

/// How well an [`HttpMatch`] matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpRank {
    /// What matched the path.
    pub path: PathRank,
    /// Header matches.
    pub headers: usize,
    /// Query matches.
    pub query: usize,
    /// Whether the method was asked for.
    pub method: bool,
}

/// What matched a path. Compares by length alone, whichever kind it is.
#[derive(Clone, Copy, Debug)]
pub enum PathRank {
    /// All of it, by [`PathMatch::Exact`].
    Exact(usize),
    /// This many leading bytes, by [`PathMatch::Prefix`]; `/` counts 1.
    Prefix(usize),
    /// All of it, by [`PathMatch::Regex`].
    Regex(usize),
}

impl PathMatch {
    /// How well `path` matches.
    pub fn rank(&self, path: &[u8]) -> Option<PathRank> {
        match self {
            Self::Exact(exact) => (exact.as_bytes() == path).then_some(PathRank::Exact(path.len())),
            Self::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
                if prefix.is_empty() {
                    return Some(PathRank::Prefix(1));
                }
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with(b"/")).then_some(PathRank::Prefix(prefix.len()))
            }
            Self::Regex(pattern) => pattern.matches(path).then_some(PathRank::Regex(path.len())),
        }
    }
}

impl PathRank {
    /// Bytes of the path that matched.
    #[expect(clippy::len_without_is_empty, reason = "a rank is not a container")]
    pub fn len(self) -> usize {
        match self {
            Self::Exact(len) | Self::Prefix(len) | Self::Regex(len) => len,
        }
    }
}

impl Matches for HttpMatch {
    type Rank = HttpRank;

    const ANYTHING: HttpRank = HttpRank { path: PathRank::Prefix(1), headers: 0, query: 0, method: false };

    fn rank(&self, request: &RequestView<'_>) -> Option<HttpRank> {
        if self.method.as_ref().is_some_and(|m| !m.matches(request.method)) {
            return None;
        }
        let path = match &self.path {
            Some(path) => path.rank(request.path())?,
            None => Self::ANYTHING.path,
        };
        if !self.headers.iter().all(|h| h.matches(request.headers)) {
            return None;
        }
        if !self.query.is_empty() {
            let query = request.query()?;
            if !self.query.iter().all(|q| q.matches(query)) {
                return None;
            }
        }
        if self.condition.as_ref().is_some_and(|c| !c.matches(request)) {
            return None;
        }
        Some(HttpRank {
            path,
            headers: self.headers.len(),
            query: self.query.len(),
            method: self.method.is_some(),
        })
    }
}

impl PartialEq for PathRank {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
    }
}

impl Eq for PathRank {}

impl PartialOrd for PathRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.len().cmp(&other.len())
    }
}

impl PartialOrd for HttpRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HttpRank {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.path, r.headers, r.query, r.method);
        key(self).cmp(&key(other))
    }
}
