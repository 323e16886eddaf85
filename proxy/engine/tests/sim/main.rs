//! Two whole workers, outbound and inbound, between scripted applications, over a network that misbehaves by seed.
//!
//! One seed is one run: who asks for what, how the network splits and delays, what goes wrong and when. What must hold
//! in every run is in [`World::judge`]. `WEFT_SIM_SEEDS=N` runs that many, `WEFT_SIM_SEED=N` one, with a log; a failing
//! seed is run again with fewer clients and requests, and the smallest that still fails is printed.

#![expect(clippy::unwrap_used, reason = "a test")]

mod apps;
mod http;
mod net;
mod pki;
mod rng;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Case, World};

/// Whom servers are told that their clients are.
pub(crate) const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
/// Who the servers' proxy is.
pub(crate) const SERVER: &str = "server.default.serviceaccount.identity.linkerd.cluster.local";

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
    let mut again = true;
    while again {
        again = false;
        for smaller in case.smaller() {
            if failure(&smaller).is_some() {
                case = smaller;
                again = true;
                break;
            }
        }
    }
    case
}

fn check(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let case = Case::new(seed);
        if let Some(wrong) = failure(&case) {
            let small = shrunk(case);
            let smallest = failure(&small).unwrap_or_default();
            panic!(
                "seed {seed} failed: {wrong}\nsmallest: {small:#?}\nwhich failed with: {smallest}\n\
                 replay: WEFT_SIM_SEED={seed} cargo test -p weft-engine --test sim one_seed -- --nocapture"
            );
        }
    }
}

#[test]
fn seeds() {
    check(0..number("WEFT_SIM_SEEDS").unwrap_or(150));
}

#[test]
fn one_seed() {
    if let Some(seed) = number("WEFT_SIM_SEED") {
        check(seed..=seed);
    }
}

/// The same seed is the same run: the clients see the same, in as many steps.
#[test]
fn a_seed_replays() {
    for seed in [3, 17, 40] {
        let case = Case::new(seed);
        assert_eq!(World::trace(&case), World::trace(&case), "seed {seed}");
    }
}
