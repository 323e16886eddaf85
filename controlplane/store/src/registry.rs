//! The standalone registry: services with their virtual addresses, workloads with their leases.

use crate::{
    column::column,
    error::StoreError,
    store::{Durability, Store},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Most services: 2,000.
pub const MAX_SERVICES: u64 = 2_000;

/// Most workloads: 10,000.
pub const MAX_WORKLOADS: u64 = 10_000;

/// A port of a workload or a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    /// The number.
    pub port: u16,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its protocol is none of the proxy's business.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
    /// Kubernetes' `appProtocol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A service as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its virtual address, see [`Store::allocate`].
    pub vip: IpAddr,
    /// Its ports.
    pub ports: Vec<PortRow>,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When something of it last changed.
    pub updated_at: Timestamp,
}

/// What is said about a workload when it registers and at each renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorkload {
    /// Namespace.
    pub namespace: String,
    /// Name of this replica, such as `web-0`.
    pub name: String,
    /// The service it belongs to (same namespace), if any.
    pub service: Option<String>,
    /// The service account its identity is made of.
    pub service_account: String,
    /// Its identity.
    pub identity: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its ports.
    pub ports: Vec<PortRow>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// It is removed when it was not renewed for so long.
    pub lease_ttl: Duration,
}

/// A workload as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRow {
    /// What it said last.
    pub workload: NewWorkload,
    /// When its lease ends.
    pub lease_until: Timestamp,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When something of it last changed; a renewal alone is no change.
    pub updated_at: Timestamp,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there with other contents.
    Updated,
    /// It was there like this; a workload's lease is renewed.
    Unchanged,
}

/// The answer to registering or renewing a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The workload as it is kept now.
    pub row: WorkloadRow,
    /// What changed.
    pub change: Change,
    /// How many join tokens of it are live. With 0 it needs a new one ([`Store::add_token`]).
    pub live_tokens: u64,
}

// === impl Store ===

impl Store {
    /// Registers a service or changes its ports and address.
    pub async fn upsert_service(
        &self,
        namespace: &str,
        name: &str,
        vip: IpAddr,
        ports: &[PortRow],
        now: Timestamp,
    ) -> Result<(ServiceRow, Change), StoreError> {
        const OP: &str = "register service";
        let before = self.service(namespace, name).await?;
        let change = match &before {
            None => Change::Created,
            Some(row) if row.vip == vip && row.ports == ports => Change::Unchanged,
            Some(_) => Change::Updated,
        };
        let row = ServiceRow {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            vip,
            ports: ports.to_vec(),
            created_at: before.as_ref().map_or(now, |row| row.created_at),
            updated_at: before
                .as_ref()
                .filter(|_| change == Change::Unchanged)
                .map_or(now, |row| row.updated_at),
        };
        if change == Change::Unchanged {
            return Ok((row, change));
        }

        let mut tx = self.begin(OP, Durability::Full).await?;
        sqlx::query(
            "INSERT INTO services (namespace, name, vip, ports, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $5) \
             ON CONFLICT (namespace, name) DO UPDATE \
             SET vip = excluded.vip, ports = excluded.ports, updated_at = excluded.updated_at",
        )
        .bind(namespace)
        .bind(name)
        .bind(vip.to_string())
        .bind(column(OP, "services.ports").to_json(&ports)?)
        .bind(now.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM services")
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed(OP))?;
        within(count, "services", MAX_SERVICES)?;
        self.commit(OP, tx).await?;
        Ok((row, change))
    }

    /// The service of this name.
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Option<ServiceRow>, StoreError> {
        const OP: &str = "read service";
        sqlx::query(
            "SELECT namespace, name, vip, ports, created_at, updated_at FROM services \
             WHERE namespace = $1 AND name = $2",
        )
        .bind(namespace)
        .bind(name)
        .fetch_optional(self.reader())
        .await
        .map_err(self.unread(OP))?
        .map(|row| self.service_row(OP, &row))
        .transpose()
    }

    /// Every service, by namespace and name.
    pub async fn services(&self) -> Result<Vec<ServiceRow>, StoreError> {
        const OP: &str = "list services";
        sqlx::query(
            "SELECT namespace, name, vip, ports, created_at, updated_at FROM services ORDER BY namespace, name",
        )
        .fetch_all(self.reader())
        .await
        .map_err(self.unread(OP))?
        .iter()
        .map(|row| self.service_row(OP, row))
        .collect()
    }

