//! What a request costs, against `budget.toml`: instructions (valgrind's count, of a release build), calls of the allocator, bytes
//! held for a connection that does nothing.
//!
//! A figure over its budget by more than the tolerance fails the test. So does one far under it: then the budget is to be
//! lowered, so that what was won is kept. The failure prints the lines to put in.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test: what fails here, fails it")]

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};
use weft_bench::drive::{Idle, Scenario};

#[derive(Deserialize)]
struct Budget {
    tolerance: Tolerance,
    #[serde(default)]
    instructions: BTreeMap<String, f64>,
    #[serde(default)]
    allocations: BTreeMap<String, f64>,
    #[serde(default)]
    idle_bytes: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Tolerance {
    over: f64,
    under: f64,
    allocations: f64,
}

/// The budget's file is TOML of tables with numbers only, which is read here.
fn budget() -> Budget {
    let text = std::fs::read_to_string(root().join("tests/bench/budget.toml")).unwrap();
    let mut tables: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            table = name.to_owned();
        } else {
            let (key, value) =
                line.split_once('=').unwrap_or_else(|| panic!("no line of the budget: {line}"));
            let value = value.trim().replace('_', "").parse().unwrap_or_else(|_| panic!("no number: {line}"));
            tables.entry(table.clone()).or_default().insert(key.trim().to_owned(), value);
        }
    }
    serde_json::from_value(serde_json::to_value(tables).unwrap()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The driver, built as a user's `cargo run --release` builds the proxy.
fn driver() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--release", "-p", "weft-bench", "--bin", "weft-bench-drive"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "building the driver:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .find(|path| path.ends_with("weft-bench-drive"));
    executable.expect("cargo says where it put it")
}

fn drive(driver: &Path, arguments: &[&str]) -> f64 {
    let output = Command::new(driver).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text.trim().parse().unwrap_or_else(|_| panic!("{arguments:?} printed {text}"))
}

/// Instructions inside of the workers' turns, for so many units and everything before them.
fn instructions(driver: &Path, scenario: Scenario, units: u64) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*worker_turn*"])
        .arg(driver)
        .args([scenario.name(), &units.to_string()])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "cannot run valgrind, which counts the instructions here: {error} \
                 (Debian: apt-get install valgrind libc6-dbg)"
            )
        });
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).expect("valgrind's count");
    collected.1.trim().parse().unwrap()
}

/// What is over or far under, and the lines that would fit.
#[derive(Default)]
struct Verdict {
    wrong: String,
    lines: String,
}

impl Verdict {
    fn judge(&mut self, table: &str, name: &str, measured: f64, budget: Option<&f64>, over: f64, under: f64) {
        let _ = writeln!(self.lines, "[{table}] {name} = {measured:.2}");
        match budget {
            None => drop(writeln!(self.wrong, "[{table}] {name} has no budget; measured {measured:.2}")),
            Some(budget) if measured > over => {
                let _ =
                    writeln!(self.wrong, "[{table}] {name}: {measured:.2} is over the budget of {budget}");
            }
            Some(budget) if measured < under => {
                let _ =
                    writeln!(self.wrong, "[{table}] {name}: {measured:.2} is far under {budget}: lower it");
            }
            Some(_) => {}
        }
    }
}

#[test]
fn what_a_request_costs_is_within_the_budget() {
    let budget = budget();
    let Tolerance { over, under, allocations } = budget.tolerance;
    let driver = driver();
    let mut verdict = Verdict::default();
    for scenario in Scenario::ALL {
        let name = scenario.name();
        let (few, many) = match scenario {
            Scenario::Connect => (40, 120),
            Scenario::Bytes => (200, 600),
            _ => (3_000, 9_000),
        };
        let cost = (instructions(&driver, scenario, many) - instructions(&driver, scenario, few))
            / (many - few) as f64;
        let planned = budget.instructions.get(name);
        let at = planned.copied().unwrap_or(f64::NAN);
        verdict.judge("instructions", name, cost, planned, at * (1.0 + over), at * (1.0 - under));

        let units = if scenario == Scenario::Connect { "200" } else { "10000" };
        let calls = drive(&driver, &["allocations", name, units]);
        let planned = budget.allocations.get(name);
        let at = planned.copied().unwrap_or(f64::NAN);
        let slack = allocations.max(at * over);
        verdict.judge("allocations", name, calls, planned, at + slack, at - slack * 4.0);
    }
    for idle in Idle::ALL {
        let name = idle.name();
        let bytes = drive(&driver, &["idle", name]);
        let planned = budget.idle_bytes.get(name);
        let at = planned.copied().unwrap_or(f64::NAN);
        verdict.judge("idle_bytes", name, bytes, planned, at * (1.0 + over), at * (1.0 - under));
    }
    println!("{}", verdict.lines);
    assert!(verdict.wrong.is_empty(), "{}\nmeasured:\n{}", verdict.wrong, verdict.lines);
}
