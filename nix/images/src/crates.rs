//! The crates that a program is linked from, as cargo itself resolves them for this build.
//!
//! `cargo tree` says which crates are compiled in with the features of this very selection of packages (no tests, no build
//! scripts, no macros, no other platforms), `cargo metadata` what they are, `Cargo.lock` what their files hash to.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Name and version.
pub type Key = (String, String);

/// Crates and what each is linked with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crates {
    /// Version of the workspace's own packages.
    pub version: String,
    /// Where the sources are published, if the workspace says so.
    pub repository: Option<String>,
    /// Directories of the workspace's members below its root, sorted.
    pub members: Vec<String>,
    graph: BTreeMap<Key, Crate>,
}

/// One crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// Its licence, an SPDX expression as its manifest has it.
    pub license: Option<String>,
    /// SHA-256 of its file on the registry, hexadecimal; none if it is ours.
    pub checksum: Option<String>,
    /// Where its files are on this machine.
    pub directory: PathBuf,
    /// What it is linked with.
    pub dependencies: BTreeSet<Key>,
}

/// Why the crates are not known.
#[derive(Debug, thiserror::Error)]
pub enum CratesError {
    /// cargo cannot be started.
    #[error("cargo {command} cannot be run")]
    Start {
        /// Which command of it.
        command: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// cargo refused.
    #[error("cargo {command}: {text}")]
    Cargo {
        /// Which command of it.
        command: &'static str,
        /// What it said.
        text: String,
    },
    /// cargo said something that is not understood.
    #[error("cargo {command} said something else than expected: {text:?}")]
    Output {
        /// Which command of it.
        command: &'static str,
        /// What.
        text: String,
    },
    /// `Cargo.lock` cannot be read.
    #[error("Cargo.lock cannot be read")]
    Lock(#[source] std::io::Error),
    /// A crate that no file of cargo's tells of.
    #[error("{0} {1} is linked, and cargo metadata does not know it")]
    Unknown(String, String),
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

impl Crates {
    /// Asks cargo about the workspace at `root`: what `packages` are linked from on `target`.
    ///
    /// # Errors
    /// See [`CratesError`].
    pub fn ask(root: &Path, packages: &[String], target: &str) -> Result<Self, CratesError> {
        let mut tree = vec![
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "depth",
            "--format",
            "|{p}",
            "--target",
            target,
        ];
        tree.extend(packages.iter().flat_map(|package| ["-p", package.as_str()]));
        let tree = cargo(root, "tree", &tree)?;
        let metadata = cargo(root, "metadata", &["--format-version", "1", "--filter-platform", target])?;
        let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(CratesError::Lock)?;
        Self::new(&tree, &metadata, &lock, packages)
    }

    fn new(tree: &str, metadata: &str, lock: &str, packages: &[String]) -> Result<Self, CratesError> {
        let metadata: Metadata = serde_json::from_str(metadata)
            .map_err(|error| CratesError::Output { command: "metadata", text: error.to_string() })?;
        let checksums = checksums(lock);
        let mut graph = BTreeMap::new();
        for (key, dependencies) in edges(tree)? {
            let package = metadata.packages.iter().find(|p| p.name == key.0 && p.version == key.1);
            let package = package.ok_or_else(|| CratesError::Unknown(key.0.clone(), key.1.clone()))?;
            let item = Crate {
                license: package.license.clone(),
                checksum: checksums.get(&key).cloned(),
                directory: package.manifest_path.parent().unwrap_or_else(|| Path::new("/")).to_owned(),
                dependencies,
            };
            graph.insert(key, item);
        }
        let is_member = |package: &&Package| metadata.workspace_members.contains(&package.id);
        let mut members: Vec<String> = metadata
            .packages
            .iter()
            .filter(is_member)
            .filter_map(|package| {
                package.manifest_path.parent()?.strip_prefix(&metadata.workspace_root).ok()?.to_str()
            })
            .map(str::to_owned)
            .collect();
        members.sort();
        let first = packages.first().map_or("", String::as_str);
        let first = metadata.packages.iter().filter(is_member).find(|package| package.name == first);
        let version = first.map(|package| package.version.clone()).unwrap_or_default();
        let repository = first.and_then(|package| package.repository.clone());
        Ok(Self { version, repository, members, graph })
    }

    /// Everything that a program's package is linked from, itself included.
    ///
    /// # Errors
    /// [`CratesError::Unknown`]: there is no such package.
    pub fn of(&self, package: &str) -> Result<BTreeMap<&Key, &Crate>, CratesError> {
        let root = (package.to_owned(), self.version.clone());
        let mut found = BTreeMap::new();
        let mut open = vec![&root];
        while let Some(key) = open.pop() {
            let (key, item) = self
                .graph
                .get_key_value(key)
                .ok_or_else(|| CratesError::Unknown(key.0.clone(), key.1.clone()))?;
            if found.insert(key, item).is_none() {
                open.extend(&item.dependencies);
            }
        }
        Ok(found)
    }
}

impl Crates {
    /// Directories that crates of others are in: those are no business of whoever runs the programs.
    #[must_use]
    pub fn vendors(&self) -> BTreeSet<&Path> {
        let others = self.graph.values().filter(|item| item.checksum.is_some());
        others.filter_map(|item| item.directory.parent()).collect()
    }
}

fn cargo(root: &Path, command: &'static str, arguments: &[&str]) -> Result<String, CratesError> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .arg(command)
        .args(["--locked", "--color", "never"])
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|source| CratesError::Start { command, source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CratesError::Cargo { command, text });
    }
    String::from_utf8(output.stdout).map_err(|error| CratesError::Output { command, text: error.to_string() })
}

/// Who is linked with whom: lines of `DEPTH|NAME vVERSION …`. A crate that was shown before has no lines below it.
fn edges(tree: &str) -> Result<BTreeMap<Key, BTreeSet<Key>>, CratesError> {
    let mut found: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    let mut above: Vec<Key> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let refused = || CratesError::Output { command: "tree", text: line.to_owned() };
        let (depth, rest) = line.split_once('|').ok_or_else(refused)?;
        let depth: usize = depth.parse().map_err(|_| refused())?;
        let mut words = rest.split_whitespace();
        let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
        let (Some(name), Some(version)) = (name, version) else { return Err(refused()) };
        let key = (name.to_owned(), version.to_owned());
        if depth > above.len() {
            return Err(refused());
        }
        above.truncate(depth);
        if let Some(parent) = above.last() {
            found.entry(parent.clone()).or_default().insert(key.clone());
        }
        found.entry(key.clone()).or_default();
        above.push(key);
    }
    Ok(found)
}

/// Checksums by name and version: `Cargo.lock` is written by cargo, one `key = "value"` on a line.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            package.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
                Some(value.to_owned())
            })
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "1.0.0".to_owned())
    }

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"ab\"\n";

    fn metadata(names: &[&str]) -> String {
        let packages: Vec<_> = names
            .iter()
            .map(|name| {
                let (id, path) = (format!("{name}#1.0.0"), format!("/w/{name}/Cargo.toml"));
                serde_json::json!({"id": id, "name": name, "version": "1.0.0", "license": "MIT", "manifest_path": path})
            })
            .collect();
        serde_json::json!({"packages": packages, "workspace_members": ["a#1.0.0"], "workspace_root": "/w"})
            .to_string()
    }

    #[test]
    fn who_is_linked_with_whom() {
        let tree = "0|a v1.0.0 (/w/a)\n1|b v1.0.0\n2|c v1.0.0\n1|c v1.0.0 (*)\n\n0|d v1.0.0 (/w/d)\n1|b v1.0.0 (*)\n";
        let packages = ["a".to_owned(), "d".to_owned()];
        let crates = Crates::new(tree, &metadata(&["a", "b", "c", "d"]), LOCK, &packages).unwrap();
        assert_eq!(
            (crates.version.as_str(), crates.members.as_slice()),
            ("1.0.0", ["a".to_owned()].as_slice())
        );
        let names = |package| {
            crates.of(package).unwrap().keys().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((names("a"), names("d")), ("a b c".to_owned(), "b c d".to_owned()));
        let b = crates.of("b").unwrap()[&key("b")].clone();
        assert_eq!((b.checksum.as_deref(), b.directory.to_str()), (Some("ab"), Some("/w/b")));
        assert!(matches!(crates.of("none"), Err(CratesError::Unknown(name, _)) if name == "none"));
    }

    #[test]
    fn what_is_not_understood_is_shown() {
        for tree in ["x|a v1.0.0", "0|a", "0|a 1.0.0", "1|a v1.0.0", "a v1.0.0"] {
            assert!(matches!(edges(tree), Err(CratesError::Output { text, .. }) if text == tree), "{tree}");
        }
        let unknown = Crates::new("0|a v1.0.0", &metadata(&["b"]), LOCK, &[]).unwrap_err();
        assert!(matches!(unknown, CratesError::Unknown(name, _) if name == "a"));
    }

    /// The real cargo, on this workspace.
    #[test]
    fn cargo_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let crates = Crates::ask(&root, &["weft-images".to_owned()], "x86_64-unknown-linux-gnu").unwrap();
        let linked = crates.of("weft-images").unwrap();
        let names: BTreeSet<&str> = linked.keys().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains("sha2") && names.contains("miniz_oxide"), "{names:?}");
        assert!(
            !names.contains("proptest") && !names.contains("serde_derive"),
            "tests and macros are not linked"
        );
        for (key, item) in linked {
            assert_eq!(item.checksum.is_none(), key.0 == "weft-images", "{key:?}");
            assert!(item.license.is_some() && item.directory.join("Cargo.toml").is_file(), "{key:?}");
        }
        assert!(crates.members.contains(&"nix/images".to_owned()));
    }
}