    /// Removes a service. Its address stays its own until [`Store::release`]. Returns whether there was one.
    pub async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, StoreError> {
        const OP: &str = "remove service";
        let mut tx = self.begin(OP, Durability::Full).await?;
        let gone = sqlx::query("DELETE FROM services WHERE namespace = $1 AND name = $2")
            .bind(namespace)
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?
            .rows_affected();
        self.commit(OP, tx).await?;
        Ok(gone > 0)
    }

    /// Registers a workload, or changes it, or renews its lease; its live join tokens last until `tokens_until` at
    /// least. One transaction; a mere renewal costs no flush to the disk.
    pub async fn upsert_workload(
        &self,
        new: &NewWorkload,
        tokens_until: Timestamp,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        const OP: &str = "register workload";
        let before = self.workload(&new.namespace, &new.name).await?;
        let change = match &before {
            None => Change::Created,
            Some(row) if row.workload == *new => Change::Unchanged,
            Some(_) => Change::Updated,
        };
        let durability = if change == Change::Unchanged { Durability::Relaxed } else { Durability::Full };
        let ttl = SignedDuration::try_from(new.lease_ttl).unwrap_or(SignedDuration::MAX);
        let row = WorkloadRow {
            workload: new.clone(),
            lease_until: now.saturating_add(ttl).unwrap_or(Timestamp::MAX),
            created_at: before.as_ref().map_or(now, |row| row.created_at),
            updated_at: before
                .as_ref()
                .filter(|_| change == Change::Unchanged)
                .map_or(now, |row| row.updated_at),
        };

        let mut tx = self.begin(OP, durability).await?;
        sqlx::query(
            "INSERT INTO workloads \
                 (namespace, name, service, service_account, identity, ip, ports, labels, ready, lease_ttl, \
                  lease_until, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (namespace, name) DO UPDATE \
             SET service = excluded.service, service_account = excluded.service_account, \
                 identity = excluded.identity, ip = excluded.ip, ports = excluded.ports, \
                 labels = excluded.labels, ready = excluded.ready, lease_ttl = excluded.lease_ttl, \
                 lease_until = excluded.lease_until, updated_at = excluded.updated_at",
        )
        .bind(&new.namespace)
        .bind(&new.name)
        .bind(&new.service)
        .bind(&new.service_account)
        .bind(&new.identity)
        .bind(new.ip.to_string())
        .bind(column(OP, "workloads.ports").to_json(&new.ports)?)
        .bind(column(OP, "workloads.labels").to_json(&new.labels)?)
        .bind(i64::from(new.ready))
        .bind(i64::try_from(new.lease_ttl.as_millis()).unwrap_or(i64::MAX).max(1))
        .bind(row.lease_until.as_millisecond())
        .bind(row.created_at.as_millisecond())
        .bind(row.updated_at.as_millisecond())
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        if change == Change::Created {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM workloads")
                .fetch_one(&mut *tx)
                .await
                .map_err(self.failed(OP))?;
            within(count, "workloads", MAX_WORKLOADS)?;
        }
        let live_tokens = sqlx::query(
            "UPDATE join_tokens SET expires_at = CASE WHEN expires_at < $3 THEN $3 ELSE expires_at END \
             WHERE namespace = $1 AND workload = $2 AND identity = $5 AND revoked_at IS NULL AND expires_at > $4",
        )
        .bind(&new.namespace)
        .bind(&new.name)
        .bind(tokens_until.as_millisecond())
        .bind(now.as_millisecond())
        .bind(&new.identity)
        .execute(&mut *tx)
        .await
        .map_err(self.failed(OP))?
        .rows_affected();
        self.commit(OP, tx).await?;
        Ok(Registered { row, change, live_tokens })
    }

    /// The workload of this name.
    pub async fn workload(&self, namespace: &str, name: &str) -> Result<Option<WorkloadRow>, StoreError> {
        const OP: &str = "read workload";
        sqlx::query(
            "SELECT namespace, name, service, service_account, identity, ip, ports, labels, ready, lease_ttl, \
                    lease_until, created_at, updated_at \
             FROM workloads WHERE namespace = $1 AND name = $2",
        )
        .bind(namespace)
        .bind(name)
        .fetch_optional(self.reader())
        .await
        .map_err(self.unread(OP))?
        .map(|row| self.workload_row(OP, &row))
        .transpose()
    }

    /// Every workload, by namespace and name.
    pub async fn workloads(&self) -> Result<Vec<WorkloadRow>, StoreError> {
        const OP: &str = "list workloads";
        sqlx::query(
            "SELECT namespace, name, service, service_account, identity, ip, ports, labels, ready, lease_ttl, \
                    lease_until, created_at, updated_at \
             FROM workloads ORDER BY namespace, name",
        )
        .fetch_all(self.reader())
        .await
        .map_err(self.unread(OP))?
        .iter()
        .map(|row| self.workload_row(OP, row))
        .collect()
    }

