//! The run beside peers: what is measured, in which order, and what is kept of it.
//!
//! All peers are up at once, each in namespaces of its own; one at a time has load. Repetitions are interleaved: everything is
//! measured once on every peer before anything is measured again, so that what else goes on in the machine hits all of
//! them. A figure is the median of its repetitions; how far they lie apart is kept beside it.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    backend::{LARGE, SMALL},
    load::{Held, Load, Outcome},
    peers::{Memory, Pair, Paths, Peer},
    process::Machine,
    report,
};

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// One short repetition
    #[arg(long)]
    pub quick: bool,
    /// Only workloads and peers whose names begin with this; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Directory of our programs
    #[arg(long, value_name = "DIR")]
    pub programs: PathBuf,
    /// Envoy
    #[arg(long, value_name = "FILE")]
    pub envoy: PathBuf,
    /// Repetitions
    #[arg(long)]
    pub repetitions: Option<usize>,
}

/// A load with a name.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it is, for tables.
    pub title: &'static str,
    /// The load.
    pub load: Load,
    /// What is counted.
    pub unit: Unit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// CPU in microseconds for each.
    Each,
    /// CPU in seconds per gigabyte.
    Gigabyte,
}

/// All workloads.
pub const WORKLOADS: [Workload; 14] = [
    each("h1-c1", "HTTP/1.1, 1 connection", Load::Http1 { connections: 1, body: SMALL }),
    each("h1-c16", "HTTP/1.1, 16 connections", Load::Http1 { connections: 16, body: SMALL }),
    each("h1-c128", "HTTP/1.1, 128 connections", Load::Http1 { connections: 128, body: SMALL }),
    each(
        "h1-64k-c16",
        "HTTP/1.1, 64 KiB bodies, 16 connections",
        Load::Http1 { connections: 16, body: LARGE },
    ),
    each("h1-rate1000", "HTTP/1.1, 1,000 per second", Load::Http1Paced { connections: 16, rate: 1000 }),
    each("grpc-c1m1", "gRPC, 1 call at a time", Load::Grpc { connections: 1, streams: 1 }),
    each("grpc-c8m16", "gRPC, 8 connections of 16 streams", Load::Grpc { connections: 8, streams: 16 }),
    each("grpc-stream-c16", "gRPC, 16 streams of messages", Load::GrpcStream { connections: 16 }),
    each("grpc-rate1000", "gRPC, 1,000 per second", Load::GrpcPaced { connections: 8, rate: 1000 }),
    bulk("tcp-down-1", "TCP, one download", Load::Down { connections: 1 }),
    bulk("tcp-up-1", "TCP, one upload", Load::Up { connections: 1 }),
    bulk("tcp-down-8", "TCP, 8 downloads", Load::Down { connections: 8 }),
    bulk("tcp-up-8", "TCP, 8 uploads", Load::Up { connections: 8 }),
    each("connect", "new connections", Load::Connect { clients: 8 }),
];

const fn each(name: &'static str, title: &'static str, load: Load) -> Workload {
    Workload { name, title, load, unit: Unit::Each }
}

const fn bulk(name: &'static str, title: &'static str, load: Load) -> Workload {
    Workload { name, title, load, unit: Unit::Gigabyte }
}

/// States in which resident memory is read.
pub const MEMORIES: [(&str, &str, Option<Held>); 4] = [
    ("memory-idle", "idle", None),
    ("memory-tcp", "5,000 idle TCP connections", Some(Held::Tcp)),
    ("memory-h1", "5,000 idle HTTP/1.1 clients", Some(Held::Http1)),
    ("memory-h2", "5,000 idle HTTP/2 clients", Some(Held::Http2)),
];

/// Connections held.
pub const HELD: usize = 5_000;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// When, as `2026-11-23`.
    pub date: String,
    /// On what.
    pub machine: BTreeMap<String, String>,
    /// Share of the machine's CPU time that went to something else than this bench's own processes could tell apart: what
    /// the hypervisor took, and the load average at both ends.
    pub noise: Noise,
    /// Seconds of each repetition.
    pub seconds: f64,
    /// Outcomes by workload and peer, in order of repetition.
    pub workloads: BTreeMap<String, BTreeMap<Peer, Vec<Outcome>>>,
    /// Resident memory by state and peer.
    pub memory: BTreeMap<String, BTreeMap<Peer, Memory>>,
}

/// What else went on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Noise {
    /// Load averages before.
    pub load_before: String,
    /// Load averages after.
    pub load_after: String,
    /// Share of CPU time that the hypervisor gave to others.
    pub stolen: f64,
    /// CPU time that was used while nothing of the bench ran, before it began, as a share of all.
    pub busy_before: f64,
}

