//! What was measured, as tables and as a picture.

mod chart;

pub use chart::chart;

use std::fmt::Write as _;

use crate::{
    load::Outcome,
    peers::Peer,
    suite::{MEMORIES, Results, Unit, WORKLOADS, Workload, median},
};

/// What must be reached, as a ratio to haproxy's CPU in the same run.
pub const GOALS: [(&str, f64); 6] = [
    ("h1-c16", 0.55),
    ("grpc-c8m16", 0.28),
    ("h1-rate1000", 0.65),
    ("tcp-down-1", 0.8),
    ("tcp-up-1", 0.8),
    ("connect", 0.22),
];

/// Resident memory that must not be exceeded by either of our proxies, in MiB.
pub const MEMORY_GOALS: [(&str, f64); 3] = [("memory-idle", 8.0), ("memory-tcp", 55.0), ("memory-h1", 25.0)];

/// One figure of a workload and peer: the median of its repetitions.
pub fn figure(
    results: &Results,
    workload: &Workload,
    peer: Peer,
    of: impl Fn(&Outcome) -> f64,
) -> Option<f64> {
    let outcomes = results.workloads.get(workload.name)?.get(&peer)?;
    Some(median(outcomes.iter().map(of).collect())).filter(|v| v.is_finite())
}

/// CPU of both proxies for each unit.
pub fn cost(results: &Results, workload: &Workload, peer: Peer) -> Option<f64> {
    figure(results, workload, peer, |o| workload.unit.cost(o.cpu.total, o.units))
}

/// The CPU of a peer over that of haproxy: the median of the ratios within each repetition.
pub fn ratio(results: &Results, workload: &Workload, peer: Peer) -> Option<f64> {
    let outcomes = results.workloads.get(workload.name)?;
    let cost = |o: &Outcome| workload.unit.cost(o.cpu.total, o.units);
    let pairs = outcomes.get(&peer)?.iter().zip(outcomes.get(&Peer::Haproxy)?);
    Some(median(pairs.map(|(a, b)| cost(a) / cost(b)).collect())).filter(|v| v.is_finite())
}

/// All tables, in Markdown.
#[must_use]
pub fn tables(results: &Results) -> String {
    let mut out = String::new();
    let peers: Vec<Peer> = Peer::ALL
        .into_iter()
        .filter(|p| {
            results.workloads.values().any(|w| w.contains_key(p))
                || results.memory.values().any(|m| m.contains_key(p))
        })
        .collect();
    let proxies: Vec<Peer> = peers.iter().copied().filter(|p| *p != Peer::Direct).collect();
    let measured: Vec<&Workload> =
        WORKLOADS.iter().filter(|w| results.workloads.contains_key(w.name)).collect();
    if !measured.is_empty() {
        cpu_table(&mut out, results, &measured, &proxies);
        rate_table(&mut out, results, &measured, &peers);
        latency_table(&mut out, results, &measured, &peers);
    }
    if !results.memory.is_empty() {
        memory_table(&mut out, results, &proxies);
    }
    goals(&mut out, results);
    let noise = &results.noise;
    let _ = writeln!(
        out,
        "\n{} on {} x {}, kernel {}. Load averages {} before and {} after; {:.0} % of CPU time was in use in the second \
         before the run, {:.1} % was taken by the hypervisor during it.",
        results.date,
        results.machine.get("processors").map_or("?", String::as_str),
        results.machine.get("processor").map_or("?", String::as_str),
        results.machine.get("kernel").map_or("?", String::as_str),
        noise.load_before,
        noise.load_after,
        noise.busy_before * 100.0,
        noise.stolen * 100.0,
    );
    out
}

