//! What the programs are made of, as one digest: a label of every image, and the way back from an image to its sources.
//!
//! The digest is that of a list as `sha256sum` prints it, sorted by path, so that it can be computed without this program:
//! `weft-images sources --list | sha256sum`.

use crate::{digest::Digest, recipe::Selection};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The most files.
pub const MAX_FILES: usize = 20_000;

/// The files, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<(String, Digest)>);

/// Why the sources are not known.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that is not UTF-8.
    #[error("{0} has a name that is not UTF-8")]
    Name(PathBuf),
    /// Too many.
    #[error("more than {MAX_FILES} files")]
    Many,
}

impl Sources {
    /// Reads the sources in a tree whose crates are in `members` (directories below the root).
    ///
    /// # Errors
    /// See [`SourcesError`].
    pub fn read(root: &Path, members: &[String], selection: &Selection) -> Result<Self, SourcesError> {
        let mut paths = BTreeSet::from(["Cargo.toml".to_owned(), "Cargo.lock".to_owned()]);
        for member in members {
            paths.insert(format!("{member}/Cargo.toml"));
            let inside = |directory: &String| Path::new(member).starts_with(directory);
            if !selection.without.iter().any(inside) {
                walk(root, &format!("{member}/src"), &mut paths)?;
            }
        }
        for path in &selection.also {
            walk(root, path, &mut paths)?;
        }
        let read = |path: String| {
            let full = root.join(&path);
            let bytes = fs::read(&full).map_err(|source| SourcesError::Read { path: full, source })?;
            Ok((path, Digest::of(&bytes)))
        };
        paths.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// One line for each file, as `sha256sum` prints it.
    #[must_use]
    pub fn list(&self) -> String {
        self.0.iter().map(|(path, digest)| format!("{}  {path}\n", digest.hex())).collect()
    }

    /// The digest of the list.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.list().as_bytes())
    }
}

fn walk(root: &Path, path: &str, found: &mut BTreeSet<String>) -> Result<(), SourcesError> {
    let full = root.join(path);
    let refused = |source| SourcesError::Read { path: full.clone(), source };
    if !fs::metadata(&full).map_err(refused)?.is_dir() {
        if found.len() >= MAX_FILES {
            return Err(SourcesError::Many);
        }
        found.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(&full).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().into_string().map_err(|_| SourcesError::Name(entry.path()))?;
        walk(root, &format!("{path}/{name}"), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Selection, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("Cargo.toml", "w"),
            ("Cargo.lock", "l"),
            ("LICENSE", "free"),
            ("README.md", "r"),
            ("init/Cargo.toml", "i"),
            ("init/src/main.rs", "m"),
            ("init/src/a/b.rs", "b"),
            ("init/tests/t.rs", "t"),
            ("tests/bench/Cargo.toml", "b"),
            ("tests/bench/src/main.rs", "b"),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let selection = Selection { also: vec!["LICENSE".into()], without: vec!["tests".into()] };
        (directory, selection, vec!["tests/bench".into(), "init".into()])
    }

    #[test]
    fn what_counts() {
        let (directory, selection, members) = tree();
        let sources = Sources::read(directory.path(), &members, &selection).unwrap();
        let list = sources.list();
        let paths: Vec<&str> = list.lines().map(|line| &line[66..]).collect();
        assert_eq!(
            paths,
            [
                "Cargo.lock",
                "Cargo.toml",
                "LICENSE",
                "init/Cargo.toml",
                "init/src/a/b.rs",
                "init/src/main.rs",
                "tests/bench/Cargo.toml",
            ]
        );
        assert_eq!(sources.digest(), Digest::of(list.as_bytes()));
        fs::write(directory.path().join("README.md"), "other").unwrap();
        assert_eq!(Sources::read(directory.path(), &members, &selection).unwrap(), sources);
        fs::write(directory.path().join("init/src/a/b.rs"), "other").unwrap();
        assert_ne!(Sources::read(directory.path(), &members, &selection).unwrap(), sources);
    }

    /// `sha256sum` agrees.
    #[test]
    fn the_list_is_one_of_sha256sum() {
        let (directory, selection, members) = tree();
        let list = Sources::read(directory.path(), &members, &selection).unwrap().list();
        fs::write(directory.path().join("list"), &list).unwrap();
        let status = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "list"])
            .current_dir(directory.path())
            .status()
            .unwrap();
        assert!(status.success(), "{list}");
    }

    #[test]
    fn a_missing_crate_is_named() {
        let (directory, selection, _) = tree();
        let error = Sources::read(directory.path(), &["gone".into()], &selection).unwrap_err();
        assert!(error.to_string().ends_with("gone/src cannot be read"), "{error}");
    }
}
