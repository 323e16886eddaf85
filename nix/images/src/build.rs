//! The build without Nix: cargo with the flags of `nix/build.json`, so that the same sources give the same bytes as in
//! Nix's sandbox, at any path, for any user.
//!
//! Same bytes need the same compilers too: what of them differs from `nix/offline/lock.json` is reported.

use crate::{
    assemble::{self, AssembleError},
    crates::{Crates, CratesError},
    digests::Digests,
    recipe::{Recipe, RecipeError},
    sbom::Toolchain,
};
use serde::Deserialize;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What Nix' sandbox has, by version.
const LOCK: &str = "nix/offline/lock.json";
/// Packages whose bytes get into a program, or that make them.
const COMPILERS: [&str; 4] = ["gcc-12", "libgcc-12-dev", "libc6-dev", "binutils"];
/// Where crates of others are said to be.
const VENDORS: &str = "/cargo";
/// Variables by which people change what cargo, rustc and C compilers do.
const MEDDLERS: [&str; 14] = [
    "AR",
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "HOST_CC",
    "LD",
    "LDFLAGS",
    "OPENSSL_DIR",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
];
/// Beginnings of such variables.
const MEDDLING: [&str; 8] = [
    "AWS_LC_SYS_",
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CFLAGS_",
    "CC_",
    "LIBSQLITE3_",
];

/// Where to build what.
#[derive(Clone, Debug)]
pub struct Build {
    /// The sources.
    pub root: PathBuf,
    /// For which machine, as rustc says it.
    pub target: String,
    /// Cargo's folder.
    pub target_directory: PathBuf,
    /// Where the images go.
    pub out: PathBuf,
}

/// Why there are no images.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The crates.
    #[error("what the programs are linked from is not known")]
    Crates(#[from] CratesError),
    /// A program that is needed.
    #[error("{program} cannot be run")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It said something that is not understood.
    #[error("{program} said {text:?}, which is no version")]
    Version {
        /// Which.
        program: &'static str,
        /// What.
        text: String,
    },
    /// cargo failed; it has said why.
    #[error("cargo build ended with {0}")]
    Cargo(std::process::ExitStatus),
    /// The lock.
    #[error("{path} is not what prepare.sh writes")]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path that is not UTF-8 cannot be given to rustc.
    #[error("{0} is not UTF-8")]
    Path(PathBuf),
    /// The images.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
}

/// A compiler that is another one than the lock has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The package.
    pub name: String,
    /// Its version here, if it is there.
    pub here: Option<String>,
    /// Its version in the lock.
    pub locked: String,
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let here = self.here.as_deref().unwrap_or("not installed");
        write!(f, "{}: {here} here, {} in {LOCK}", self.name, self.locked)
    }
}

#[derive(Deserialize)]
struct Lock {
    debs: Vec<Deb>,
    rust: Rust,
}

#[derive(Deserialize)]
struct Deb {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Rust {
    version: String,
}

impl Build {
    /// Compiles the programs and puts them into images.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn run(&self) -> Result<Digests, BuildError> {
        let recipe = Recipe::read(&self.root)?;
        let crates = Crates::ask(&self.root, &recipe.packages, &self.target)?;
        let foreign = self.compile(&recipe, &crates)?;
        let described = self.target_directory.join("described");
        let toolchain = Toolchain { rust: rust()?, glibc: glibc()? };
        assemble::describe(&self.root, &self.target, &toolchain, &described)?;
        Ok(assemble::assemble(&described, &self.binaries(&recipe), &foreign, &self.out)?)
    }

    /// Compilers that differ from those of the sandbox: with them the digests will be others.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn others(&self) -> Result<Vec<Other>, BuildError> {
        let path = self.root.join(LOCK);
        let refused = |source| BuildError::Lock { path: path.clone(), source };
        let lock: Lock =
            serde_json::from_slice(&fs::read(&path).map_err(refused)?).map_err(|e| refused(e.into()))?;
        let debs = lock.debs.into_iter().filter(|deb| COMPILERS.contains(&deb.name.as_str()));
        let debs = debs.map(|deb| (installed(&deb.name), deb.name, deb.version));
        let rust = (Some(rust()?), "rust".to_owned(), lock.rust.version);
        Ok(debs.chain([rust]).filter_map(|(here, name, locked)| differs(name, here, locked)).collect())
    }

    /// Where the programs are.
    #[must_use]
    pub fn binaries(&self, recipe: &Recipe) -> PathBuf {
        self.target_directory.join(&self.target).join(&recipe.profile)
    }

    /// Runs cargo; gives the paths that must not be in the programs.
    fn compile(&self, recipe: &Recipe, crates: &Crates) -> Result<Vec<String>, BuildError> {
        let text =
            |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| BuildError::Path(path.to_owned()));
        let root = text(&self.root)?;
        let vendors: Vec<String> = crates.vendors().into_iter().map(text).collect::<Result<_, _>>()?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--locked", "--profile", &recipe.profile, "--target", &self.target]);
        command.args(recipe.packages.iter().flat_map(|package| ["-p", package.as_str()]));
        command.arg("--target-dir").arg(&self.target_directory).current_dir(&self.root);
        for name in std::env::vars_os().map(|(name, _)| name).filter(meddles) {
            command.env_remove(name);
        }
        command.envs(&recipe.env).env("RUSTFLAGS", flags(recipe, &root, &vendors));
        command.env("CFLAGS", c_flags(&root, &vendors));
        let status = command.status().map_err(|source| BuildError::Run { program: "cargo", source })?;
        if !status.success() {
            return Err(BuildError::Cargo(status));
        }
        Ok([root].into_iter().chain(vendors).collect())
    }
}

