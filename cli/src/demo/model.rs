//! What the live view shows, as a value: figures of clients and workloads over the last seconds and since the start.

use super::metrics::Figures;
use crate::load::{Report, Tally};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How far back rates and quantiles look.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Most lines of news kept.
const MAX_NEWS: usize = 50;
/// Most states kept of one source: more than come in a window.
const MAX_HISTORY: usize = 64;

/// Everything the view knows.
#[derive(Debug, Default)]
pub struct Model {
    /// Since the start.
    pub elapsed: Duration,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// What happened, the newest last.
    pub news: VecDeque<(Duration, String)>,
    /// What can be typed elsewhere: what for, and the command.
    pub hints: Vec<(String, String)>,
    /// How the mesh runs: "network namespaces", "a user namespace", ….
    pub ground: String,
    clients: History<BTreeMap<String, Tally>>,
    workloads: BTreeMap<String, Workload>,
    order: Vec<String>,
}

/// The control plane's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlane {
    /// Runs, with this process number.
    Up(u32),
    /// Does not; it is started again after this time.
    Down(Duration),
    /// Not started yet.
    #[default]
    Coming,
}

/// A workload's proxy over time.
#[derive(Debug, Default)]
struct Workload {
    speaks: String,
    history: History<Figures>,
    trouble: Option<String>,
}

/// States with their times, those of the last window and the one before.
#[derive(Debug)]
struct History<T>(VecDeque<(Duration, T)>);

/// A row about what a client sees of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRow {
    /// What is asked.
    pub target: String,
    /// Requests per second.
    pub rate: f64,
    /// Requests since the start.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Why.
    pub reasons: String,
    /// Quantiles of the last seconds: half, 95 %, 99 %.
    pub latency: [Option<Duration>; 3],
}

/// A row about a workload, from its proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadRow {
    /// Its pod.
    pub pod: String,
    /// What it speaks.
    pub speaks: String,
    /// Requests per second; connections, where there are no requests.
    pub rate: f64,
    /// Requests since the proxy's start.
    pub requests: u64,
    /// Part of the responses that are successes.
    pub success: Option<f64>,
    /// Quantiles of the last seconds.
    pub latency: [Option<Duration>; 3],
    /// Part that came over mutual TLS.
    pub mutual: Option<f64>,
    /// Connections open now.
    pub open: u64,
    /// When the certificate expires, seconds since 1970.
    pub expires: Option<u64>,
    /// Why its proxy does not answer.
    pub trouble: Option<String>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> History<T> {
    fn push(&mut self, at: Duration, state: T) {
        self.0.push_back((at, state));
        // One state older than the window stays: what came after it is the window.
        while self.0.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW)
            || self.0.len() > MAX_HISTORY
        {
            self.0.pop_front();
        }
    }

    fn newest(&self) -> Option<&T> {
        self.0.back().map(|(_, state)| state)
    }

    /// The window's first and last state, and the seconds between.
    fn window(&self) -> Option<(&T, &T, f64)> {
        let ((start, first), (end, last)) = (self.0.front()?, self.0.back()?);
        Some((first, last, end.saturating_sub(*start).as_secs_f64()))
    }
}

impl Model {
    /// The workloads, in the order they are shown.
    pub fn expect(&mut self, workloads: impl IntoIterator<Item = (String, String)>) {
        for (pod, speaks) in workloads {
            self.workloads.entry(pod.clone()).or_default().speaks = speaks;
            if !self.order.contains(&pod) {
                self.order.push(pod);
            }
        }
    }

    /// Something happened.
    pub fn tell(&mut self, news: impl Into<String>) {
        self.news.push_back((self.elapsed, news.into()));
        if self.news.len() > MAX_NEWS {
            self.news.pop_front();
        }
    }

    /// What the load generator says.
    pub fn reported(&mut self, report: Report) {
        self.clients.push(self.elapsed, report.targets);
    }

