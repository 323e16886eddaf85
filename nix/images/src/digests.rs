//! Which images came of which sources: what a build writes, what `nix/digests.json` records, and how two of them differ.

use crate::{digest::Digest, image::Summary, sbom::Toolchain};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The file in a folder of images.
pub const FILE: &str = "digests.json";

/// What a build made of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// The version of the programs.
    pub version: String,
    /// What they run on.
    pub architecture: String,
    /// Of the sources.
    pub sources: Digest,
    /// What they were compiled with.
    pub toolchain: Toolchain,
    /// By name.
    pub images: BTreeMap<String, Summary>,
}

/// Why a file of digests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DigestsError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not a file of digests")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// One way in which two builds differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What: `sources`, `weft-proxy`.
    pub what: String,
    /// In the one.
    pub one: String,
    /// In the other.
    pub other: String,
}

impl Digests {
    /// Reads a file, or the file in a folder of images.
    ///
    /// # Errors
    /// See [`DigestsError`].
    pub fn read(path: &Path) -> Result<Self, DigestsError> {
        let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let bytes = fs::read(&path).map_err(|source| DigestsError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|source| DigestsError::Parse { path, source })
    }

    /// The file's text.
    #[must_use]
    #[expect(clippy::expect_used, reason = "these types have nothing that JSON has not")]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain structs");
        text.push('\n');
        text
    }

    /// How two builds differ: first in what they were made of, then in what came of it.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut compare = |what: &str, one: &dyn fmt::Display, other: &dyn fmt::Display| {
            let (one, other) = (one.to_string(), other.to_string());
            if one != other {
                found.push(Difference { what: what.to_owned(), one, other });
            }
        };
        compare("version", &self.version, &other.version);
        compare("architecture", &self.architecture, &other.architecture);
        compare("sources", &self.sources, &other.sources);
        compare("rust", &self.toolchain.rust, &other.toolchain.rust);
        compare("glibc", &self.toolchain.glibc, &other.toolchain.glibc);
        let names: std::collections::BTreeSet<&String> =
            self.images.keys().chain(other.images.keys()).collect();
        for name in names {
            let digest = |digests: &Self| {
                let summary = digests.images.get(name);
                summary.map_or_else(
                    || "none".to_owned(),
                    |summary| format!("{} in {}", summary.manifest, summary.archive),
                )
            };
            compare(name, &digest(self), &digest(other));
        }
        found
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not {}", self.what, self.one, self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> Digests {
        let digest = Digest::of(b"");
        let summary = Summary {
            manifest: digest,
            config: digest,
            layers: vec![digest],
            archive: digest,
            compressed_bytes: 7,
        };
        Digests {
            version: "0.1.0".into(),
            architecture: "amd64".into(),
            sources: digest,
            toolchain: Toolchain { rust: "1.95.0".into(), glibc: "2.36".into() },
            images: BTreeMap::from([("weft".into(), summary)]),
        }
    }

    #[test]
    fn text_and_back() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), digests().text()).unwrap();
        assert_eq!(Digests::read(directory.path()).unwrap(), digests());
        assert_eq!(Digests::read(&directory.path().join(FILE)).unwrap(), digests());
        fs::write(directory.path().join(FILE), "{}").unwrap();
        let error = Digests::read(directory.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not a file of digests"), "{error}");
    }

    #[test]
    fn differences_are_named() {
        let one = digests();
        assert_eq!(one.differences(&one), []);
        let mut other = digests();
        other.toolchain.glibc = "2.41".into();
        other.images.insert("weft-init".into(), one.images["weft"].clone());
        other.images.get_mut("weft").unwrap().manifest = Digest::of(b"other");
        let names: Vec<String> = one.differences(&other).into_iter().map(|d| d.what).collect();
        assert_eq!(names, ["glibc", "weft", "weft-init"]);
        assert_eq!(one.differences(&other)[0].to_string(), "glibc: 2.36 is not 2.41");
    }
}
