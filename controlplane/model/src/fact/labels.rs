//! Labels and the selectors that match them (Kubernetes' `LabelSelector`).

use std::{collections::BTreeMap, sync::Arc};

/// Labels of a workload.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Which workloads are meant. Every requirement must hold; none at all matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold for it.
    pub test: Test,
}

/// What a requirement asks of a label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The label is there and has one of these values.
    In(Vec<Arc<str>>),
    /// The label is absent or has none of these values.
    NotIn(Vec<Arc<str>>),
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// A selector for exactly these labels (`matchLabels`).
    #[must_use]
    pub fn exact(labels: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let requirement = |(key, value)| Requirement { key, test: Test::In(vec![value]) };
        Self { requirements: labels.into_iter().map(requirement).collect() }
    }

    /// Whether a workload with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels: Labels = [("app".into(), "web".into()), ("tier".into(), "front".into())].into();
        let values =
            |values: &[&str]| values.iter().map(|value| Arc::from(*value)).collect::<Vec<Arc<str>>>();
        for (key, test, expected) in [
            ("app", Test::In(values(&["web", "api"])), true),
            ("app", Test::In(values(&["api"])), false),
            ("none", Test::In(values(&["web"])), false),
            ("app", Test::NotIn(values(&["api"])), true),
            ("app", Test::NotIn(values(&["web"])), false),
            ("none", Test::NotIn(values(&["web"])), true),
            ("tier", Test::Exists, true),
            ("none", Test::Exists, false),
            ("tier", Test::DoesNotExist, false),
            ("none", Test::DoesNotExist, true),
        ] {
            let selector =
                Selector { requirements: vec![Requirement { key: key.into(), test: test.clone() }] };
            assert_eq!(selector.matches(&labels), expected, "{key} {test:?}");
        }
        assert!(Selector::default().matches(&labels), "an empty selector matches everything");
        assert!(!Selector::exact([("app".into(), "web".into()), ("a".into(), "b".into())]).matches(&labels));
    }
}
