//! What a route asks of a request, and how well a request answers: hosts, paths, headers, queries, methods, SNI.
//!
//! Each `matches`-like function returns a rank, so that the best of several matching rules can be chosen. Ranks
//! compare as Linkerd's do: host first (exact over suffix, more labels first), then the length of the path that
//! matched (whatever kind of match it was), then the number of header matches, of query matches, and the presence of
//! a method. Of equals the first listed wins.

mod condition;
mod grpc;
mod host;
mod http;
mod query;
mod value;

pub use self::{
    condition::{Condition, ResponseCondition},
    grpc::{GrpcMatch, GrpcRank, RpcMatch, split_rpc},
    host::{HostMatch, HostRank, InvalidHostMatch},
    http::{HttpMatch, HttpRank, PathMatch, PathRank},
    query::QueryMatch,
    value::{HeaderMatch, ValueMatch},
};

use crate::RequestView;

pub(crate) use self::host::best_host;

/// What a rule asks of a request.
pub trait Matches {
    /// How well a request answers. More is better.
    type Rank: Copy + Ord;

    /// The rank of a rule that asks nothing.
    const ANYTHING: Self::Rank;

    /// How well `request` answers, or that it does not.
    fn rank(&self, request: &RequestView<'_>) -> Option<Self::Rank>;

    /// Whether a rule that asks nothing takes `request`.
    fn anything(request: &RequestView<'_>) -> Option<Self::Rank> {
        let _ = request;
        Some(Self::ANYTHING)
    }
}

/// What [`find`] needs of a route.
pub(crate) trait RouteLike {
    /// What its rules ask.
    type Match: Matches;
    /// One of its rules.
    type Rule;
    /// Hosts; none is any.
    fn hosts(&self) -> &[HostMatch];
    /// Rules.
    fn rules(&self) -> &[Self::Rule];
    /// What a rule asks; one of them has to hold, none is anything.
    fn matches(rule: &Self::Rule) -> &[Self::Match];
}

/// A rule that was found.
pub(crate) struct Found<'a, R: RouteLike> {
    pub(crate) route_index: usize,
    pub(crate) route: &'a R,
    pub(crate) rule_index: usize,
    pub(crate) rule: &'a R::Rule,
    pub(crate) rank: <R::Match as Matches>::Rank,
}

/// The best rule for `request` among all rules of all routes.
pub(crate) fn find<'a, R: RouteLike>(routes: &'a [R], request: &RequestView<'_>) -> Option<Found<'a, R>> {
    let host = request.host();
    let mut best: Option<(HostRank, Found<'a, R>)> = None;
    for (route_index, route) in routes.iter().enumerate() {
        let Some(host_rank) = best_host(route.hosts(), host) else { continue };
        if best.as_ref().is_some_and(|(b, _)| *b > host_rank) {
            continue;
        }
        for (rule_index, rule) in route.rules().iter().enumerate() {
            let matches = R::matches(rule);
            let rank = if matches.is_empty() {
                R::Match::anything(request)
            } else {
                matches.iter().filter_map(|m| m.rank(request)).max()
            };
            let Some(rank) = rank else { continue };
            if best.as_ref().is_none_or(|(b, found)| (host_rank, rank) > (*b, found.rank)) {
                best = Some((host_rank, Found { route_index, route, rule_index, rule, rank }));
            }
        }
    }
    best.map(|(_, found)| found)
}

#[cfg(test)]
mod tests;
