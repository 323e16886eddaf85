//! The state directory: who may look into it and who has it open.
//!
//! | entry | mode | what |
//! |---|---|---|
//! | the directory | 0700 | made by us, or found empty and tightened; otherwise only checked |
//! | `weft.db` (`-wal`, `-shm`) | 0600 | the database; holds private keys |
//! | `lock` | 0600 | an advisory lock (`flock`) held while the state is open, and one line that says by whom |
//! | any [`Directory::secret`] | 0600 | a random secret for local clients |

use crate::error::OpenError;
use jiff::Timestamp;
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const DATABASE: &str = "weft.db";
const LOCK: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Longest line read back from the lock file, in bytes.
const MAX_HOLDER_LEN: u64 = 256;

/// Bytes of randomness in a [`Directory::secret`].
const SECRET_LEN: usize = 32;

/// A state directory whose lock this process holds until the value is dropped (or the process is killed).
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if there is none, checks who may enter it and takes its lock.
    ///
    /// `holder` says who is asking, such as `weft up`: the next one to ask is told.
    pub fn open(path: &Path, holder: &str, now: Timestamp) -> Result<Self, OpenError> {
        let refused = |source| unusable(path, source);
        prepare(path)?;

        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path.join(LOCK))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: path.to_owned(), holder: read_holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        // The line only helps people; a disk too full for it is no reason to refuse.
        let _ = write_holder(&mut lock, holder, now);
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret kept in the file `name`, made on first use: 64 hex digits.
    ///
    /// The file has mode 0600, so reading it proves to be the user who runs the control plane (or root).
    pub fn secret(&self, name: &str) -> Result<String, OpenError> {
        let path = self.path.join(name);
        let refused = |source| OpenError::Directory { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if is_secret(text.trim()) => {
                check_mode(&path, 0o077, FILE_MODE)?;
                return Ok(text.trim().to_owned());
            }
            // Something else is in it (a write that was cut off): make a new one in its place.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }

        let mut bytes = [0u8; SECRET_LEN];
        getrandom::fill(&mut bytes).map_err(|error| refused(io::Error::other(error.to_string())))?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let temporary = path.with_extension("new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)
            .map_err(refused)?;
        writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(refused)?;
        fs::rename(&temporary, &path).map_err(refused)?;
        Ok(secret)
    }

    /// The database file, made empty with the right mode if there is none: SQLite gives the files it makes beside
    /// it the same mode.
    pub(crate) fn database(&self) -> Result<PathBuf, OpenError> {
        let path = self.path.join(DATABASE);
        let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path);
        match made {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                check_mode(&path, 0o077, FILE_MODE)?
            }
            Err(source) => return Err(OpenError::Directory { path, source }),
        }
        Ok(path)
    }
}

/// Why the directory cannot be used, as far as that can be told of it.
fn unusable(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    // The directory itself, or else what it was to be made in.
    let found = path.ancestors().find_map(|path| fs::metadata(path).ok());
    let (Some(found), Ok(ours)) = (found, fs::metadata("/proc/self")) else {
        return OpenError::Directory { path, source };
    };
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem if is_of_the_root(&path) => OpenError::NotMounted { path },
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        io::ErrorKind::PermissionDenied if found.uid() != ours.uid() && path.is_dir() => {
            OpenError::OfAnother { path, owner: found.uid(), user: ours.uid() }
        }
        _ => OpenError::Directory { path, source },
    }
}

/// Whether nothing but the root is mounted on the way to it (proc(5), `mountinfo`: the fifth field is where). Devices do not
/// tell: a volume may be a folder of the same one.
fn is_of_the_root(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    !points.any(|point| point != "/" && path.starts_with(point))
}

fn prepare(path: &Path) -> Result<(), OpenError> {
    let refused = |source| unusable(path, source);
    match fs::read_dir(path) {
        Ok(mut entries) => {
            if entries.next().is_none() {
                fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)).map_err(refused)?;
            }
            // Readable by others is fine, every file in it has a mode of its own; writable is not: files could be
            // swapped.
            check_mode(path, 0o022, DIRECTORY_MODE)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(refused)?;
            }
            DirBuilder::new().mode(DIRECTORY_MODE).create(path).map_err(refused)
        }
        Err(source) => Err(refused(source)),
    }
}

fn check_mode(path: &Path, forbidden: u32, want: u32) -> Result<(), OpenError> {
    let metadata =
        fs::metadata(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden == 0 { Ok(()) } else { Err(OpenError::Exposed { path: path.to_owned(), mode, want }) }
}

fn write_holder(lock: &mut File, holder: &str, now: Timestamp) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{holder}, process {}, since {now:.0}", std::process::id())
}

fn read_holder(lock: &mut File) -> String {
    let mut line = String::new();
    // What cannot be read is not known; the lock itself is what counts.
    let _ = lock.take(MAX_HOLDER_LEN).read_to_string(&mut line);
    let line: String = line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    if line.is_empty() { "another process".to_owned() } else { line }
}

fn is_secret(text: &str) -> bool {
    text.len() == 2 * SECRET_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As far as a test can tell that has no file systems of its own: `/proc` is none of the root's.
    #[test]
    fn why_a_directory_cannot_be_used() {
        let read_only = || io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let error = unusable(Path::new("/no/such"), read_only());
        assert_eq!(error.to_string(), "nothing is mounted at /no/such and the root file system is read-only");
        let error = unusable(Path::new("/proc"), read_only());
        assert_eq!(error.to_string(), "/proc is mounted read-only");
        let own = tempfile::tempdir().unwrap();
        for (path, kind) in
            [(own.path(), io::ErrorKind::PermissionDenied), (Path::new("/proc"), io::ErrorKind::Other)]
        {
            assert!(matches!(unusable(path, kind.into()), OpenError::Directory { .. }), "{kind}");
        }
    }
}