/// `RUSTFLAGS`: those of the recipe, and what the paths of this machine are to be called.
fn flags(recipe: &Recipe, root: &str, vendors: &[String]) -> String {
    let mut flags = recipe.rustflags.clone();
    flags.push(format!("--remap-path-prefix={root}=."));
    flags.extend(vendors.iter().map(|path| format!("--remap-path-prefix={path}={VENDORS}")));
    flags.join(" ")
}

/// `CFLAGS`: the same for C.
fn c_flags(root: &str, vendors: &[String]) -> String {
    let mut flags = vec![format!("-ffile-prefix-map={root}=.")];
    flags.extend(vendors.iter().map(|path| format!("-ffile-prefix-map={path}={VENDORS}")));
    flags.join(" ")
}

fn meddles(name: &OsString) -> bool {
    name.to_str()
        .is_some_and(|name| MEDDLERS.contains(&name) || MEDDLING.iter().any(|start| name.starts_with(start)))
}

fn differs(name: String, here: Option<String>, locked: String) -> Option<Other> {
    (here.as_ref() != Some(&locked)).then_some(Other { name, here, locked })
}

fn rust() -> Result<String, BuildError> {
    let text = output("rustc", &["-V"])?;
    let version = text.split_whitespace().nth(1).map(str::to_owned);
    version.ok_or(BuildError::Version { program: "rustc", text })
}

/// The package's version where there are packages of Debian's, else what the library says of itself.
fn glibc() -> Result<String, BuildError> {
    if let Some(version) = installed("libc6-dev") {
        return Ok(version);
    }
    let text = output("ldd", &["--version"])?;
    let version = text.lines().next().and_then(|line| line.split_whitespace().last()).map(str::to_owned);
    version.ok_or(BuildError::Version { program: "ldd", text })
}

/// The version of an installed package of Debian's.
fn installed(package: &str) -> Option<String> {
    let text =
        output("dpkg-query", &["--show", "--showformat", "${db:Status-Abbrev} ${Version}", package]).ok()?;
    text.strip_prefix("ii")?.split_whitespace().last().map(str::to_owned)
}

fn output(program: &'static str, arguments: &[&str]) -> Result<String, BuildError> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|source| BuildError::Run { program, source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine_are_renamed() {
        let recipe = Recipe::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        let flags = flags(&recipe, "/a", &["/b/c".to_owned()]);
        assert!(flags.starts_with("-C target-feature=+crt-static "), "{flags}");
        assert!(flags.ends_with(" --remap-path-prefix=/a=. --remap-path-prefix=/b/c=/cargo"), "{flags}");
        assert_eq!(c_flags("/a", &["/b".to_owned()]), "-ffile-prefix-map=/a=. -ffile-prefix-map=/b=/cargo");
    }

    #[test]
    fn what_people_set_for_other_builds_does_not_count() {
        for name in ["CFLAGS", "CARGO_PROFILE_DIST_LTO", "RUSTC_WRAPPER", "CC_x86_64_unknown_linux_gnu"] {
            assert!(meddles(&name.into()), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "CCACHE_DIR"] {
            assert!(!meddles(&name.into()), "{name}");
        }
    }

    #[test]
    fn other_compilers_are_named() {
        assert_eq!(differs("gcc-12".into(), Some("1".into()), "1".into()), None);
        let other = differs("gcc-12".into(), None, "1".into()).unwrap();
        assert_eq!(other.to_string(), "gcc-12: not installed here, 1 in nix/offline/lock.json");
    }

    #[test]
    fn the_compiler_of_this_test_has_a_version() {
        assert!(rust().unwrap().starts_with("1."));
    }
}