    /// What a proxy says, or why it does not.
    pub fn scraped(&mut self, pod: &str, outcome: Result<Figures, String>) {
        let elapsed = self.elapsed;
        let Some(workload) = self.workloads.get_mut(pod) else { return };
        match outcome {
            Ok(figures) => {
                workload.history.push(elapsed, figures);
                workload.trouble = None;
            }
            Err(trouble) => workload.trouble = Some(trouble),
        }
    }

    /// What clients see.
    pub fn clients(&self) -> Vec<ClientRow> {
        let Some((first, last, seconds)) = self.clients.window() else { return Vec::new() };
        let row = |(target, all): (&String, &Tally)| {
            let recent = first.get(target).map_or_else(|| all.clone(), |first| all.since(first));
            ClientRow {
                target: target.clone(),
                rate: rate(recent.requests, seconds),
                requests: all.requests,
                failed: all.failed_requests(),
                reasons: all.reasons(),
                latency: [0.5, 0.95, 0.99].map(|ratio| recent.latency.quantile(ratio)),
            }
        };
        last.iter().map(row).collect()
    }

    /// All that clients counted since the start.
    pub fn counted(&self) -> BTreeMap<String, Tally> {
        self.clients.newest().cloned().unwrap_or_default()
    }

    /// What the proxies say.
    pub fn workloads(&self) -> Vec<WorkloadRow> {
        let row = |pod: &String| {
            let workload = self.workloads.get(pod)?;
            let empty = Figures::default();
            let (first, last, seconds) = workload.history.window().unwrap_or((&empty, &empty, 0.0));
            let recent = last.since(first);
            let count = if last.requests > 0 { recent.requests } else { recent.connections };
            Some(WorkloadRow {
                pod: pod.clone(),
                speaks: workload.speaks.clone(),
                rate: rate(count, seconds),
                requests: if last.requests > 0 { last.requests } else { last.connections },
                success: share(last.successes, last.responses),
                latency: [0.5, 0.95, 0.99].map(|ratio| recent.latency.quantile(ratio)),
                mutual: last.mutual_share(),
                open: last.open,
                expires: Some(last.expires).filter(|expires| *expires > 0),
                trouble: workload.trouble.clone(),
            })
        };
        self.order.iter().filter_map(row).collect()
    }
}

fn rate(count: u64, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64) -> Figures {
        Figures { requests, responses: requests, successes: requests, mutual: requests, ..Figures::default() }
    }

    #[test]
    fn rates_are_of_the_last_window() {
        let mut model = Model::default();
        model.expect([("shop-0".to_owned(), "HTTP".to_owned())]);
        for second in 0..60u64 {
            model.elapsed = Duration::from_secs(second);
            // Ten a second for half a minute, then a hundred.
            let requests = if second < 30 { second * 10 } else { 300 + (second - 30) * 100 };
            model.scraped("shop-0", Ok(figures(requests)));
            model.scraped("nobody", Ok(figures(1)));
        }
        let rows = model.workloads();
        assert_eq!(rows.len(), 1);
        assert!((rows[0].rate - 100.0).abs() < 0.1, "{}", rows[0].rate);
        assert_eq!((rows[0].requests, rows[0].success, rows[0].mutual), (3200, Some(1.0), Some(1.0)));
        assert!(model.workloads["shop-0"].history.0.len() <= 7);
    }

    #[test]
    fn history_and_news_are_bounded() {
        let mut model = Model::default();
        model.expect([("a".to_owned(), String::new())]);
        for _ in 0..1000 {
            model.scraped("a", Ok(figures(1)));
            model.tell("something");
        }
        assert_eq!(model.workloads["a"].history.0.len(), MAX_HISTORY);
        assert_eq!(model.news.len(), MAX_NEWS);
    }

    #[test]
    fn a_proxy_that_does_not_answer_says_why() {
        let mut model = Model::default();
        model.expect([("a".to_owned(), String::new())]);
        model.scraped("a", Err("connection refused".into()));
        assert_eq!(model.workloads()[0].trouble.as_deref(), Some("connection refused"));
        model.scraped("a", Ok(figures(1)));
        assert_eq!(model.workloads()[0].trouble, None);
    }
}
