//! The shape of the tree: who may depend on whom, what may not be depended on at all, and that the documents know every crate.
//!
//! The arrows are those of `ARCHITECTURE.md`, "Code map". A new one is a decision: change both.

#![expect(clippy::unwrap_used, reason = "a test")]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Each crate and those of ours it may name, directly.
const ARROWS: &[(&str, &[&str])] = &[
    ("weft-names", &[]),
    ("weft-policy", &["weft-names"]),
    ("weft-balance", &["weft-names"]),
    ("weft-http", &["weft-names"]),
    ("weft-net", &["weft-names"]),
    ("weft-engine", &["weft-balance", "weft-http", "weft-names", "weft-net", "weft-policy"]),
    ("weft-proxy", &["weft-balance", "weft-engine", "weft-http", "weft-names", "weft-net", "weft-policy"]),
    ("weft-model", &["weft-names", "weft-policy"]),
    ("weft-store", &["weft-names"]),
    ("weft-admin-api", &["weft-names", "weft-store"]),
    ("weft-admin-client", &["weft-admin-api"]),
    // weft-net: the control plane terminates mesh TLS itself, by the rules that proxies verify by.
    (
        "weft-controlplane",
        &["weft-admin-api", "weft-model", "weft-names", "weft-net", "weft-policy", "weft-store"],
    ),
    ("weft-init", &["weft-names"]),
    ("weft-images", &[]),
    ("weft", &["weft-admin-client", "weft-controlplane", "weft-init", "weft-names", "weft-proxy"]),
];

/// What a crate must not know of the world outside (design: "must not know"), as its own direct dependencies.
const IGNORANCE: &[(&str, &[&str])] = &[
    ("weft-names", &["tokio", "prost", "serde", "kube"]),
    ("weft-policy", &["tokio", "hyper", "rustls", "socket2", "rustix"]),
    ("weft-balance", &["tokio", "hyper", "tonic"]),
    ("weft-http", &["tokio", "hyper", "h2", "httparse", "rustls", "socket2", "rustix"]),
    ("weft-net", &["tokio", "hyper", "tonic", "weft-policy"]),
    ("weft-engine", &["tokio", "tonic", "hyper", "linkerd2-proxy-api", "serde"]),
    ("weft-proxy", &["kube", "sqlx", "axum"]),
    ("weft-model", &["kube", "tonic", "sqlx"]),
    ("weft-store", &["tonic", "kube", "axum"]),
    ("weft-admin-api", &["kube", "tonic", "sqlx"]),
    ("weft-admin-client", &["axum", "sqlx"]),
    ("weft-init", &["tokio", "kube"]),
];

/// Not anywhere below anything: one crypto provider, one TLS stack, nothing unmaintained.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "serde_yaml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--locked").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Package {
    name: String,
    directory: PathBuf,
    /// Name and kind (`normal`, `build`, `dev`).
    dependencies: Vec<(String, String)>,
}

fn packages() -> Vec<Package> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("normal").to_owned();
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        directory: PathBuf::from(text(&package["manifest_path"])).parent().unwrap().to_owned(),
        dependencies: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| (text(&dependency["name"]), text(&dependency["kind"])))
            .collect(),
    };
    packages.iter().map(package).collect()
}

/// Crates that only test: they may see everything.
fn is_test(package: &Package) -> bool {
    package.directory.starts_with(root().join("tests"))
}

#[test]
fn only_known_arrows() {
    let known: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let packages = packages();
    let ours: BTreeSet<_> = packages.iter().map(|package| package.name.clone()).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| !is_test(package)) {
        let Some(allowed) = known.get(package.name.as_str()) else {
            wrong.push(format!(
                "{} is a new crate: give it a row in ARROWS and in ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for (dependency, kind) in package.dependencies.iter().filter(|(name, _)| ours.contains(name)) {
            // A crate may use itself, with other features, in its tests; and what its own dependencies may use.
            let by_way = allowed
                .iter()
                .any(|way| known.get(way).is_some_and(|next| next.contains(&dependency.as_str())));
            let for_tests = kind == "dev" && (*dependency == package.name || by_way);
            if !allowed.contains(&dependency.as_str()) && !for_tests {
                wrong.push(format!("{} → {dependency} ({kind})", package.name));
            }
        }
    }
    for (name, _) in ARROWS {
        if !ours.contains(*name) {
            wrong.push(format!("{name} has a row in ARROWS and is no crate"));
        }
    }
    assert!(wrong.is_empty(), "edges that nobody decided on:\n{}", wrong.join("\n"));
}

#[test]
fn crates_do_not_know_what_they_must_not() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, banned) in IGNORANCE {
        let package = packages.iter().find(|package| package.name == *name).unwrap();
        for (dependency, kind) in &package.dependencies {
            if kind != "dev" && banned.contains(&dependency.as_str()) {
                wrong.push(format!("{name} → {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "crates know more than they should:\n{}", wrong.join("\n"));
}

#[test]
fn no_banned_crate_is_below_anything() {
    let tree =
        cargo(&["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"]);
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("aws-lc-rs") && names.contains("rustls"), "not a tree of ours: {names:?}");
    let found: Vec<_> = BANNED.iter().filter(|banned| names.contains(**banned)).collect();
    assert!(found.is_empty(), "{found:?}: `cargo tree -i NAME` says who wants it");
}

#[test]
fn the_architecture_document_knows_every_crate() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with('|')).collect();
    let missing: Vec<_> = packages()
        .iter()
        .filter(|package| !is_test(package) || package.name == "weft-tests")
        .filter(|package| {
            let path = package.directory.strip_prefix(root()).unwrap();
            let start = format!("| `{}` | {} |", path.display(), package.name);
            !rows.iter().any(|row| row.starts_with(&start))
        })
        .map(|package| package.name.clone())
        .collect();
    assert!(missing.is_empty(), "no row of the code map for {missing:?}");
}

#[test]
fn no_file_knows_where_it_was_written() {
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [root().display().to_string(), home];
    // What is too short to mean anything, such as / in a container, is no place.
    let places: Vec<_> = places.iter().filter(|place| place.len() > 4).collect();
    let mut wrong = Vec::new();
    files(&root(), &mut |path| {
        let Ok(text) = fs::read_to_string(path) else { return };
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| names(line, place)) {
                wrong.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    });
    assert!(wrong.is_empty(), "paths of this machine:\n{}", wrong.join("\n"));
}

/// Whether a line names a path or something below it.
fn names(line: &str, path: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(|c| c != '/' && inside(c))
    })
}

#[test]
fn every_crate_says_what_it_owns() {
    for package in packages() {
        let source = ["src/lib.rs", "src/main.rs"]
            .into_iter()
            .find_map(|file| fs::read_to_string(package.directory.join(file)).ok());
        let source = source.unwrap_or_default();
        assert!(source.starts_with("//!"), "{} does not begin with what it is", package.name);
    }
}

/// Every file of the tree that is kept.
fn files(directory: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if [".git", "target", "node_modules"].contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() { files(&path, visit) } else { visit(&path) }
    }
}
