//! The open store: one write connection, a few readers, and what is known about whether writes work.

use crate::{
    directory::Directory,
    error::{OpenError, StoreError, WriteState},
    schema,
};
use jiff::Timestamp;
use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long an operation waits for a lock that another program or an earlier write holds: 5 s.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that only read. Each costs a thread and a page cache, and reads take well under a millisecond.
pub const READERS: u32 = 2;

/// Prepared statements kept per connection.
const STATEMENT_CACHE: usize = 32;

/// Page cache per connection in KiB (SQLite's default is 2,000): the working set is a few hundred rows.
const PAGE_CACHE_KIB: &str = "-256";

/// The write-ahead log is cut back to this many bytes after a checkpoint.
const LOG_SIZE_LIMIT: &str = "4194304";

/// Durable state of one control plane. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Directory,
    writer: SqlitePool,
    readers: SqlitePool,
    state: Mutex<WriteState>,
}

/// What survives a power cut. Both survive `kill -9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Everything acknowledged: keys, certificates, tokens, registrations.
    Full,
    /// The last moments may be lost, the file stays whole: leases, which are renewed every few seconds anyway.
    Relaxed,
}

/// A write transaction. Dropped before its commit, it is undone.
///
/// Its connection is closed in that case, which undoes whatever was begun. sqlx's own transactions are not used: after
/// some failures (a full disk) SQLite has already rolled back by itself, which they take for an open transaction and
/// refuse every later one.
pub(crate) struct Write {
    conn: PoolConnection<Sqlite>,
    done: bool,
}

impl Store {
    /// Opens the state in `dir`, making it if there is none, and brings it to this program's schema.
    ///
    /// `holder` says who is asking, such as `weft up`. A file that is damaged, of a newer schema or of another
    /// program is refused and left as it is.
    pub async fn open(dir: &Path, holder: &str, now: Timestamp) -> Result<Self, OpenError> {
        let directory = Directory::open(dir, holder, now)?;
        let path = directory.database()?;
        let refused = |op| {
            move |source| OpenError::Store { path: dir.to_owned(), source: StoreError::from_sqlx(op, source) }
        };

        let base = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENT_CACHE)
            .pragma("cache_size", PAGE_CACHE_KIB)
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging();

        // Looked at before anything is set: what is refused must not be changed.
        let mut look = base
            .clone()
            .read_only(true)
            .connect()
            .await
            .map_err(|source| damaged(&path, StoreError::from_sqlx("open", source)))?;
        let found = schema::inspect(&mut look, &path).await?;
        look.close().await.map_err(refused("close"))?;

        let write = base
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", LOG_SIZE_LIMIT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(write)
            .await
            .map_err(refused("open for writing"))?;
        let mut conn = writer.acquire().await.map_err(refused("open for writing"))?;
        schema::upgrade(&mut conn, &found, now).await.map_err(refused("upgrade the schema"))?;
        drop(conn);

        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(BUSY_TIMEOUT)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(base.read_only(true));
        let inner = Inner { directory, writer, readers, state: Mutex::new(WriteState::Writable) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The state directory, whose lock this store holds.
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Whether writes are expected to succeed, from how the last one went.
    pub fn write_state(&self) -> WriteState {
        *self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connections after what is under way. Dropping the last clone does so too, without waiting.
    pub async fn close(self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// The connections that read.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.inner.readers
    }

    #[cfg(test)]
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.inner.writer
    }

    /// Begins the one write transaction there can be; waits for an earlier one, at most [`BUSY_TIMEOUT`].
    pub(crate) async fn begin(&self, op: &'static str, durability: Durability) -> Result<Write, StoreError> {
        if self.write_state() == WriteState::Damaged {
            return Err(StoreError::ReadOnly { op });
        }
        let conn = self.inner.writer.acquire().await.map_err(self.failed(op))?;
        let mut write = Write { conn, done: false };
        let synchronous = match durability {
            Durability::Full => "PRAGMA synchronous = FULL",
            Durability::Relaxed => "PRAGMA synchronous = NORMAL",
        };
        write.run(synchronous).await.map_err(self.failed(op))?;
        write.run("BEGIN IMMEDIATE").await.map_err(self.failed(op))?;
        Ok(write)
    }

    /// Commits what [`Store::begin`] began.
    pub(crate) async fn commit(&self, op: &'static str, mut write: Write) -> Result<(), StoreError> {
        write.run("COMMIT").await.map_err(self.failed(op))?;
        write.done = true;
        self.set_write_state(WriteState::Writable);
        Ok(())
    }

    /// Sorts a failure of `op` and remembers what it means for writes.
    pub(crate) fn failed(&self, op: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |source| {
            let error = StoreError::from_sqlx(op, source);
            if let Some(state) = error.write_state() {
                self.set_write_state(state);
            }
            error
        }
    }

    /// Sorts a failure of a read: it says nothing about writes, unless the file is damaged.
    pub(crate) fn unread(&self, op: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |source| {
            let error = StoreError::from_sqlx(op, source);
            if error.write_state() == Some(WriteState::Damaged) {
                self.set_write_state(WriteState::Damaged);
            }
            error
        }
    }

    fn set_write_state(&self, state: WriteState) {
        let mut current = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != WriteState::Damaged && *current != state {
            match state.advice() {
                Some(advice) => {
                    tracing::error!(state = state.as_str(), advice, "the state cannot be written");
                }
                None => tracing::info!("the state can be written again"),
            }
            *current = state;
        }
    }
}

// === impl Write ===

impl Write {
    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut *self.conn).await.map(drop)
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.conn
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if !self.done {
            self.conn.close_on_drop();
        }
    }
}

fn damaged(path: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Corrupt { source, .. } => {
            OpenError::Corrupt { path: path.to_owned(), report: source.to_string() }
        }
        source => OpenError::Store { path: path.to_owned(), source },
    }
}
