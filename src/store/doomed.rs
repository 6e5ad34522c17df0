//! Files that shall go: listed in the transaction that removes their rows, struck off when they are gone from the disk.
//!
//! Rows go first. A row whose file is gone would break a promise to a client; a file whose row is gone costs some space
//! until the list is worked through again, by whoever comes first: the process that wrote it, the next collection, or the
//! next start.

use sqlx::Row as _;

use super::{Store, StoreError, Tx, rows};
use crate::domain::ids::JobId;

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    id: i64,
    pub job: JobId,
    /// In the artifact storage; none: everything of the job.
    pub key: Option<String>,
}

/// Most entries that are read at once.
const BATCH: u32 = 200;

impl Store {
    /// The next entries after `after`, oldest first; at most some hundred.
    ///
    /// # Errors
    /// The database fails.
    pub async fn doomed(&self, after: Option<&Doomed>) -> Result<Vec<Doomed>, StoreError> {
        let rows = sqlx::query("select * from doomed_files where id > ? order by id limit ?")
            .bind(after.map_or(0, |entry| entry.id))
            .bind(BATCH)
            .fetch_all(&self.readers)
            .await?;
        let read = |row| Ok(Doomed { id: row_id(row)?, job: rows::parsed(row, "job")?, key: row.try_get("key")? });
        rows.iter().map(read).collect()
    }

    /// Strikes entries off whose files are gone. Striking off twice is no error, and strikes off nothing else: once an entry is
    /// off, its number may be given to another one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn buried(&self, entries: &[Doomed]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for entry in entries {
            sqlx::query("delete from doomed_files where id = ? and job = ? and key is ?")
                .bind(entry.id)
                .bind(entry.job.to_string())
                .bind(&entry.key)
                .execute(&mut *tx.sql)
                .await?;
        }
        tx.commit().await
    }
}

fn row_id(row: &sqlx::sqlite::SqliteRow) -> Result<i64, StoreError> {
    Ok(row.try_get("id")?)
}

impl Tx {
    /// Lists one file of a job.
    pub(super) async fn doom_file(&mut self, job: JobId, key: &str) -> Result<(), StoreError> {
        self.doom(job, Some(key)).await
    }

    /// Lists everything that a job has on the disk.
    pub(super) async fn doom_job(&mut self, job: JobId) -> Result<(), StoreError> {
        self.doom(job, None).await
    }

    async fn doom(&mut self, job: JobId, key: Option<&str>) -> Result<(), StoreError> {
        sqlx::query("insert into doomed_files (job, key) values (?, ?)")
            .bind(job.to_string())
            .bind(key)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
