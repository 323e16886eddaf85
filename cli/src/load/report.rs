//! What the load generator has seen so far.

use super::{
    client::{Done, Failure},
    histogram::Histogram,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Different reasons and answerers told apart; further ones are counted as "other".
const MAX_KINDS: usize = 32;

/// One line of the load generator's output. All figures are since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Milliseconds since the start.
    pub ms: u64,
    /// Nothing comes after this one.
    pub last: bool,
    /// By target.
    pub targets: BTreeMap<String, Tally>,
}

/// What was counted for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that ended, well or not.
    pub requests: u64,
    /// Of these, how many left for the server: a connection that could not be made takes none along.
    pub sent: u64,
    /// Of these, how many ended well.
    pub ok: u64,
    /// Connections made.
    pub connections: u64,
    /// Those that did not end well, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Answers by who gave them, where answers say so.
    pub by: BTreeMap<String, u64>,
    /// How long the good ones took.
    pub latency: Histogram,
}

impl Tally {
    /// A request that ended well.
    pub(super) fn succeeded(&mut self, latency: Duration, done: Done) {
        self.requests += 1;
        self.sent += 1;
        self.ok += 1;
        self.connections += u64::from(done.connected);
        self.latency.record(latency);
        if let Some(by) = done.by {
            add(&mut self.by, by, 1);
        }
    }

    /// A request that did not.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.requests += 1;
        self.sent += u64::from(failure.sent);
        self.connections += u64::from(failure.connected);
        add(&mut self.failures, failure.reason.clone(), 1);
    }

    /// How many did not end well.
    pub fn failed_requests(&self) -> u64 {
        self.requests - self.ok.min(self.requests)
    }

    /// What was counted after `earlier`, an older state of this one.
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            now.iter()
                .map(|(key, count)| (key.clone(), count.saturating_sub(then.get(key).copied().unwrap_or(0))))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            sent: self.sent.saturating_sub(earlier.sent),
            ok: self.ok.saturating_sub(earlier.ok),
            connections: self.connections.saturating_sub(earlier.connections),
            failures: less(&self.failures, &earlier.failures),
            by: less(&self.by, &earlier.by),
            latency: self.latency.since(&earlier.latency),
        }
    }

    /// The failures in words: "2 timeout, 1 status 503".
    pub fn reasons(&self) -> String {
        let parts: Vec<_> = self.failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.join(", ")
    }
}

fn add(counts: &mut BTreeMap<String, u64>, key: String, count: u64) {
    let key = if counts.len() < MAX_KINDS || counts.contains_key(&key) { key } else { "other".into() };
    *counts.entry(key).or_default() += count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.failed(&Failure::sent(format!("status {number}")));
        }
        assert_eq!(tally.failures.len(), MAX_KINDS + 1);
        assert_eq!(tally.failures.get("other"), Some(&68));
        assert_eq!(tally.failed_requests(), 100);
    }

    #[test]
    fn windows_are_differences() {
        let mut tally = Tally::default();
        tally.succeeded(Duration::from_millis(1), Done { by: Some("a".into()), connected: true });
        let earlier = tally.clone();
        tally.succeeded(Duration::from_millis(3), Done { by: Some("b".into()), connected: false });
        tally.failed(&Failure::unsent("refused"));
        let window = tally.since(&earlier);
        assert_eq!((window.requests, window.sent, window.ok, window.connections), (2, 1, 1, 0));
        assert_eq!(window.by, BTreeMap::from([("b".to_owned(), 1)]));
        assert_eq!(window.reasons(), "1 refused");
        assert_eq!(window.latency.count(), 1);
    }

    #[test]
    fn survives_json() {
        let mut tally = Tally::default();
        tally.succeeded(Duration::from_millis(1), Done::default());
        let report = Report { ms: 500, last: true, targets: BTreeMap::from([("shop".into(), tally)]) };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
