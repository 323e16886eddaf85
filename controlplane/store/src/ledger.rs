//! The certificate ledger: every certificate issued, written before it is handed out, never changed.
//!
//! Cardinality: one row per certificate, which is about one per proxy and day at Linkerd's default lifetime of
//! 24 h. Rows of certificates that have expired go when [`Retention`] says so; the database itself refuses to
//! delete the row of a certificate that is still valid.

use crate::{
    column::column,
    error::StoreError,
    store::{Durability, Store},
};
use jiff::{SignedDuration, Timestamp};
use sqlx::{Row, sqlite::SqliteRow};

/// Most rows one page of the ledger has: 500.
pub const MAX_PAGE: u32 = 500;

/// A certificate about to be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCertificate {
    /// The serial number, lower-case hex.
    pub serial: String,
    /// Whose it is.
    pub identity: String,
    /// Valid from, inclusive.
    pub not_before: Timestamp,
    /// Valid until, inclusive.
    pub not_after: Timestamp,
    /// Which issuer signed it.
    pub issuer_generation: i64,
    /// Who asked: a peer's address, or `control plane` for its own.
    pub requester: String,
    /// The join token that allowed it, if one did.
    pub token_id: Option<String>,
    /// Lower-case hex SHA-256 of its DER.
    pub fingerprint: String,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    /// Its place in the ledger: later rows have larger numbers.
    pub seq: i64,
    /// What was issued.
    pub certificate: NewCertificate,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// Which rows to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct CertificateQuery {
    /// Only those of this identity.
    pub identity: Option<String>,
    /// Only those before this place: the last one of the page before.
    pub before: Option<i64>,
    /// At most so many, and at most [`MAX_PAGE`].
    pub limit: u32,
}

/// How long rows of expired certificates are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After this long past their expiry, rows go. Default: 90 days.
    pub expired_for: SignedDuration,
    /// Above this many rows, the oldest of expired certificates go first. Default: 200,000 (about 100 MB).
    pub rows: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { expired_for: SignedDuration::from_hours(90 * 24), rows: 200_000 }
    }
}

impl Store {
    /// Writes a certificate into the ledger and counts the use of its token, in one step.
    ///
    /// [`StoreError::Exists`] when the serial was used before: take another random one.
    pub async fn record_certificate(&self, new: &NewCertificate, now: Timestamp) -> Result<i64, StoreError> {
        const OP: &str = "record certificate";
        let mut tx = self.begin(OP, Durability::Full).await?;
        let seq = sqlx::query_scalar(
            "INSERT INTO certificates \
                 (serial, identity, not_before, not_after, issued_at, issuer_generation, requester, token_id, \
                  fingerprint) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING seq",
        )
        .bind(&new.serial)
        .bind(&new.identity)
        .bind(new.not_before.as_millisecond())
        .bind(new.not_after.as_millisecond())
        .bind(now.as_millisecond())
        .bind(new.issuer_generation)
        .bind(&new.requester)
        .bind(&new.token_id)
        .bind(&new.fingerprint)
        .fetch_one(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        if let Some(token) = &new.token_id {
            sqlx::query("UPDATE join_tokens SET uses = uses + 1, last_used_at = $2 WHERE id = $1")
                .bind(token)
                .bind(now.as_millisecond())
                .execute(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
        }
        self.commit(OP, tx).await?;
        Ok(seq)
    }

    /// One page of the ledger, newest first.
    pub async fn certificates(&self, query: &CertificateQuery) -> Result<Vec<CertificateRow>, StoreError> {
        const OP: &str = "list certificates";
        let before = query.before.unwrap_or(i64::MAX);
        let limit = query.limit.min(MAX_PAGE);
        // Two texts rather than one with an OR, so that each uses its index.
        let rows = match &query.identity {
            None => {
                sqlx::query(
                    "SELECT seq, serial, identity, not_before, not_after, issued_at, issuer_generation, requester, \
                            token_id, fingerprint \
                     FROM certificates WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
                )
                .bind(before)
                .bind(limit)
                .fetch_all(self.reader())
                .await
            }
            Some(identity) => {
                sqlx::query(
                    "SELECT seq, serial, identity, not_before, not_after, issued_at, issuer_generation, requester, \
                            token_id, fingerprint \
                     FROM certificates WHERE seq < $1 AND identity = $3 ORDER BY seq DESC LIMIT $2",
                )
                .bind(before)
                .bind(limit)
                .bind(identity)
                .fetch_all(self.reader())
                .await
            }
        };
        rows.map_err(self.unread(OP))?.iter().map(|row| self.certificate_row(OP, row)).collect()
    }

    /// The certificate of this serial number (lower-case hex).
    pub async fn certificate(&self, serial: &str) -> Result<Option<CertificateRow>, StoreError> {
        const OP: &str = "read certificate";
        sqlx::query(
            "SELECT seq, serial, identity, not_before, not_after, issued_at, issuer_generation, requester, token_id, \
                    fingerprint \
             FROM certificates WHERE serial = $1",
        )
        .bind(serial)
        .fetch_optional(self.reader())
        .await
        .map_err(self.unread(OP))?
        .map(|row| self.certificate_row(OP, &row))
        .transpose()
    }

    /// Removes rows that `retention` does not ask for any more; returns how many went.
    pub async fn prune_certificates(&self, retention: Retention, now: Timestamp) -> Result<u64, StoreError> {
        const OP: &str = "prune certificates";
        let expired_before =
            now.checked_sub(retention.expired_for).map_or(i64::MIN, |time| time.as_millisecond());
        let mut tx = self.begin(OP, Durability::Relaxed).await?;
        let aged = sqlx::query("DELETE FROM certificates WHERE not_after < $1")
            .bind(expired_before)
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?
            .rows_affected();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM certificates")
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed(OP))?;
        let surplus = (rows - i64::from(retention.rows)).max(0);
        let over = sqlx::query(
            "DELETE FROM certificates WHERE not_after < $1 AND seq IN ( \
                 SELECT seq FROM certificates ORDER BY seq LIMIT $2)",
        )
        .bind(now.as_millisecond())
        .bind(surplus)
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?
        .rows_affected();
        self.commit(OP, tx).await?;
        Ok(aged + over)
    }

    fn certificate_row(&self, op: &'static str, row: &SqliteRow) -> Result<CertificateRow, StoreError> {
        let get = self.unread(op);
        let time = |name| column(op, name).time(row.try_get(name).map_err(&get)?);
        Ok(CertificateRow {
            seq: row.try_get("seq").map_err(&get)?,
            certificate: NewCertificate {
                serial: row.try_get("serial").map_err(&get)?,
                identity: row.try_get("identity").map_err(&get)?,
                not_before: time("not_before")?,
                not_after: time("not_after")?,
                issuer_generation: row.try_get("issuer_generation").map_err(&get)?,
                requester: row.try_get("requester").map_err(&get)?,
                token_id: row.try_get("token_id").map_err(&get)?,
                fingerprint: row.try_get("fingerprint").map_err(&get)?,
            },
            issued_at: time("issued_at")?,
        })
    }
}
