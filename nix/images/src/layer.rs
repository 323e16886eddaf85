//! A layer: files with their owners and modes, as a compressed archive.

use crate::{
    digest::Digest,
    tar::{Meta, Node, Writer},
};
use flate2::{Compression, GzBuilder};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The most files of one layer.
pub const MAX_ENTRIES: usize = 20_000;
/// The attribute that Linux keeps a file's capabilities in, as tar archives carry it.
const CAPABILITY: &str = "SCHILY.xattr.security.capability";

/// Linux capabilities that a file can be given (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `CAP_NET_ADMIN`
    NetAdmin = 12,
    /// `CAP_NET_RAW`
    NetRaw = 13,
}

/// What is in a layer, by path. Paths are relative, without `.` and `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, (Meta, Content)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    File(Vec<u8>),
    Link(String),
}

/// A compressed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What `podman history` says it is.
    pub title: String,
    /// The digest of the archive before compression.
    pub diff_id: Digest,
    /// The compressed archive.
    pub blob: Vec<u8>,
}

/// What cannot be put into a layer.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that is none.
    #[error("{0:?} is not a relative path without . and ..")]
    Path(String),
    /// Two entries at one path.
    #[error("{0} is there twice")]
    Twice(String),
    /// Too many.
    #[error("more than {MAX_ENTRIES} files")]
    Many,
    /// A file on this machine that cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither file, directory nor link.
    #[error("{0} is neither a file nor a directory nor a link")]
    Kind(PathBuf),
}

impl Files {
    /// Adds a directory that belongs to a user and the group of the same number.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn directory(&mut self, path: &str, mode: u32, owner: u32) -> Result<&mut Self, FilesError> {
        self.put(path, Meta { mode, uid: owner, gid: owner, ..Meta::default() }, Content::Directory)
    }

    /// Adds a file of root's.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<&mut Self, FilesError> {
        self.put(path, Meta { mode, ..Meta::default() }, Content::File(bytes.into()))
    }

    /// Adds a program of root's that may take capabilities whoever starts it: they are permitted, not effective, so that
    /// it also starts where they cannot be had.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn program(
        &mut self,
        path: &str,
        bytes: impl Into<Vec<u8>>,
        capabilities: &[Capability],
    ) -> Result<&mut Self, FilesError> {
        let records = match capabilities {
            [] => Vec::new(),
            some => vec![(CAPABILITY.to_owned(), permitted(some))],
        };
        self.put(path, Meta { mode: 0o755, records, ..Meta::default() }, Content::File(bytes.into()))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn link(&mut self, path: &str, target: &str) -> Result<&mut Self, FilesError> {
        self.put(path, Meta { mode: 0o777, ..Meta::default() }, Content::Link(target.to_owned()))
    }

    /// Adds what is in a directory of this machine, with its modes, as root's. What of it is at `skip` stays out.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn tree(&mut self, from: &Path, skip: &BTreeSet<String>) -> Result<&mut Self, FilesError> {
        self.branch(from, "", skip)?;
        Ok(self)
    }

    fn branch(&mut self, from: &Path, at: &str, skip: &BTreeSet<String>) -> Result<(), FilesError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| FilesError::Read { path, source }
        };
        for entry in fs::read_dir(from).map_err(refused(from))? {
            let entry = entry.map_err(refused(from))?;
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|_| FilesError::Kind(path.clone()))?;
            let to = if at.is_empty() { name } else { format!("{at}/{name}") };
            if skip.contains(&to) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).map_err(refused(&path))?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.directory(&to, mode, 0)?;
                self.branch(&path, &to, skip)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(refused(&path))?;
                self.link(&to, target.to_str().ok_or_else(|| FilesError::Kind(path.clone()))?)?;
            } else if metadata.is_file() {
                self.file(&to, mode, fs::read(&path).map_err(refused(&path))?)?;
            } else {
                return Err(FilesError::Kind(path));
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, meta: Meta, content: Content) -> Result<&mut Self, FilesError> {
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
            return Err(FilesError::Path(path.to_owned()));
        }
        if self.0.len() >= MAX_ENTRIES {
            return Err(FilesError::Many);
        }
        match self.0.insert(path.to_owned(), (meta, content)) {
            None => Ok(self),
            Some(_) => Err(FilesError::Twice(path.to_owned())),
        }
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Compresses them. Directories above an entry that were not added are made: root's, mode 0755.
    #[must_use]
    pub fn layer(&self, title: &str) -> Layer {
        let mut entries: BTreeMap<&str, (&Meta, &Content)> =
            self.0.iter().map(|(path, (meta, content))| (path.as_str(), (meta, content))).collect();
        let made = Meta { mode: 0o755, ..Meta::default() };
        for path in self.0.keys() {
            for (slash, _) in path.match_indices('/') {
                let above = path.get(..slash).unwrap_or_default();
                entries.entry(above).or_insert((&made, &Content::Directory));
            }
        }
        let mut tar = Writer::default();
        for (path, (meta, content)) in entries {
            let node = match content {
                Content::Directory => Node::Directory,
                Content::File(bytes) => Node::File(bytes),
                Content::Link(target) => Node::Link(target),
            };
            tar.put(path, meta, node);
        }
        let tar = tar.finish();
        Layer { title: title.to_owned(), diff_id: Digest::of(&tar), blob: gzip(&tar) }
    }
}

