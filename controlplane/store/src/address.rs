//! Addresses handed out from ranges: the same owner gets the same address again, also after a restart.
//!
//! A pool is a range with a name. A position in it is counted from the range's first address, so a row says the same
//! in IPv4 and IPv6. Never used positions are given first; then those that were released longest ago, so that a
//! name that comes back soon finds its address free.

use crate::{
    error::StoreError,
    store::{Durability, Store},
};
use ipnet::IpNet;
use jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most addresses one pool hands out, however large its range: 65,536.
pub const MAX_POSITIONS: u64 = 65_536;

/// A named range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name in the store, such as `services`.
    pub name: &'static str,
    /// The range. Its first address is never given, nor is the last one of an IPv4 range (broadcast).
    pub range: IpNet,
    /// So many more addresses at the beginning are never given (a gateway, the DNS server).
    pub reserved: u32,
}

// === impl Pool ===

impl Pool {
    /// The first position that may be given.
    fn first(&self) -> u64 {
        1 + u64::from(self.reserved)
    }

    /// The first position that may not be given any more.
    fn end(&self) -> u64 {
        let bits = u32::from(self.range.max_prefix_len() - self.range.prefix_len());
        let size = if bits >= 63 { u64::MAX } else { 1u64 << bits };
        let last_reserved = u64::from(self.range.addr().is_ipv4());
        size.saturating_sub(last_reserved).min(MAX_POSITIONS)
    }

    /// How many addresses it can hand out.
    pub fn capacity(&self) -> u64 {
        self.end().saturating_sub(self.first())
    }

    /// The address at a position below [`MAX_POSITIONS`].
    fn address(&self, position: u64) -> Option<IpAddr> {
        if !(self.first()..self.end()).contains(&position) {
            return None;
        }
        match self.range.network() {
            IpAddr::V4(base) => {
                let offset = u32::try_from(position).ok()?;
                u32::from(base).checked_add(offset).map(Ipv4Addr::from).map(IpAddr::V4)
            }
            IpAddr::V6(base) => {
                u128::from(base).checked_add(position.into()).map(Ipv6Addr::from).map(IpAddr::V6)
            }
        }
    }
}

// === impl Store ===

impl Store {
    /// The owner's address in the pool: the one it had before, or else a free one. Idempotent.
    ///
    /// [`StoreError::Full`] when every address is in use.
    pub async fn allocate(&self, pool: &Pool, owner: &str, now: Timestamp) -> Result<IpAddr, StoreError> {
        const OP: &str = "allocate address";
        let full =
            || StoreError::Full { what: format!("addresses of {}", pool.range), limit: pool.capacity() };
        let mut tx = self.begin(OP, Durability::Full).await?;

        let held: Option<i64> =
            sqlx::query_scalar("SELECT position FROM addresses WHERE pool = $1 AND owner = $2")
                .bind(pool.name)
                .bind(owner)
                .fetch_optional(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
        if let Some(position) = held {
            if let Some(address) = u64::try_from(position).ok().and_then(|position| pool.address(position)) {
                sqlx::query(
                    "UPDATE addresses SET released_at = NULL, allocated_at = $3 \
                     WHERE pool = $1 AND owner = $2 AND released_at IS NOT NULL",
                )
                .bind(pool.name)
                .bind(owner)
                .bind(now.as_millisecond())
                .execute(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
                self.commit(OP, tx).await?;
                return Ok(address);
            }
            // The range is another one than it was: the old position is outside of it.
            sqlx::query("DELETE FROM addresses WHERE pool = $1 AND owner = $2")
                .bind(pool.name)
                .bind(owner)
                .execute(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
        }

        // A gap is the first position at or after the reserved ones whose predecessor is taken and itself is not.
        let unused: i64 = sqlx::query_scalar(
            "SELECT CASE \
                 WHEN NOT EXISTS (SELECT 1 FROM addresses WHERE pool = $1 AND position = $2) THEN $2 \
                 ELSE (SELECT min(position) + 1 FROM addresses AS taken \
                       WHERE pool = $1 AND position >= $2 AND NOT EXISTS ( \
                           SELECT 1 FROM addresses AS next \
                           WHERE next.pool = taken.pool AND next.position = taken.position + 1)) END",
        )
        .bind(pool.name)
        .bind(i64::try_from(pool.first()).unwrap_or(i64::MAX))
        .fetch_one(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        let unused = u64::try_from(unused).ok().filter(|position| pool.address(*position).is_some());

        let position = match unused {
            Some(position) => position,
            None => {
                let released: Option<i64> = sqlx::query_scalar(
                    "DELETE FROM addresses WHERE pool = $1 AND position = ( \
                         SELECT position FROM addresses \
                         WHERE pool = $1 AND released_at IS NOT NULL AND position >= $2 AND position < $3 \
                         ORDER BY released_at, position LIMIT 1) \
                     RETURNING position",
                )
                .bind(pool.name)
                .bind(i64::try_from(pool.first()).unwrap_or(i64::MAX))
                .bind(i64::try_from(pool.end()).unwrap_or(i64::MAX))
                .fetch_optional(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
                released.and_then(|position| u64::try_from(position).ok()).ok_or_else(full)?
            }
        };
        let address = pool.address(position).ok_or_else(full)?;
        sqlx::query("INSERT INTO addresses (pool, position, owner, allocated_at) VALUES ($1, $2, $3, $4)")
            .bind(pool.name)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(owner)
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?;
        self.commit(OP, tx).await?;
        Ok(address)
    }

    /// Lets the owner's address be given to others once the pool has no unused one. Returns whether it had one.
    pub async fn release(&self, pool: &Pool, owner: &str, now: Timestamp) -> Result<bool, StoreError> {
        const OP: &str = "release address";
        let mut tx = self.begin(OP, Durability::Relaxed).await?;
        let released = sqlx::query(
            "UPDATE addresses SET released_at = $3 WHERE pool = $1 AND owner = $2 AND released_at IS NULL",
        )
        .bind(pool.name)
        .bind(owner)
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?
        .rows_affected();
        self.commit(OP, tx).await?;
        Ok(released > 0)
    }
}