    /// Removes a workload and revokes its join tokens. Returns what it was.
    pub async fn delete_workload(
        &self,
        namespace: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<WorkloadRow>, StoreError> {
        const OP: &str = "remove workload";
        let Some(row) = self.workload(namespace, name).await? else { return Ok(None) };
        let mut tx = self.begin(OP, Durability::Full).await?;
        let gone = sqlx::query("DELETE FROM workloads WHERE namespace = $1 AND name = $2")
            .bind(namespace)
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(self.failed(OP))?
            .rows_affected();
        self.revoke(OP, &mut tx, namespace, name, now).await?;
        self.commit(OP, tx).await?;
        Ok((gone > 0).then_some(row))
    }

    /// Removes the workloads whose lease ended before `now` and revokes their join tokens. Returns what they were.
    pub async fn expire_workloads(&self, now: Timestamp) -> Result<Vec<WorkloadRow>, StoreError> {
        const OP: &str = "expire workloads";
        let due: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM workloads WHERE lease_until < $1)")
            .bind(now.as_millisecond())
            .fetch_one(self.reader())
            .await
            .map_err(self.unread(OP))?;
        if !due {
            return Ok(Vec::new());
        }
        let mut tx = self.begin(OP, Durability::Full).await?;
        let rows = sqlx::query(
            "DELETE FROM workloads WHERE lease_until < $1 \
             RETURNING namespace, name, service, service_account, identity, ip, ports, labels, ready, lease_ttl, \
                       lease_until, created_at, updated_at",
        )
        .bind(now.as_millisecond())
        .fetch_all(&mut *tx)
        .await
        .map_err(self.failed(OP))?;
        let rows: Vec<WorkloadRow> =
            rows.iter().map(|row| self.workload_row(OP, row)).collect::<Result<_, _>>()?;
        for row in &rows {
            self.revoke(OP, &mut tx, &row.workload.namespace, &row.workload.name, now).await?;
        }
        self.commit(OP, tx).await?;
        Ok(rows)
    }

    async fn revoke(
        &self,
        op: &'static str,
        tx: &mut sqlx::SqliteConnection,
        namespace: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE join_tokens SET revoked_at = $3 WHERE namespace = $1 AND workload = $2 AND revoked_at IS NULL",
        )
        .bind(namespace)
        .bind(name)
        .bind(now.as_millisecond())
        .execute(tx)
        .await
        .map_err(self.failed(op))
        .map(drop)
    }

    fn service_row(&self, op: &'static str, row: &SqliteRow) -> Result<ServiceRow, StoreError> {
        let get = self.unread(op);
        let text = |name| row.try_get::<String, _>(name).map_err(&get);
        let time = |name| column(op, name).time(row.try_get(name).map_err(&get)?);
        Ok(ServiceRow {
            namespace: text("namespace")?,
            name: text("name")?,
            vip: column(op, "services.vip").parse(&text("vip")?)?,
            ports: column(op, "services.ports").json(&text("ports")?)?,
            created_at: time("created_at")?,
            updated_at: time("updated_at")?,
        })
    }

    fn workload_row(&self, op: &'static str, row: &SqliteRow) -> Result<WorkloadRow, StoreError> {
        let get = self.unread(op);
        let text = |name| row.try_get::<String, _>(name).map_err(&get);
        let time = |name| column(op, name).time(row.try_get(name).map_err(&get)?);
        let ttl: i64 = row.try_get("lease_ttl").map_err(&get)?;
        let ready: i64 = row.try_get("ready").map_err(&get)?;
        Ok(WorkloadRow {
            workload: NewWorkload {
                namespace: text("namespace")?,
                name: text("name")?,
                service: row.try_get("service").map_err(&get)?,
                service_account: text("service_account")?,
                identity: text("identity")?,
                ip: column(op, "workloads.ip").parse(&text("ip")?)?,
                ports: column(op, "workloads.ports").json(&text("ports")?)?,
                labels: column(op, "workloads.labels").json(&text("labels")?)?,
                ready: ready != 0,
                lease_ttl: Duration::from_millis(column(op, "workloads.lease_ttl").number(ttl)?),
            },
            lease_until: time("lease_until")?,
            created_at: time("created_at")?,
            updated_at: time("updated_at")?,
        })
    }
}

fn within(count: i64, what: &str, limit: u64) -> Result<(), StoreError> {
    if u64::try_from(count).unwrap_or(u64::MAX) > limit {
        return Err(StoreError::Full { what: what.to_owned(), limit });
    }
    Ok(())
}
