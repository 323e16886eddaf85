//! Every committed input of every target, and seeded changes of them, without a fuzzer.
//!
//! `WEFT_FUZZ_SMOKE=N` makes N changed inputs for each target instead of the few of an ordinary run.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use weft_fuzz_targets::{
    ALL, Target,
    input::{Rng, changed},
};

/// Changed inputs for each target in an ordinary run.
const SMOKE: u64 = 300;

/// The files of a target below `corpus` or `regressions`, in order of their names.
fn inputs(folder: &str, target: Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(target.name);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn check(target: Target, bytes: &[u8], what: &dyn std::fmt::Debug) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        panic!("{} fails on {what:?}: {}", target.name, bytes.escape_ascii());
    }
}

fn replay(name: &str) {
    let target = *ALL.iter().find(|target| target.name == name).unwrap();
    let corpus = inputs("corpus", target);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let regressions = inputs("regressions", target);
    for (path, bytes) in corpus.iter().chain(&regressions) {
        check(target, bytes, &path);
    }
    for (n, bytes) in (target.seeds)().iter().enumerate() {
        check(target, bytes, &format!("seed {n}"));
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().chain(regressions).map(|(_, bytes)| bytes).collect();
    let count = std::env::var("WEFT_FUZZ_SMOKE").ok().and_then(|n| n.parse().ok()).unwrap_or(SMOKE);
    let mut rng = Rng::new(1);
    for n in 0..count {
        check(target, &changed(&inputs, &mut rng), &format!("changed input {n}"));
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        /// No target is left out, and no folder belongs to none.
        #[test]
        fn every_target_is_replayed() {
            let tested = [$(stringify!($name)),*];
            let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, tested);
            for folder in ["corpus", "regressions", "fuzz_targets"] {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
                for entry in fs::read_dir(&folder).into_iter().flatten() {
                    let path = entry.unwrap().path();
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    assert!(tested.contains(&name.as_str()), "{} belongs to no target", path.display());
                }
            }
        }
    };
}

replays! {
    client_hello detect dns h1 h1_write h2 h2_frames hpack identity manifest names netlink policy tls transport_header worker
}
