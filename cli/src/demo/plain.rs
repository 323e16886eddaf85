//! The demo without a screen: lines, and the summary at the end.

use super::{
    mesh::Mesh,
    model::{ClientRow, Model},
    view::{millis, percent},
};
use crate::output::{self, Table};
use std::time::Duration;

/// One line. With standard output closed there is nobody to tell.
pub fn say(text: &str) {
    let _ = output::write(&format!("{text}\n"));
}

/// What runs now, and what can be done with it.
pub fn begin(model: &Model, mesh: &Mesh) {
    for (_, news) in &model.news {
        say(&format!("         {news}"));
    }
    say(&format!(
        "this machine: {} and network namespaces without names; nothing else was changed",
        mesh.directory().display()
    ));
    for (what, command) in &model.hints {
        say(&format!("try: {command}   # {what}"));
    }
}

/// One line for each target.
pub fn lines(model: &Model) {
    for row in model.clients() {
        say(&line(model.elapsed, &row));
    }
}

/// What came of it. Whether requests were made and none failed.
pub fn summary(model: &Model, elapsed: Duration) -> bool {
    let counted = model.counted();
    let (mut clients, mut workloads) = (
        Table::new(["CLIENT", "REQUESTS", "FAILED", "P50", "P95", "P99", "FAILURES"]),
        Table::new(["WORKLOAD", "REQUESTS", "SUCCESS", "MTLS", "OPEN"]),
    );
    for (target, tally) in &counted {
        clients.row([
            target.clone(),
            tally.requests.to_string(),
            tally.failed_requests().to_string(),
            millis(tally.latency.quantile(0.5)),
            millis(tally.latency.quantile(0.95)),
            millis(tally.latency.quantile(0.99)),
            tally.reasons(),
        ]);
    }
    for row in model.workloads() {
        let cells =
            [row.requests.to_string(), percent(row.success), percent(row.mutual), row.open.to_string()];
        workloads.row([row.pod].into_iter().chain(cells));
    }
    let requests: u64 = counted.values().map(|tally| tally.requests).sum();
    let failed: u64 = counted.values().map(|tally| tally.failed_requests()).sum();
    say(&format!("\n{}\n{}", clients.render(false), workloads.render(false)));
    say(&format!("{requests} requests in {:.0} s, {failed} failed", elapsed.as_secs_f64()));
    requests > 0 && failed == 0
}

fn line(elapsed: Duration, row: &ClientRow) -> String {
    let ClientRow { target, rate, requests, failed, reasons, latency: [half, most, nearly_all] } = row;
    let why = if reasons.is_empty() { String::new() } else { format!("  {reasons}") };
    format!(
        "{:>5.0} s  {target:<17} {rate:>6.1}/s  {requests:>7} requests  {failed:>4} failed  p50 {:>8}  p95 {:>8}  p99 {:>8}{why}",
        elapsed.as_secs_f64(),
        millis(*half),
        millis(*most),
        millis(*nearly_all),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let row = ClientRow {
            target: "shop http/1.1".into(),
            rate: 59.98,
            requests: 300,
            failed: 2,
            reasons: "2 timeout".into(),
            latency: [Some(Duration::from_micros(1500)), Some(Duration::from_millis(12)), None],
        };
        assert_eq!(
            line(Duration::from_secs(5), &row),
            "    5 s  shop http/1.1       60.0/s      300 requests     2 failed  p50   1.5 ms  p95    12 ms  p99        -  2 timeout"
        );
    }
}
