//! What can go wrong with the state, sorted by what a person has to do about it.

use std::{io, path::PathBuf};
use thiserror::Error;

/// Why one operation on the open store failed.
///
/// `Display` says what happened; [`StoreError::advice`] says what to do. Nothing was written when a method returns
/// an error: every write is one transaction.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another program held the database's lock for longer than [`crate::BUSY_TIMEOUT`].
    #[error("{op}: the database is locked by another program")]
    Locked {
        /// The operation, such as `record certificate`.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The disk or the quota is full. Reads go on; each write is tried again when asked for.
    #[error("{op}: the disk is full, the state is read-only until there is room")]
    DiskFull {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file may not be written: its modes, its owner or a read-only mount.
    #[error("{op}: the state may not be written")]
    NotWritable {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file was moved, replaced or removed while it was open.
    #[error("{op}: the database file was moved or removed while it was in use")]
    Moved {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file is damaged. No further write is tried until the next start.
    #[error("{op}: the database file is damaged, the state is read-only")]
    Corrupt {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A write was refused because the file was found damaged earlier.
    #[error("{op}: refused, the database file was found damaged earlier")]
    ReadOnly {
        /// The operation.
        op: &'static str,
    },
    /// A row does not read back as what it was written as.
    #[error("{op}: {what} does not hold a valid value")]
    BadRow {
        /// The operation.
        op: &'static str,
        /// Table and column.
        what: &'static str,
    },
    /// Something that must be unique is there already (a serial, a fingerprint, a token id).
    #[error("{op}: there is such a row already")]
    Exists {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A named limit is reached.
    #[error("{what}: the limit of {limit} is reached")]
    Full {
        /// Which limit, such as `workloads` or an address pool.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// Anything else the database said.
    #[error("{op}: the database refused")]
    Database {
        /// The operation.
        op: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
}

/// Why the state could not be opened. The files are left as they were.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory could not be made or looked at.
    #[error("state directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The root file system may not be written, and no volume is there: a container that was started without one.
    #[error("nothing is mounted at {} and the root file system is read-only", path.display())]
    NotMounted {
        /// The directory.
        path: PathBuf,
    },
    /// The volume may not be written.
    #[error("{} is mounted read-only", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is another user's.
    #[error("{} belongs to user {owner}, and this runs as user {user}", path.display())]
    OfAnother {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Someone else may read the keys or swap the files.
    #[error("{} has mode {mode:04o}, which lets other users at the keys in it", path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        want: u32,
    },
    /// Another control plane has this state open.
    #[error("the state in {} is in use by {holder}", path.display())]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// Who holds the lock, as far as it is known: process id, command and since when.
        holder: String,
    },
    /// A newer program made or upgraded the database.
    #[error("{} was written by weft {written_by} (schema {found}); this program knows schemas up to {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version this program knows.
        known: i64,
        /// The version of the program that wrote it.
        written_by: String,
    },
    /// A database, but not one of ours.
    #[error("{} is a database of another program", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file is damaged or not a database at all.
    #[error("{} is damaged: {report}", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What the check found first.
        report: String,
    },
    /// The database could not be used.
    #[error("{}", path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Whether writes are expected to succeed. Reads go on in every state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteState {
    /// The last write succeeded, or none was tried yet.
    #[default]
    Writable,
    /// The last write failed for want of room; the next one is tried all the same.
    DiskFull,
    /// The last write found the lock taken; the next one is tried all the same.
    Locked,
    /// The last write was not permitted; the next one is tried all the same.
    NotWritable,
    /// The file was found damaged or moved: no write is tried until the next start.
    Damaged,
}

// === impl StoreError ===

impl StoreError {
    /// What a person can do about it, as one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Locked { .. } => LOCKED_ADVICE,
            Self::DiskFull { .. } => FULL_ADVICE,
            Self::NotWritable { .. } => NOT_WRITABLE_ADVICE,
            Self::Moved { .. } => "put the file back where it was and restart the control plane",
            Self::Corrupt { .. } | Self::ReadOnly { .. } => CORRUPT_ADVICE,
            Self::BadRow { .. } => {
                "the row was changed by hand or the file is damaged: restore the state from a copy"
            }
            Self::Exists { .. } => "try again with a new value",
            Self::Full { .. } => "remove what is not needed any more, or ask for a larger range",
            Self::Database { .. } => "see the cause; if it stays, restart the control plane and report it",
        }
    }

    /// Which of the store's states this failure means for writes, if any.
    pub(crate) fn write_state(&self) -> Option<WriteState> {
        match self {
            Self::Locked { .. } => Some(WriteState::Locked),
            Self::DiskFull { .. } => Some(WriteState::DiskFull),
            Self::NotWritable { .. } => Some(WriteState::NotWritable),
            Self::Moved { .. } | Self::Corrupt { .. } | Self::ReadOnly { .. } => Some(WriteState::Damaged),
            _ => None,
        }
    }

    /// Sorts what the database said. The numbers are SQLite's primary result codes (the low byte of extended ones).
    pub(crate) fn from_sqlx(op: &'static str, source: sqlx::Error) -> Self {
        const BUSY: u32 = 5;
        const LOCKED: u32 = 6;
        const READONLY: u32 = 8;
        const READONLY_DBMOVED: u32 = READONLY | (4 << 8);
        const CORRUPT: u32 = 11;
        const FULL: u32 = 13;
        const CANTOPEN: u32 = 14;
        const NOTADB: u32 = 26;
        const PERM: u32 = 3;

        let code = match &source {
            sqlx::Error::PoolTimedOut => return Self::Locked { op, source },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                return Self::BadRow { op, what: "a column" };
            }
            sqlx::Error::Database(error) if error.is_unique_violation() => {
                return Self::Exists { op, source };
            }
            sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
            _ => None,
        };
        match code {
            Some(READONLY_DBMOVED) => Self::Moved { op, source },
            Some(code) => match code & 0xff {
                BUSY | LOCKED => Self::Locked { op, source },
                FULL => Self::DiskFull { op, source },
                READONLY | PERM | CANTOPEN => Self::NotWritable { op, source },
                CORRUPT | NOTADB => Self::Corrupt { op, source },
                _ => Self::Database { op, source },
            },
            None => Self::Database { op, source },
        }
    }
}

