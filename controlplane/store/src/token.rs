//! Join tokens: what lets a workload ask for the certificate of its identity.
//!
//! A token belongs to one workload and one identity. It may be used any number of times until it expires, because a
//! proxy reads its token file again at each renewal. Renewing the workload's registration extends its tokens
//! ([`Store::upsert_workload`]); removing it revokes them.

use crate::{
    column::column,
    error::StoreError,
    store::{Durability, Store},
};
use jiff::Timestamp;
use sqlx::Row;

/// Most tokens of one workload that are neither expired nor revoked: 4. A further one revokes the oldest.
pub const MAX_TOKENS_PER_WORKLOAD: u32 = 4;

/// A token to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The public part, by which it is found and spoken of.
    pub id: String,
    /// BLAKE3 of the secret part.
    pub secret_hash: [u8; 32],
    /// The only identity it is good for.
    pub identity: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's name.
    pub workload: String,
    /// Until when, exclusive.
    pub expires_at: Timestamp,
}

/// A token as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is.
    pub token: NewToken,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is good for nothing.
    pub revoked_at: Option<Timestamp>,
    /// When a certificate was last issued for it.
    pub last_used_at: Option<Timestamp>,
    /// How many certificates were issued for it.
    pub uses: u64,
}

impl Store {
    /// Keeps a new token. The oldest of the workload's live ones is revoked when there would be more than
    /// [`MAX_TOKENS_PER_WORKLOAD`].
    pub async fn add_token(&self, new: &NewToken, now: Timestamp) -> Result<(), StoreError> {
        const OP: &str = "keep join token";
        let mut tx = self.begin(OP, Durability::Full).await?;
        sqlx::query(
            "UPDATE join_tokens SET revoked_at = $3 WHERE id IN ( \
                 SELECT id FROM join_tokens \
                 WHERE namespace = $1 AND workload = $2 AND revoked_at IS NULL AND expires_at > $3 \
                 ORDER BY created_at DESC, id LIMIT 1000 OFFSET $4)",
        )
        .bind(&new.namespace)
        .bind(&new.workload)
        .bind(now.as_millisecond())
        .bind(MAX_TOKENS_PER_WORKLOAD - 1)
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        sqlx::query(
            "INSERT INTO join_tokens (id, secret_hash, identity, namespace, workload, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&new.id)
        .bind(new.secret_hash.as_slice())
        .bind(&new.identity)
        .bind(&new.namespace)
        .bind(&new.workload)
        .bind(now.as_millisecond())
        .bind(new.expires_at.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        self.commit(OP, tx).await
    }

    /// The token of this public part. The caller compares the secret, in constant time.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRow>, StoreError> {
        const OP: &str = "read join token";
        let Some(row) = sqlx::query(
            "SELECT id, secret_hash, identity, namespace, workload, created_at, expires_at, revoked_at, last_used_at, \
                    uses \
             FROM join_tokens WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.reader())
        .await
        .map_err(self.unread(OP))?
        else {
            return Ok(None);
        };
        let get = self.unread(OP);
        let hash: Vec<u8> = row.try_get("secret_hash").map_err(&get)?;
        let expires_at = row.try_get("expires_at").map_err(&get)?;
        let created_at = row.try_get("created_at").map_err(&get)?;
        let revoked_at = row.try_get("revoked_at").map_err(&get)?;
        let last_used_at = row.try_get("last_used_at").map_err(&get)?;
        let uses = row.try_get("uses").map_err(&get)?;
        Ok(Some(TokenRow {
            token: NewToken {
                id: row.try_get("id").map_err(&get)?,
                secret_hash: column(OP, "join_tokens.secret_hash").array(&hash)?,
                identity: row.try_get("identity").map_err(&get)?,
                namespace: row.try_get("namespace").map_err(&get)?,
                workload: row.try_get("workload").map_err(&get)?,
                expires_at: column(OP, "join_tokens.expires_at").time(expires_at)?,
            },
            created_at: column(OP, "join_tokens.created_at").time(created_at)?,
            revoked_at: column(OP, "join_tokens.revoked_at").optional_time(revoked_at)?,
            last_used_at: column(OP, "join_tokens.last_used_at").optional_time(last_used_at)?,
            uses: column(OP, "join_tokens.uses").number(uses)?,
        }))
    }

    /// Makes the workload's tokens good for nothing. Returns how many were live.
    pub async fn revoke_tokens(
        &self,
        namespace: &str,
        workload: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const OP: &str = "revoke join tokens";
        let mut tx = self.begin(OP, Durability::Full).await?;
        let revoked = sqlx::query(
            "UPDATE join_tokens SET revoked_at = $3 \
             WHERE namespace = $1 AND workload = $2 AND revoked_at IS NULL AND expires_at > $3",
        )
        .bind(namespace)
        .bind(workload)
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?
        .rows_affected();
        self.commit(OP, tx).await?;
        Ok(revoked)
    }

    /// Forgets tokens that expired or were revoked before `before`; returns how many.
    pub async fn prune_tokens(&self, before: Timestamp) -> Result<u64, StoreError> {
        const OP: &str = "prune join tokens";
        let mut tx = self.begin(OP, Durability::Relaxed).await?;
        let gone = sqlx::query("DELETE FROM join_tokens WHERE expires_at < $1 OR revoked_at < $1")
            .bind(before.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?
            .rows_affected();
        self.commit(OP, tx).await?;
        Ok(gone)
    }
}