/// Measures.
///
/// # Errors
/// A measurement failed.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let is_wanted = |name: &str, all: &[&str]| {
        let own: Vec<_> =
            options.only.iter().filter(|only| all.iter().any(|n| n.starts_with(only.as_str()))).collect();
        own.is_empty() || own.iter().any(|only| name.starts_with(only.as_str()))
    };
    let peer_names = Peer::ALL.map(key);
    let work_names: Vec<_> = WORKLOADS.iter().map(|w| w.name).chain(MEMORIES.iter().map(|m| m.0)).collect();
    let peers: Vec<_> = Peer::ALL.into_iter().filter(|p| is_wanted(key(*p), &peer_names)).collect();
    let suite = Suite::new(options)?;
    let mut results = suite.begin();
    let workloads: Vec<_> = WORKLOADS.into_iter().filter(|w| is_wanted(w.name, &work_names)).collect();
    if !workloads.is_empty() {
        suite.speed(&peers, &workloads, &mut results)?;
    }
    for (name, _, held) in MEMORIES.into_iter().filter(|(name, ..)| is_wanted(name, &work_names)) {
        for peer in peers.iter().filter(|p| **p != Peer::Direct) {
            let memory = suite.memory(*peer, held)?;
            eprintln!(
                "{name:16} {:13} {:6.1} {:6.1} MiB",
                peer.name(),
                mib(memory.outbound),
                mib(memory.inbound)
            );
            results.memory.entry(name.to_owned()).or_default().insert(*peer, memory);
        }
    }
    suite.end(&mut results);
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&results)? + "\n")?;
    }
    print!("{}", report::tables(&results));
    Ok(())
}

/// A peer to be looked at.
#[derive(clap::Args, Debug)]
pub struct Up {
    /// Which: direct, relay, haproxy, envoy, weft
    pub peer: String,
    /// Directory of our programs
    #[arg(long, value_name = "DIR")]
    pub programs: PathBuf,
    /// Envoy
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    pub envoy: PathBuf,
}

/// Starts a peer, tells its process ids, and puts the loads on it that standard input names, until that ends.
///
/// # Errors
/// There is no such peer or workload, or a measurement failed.
pub fn up(options: &Up) -> anyhow::Result<()> {
    let peer = Peer::ALL.into_iter().find(|p| key(*p) == options.peer);
    let peer = peer.ok_or_else(|| anyhow::anyhow!("no peer {}", options.peer))?;
    let suite = Suite::new(&Options {
        quick: true,
        only: Vec::new(),
        json: None,
        programs: options.programs.clone(),
        envoy: options.envoy.clone(),
        repetitions: None,
    })?;
    let pair = Pair::start(peer, &suite.paths);
    println!("{} runs: {:?}, files in {}", peer.name(), pair.pids(), suite.paths.work.display());
    for line in std::io::stdin().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let seconds = words.next().map_or(Ok(2.0), str::parse)?;
        if let Some(workload) = WORKLOADS.iter().find(|w| w.name == name) {
            let outcome = pair.measure(workload.load, seconds, 0.2)?;
            let cost = workload.unit.cost(outcome.cpu.total, outcome.units);
            println!("{name}: {cost:.2} CPU, {}", serde_json::to_string(&outcome)?);
        } else if let Some((_, _, held)) = MEMORIES.iter().find(|m| m.0 == name) {
            let _holding = held.map(|held| pair.hold(HELD, held)).transpose()?;
            std::thread::sleep(Duration::from_secs_f64(seconds));
            println!("{name}: {:?}", pair.memory());
        } else {
            anyhow::bail!("no workload {name}");
        }
    }
    Ok(())
}

/// Makes tables and chart of what was measured.
///
/// # Errors
/// A file cannot be read or written.
pub fn report(file: &Path, chart: Option<&Path>) -> anyhow::Result<()> {
    let results: Results = serde_json::from_str(&fs::read_to_string(file)?)?;
    if let Some(chart) = chart {
        fs::write(chart, report::chart(&results))?;
    }
    print!("{}", report::tables(&results));
    Ok(())
}

