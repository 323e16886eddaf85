//! Small values by name, such as the address ranges chosen at first start.

use crate::{
    error::StoreError,
    store::{Durability, Store},
};
use jiff::Timestamp;

impl Store {
    /// The value of a setting.
    pub async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM settings WHERE key = $1")
            .bind(key)
            .fetch_optional(self.reader())
            .await
            .map_err(self.unread("read setting"))
    }

    /// Sets a setting.
    pub async fn set_setting(&self, key: &str, value: &str, now: Timestamp) -> Result<(), StoreError> {
        const OP: &str = "write setting";
        let mut tx = self.begin(OP, Durability::Full).await?;
        sqlx::query(
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(key)
        .bind(value)
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        self.commit(OP, tx).await
    }
}
