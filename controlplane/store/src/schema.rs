//! The schema and how a file comes to have it.
//!
//! A file says what it is by SQLite's `application_id`, and which schema it has in table `meta`. Each step forward
//! is one transaction that also writes the new number, so a step is there whole or not at all.

use crate::error::{OpenError, StoreError};
use jiff::Timestamp;
use sqlx::{Connection, Row, SqliteConnection};
use std::path::Path;

/// `weft` in ASCII: marks a database file as ours.
pub(crate) const APPLICATION_ID: i64 = 0x7765_6674;

/// The schema this program writes: the number of the last step.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Every step, oldest first. A published step is never edited: a change is a new step.
const STEPS: &[&str] = &[include_str!("schema/0001.sql")];

/// What a file holds, found out without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No tables: a new file, or one whose first step was cut off.
    Empty,
    /// Ours, with the schema of this number.
    Schema(i64),
}

/// Looks at an open file: is it whole, is it ours, is it of a schema we know? Writes nothing.
pub(crate) async fn inspect(conn: &mut SqliteConnection, path: &Path) -> Result<Found, OpenError> {
    let refused = |op| {
        move |source: sqlx::Error| match StoreError::from_sqlx(op, source) {
            StoreError::Corrupt { source, .. } => {
                OpenError::Corrupt { path: path.to_owned(), report: source.to_string() }
            }
            source => OpenError::Store { path: path.to_owned(), source },
        }
    };

    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *conn)
        .await
        .map_err(refused("read application id"))?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *conn)
        .await
        .map_err(refused("count tables"))?;
    if tables == 0 && (id == 0 || id == APPLICATION_ID) {
        return Ok(Found::Empty);
    }
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }

    // The check reads every page once: a few milliseconds for the sizes this store has.
    let report: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *conn)
        .await
        .map_err(refused("check integrity"))?;
    if report != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), report });
    }

    let row = sqlx::query("SELECT schema_version, written_by FROM meta")
        .fetch_one(&mut *conn)
        .await
        .map_err(refused("read schema version"))?;
    let version: i64 = row.try_get(0).map_err(refused("read schema version"))?;
    let written_by: String = row.try_get(1).map_err(refused("read schema version"))?;
    if version > SCHEMA_VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known: SCHEMA_VERSION,
            written_by,
        });
    }
    Ok(Found::Schema(version))
}

/// Brings a file from what it holds to [`SCHEMA_VERSION`].
pub(crate) async fn upgrade(
    conn: &mut SqliteConnection,
    found: &Found,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let done = match found {
        Found::Empty => 0,
        Found::Schema(version) => *version,
    };
    for (step, sql) in (1i64..).zip(STEPS).filter(|(step, _)| *step > done) {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*sql).execute(&mut *tx).await?;
        sqlx::query(
            "INSERT INTO meta (singleton, schema_version, written_by, created_at, upgraded_at) \
             VALUES (1, $1, $2, $3, $3) \
             ON CONFLICT (singleton) DO UPDATE \
             SET schema_version = excluded.schema_version, written_by = excluded.written_by, \
                 upgraded_at = excluded.upgraded_at",
        )
        .bind(step)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
    }
    Ok(())
}