fn key(peer: Peer) -> &'static str {
    match peer {
        Peer::Direct => "direct",
        Peer::Relay => "relay",
        Peer::Haproxy => "haproxy",
        Peer::Envoy => "envoy",
        Peer::Weft => "weft",
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A run under way.
#[derive(Debug)]
pub struct Suite {
    paths: Paths,
    repetitions: usize,
    seconds: f64,
    warm_up: f64,
    start: Machine,
    busy_before: f64,
    load_before: String,
    _work: tempfile::TempDir,
}

impl Suite {
    /// Puts programs where every user can run them, and looks at how busy the machine is.
    ///
    /// # Errors
    /// A program is not there.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("weft-bench-").tempdir()?;
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(work.path(), everybody.clone())?;
        let programs = work.path().join("bin");
        fs::create_dir(&programs)?;
        for program in ["weft-bench", "weft-proxy", "weft-controlplane"] {
            let from = options.programs.join(program);
            fs::copy(&from, programs.join(program))
                .map_err(|e| anyhow::anyhow!("{}: {e}", from.display()))?;
            fs::set_permissions(programs.join(program), everybody.clone())?;
        }
        let envoy = programs.join("envoy");
        if options.envoy.is_file() {
            fs::copy(&options.envoy, &envoy)?;
            fs::set_permissions(&envoy, everybody)?;
        }
        let before = Machine::now();
        std::thread::sleep(Duration::from_secs(1));
        let start = Machine::now();
        let first_second = start.since(before);
        Ok(Self {
            paths: Paths { programs, envoy, work: work.path().to_owned() },
            repetitions: options.repetitions.unwrap_or(if options.quick { 1 } else { 3 }),
            seconds: if options.quick { 1.0 } else { 2.0 },
            warm_up: if options.quick { 0.2 } else { 0.4 },
            start,
            busy_before: first_second.busy / first_second.all.max(1.0),
            load_before: load_average(),
            _work: work,
        })
    }

    fn begin(&self) -> Results {
        Results { date: today(), machine: machine(), seconds: self.seconds, ..Results::default() }
    }

    fn end(&self, results: &mut Results) {
        let all = Machine::now().since(self.start);
        results.noise = Noise {
            load_before: self.load_before.clone(),
            load_after: load_average(),
            stolen: all.stolen / all.all.max(1.0),
            busy_before: self.busy_before,
        };
    }

    fn speed(&self, peers: &[Peer], workloads: &[Workload], results: &mut Results) -> anyhow::Result<()> {
        let pairs: Vec<_> = peers.iter().map(|peer| Pair::start(*peer, &self.paths)).collect();
        for repetition in 1..=self.repetitions {
            for workload in workloads {
                for pair in &pairs {
                    let outcome = pair.measure(workload.load, self.seconds, self.warm_up)?;
                    let rate = outcome.units as f64 / outcome.seconds;
                    eprintln!(
                        "{repetition} {:16} {:13} {:12.0}/s {:9.2} CPU{}",
                        workload.name,
                        pair.peer.name(),
                        rate,
                        workload.unit.cost(outcome.cpu.total, outcome.units),
                        if outcome.errors > 0 {
                            format!("  {} ERRORS", outcome.errors)
                        } else {
                            String::new()
                        }
                    );
                    let of_workload = results.workloads.entry(workload.name.to_owned()).or_default();
                    of_workload.entry(pair.peer).or_default().push(outcome);
                }
            }
        }
        Ok(())
    }

    fn memory(&self, peer: Peer, held: Option<Held>) -> anyhow::Result<Memory> {
        let pair = Pair::start(peer, &self.paths);
        let _holding = held.map(|held| pair.hold(HELD, held)).transpose()?;
        // What is given back a moment after it was used is given back.
        std::thread::sleep(Duration::from_secs(4));
        Ok(pair.memory())
    }
}

impl Unit {
    /// CPU for each unit: microseconds, or seconds per gigabyte.
    #[must_use]
    pub fn cost(self, microseconds: f64, units: u64) -> f64 {
        let each = microseconds / (units.max(1)) as f64;
        match self {
            Self::Each => each,
            // Microseconds per byte are seconds per megabyte.
            Self::Gigabyte => each * 1e3,
        }
    }
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn today() -> String {
    let days = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() / 86_400;
    civil(days)
}

/// Days since 1970 as a date of the Gregorian calendar.
fn civil(days: u64) -> String {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    format!("{:04}-{month:02}-{day:02}", yoe + era * 400 + u64::from(month <= 2))
}

fn machine() -> BTreeMap<String, String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
    };
    let count = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    [("processor", field("model name")), ("processors", count.to_string()), ("kernel", kernel)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), "1970-01-01");
        assert_eq!(civil(20_780), "2026-11-23");
        assert_eq!(civil(19_782), "2024-02-29");
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![1.0, 2.0]), 1.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn costs() {
        assert_eq!(Unit::Each.cost(1_000.0, 10), 100.0);
        // A second of CPU for a gigabyte.
        assert_eq!(Unit::Gigabyte.cost(1e6, 1_000_000_000), 1.0);
    }
}