/// `struct vfs_cap_data`, revision 2, without the effective bit (linux/capability.h).
fn permitted(capabilities: &[Capability]) -> Vec<u8> {
    const REVISION_2: u32 = 0x0200_0000;
    let mask = capabilities.iter().fold(0u64, |mask, capability| mask | 1 << (*capability as u32));
    let [low, high] = [mask & u64::from(u32::MAX), mask >> 32].map(|half| (half as u32).to_le_bytes());
    let none = [0; 4];
    [REVISION_2.to_le_bytes(), low, none, high, none].concat()
}

/// gzip (RFC 1952) without name and time.
#[expect(clippy::expect_used, reason = "writing to memory does not fail")]
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(bytes).expect("memory takes everything");
    gzip.finish().expect("memory takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn listing(layer: &Layer) -> Vec<String> {
        let mut tar = Vec::new();
        GzDecoder::new(layer.blob.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(layer.diff_id, Digest::of(&tar));
        tar::read(&tar).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut one = Files::default();
        one.file("usr/bin/a", 0o755, "x")
            .unwrap()
            .directory("tmp", 0o1777, 0)
            .unwrap()
            .link("b", "a")
            .unwrap();
        let mut other = Files::default();
        other
            .link("b", "a")
            .unwrap()
            .directory("tmp", 0o1777, 0)
            .unwrap()
            .file("usr/bin/a", 0o755, "x")
            .unwrap();
        assert_eq!(one.layer("t"), other.layer("t"));
        assert_eq!(
            listing(&one.layer("t")),
            [
                "2 0777 0:0 0 b -> a",
                "5 1777 0:0 0 tmp/",
                "5 0755 0:0 0 usr/",
                "5 0755 0:0 0 usr/bin/",
                "0 0755 0:0 1 usr/bin/a",
            ]
        );
    }

    /// RFC 1952 section 2.3.1: no time, no name, operating system unknown.
    #[test]
    fn gzip_says_nothing_of_when_and_where() {
        let blob = Files::default().layer("t").blob;
        assert_eq!(blob[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn bad_paths_and_doubles_are_refused() {
        let mut files = Files::default();
        for path in ["", "/etc", "a//b", "a/./b", "../a", "a/", "a\0b"] {
            assert!(matches!(files.link(path, "x"), Err(FilesError::Path(p)) if p == path));
        }
        files.link("a", "b").unwrap();
        assert!(matches!(files.file("a", 0o644, ""), Err(FilesError::Twice(p)) if p == "a"));
    }

    #[test]
    fn a_layer_has_a_bound() {
        let mut files = Files::default();
        for number in 0..MAX_ENTRIES {
            files.link(&number.to_string(), "x").unwrap();
        }
        assert!(matches!(files.link("one-more", "x"), Err(FilesError::Many)));
    }

    /// As `setcap cap_net_admin,cap_net_raw+p` writes it: `getfattr -e hex` gives 0x0000000200300000 and zeroes.
    #[test]
    fn capabilities_are_permitted_only() {
        let hex: String = permitted(&[Capability::NetAdmin, Capability::NetRaw])
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, "0000000200300000000000000000000000000000");
        let mut files = Files::default();
        files.program("p", "x", &[]).unwrap();
        files.program("q", "x", &[Capability::NetRaw]).unwrap();
        let mut tar = Vec::new();
        GzDecoder::new(files.layer("t").blob.as_slice()).read_to_end(&mut tar).unwrap();
        let found = tar::read(&tar).unwrap();
        assert!(found[0].meta.records.is_empty());
        assert_eq!(found[1].meta.records[0].0, CAPABILITY);
    }

    #[test]
    fn a_directory_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("usr/share/doc")).unwrap();
        fs::write(root.join("usr/share/doc/x"), "x").unwrap();
        fs::write(root.join("usr/a"), "a").unwrap();
        fs::set_permissions(root.join("usr/a"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::set_permissions(root.join("usr"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(root.join("usr/share"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("usr/a", root.join("l")).unwrap();
        let mut files = Files::default();
        files.tree(root, &BTreeSet::from(["usr/share/doc".to_owned()])).unwrap();
        assert_eq!(
            listing(&files.layer("t")),
            ["2 0777 0:0 0 l -> usr/a", "5 0755 0:0 0 usr/", "0 0751 0:0 1 usr/a", "5 0755 0:0 0 usr/share/"]
        );
        let missing = files.tree(&root.join("none"), &BTreeSet::new()).unwrap_err();
        assert!(missing.to_string().ends_with("none cannot be read"), "{missing}");
    }
}
