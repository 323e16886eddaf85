//! Trust roots and issuers: certificates with the private keys that go with them.
//!
//! A *generation* numbers roots and issuers in the order they were made. What is not in force any more is marked
//! with the time it was retired and kept.

use crate::{
    column::column,
    error::StoreError,
    store::{Durability, Store},
};
use jiff::Timestamp;
use sqlx::{Row, sqlite::SqliteRow};
use std::fmt;

/// A private key in PKCS#8 DER. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Vec<u8>);

/// A certificate authority's certificate and key as they are to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuthority {
    /// The subject's common name, such as `root.linkerd.cluster.local`.
    pub name: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub private_key: PrivateKey,
    /// Lower-case hex SHA-256 of the certificate's DER.
    pub fingerprint: String,
    /// Valid from, inclusive.
    pub not_before: Timestamp,
    /// Valid until, inclusive.
    pub not_after: Timestamp,
}

/// A trust root: the anchor workloads are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot {
    /// Its number.
    pub generation: i64,
    /// Certificate and key.
    pub authority: NewAuthority,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is not in force any more.
    pub retired_at: Option<Timestamp>,
}

/// An issuer: signs the certificates of workloads, is itself signed by a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRow {
    /// Its number.
    pub generation: i64,
    /// The root that signed it.
    pub root_generation: i64,
    /// Certificate and key.
    pub authority: NewAuthority,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is not in force any more.
    pub retired_at: Option<Timestamp>,
}

// === impl PrivateKey ===

impl PrivateKey {
    /// Takes PKCS#8 DER.
    pub fn new(pkcs8: Vec<u8>) -> Self {
        Self(pkcs8)
    }

    /// The PKCS#8 DER.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

// === impl Store ===

impl Store {
    /// The roots in force, newest first.
    pub async fn trust_roots(&self) -> Result<Vec<TrustRoot>, StoreError> {
        const OP: &str = "list trust roots";
        sqlx::query(
            "SELECT generation, name, certificate, private_key, fingerprint, not_before, not_after, created_at, \
                    retired_at \
             FROM trust_roots WHERE retired_at IS NULL ORDER BY generation DESC",
        )
        .fetch_all(self.reader())
        .await
        .map_err(self.unread(OP))?
        .iter()
        .map(|row| {
            Ok(TrustRoot {
                generation: row.try_get("generation").map_err(self.unread(OP))?,
                authority: self.authority(OP, row)?,
                created_at: self.created_at(OP, row)?,
                retired_at: self.retired_at(OP, row)?,
            })
        })
        .collect()
    }

    /// Keeps a new root beside those in force.
    pub async fn add_trust_root(&self, new: &NewAuthority, now: Timestamp) -> Result<TrustRoot, StoreError> {
        const OP: &str = "keep trust root";
        let mut tx = self.begin(OP, Durability::Full).await?;
        let generation = sqlx::query_scalar(
            "INSERT INTO trust_roots \
                 (name, certificate, private_key, fingerprint, not_before, not_after, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING generation",
        )
        .bind(&new.name)
        .bind(&new.certificate)
        .bind(new.private_key.pkcs8())
        .bind(&new.fingerprint)
        .bind(new.not_before.as_millisecond())
        .bind(new.not_after.as_millisecond())
        .bind(now.as_millisecond())
        .fetch_one(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        self.commit(OP, tx).await?;
        Ok(TrustRoot { generation, authority: new.clone(), created_at: now, retired_at: None })
    }

    /// The issuer in force: the newest that is not retired.
    pub async fn current_issuer(&self) -> Result<Option<IssuerRow>, StoreError> {
        const OP: &str = "read issuer";
        let row = sqlx::query(
            "SELECT generation, root_generation, name, certificate, private_key, fingerprint, not_before, \
                    not_after, created_at, retired_at \
             FROM issuers WHERE retired_at IS NULL ORDER BY generation DESC LIMIT 1",
        )
        .fetch_optional(self.reader())
        .await
        .map_err(self.unread(OP))?;
        row.map(|row| {
            Ok(IssuerRow {
                generation: row.try_get("generation").map_err(self.unread(OP))?,
                root_generation: row.try_get("root_generation").map_err(self.unread(OP))?,
                authority: self.authority(OP, &row)?,
                created_at: self.created_at(OP, &row)?,
                retired_at: self.retired_at(OP, &row)?,
            })
        })
        .transpose()
    }

    /// Keeps a new issuer, which takes the place of the one in force.
    pub async fn replace_issuer(
        &self,
        root_generation: i64,
        new: &NewAuthority,
        now: Timestamp,
    ) -> Result<IssuerRow, StoreError> {
        const OP: &str = "keep issuer";
        let mut tx = self.begin(OP, Durability::Full).await?;
        sqlx::query("UPDATE issuers SET retired_at = $1 WHERE retired_at IS NULL")
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?;
        let generation = sqlx::query_scalar(
            "INSERT INTO issuers \
                 (root_generation, name, certificate, private_key, fingerprint, not_before, not_after, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING generation",
        )
        .bind(root_generation)
        .bind(&new.name)
        .bind(&new.certificate)
        .bind(new.private_key.pkcs8())
        .bind(&new.fingerprint)
        .bind(new.not_before.as_millisecond())
        .bind(new.not_after.as_millisecond())
        .bind(now.as_millisecond())
        .fetch_one(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        self.commit(OP, tx).await?;
        Ok(IssuerRow {
            generation,
            root_generation,
            authority: new.clone(),
            created_at: now,
            retired_at: None,
        })
    }

    fn authority(&self, op: &'static str, row: &SqliteRow) -> Result<NewAuthority, StoreError> {
        let get = self.unread(op);
        let name: String = row.try_get("name").map_err(&get)?;
        let certificate: Vec<u8> = row.try_get("certificate").map_err(&get)?;
        let private_key: Vec<u8> = row.try_get("private_key").map_err(&get)?;
        let fingerprint: String = row.try_get("fingerprint").map_err(&get)?;
        let not_before: i64 = row.try_get("not_before").map_err(&get)?;
        let not_after: i64 = row.try_get("not_after").map_err(&get)?;
        Ok(NewAuthority {
            name,
            certificate,
            private_key: PrivateKey::new(private_key),
            fingerprint,
            not_before: column(op, "not_before").time(not_before)?,
            not_after: column(op, "not_after").time(not_after)?,
        })
    }

    fn created_at(&self, op: &'static str, row: &SqliteRow) -> Result<Timestamp, StoreError> {
        column(op, "created_at").time(row.try_get("created_at").map_err(self.unread(op))?)
    }

    fn retired_at(&self, op: &'static str, row: &SqliteRow) -> Result<Option<Timestamp>, StoreError> {
        column(op, "retired_at").optional_time(row.try_get("retired_at").map_err(self.unread(op))?)
    }
}
