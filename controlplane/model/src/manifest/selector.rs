//! Kubernetes' `LabelSelector`.

use std::sync::Arc;

use super::{
    meta,
    reader::{At, Reader},
};
use crate::fact::{
    Selector,
    labels::{Requirement, Test},
};

/// The most expressions, and values in one.
const MAX_ITEMS: usize = 200;

/// Reads `{matchLabels, matchExpressions}`.
pub(super) fn read(at: &At<'_>, r: &mut Reader) -> Option<Selector> {
    at.fields(r, |f, r| {
        let mut selector =
            Selector::exact(f.get("matchLabels").map(|at| meta::labels(&at, r)).unwrap_or_default());
        if let Some(list) = f.get("matchExpressions") {
            let requirements = list.items(r, MAX_ITEMS, requirement);
            if requirements.len() < list.list(r).len() {
                return None;
            }
            selector.requirements.extend(requirements);
        }
        Some(selector)
    })
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

fn requirement(at: &At<'_>, r: &mut Reader) -> Option<Requirement> {
    at.fields(r, |f, r| {
        let key: Option<Arc<str>> =
            f.need(r, "key", "a label's key").and_then(|at| at.text(r)).map(Into::into);
        let operator = f.need(r, "operator", "In, NotIn, Exists or DoesNotExist").and_then(|at| {
            at.choice(
                r,
                &[
                    ("In", Operator::In),
                    ("NotIn", Operator::NotIn),
                    ("Exists", Operator::Exists),
                    ("DoesNotExist", Operator::DoesNotExist),
                ],
            )
        });
        let values: Vec<Arc<str>> = match f.get("values") {
            Some(list) => list.items(r, MAX_ITEMS, |at, r| Some(at.text(r)?.into())),
            None => Vec::new(),
        };
        let test = match (operator?, values.is_empty()) {
            (Operator::In, false) => Test::In(values),
            (Operator::NotIn, false) => Test::NotIn(values),
            (Operator::Exists, true) => Test::Exists,
            (Operator::DoesNotExist, true) => Test::DoesNotExist,
            (Operator::In | Operator::NotIn, true) => {
                f.here().reject(r, "In and NotIn need values");
                return None;
            }
            (Operator::Exists | Operator::DoesNotExist, false) => {
                f.here().reject(r, "Exists and DoesNotExist take no values");
                return None;
            }
        };
        Some(Requirement { key: key?, test })
    })
}