fn header(out: &mut String, title: &str, columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    let _ = writeln!(out, "\n| {title} | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
}

fn row(out: &mut String, title: &str, cells: impl Iterator<Item = String>) {
    let _ = writeln!(out, "| {title} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn cpu_table(out: &mut String, results: &Results, workloads: &[&Workload], peers: &[Peer]) {
    header(
        out,
        "CPU of both proxies (user): us per request, s per GB",
        peers.iter().map(|p| p.name().to_owned()).chain(["weft / haproxy".into(), "spread".into()]),
    );
    for workload in workloads {
        let cells = peers.iter().map(|peer| {
            let Some(cost) = cost(results, workload, *peer) else { return "-".to_owned() };
            let user =
                figure(results, workload, *peer, |o| workload.unit.cost(o.cpu.user, o.units)).unwrap_or(0.0);
            format!("{} ({})", digits(cost), digits(user))
        });
        let share =
            ratio(results, workload, Peer::Weft).map_or_else(|| "-".to_owned(), |r| format!("**{r:.2}**"));
        row(out, workload.title, cells.chain([share, spread(results, workload)]));
    }
}

/// How far the repetitions of our own figure lie apart, relative to their median.
fn spread(results: &Results, workload: &Workload) -> String {
    let Some(outcomes) = results.workloads.get(workload.name).and_then(|w| w.get(&Peer::Weft)) else {
        return "-".to_owned();
    };
    let costs: Vec<f64> = outcomes.iter().map(|o| workload.unit.cost(o.cpu.total, o.units)).collect();
    let (low, high) = costs.iter().fold((f64::MAX, f64::MIN), |(l, h), c| (l.min(*c), h.max(*c)));
    format!("{:.0} %", (high - low) / median(costs) * 100.0)
}

fn rate_table(out: &mut String, results: &Results, workloads: &[&Workload], peers: &[Peer]) {
    header(out, "per second (TCP: Gbit/s)", peers.iter().map(|p| p.name().to_owned()));
    for workload in workloads.iter().filter(|w| !is_paced(w)) {
        let cells = peers.iter().map(|peer| {
            let rate = figure(results, workload, *peer, |o| o.units as f64 / o.seconds);
            rate.map_or_else(
                || "-".to_owned(),
                |rate| match workload.unit {
                    Unit::Each => thousands(rate),
                    Unit::Gigabyte => digits(rate * 8e-9),
                },
            )
        });
        row(out, workload.title, cells);
    }
}

fn latency_table(out: &mut String, results: &Results, workloads: &[&Workload], peers: &[Peer]) {
    let paced: Vec<_> = workloads.iter().filter(|w| is_paced(w)).collect();
    if paced.is_empty() {
        return;
    }
    header(out, "p50 / p99 in us", peers.iter().map(|p| p.name().to_owned()));
    for workload in paced {
        let cells = peers.iter().map(|peer| {
            let at = |of: fn(&Outcome) -> Option<f64>| {
                figure(results, workload, *peer, |o| of(o).unwrap_or(f64::NAN))
                    .map_or_else(|| "-".to_owned(), thousands)
            };
            format!("{} / {}", at(|o| o.p50), at(|o| o.p99))
        });
        row(out, workload.title, cells);
    }
}

fn memory_table(out: &mut String, results: &Results, peers: &[Peer]) {
    header(out, "Resident MiB, client's / server's proxy", peers.iter().map(|p| p.name().to_owned()));
    for (name, title, _) in MEMORIES {
        let Some(of_state) = results.memory.get(name) else { continue };
        let mib = |bytes: u64| digits(bytes as f64 / f64::from(1 << 20));
        let cells = peers.iter().map(|peer| {
            of_state
                .get(peer)
                .map_or_else(|| "-".to_owned(), |m| format!("{} / {}", mib(m.outbound), mib(m.inbound)))
        });
        row(out, title, cells);
    }
}

fn goals(out: &mut String, results: &Results) {
    let mut rows = Vec::new();
    for (name, goal) in GOALS {
        let Some(workload) = WORKLOADS.iter().find(|w| w.name == name) else { continue };
        if let Some(ratio) = ratio(results, workload, Peer::Weft) {
            let title = format!("{}, CPU / haproxy's", workload.title);
            rows.push((title, format!("{goal}"), format!("{ratio:.2}"), ratio <= goal));
        }
    }
    for (name, goal) in MEMORY_GOALS {
        let title = MEMORIES.iter().find(|m| m.0 == name).map_or(name, |m| m.1);
        if let Some(m) = results.memory.get(name).and_then(|m| m.get(&Peer::Weft)) {
            let both = name != "memory-h1";
            let most = if both { m.outbound.max(m.inbound) } else { m.outbound } as f64 / f64::from(1 << 20);
            rows.push((
                format!("resident, {title}"),
                format!("{goal} MiB"),
                format!("{most:.1} MiB"),
                most <= goal,
            ));
        }
    }
    if !rows.is_empty() {
        header(out, "goal", ["at most", "measured", "reached"].map(str::to_owned).into_iter());
        for (title, goal, measured, reached) in rows {
            let reached = if reached { "yes" } else { "**no**" };
            row(out, &title, [goal, measured, reached.to_owned()].into_iter());
        }
    }
}

fn is_paced(workload: &Workload) -> bool {
    workload.name.contains("rate")
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.5 => format!("{value:.0}"),
        v if v >= 9.95 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
