//! `nix/build.json`: how the programs are compiled, for Nix and for plain cargo alike.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Where it is below the root of the sources.
pub const PATH: &str = "nix/build.json";

/// How the programs are compiled.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Cargo's profile.
    pub profile: String,
    /// What is compiled, in one go: dependencies are compiled once, with the features that all of them need.
    pub packages: Vec<String>,
    /// Flags of rustc; those that name paths of the machine come on top.
    pub rustflags: Vec<String>,
    /// Variables of build scripts.
    pub env: BTreeMap<String, String>,
    /// What the programs are made of.
    pub sources: Selection,
}

/// Which files of the tree are sources of the programs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Files and directories beside the crates.
    pub also: Vec<String>,
    /// Directories whose crates are no part of the programs: only their manifests are sources, because cargo reads them.
    pub without: Vec<String>,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not a recipe")]
    Parse {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Recipe {
    /// Reads it from a tree of sources.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn read(root: &Path) -> Result<Self, RecipeError> {
        let path = root.join(PATH);
        let bytes = fs::read(&path).map_err(|source| RecipeError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|source| RecipeError::Parse { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_of_this_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recipe = Recipe::read(&root).unwrap();
        assert_eq!(recipe.profile, "dist");
        assert!(recipe.rustflags.iter().any(|flag| flag == "target-feature=+crt-static"));
        let missing = Recipe::read(Path::new("none")).unwrap_err();
        assert_eq!(missing.to_string(), "none/nix/build.json cannot be read");
    }
}
