//! Samples of a family, added up over workers, and how they are written.

use crate::telemetry::text::{Kind, Labels, Page};
use std::collections::BTreeMap;
use weft_engine::metrics::{Counter, Histogram};

/// Samples of one family, in label order, added up over workers.
pub(super) type Sums = BTreeMap<Labels, u64>;

/// How the values of a histogram, kept in nanoseconds, are shown.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

impl Unit {
    fn show(self, nanoseconds: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bucket bounds are exact, sums are approximate by nature"
        )]
        let value = nanoseconds as f64;
        match self {
            Self::Milliseconds => value / 1e6,
            Self::Seconds => value / 1e9,
        }
    }
}

/// A histogram added up over workers.
#[derive(Default)]
pub(super) struct Buckets {
    buckets: Vec<(String, u64)>,
    above: u64,
    sum: f64,
}

impl Buckets {
    /// Adds one worker's.
    pub(super) fn add<const N: usize>(&mut self, histogram: &Histogram<N>, unit: Unit) {
        for (index, (bound, count)) in histogram.buckets().enumerate() {
            match self.buckets.get_mut(index) {
                Some((_, total)) => *total += count,
                None => self.buckets.push((unit.show(bound).to_string(), count)),
            }
        }
        self.above += histogram.above();
        self.sum += unit.show(histogram.sum());
    }
}

pub(super) fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::get).sum()
}

pub(super) fn counters(page: &mut Page, name: &str, help: &str, sums: &Sums) {
    samples(page, name, Kind::Counter, help, sums);
}

pub(super) fn gauges(page: &mut Page, name: &str, help: &str, sums: &Sums) {
    samples(page, name, Kind::Gauge, help, sums);
}

fn samples(page: &mut Page, name: &str, kind: Kind, help: &str, sums: &Sums) {
    if sums.is_empty() {
        return;
    }
    page.family(name, kind, help);
    for (labels, value) in sums {
        page.sample(name, labels, *value);
    }
}

pub(super) fn histograms(page: &mut Page, name: &str, help: &str, all: &BTreeMap<Labels, Buckets>) {
    if all.is_empty() {
        return;
    }
    page.family(name, Kind::Histogram, help);
    for (labels, of) in all {
        page.histogram(name, labels, &of.buckets, of.above, of.sum);
    }
}
