//! `weft-bench-drive SCENARIO UNITS`: drives both workers over memory, for a profiler to look at.
//! `weft-bench-drive allocations SCENARIO UNITS` and `weft-bench-drive idle KIND` count what the allocator is asked for.

use weft_bench::{
    allocations::Counting,
    drive::{Idle, Scenario, World, idle_bytes},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["idle", kind] => {
            Idle::ALL.into_iter().find(|i| i.name() == kind).map(|i| format!("{:.1}", idle_bytes(i)))
        }
        ["allocations", scenario, units] => {
            units_of(scenario, units).map(|(s, units)| format!("{:.4}", s.count(units).allocations))
        }
        [scenario, units] => units_of(scenario, units).map(|(s, units)| World::new(s).run(units).to_string()),
        _ => None,
    };
    let Some(done) = done else {
        let names = Scenario::ALL.map(Scenario::name).join(", ");
        eprintln!(
            "usage: weft-bench-drive [allocations] SCENARIO UNITS | idle http1|http2|tcp; scenarios: {names}"
        );
        std::process::exit(64);
    };
    println!("{done}");
}

fn units_of(scenario: &str, units: &str) -> Option<(Scenario, u64)> {
    Some((Scenario::named(scenario)?, units.parse().ok()?))
}