const LOCKED_ADVICE: &str =
    "close the program that has the database open (a shell, a backup, a copy) and try again";
const FULL_ADVICE: &str = "make room on the disk that holds the state directory; nothing else has to be done";
const NOT_WRITABLE_ADVICE: &str =
    "let this user write the state directory and the files in it, or choose another one with --state";
const CORRUPT_ADVICE: &str = "keep the files, put back a copy of the state directory, or start with a new one by --state; nothing was overwritten";

// === impl OpenError ===

impl OpenError {
    /// What a person can do about it, as one sentence.
    pub fn advice(&self) -> String {
        match self {
            Self::Directory { .. } => "choose a directory this user can write, with --state".into(),
            Self::NotMounted { path } => {
                format!("mount a volume at {}, or choose another directory with --state", path.display())
            }
            Self::ReadOnly { .. } => "mount it so that it can be written".into(),
            Self::OfAnother { path, user, .. } => format!("chown -R {user}:{user} {}", path.display()),
            Self::Exposed { path, want, .. } => format!("chmod {want:04o} {}", path.display()),
            Self::InUse { .. } => "stop that one first, or choose another directory with --state".into(),
            Self::Newer { .. } => {
                "use that version of weft or a newer one, or choose another directory with --state".into()
            }
            Self::Foreign { .. } => "choose another directory with --state".into(),
            Self::Corrupt { .. } => CORRUPT_ADVICE.into(),
            Self::Store { source, .. } => source.advice().into(),
        }
    }
}

// === impl WriteState ===

impl WriteState {
    /// Why writes fail and what to do; `None` when they work.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Writable => None,
            Self::DiskFull => Some(FULL_ADVICE),
            Self::Locked => Some(LOCKED_ADVICE),
            Self::NotWritable => Some(NOT_WRITABLE_ADVICE),
            Self::Damaged => Some(CORRUPT_ADVICE),
        }
    }

    /// A stable word for metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::DiskFull => "disk-full",
            Self::Locked => "locked",
            Self::NotWritable => "not-writable",
            Self::Damaged => "damaged",
        }
    }
}
