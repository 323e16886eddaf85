//! Service profiles.

use super::{At, Invalid, Problem, each, endpoint, route, shared};
use crate::{
    limits::{MAX_BACKENDS, MAX_CONDITION_DEPTH, MAX_MATCHES, MAX_ROUTES},
    matching::{Condition, ResponseCondition},
    outbound::{Profile, ProfileRoute, ProfileTarget, ResponseClass, RetryBudget},
};
use linkerd2_proxy_api::destination as pb;
use std::{collections::HashMap, sync::Arc};

/// The profile of a message, and what is wrong with the parts that are left out.
pub fn profile(message: &pb::DestinationProfile) -> (Profile, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut keep = |problem: Problem| problems.push(problem);
    let mut profile = Profile { opaque: message.opaque_protocol, ..Profile::default() };
    match message.fully_qualified_name.as_str() {
        "" => {}
        name => match name.parse().map_err(Invalid::Name).at("fully_qualified_name") {
            Ok(name) => profile.name = Some(name),
            Err(problem) => keep(problem),
        },
    }
    if let Some(addr) = &message.endpoint {
        match endpoint::endpoint(addr, &HashMap::new()).at("endpoint") {
            Ok(endpoint) => profile.endpoint = Some(Arc::new(endpoint)),
            Err(problem) => keep(problem),
        }
    }
    for (i, target) in message.dst_overrides.iter().take(MAX_BACKENDS).enumerate() {
        match target.authority.parse().map_err(Invalid::Authority).at_item("dst_overrides", i) {
            Ok(authority) => profile.targets.push(ProfileTarget {
                authority,
                weight: target.weight,
                backend: target.backend_ref.as_ref().and_then(|meta| shared::meta(meta).ok()),
            }),
            Err(problem) => keep(problem),
        }
    }
    if !profile.targets.is_empty() && profile.targets.iter().all(|t| t.weight == 0) {
        profile.targets.clear();
        keep(Problem::new("dst_overrides", Invalid::NoWeight));
    }
    for (i, route) in message.routes.iter().take(MAX_ROUTES).enumerate() {
        match self::route(route).at_item("routes", i) {
            Ok(route) => profile.routes.push(route),
            Err(problem) => keep(problem),
        }
    }
    for (list, len, limit) in [
        ("dst_overrides", message.dst_overrides.len(), MAX_BACKENDS),
        ("routes", message.routes.len(), MAX_ROUTES),
    ] {
        if len > limit {
            keep(Problem::new(list, Invalid::TooMany(limit)));
        }
    }
    if let Some(budget) = &message.retry_budget {
        match self::budget(budget).at("retry_budget") {
            Ok(budget) => profile.retry_budget = Some(budget),
            Err(problem) => keep(problem),
        }
    }
    profile.parent = message.parent_ref.as_ref().and_then(|meta| shared::meta(meta).ok());
    profile.profile = message.profile_ref.as_ref().and_then(|meta| shared::meta(meta).ok());
    (profile, problems)
}

fn route(route: &pb::Route) -> Result<ProfileRoute, Problem> {
    Ok(ProfileRoute {
        condition: condition(super::required(&route.condition, "condition")?, 0).at("condition")?,
        classes: each(&route.response_classes, "response_classes", MAX_MATCHES, |class| {
            let condition =
                response_condition(super::required(&class.condition, "condition")?, 0).at("condition")?;
            Ok(ResponseClass { condition, is_failure: class.is_failure })
        })?,
        labels: route.metrics_labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        retryable: route.is_retryable,
        timeout: shared::maybe(&route.timeout, "timeout")?.filter(|t| !t.is_zero()),
    })
}

fn condition(m: &pb::RequestMatch, depth: usize) -> Result<Condition, Problem> {
    use pb::request_match::{Match, Seq};
    if depth > MAX_CONDITION_DEPTH {
        return Err(Invalid::Depth.into());
    }
    let seq = |seq: &Seq, field| each(&seq.matches, field, MAX_MATCHES, |m| condition(m, depth + 1));
    Ok(match m.r#match.as_ref().ok_or(Invalid::UnknownKind)? {
        Match::All(all) => Condition::All(seq(all, "all")?),
        Match::Any(any) => Condition::Any(seq(any, "any")?),
        Match::Not(not) => Condition::Not(Box::new(condition(not, depth + 1).at("not")?)),
        Match::Path(path) => Condition::Path(route::pattern(&path.regex).at("path")?),
        Match::Method(method) => Condition::Method(shared::method(method).at("method")?),
    })
}

fn response_condition(m: &pb::ResponseMatch, depth: usize) -> Result<ResponseCondition, Problem> {
    use pb::response_match::{Match, Seq};
    if depth > MAX_CONDITION_DEPTH {
        return Err(Invalid::Depth.into());
    }
    let seq = |seq: &Seq, field| each(&seq.matches, field, MAX_MATCHES, |m| response_condition(m, depth + 1));
    Ok(match m.r#match.as_ref().ok_or(Invalid::UnknownKind)? {
        Match::All(all) => ResponseCondition::All(seq(all, "all")?),
        Match::Any(any) => ResponseCondition::Any(seq(any, "any")?),
        Match::Not(not) => ResponseCondition::Not(Box::new(response_condition(not, depth + 1).at("not")?)),
        Match::Status(range) => {
            let bound = |n: u32| {
                let status = u16::try_from(n).ok().filter(|s| (100..=599).contains(s));
                status.ok_or_else(|| Problem::new("status", Invalid::Range(n.into())))
            };
            // Of a range with one end given the other is the same.
            let (min, max) = match (range.min, range.max) {
                (0, max) => (bound(max)?, bound(max)?),
                (min, 0) => (bound(min)?, bound(min)?),
                (min, max) => (bound(min)?, bound(max)?),
            };
            if min > max {
                return Err(Problem::new("status", Invalid::Range(min.into())));
            }
            ResponseCondition::Status { min, max }
        }
    })
}

fn budget(budget: &pb::RetryBudget) -> Result<RetryBudget, Problem> {
    let ttl = shared::duration(super::required(&budget.ttl, "ttl")?).at("ttl")?;
    let ratio = budget.retry_ratio;
    Ok(RetryBudget::new(ttl, ratio, budget.min_retries_per_second)
        .ok_or_else(|| Invalid::Range(ratio.into()))?)
}
