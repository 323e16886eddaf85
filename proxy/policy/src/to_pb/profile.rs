//! Service profiles.

use super::{endpoint, shared};
use crate::{
    matching::{Condition, ResponseCondition},
    outbound::{Profile, ProfileRoute},
};
use linkerd2_proxy_api::destination as pb;

/// The message of a profile.
pub fn profile(profile: &Profile) -> pb::DestinationProfile {
    pb::DestinationProfile {
        fully_qualified_name: profile.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        opaque_protocol: profile.opaque,
        routes: profile.routes.iter().map(route).collect(),
        retry_budget: profile.retry_budget.map(|budget| pb::RetryBudget {
            retry_ratio: budget.ratio(),
            min_retries_per_second: budget.min_per_second(),
            ttl: Some(shared::duration(budget.ttl())),
        }),
        dst_overrides: profile
            .targets
            .iter()
            .map(|target| pb::WeightedDst {
                authority: target.authority.to_string(),
                weight: target.weight,
                backend_ref: target.backend.as_deref().map(shared::meta),
            })
            .collect(),
        endpoint: profile.endpoint.as_deref().map(endpoint),
        parent_ref: profile.parent.as_deref().map(shared::meta),
        profile_ref: profile.profile.as_deref().map(shared::meta),
    }
}

fn route(route: &ProfileRoute) -> pb::Route {
    pb::Route {
        condition: Some(condition(&route.condition)),
        response_classes: route
            .classes
            .iter()
            .map(|class| pb::ResponseClass {
                condition: Some(response_condition(&class.condition)),
                is_failure: class.is_failure,
            })
            .collect(),
        metrics_labels: route.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        is_retryable: route.retryable,
        timeout: route.timeout.map(shared::duration),
    }
}

fn condition(condition: &Condition) -> pb::RequestMatch {
    use pb::request_match::{Match, Seq};
    let seq = |all: &[Condition]| Seq { matches: all.iter().map(self::condition).collect() };
    let r#match = match condition {
        Condition::All(all) => Match::All(seq(all)),
        Condition::Any(any) => Match::Any(seq(any)),
        Condition::Not(not) => Match::Not(Box::new(self::condition(not))),
        Condition::Path(pattern) => Match::Path(pb::PathMatch { regex: pattern.as_str().to_owned() }),
        Condition::Method(method) => Match::Method(shared::method(method)),
    };
    pb::RequestMatch { r#match: Some(r#match) }
}

fn response_condition(condition: &ResponseCondition) -> pb::ResponseMatch {
    use pb::response_match::{Match, Seq};
    let seq = |all: &[ResponseCondition]| Seq { matches: all.iter().map(response_condition).collect() };
    let r#match = match condition {
        ResponseCondition::All(all) => Match::All(seq(all)),
        ResponseCondition::Any(any) => Match::Any(seq(any)),
        ResponseCondition::Not(not) => Match::Not(Box::new(response_condition(not))),
        ResponseCondition::Status { min, max } => {
            Match::Status(pb::HttpStatusRange { min: (*min).into(), max: (*max).into() })
        }
    };
    pb::ResponseMatch { r#match: Some(r#match) }
}
