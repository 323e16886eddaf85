//! `ServiceProfile`.

use std::sync::Arc;

use weft_names::{Authority, Port};
use weft_policy::{
    Method,
    matching::{Condition, ResponseCondition},
    outbound::{ProfileRoute, ResponseClass, RetryBudget},
};

use super::{
    expression,
    meta::Meta,
    reader::{At, Fields, Reader},
};
use crate::{
    duration,
    fact::profile::{DestinationOverride, ServiceProfile},
};

/// The most routes, response classes, overrides, or conditions in one list.
const MAX_ITEMS: usize = 1_000;
/// The deepest nesting of conditions.
const MAX_DEPTH: usize = 16;

/// Reads `spec` of a `ServiceProfile`.
pub(super) fn read(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<ServiceProfile> {
    let before = r.count();
    let routes = spec.get("routes").map(|at| at.items(r, MAX_ITEMS, route)).unwrap_or_default();
    let budget = spec.get("retryBudget").and_then(|at| budget(&at, r));
    let overrides =
        spec.get("dstOverrides").map(|at| at.items(r, MAX_ITEMS, destination)).unwrap_or_default();
    let opaque_ports = match spec.get("opaquePorts") {
        Some(at) => at.items(r, MAX_ITEMS, |at, r| match at.value() {
            super::tree::Value::Text(_) => at.parse(r, "a port", str::parse::<Port>),
            _ => at.port(r).and_then(Port::new),
        }),
        None => Vec::new(),
    };
    let opaque_ports = opaque_ports.into_iter().collect();
    if r.count() > before {
        return None;
    }
    Some(ServiceProfile { id: meta.id, routes, budget, overrides, opaque_ports, source: meta.source })
}

fn route(at: &At<'_>, r: &mut Reader) -> Option<ProfileRoute> {
    at.fields(r, |f, r| {
        let name: Option<Arc<str>> =
            f.need(r, "name", "the route's name").and_then(|at| at.text(r)).map(Into::into);
        let condition =
            f.need(r, "condition", "the requests it is for").and_then(|at| request_match(&at, r, MAX_DEPTH));
        let classes =
            f.get("responseClasses").map(|at| at.items(r, MAX_ITEMS, response_class)).unwrap_or_default();
        let retryable = f.get("isRetryable").and_then(|at| at.flag(r)).unwrap_or(false);
        let timeout = f.get("timeout").and_then(|at| at.parse(r, "a duration", duration::go));
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let labels = [("route", name?)].into_iter().collect();
        Some(ProfileRoute { condition: condition?, classes, labels, retryable, timeout })
    })
}

fn request_match(at: &At<'_>, r: &mut Reader, depth: usize) -> Option<Condition> {
    let Some(depth) = depth.checked_sub(1) else {
        at.reject(r, format!("conditions are nested deeper than {MAX_DEPTH}"));
        return None;
    };
    at.fields(r, |f, r| {
        let before = r.count();
        let mut matches = Vec::new();
        if let Some(list) = f.get("all") {
            matches.push(Condition::All(list.items(r, MAX_ITEMS, |at, r| request_match(at, r, depth))));
        }
        if let Some(list) = f.get("any") {
            matches.push(Condition::Any(list.items(r, MAX_ITEMS, |at, r| request_match(at, r, depth))));
        }
        if let Some(not) = f.get("not") {
            matches.extend(request_match(&not, r, depth).map(|not| Condition::Not(not.into())));
        }
        if let Some(regex) = f.get("pathRegex") {
            matches.extend(expression(&regex, r).map(Condition::Path));
        }
        if let Some(method) = f.get("method") {
            matches.extend(method.parse(r, "an HTTP method", str::parse::<Method>).map(Condition::Method));
        }
        if r.count() > before {
            return None;
        }
        match matches.len() {
            0 => {
                f.here().reject(r, "expected all, any, not, pathRegex or method");
                None
            }
            1 => matches.pop(),
            _ => Some(Condition::All(matches)),
        }
    })
}

fn response_class(at: &At<'_>, r: &mut Reader) -> Option<ResponseClass> {
    at.fields(r, |f, r| {
        let condition = f
            .need(r, "condition", "the responses it is for")
            .and_then(|at| response_match(&at, r, MAX_DEPTH));
        let is_failure = f.get("isFailure").and_then(|at| at.flag(r)).unwrap_or(false);
        Some(ResponseClass { condition: condition?, is_failure })
    })
}

fn response_match(at: &At<'_>, r: &mut Reader, depth: usize) -> Option<ResponseCondition> {
    let Some(depth) = depth.checked_sub(1) else {
        at.reject(r, format!("conditions are nested deeper than {MAX_DEPTH}"));
        return None;
    };
    at.fields(r, |f, r| {
        let before = r.count();
        let mut matches = Vec::new();
        if let Some(list) = f.get("all") {
            matches
                .push(ResponseCondition::All(list.items(r, MAX_ITEMS, |at, r| response_match(at, r, depth))));
        }
        if let Some(list) = f.get("any") {
            matches
                .push(ResponseCondition::Any(list.items(r, MAX_ITEMS, |at, r| response_match(at, r, depth))));
        }
        if let Some(not) = f.get("not") {
            matches.extend(response_match(&not, r, depth).map(|not| ResponseCondition::Not(not.into())));
        }
        if let Some(status) = f.get("status") {
            matches.extend(status_range(&status, r));
        }
        if r.count() > before {
            return None;
        }
        match matches.len() {
            0 => {
                f.here().reject(r, "expected all, any, not or status");
                None
            }
            1 => matches.pop(),
            _ => Some(ResponseCondition::All(matches)),
        }
    })
}

/// `{min, max}`; one alone stands for both.
fn status_range(at: &At<'_>, r: &mut Reader) -> Option<ResponseCondition> {
    at.fields(r, |f, r| {
        let min: Option<u16> = f.get("min").and_then(|at| at.integer(r, 100..=599));
        let max: Option<u16> = f.get("max").and_then(|at| at.integer(r, 100..=599));
        match (min.or(max), max.or(min)) {
            (Some(min), Some(max)) if min <= max => Some(ResponseCondition::Status { min, max }),
            (Some(_), Some(_)) => {
                f.here().reject(r, "min is greater than max");
                None
            }
            _ => {
                f.here().reject(r, "expected min, max or both, from 100 to 599");
                None
            }
        }
    })
}

fn budget(at: &At<'_>, r: &mut Reader) -> Option<RetryBudget> {
    at.fields(r, |f, r| {
        let ratio = f.need(r, "retryRatio", "retries per request, such as 0.2").and_then(|at| at.number(r));
        let min_per_second = f
            .need(r, "minRetriesPerSecond", "a number")
            .and_then(|at| at.integer(r, 0..=i128::from(u32::MAX)));
        let ttl = f.need(r, "ttl", "a duration").and_then(|at| at.parse(r, "a duration", duration::go));
        #[expect(clippy::cast_possible_truncation, reason = "the API's field is a float")]
        let (ratio, min_per_second, ttl) = (ratio? as f32, min_per_second?, ttl?);
        let budget = RetryBudget::new(ttl, ratio, min_per_second);
        if budget.is_none() {
            f.here().reject(r, "expected a retryRatio from 0 to 1000 and a ttl from 1s to 60s");
        }
        budget
    })
}

fn destination(at: &At<'_>, r: &mut Reader) -> Option<DestinationOverride> {
    at.fields(r, |f, r| {
        let authority = f
            .need(r, "authority", "HOST or HOST:PORT")
            .and_then(|at| at.parse(r, "HOST or HOST:PORT", str::parse::<Authority>));
        let weight = f.need(r, "weight", "a quantity such as 1 or 500m").and_then(|at| {
            let weight = match at.value() {
                super::tree::Value::Integer(number) => weight(&number.to_string()),
                super::tree::Value::Float(number) => weight(&number.to_string()),
                _ => weight(at.text(r)?),
            };
            if weight.is_none() {
                at.reject(r, "expected a quantity such as 1 or 500m");
            }
            weight
        });
        Some(DestinationOverride { authority: authority?, weight: weight? })
    })
}

/// A Kubernetes quantity (`1`, `0.5`, `500m`, `2k`) as a weight: ten for each thousandth, rounded up.
fn weight(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        _ => return None,
    };
    let milli = (number.parse::<f64>().ok()? * scale).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    (0.0..=f64::from(u32::MAX / 10)).contains(&milli).then(|| milli as u32 * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_quantities() {
        for (text, expected) in [
            ("1", Some(10_000)),
            ("500m", Some(5_000)),
            ("0.5", Some(5_000)),
            ("0", Some(0)),
            ("2k", Some(20_000_000)),
            ("1.0005", Some(10_010)),
            ("1000000k", None),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1e3", None),
            ("-1", None),
        ] {
            assert_eq!(weight(text), expected, "{text:?}");
        }
    }
}
