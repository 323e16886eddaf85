//! Two whole workers, outbound and inbound, between scripted applications, over a network that misbehaves by seed.
//!
//! One seed is one run: who asks for what, how the network splits and delays, what goes wrong and when ([`case`]). What
//! must hold in every run is in [`judge`]; what is to be expected of each target in [`services`]. A quarter of the seeds is
//! calm: everything succeeds as its policy says. In another quarter applications misbehave and others abuse them, and only their own requests may
//! suffer. In the rest the world does too: then whatever fails is told, and nothing is left behind.
//!
//! How to replay a seed, the variables that tell how much is run, and what of the engine it was seen to find: `README.md`.
//!
//! A failing seed is run again with faults, clients and requests left out for as long as it still fails, and the smallest
//! such case is printed with the command that replays the seed. A run depends on its seed and the code only; keys and
//! random numbers of TLS are other ones each time, but their sizes are not.

#![expect(clippy::unwrap_used, reason = "a test")]

mod abuser;
mod book;
mod case;
mod client;
mod control;
mod http;
mod impostor;
mod judge;
mod net;
mod pki;
mod raw;
mod rng;
mod seen;
mod server;
mod services;
mod spec;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use case::Case;
use world::World;

/// Whom servers are told that their clients are.
pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
/// Who the servers' proxy is.
pub(crate) const SERVER: &str = "server.default.serviceaccount.identity.linkerd.cluster.local";
/// Who is neither.
pub(crate) const STRANGER: &str = "stranger.default.serviceaccount.identity.linkerd.cluster.local";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is wrong with a run, if anything.
fn failure(case: &Case) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| World::run(case))) {
        Ok(Ok(())) => None,
        Ok(Err(wrong)) => Some(wrong),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

/// The smallest part of a failing case that still fails.
fn shrunk(mut case: Case) -> Case {
    let mut runs = 0;
    'again: loop {
        for smaller in case.smaller() {
            runs += 1;
            if runs > 2_000 {
                return case;
            }
            if failure(&smaller).is_some() {
                case = smaller;
                continue 'again;
            }
        }
        return case;
    }
}

/// The first failing seed of each core, which the other does not wait for.
fn check(from: u64, to: u64) {
    let (next, failures) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let all = number("WEFT_SIM_GO_ON").is_some();
    let one_after_another = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to || !all && !failures.lock().unwrap().is_empty() {
                return;
            }
            let case = Case::new(seed);
            if let Some(wrong) = failure(&case) {
                if all {
                    eprintln!("seed {seed}: {}", wrong.lines().next().unwrap_or_default());
                }
                failures.lock().unwrap().push((seed, wrong));
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..cores.min(to.saturating_sub(from) as usize) {
            scope.spawn(one_after_another);
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let Some((seed, wrong)) = failures.first() else { return };
    let small = shrunk(Case::new(*seed));
    eprintln!("the smallest part of seed {seed} that still fails:");
    let smallest = failure(&small).unwrap_or_default();
    panic!(
        "seed {seed} failed: {wrong}\nsmallest: {small:#?}\nwhich failed with: {smallest}\n\
         replay: WEFT_SIM_SEED={seed} cargo test -p weft-engine --test sim one_seed -- --nocapture"
    );
}

#[test]
fn seeds() {
    let from = number("WEFT_SIM_FROM").unwrap_or(0);
    check(from, from + number("WEFT_SIM_SEEDS").unwrap_or(300));
}

#[test]
fn one_seed() {
    if let Some(seed) = number("WEFT_SIM_SEED") {
        check(seed, seed + 1);
    }
}

/// The same seed is the same run: the workers do the same to the world, and the clients see the same.
#[test]
fn a_seed_replays() {
    for seed in 0..24 {
        let case = Case::new(seed);
        assert_eq!(World::trace(&case), World::trace(&case), "seed {seed}");
    }
}
