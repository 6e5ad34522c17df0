//! How the queue stands, and how much is kept: for probes and for Prometheus.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{Connection as _, Row as _};

use super::{Store, StoreError, rows};
use crate::domain::{artifact::Role, task::TaskStatus};

/// Tasks that have not ended.
#[derive(Clone, Debug, Default)]
pub struct OpenTasks {
    /// How many, by kind and status: `queued` or `running`.
    pub counts: BTreeMap<(String, &'static str), u64>,
    /// Since when the one has waited that has waited longest, of those that a slot could take now.
    pub waiting_since: Option<Timestamp>,
}

impl OpenTasks {
    /// How many stand in `status`, of any kind.
    pub fn in_status(&self, status: TaskStatus) -> u64 {
        self.counts.iter().filter(|((_, of), _)| *of == status.name()).map(|(_, count)| count).sum()
    }
}

/// Bytes of what is kept.
#[derive(Clone, Debug, Default)]
pub struct StoredBytes {
    pub by_role: BTreeMap<&'static str, u64>,
    /// Pages of the database that hold something; SQLite uses the others again before the file grows.
    pub database: u64,
}

impl StoredBytes {
    pub fn total(&self) -> u64 {
        self.by_role.values().sum::<u64>() + self.database
    }
}

impl Store {
    /// # Errors
    /// The database fails.
    pub async fn open_tasks(&self) -> Result<OpenTasks, StoreError> {
        let sql = "select kind, status, count(*) as n, \
                   min(case when status = 'queued' and run_after <= ?1 then max(queued_at, run_after) end) as since \
                   from tasks where status in ('queued', 'running') group by kind, status";
        let mut open = OpenTasks::default();
        for row in sqlx::query(sql).bind(self.clock.now()).fetch_all(&self.readers).await? {
            let status = rows::parsed::<TaskStatus>(&row, "status")?.name();
            open.counts.insert((row.try_get("kind")?, status), rows::number(&row, "n")?);
            if let Some(since) = rows::optional_time(&row, "since")? {
                open.waiting_since = Some(open.waiting_since.map_or(since, |other| other.min(since)));
            }
        }
        Ok(open)
    }

    /// # Errors
    /// The database fails.
    pub async fn stored_bytes(&self) -> Result<StoredBytes, StoreError> {
        let mut stored = StoredBytes::default();
        let sql = "select role, sum(bytes) as bytes from artifacts group by role";
        for row in sqlx::query(sql).fetch_all(&self.readers).await? {
            stored.by_role.insert(rows::parsed::<Role>(&row, "role")?.name(), rows::number(&row, "bytes")?);
        }
        let sql = "select (page_count - freelist_count) * page_size as bytes \
                   from pragma_page_count(), pragma_freelist_count(), pragma_page_size()";
        stored.database = rows::number(&sqlx::query(sql).fetch_one(&self.readers).await?, "bytes")?;
        Ok(stored)
    }

    /// Whether the database takes writes: takes the write lock, and gives it back.
    ///
    /// # Errors
    /// It does not.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.check_file()?;
        let mut connection = self.writer.acquire().await?;
        connection.begin_with("begin immediate").await?.rollback().await?;
        Ok(())
    }
}
