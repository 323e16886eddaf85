//! Where the programs under test are: built by the cargo that built the test, with the same profile, or where
//! `WEFT_TESTS_PROGRAMS` says.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

/// A folder with the programs under test; nothing is built by the tests then. `tests/run`, which has built everything, sets it.
const PROGRAMS: &str = "WEFT_TESTS_PROGRAMS";

/// The path of a program of ours, which is built first if need be.
///
/// # Panics
/// When it cannot be built.
pub fn path(program: &str) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = known.get(program) {
        return path.clone();
    }
    let path = match std::env::var_os(PROGRAMS) {
        Some(directory) => PathBuf::from(directory).join(program),
        None => {
            let directory = output_directory();
            build(program, &directory);
            directory.join(program)
        }
    };
    assert!(path.is_file(), "{} is not there", path.display());
    known.insert(program.to_owned(), path.clone());
    path
}

/// Whether every user may run what is at `path`, as a proxy's own user must.
pub fn is_for_all(path: &Path) -> bool {
    let allows = |path: &Path, bits: u32| {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bits == bits)
    };
    allows(path, 0o5)
        && path
            .ancestors()
            .skip(1)
            .all(|directory| directory.as_os_str().is_empty() || allows(directory, 0o1))
}

/// `target/PROFILE`: the test itself is in `target/PROFILE/deps`.
fn output_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this program");
    let deps = test.parent().expect("a directory");
    deps.parent().expect("a directory").to_owned()
}

fn build(program: &str, directory: &Path) {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is not a folder of cargo's", directory.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let package = program;
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--profile", profile, "-p", package, "--bin", program])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "building {program}:\n{}", String::from_utf8_lossy(&output.stderr));
}
