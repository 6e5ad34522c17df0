//! What has finished and may go, and its going: one small transaction for each job, which looks once more.

use jiff::Timestamp;
use sqlx::Row as _;

use super::{Signal, Store, StoreError, Total, Tx, rows};
use crate::domain::{ids::JobId, retention::Reason};

/// A finished job with what it keeps. No run of it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedJob {
    pub id: JobId,
    pub name: String,
    pub finished_at: Timestamp,
    /// Of all its files.
    pub bytes: u64,
    /// Of its uploads among them.
    pub upload_bytes: u64,
}

/// Rows of metrics that are deleted in one transaction: a long job has hundreds of thousands, and claims wait for the one
/// writer.
const METRICS_AT_ONCE: u32 = 2_000;

/// What was sent, of all that a job has without a task of its own: generators that it uses again are none of it.
const UPLOADED: &str = "role in ('teacher', 'external_data', 'evaluation', 'given_student')";

const FINISHED: &str = "\
select jobs.id, jobs.name, jobs.finished_at, coalesce(sum(bytes), 0) as bytes, \
    coalesce(sum(case when role in ('teacher', 'external_data', 'evaluation', 'given_student') then bytes end), 0) as upload_bytes \
from jobs left join artifacts on artifacts.job = jobs.id \
where finished_at is not null and status in ('succeeded', 'failed', 'canceled') \
    and not exists (select 1 from tasks where tasks.job = jobs.id and tasks.status = 'running') \
group by jobs.id order by finished_at, jobs.id";

impl Store {
    /// All finished jobs, the one that finished first at the front.
    ///
    /// # Errors
    /// The database fails.
    pub async fn finished_jobs(&self) -> Result<Vec<FinishedJob>, StoreError> {
        let rows = sqlx::query(FINISHED).fetch_all(&self.readers).await?;
        let read = |row| {
            Ok(FinishedJob {
                id: rows::parsed(row, "id")?,
                name: row_name(row)?,
                finished_at: rows::time(row, "finished_at")?,
                bytes: rows::number(row, "bytes")?,
                upload_bytes: rows::number(row, "upload_bytes")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Deletes a job that fell under `reason`, unless it was retried or deleted since `seen`. Returns the bytes that it
    /// kept.
    ///
    /// # Errors
    /// The database fails. Points of its metrics may be gone then; the rest is as it was.
    pub async fn expire_job(&self, seen: &FinishedJob, reason: Reason) -> Result<Option<u64>, StoreError> {
        loop {
            let mut tx = self.begin().await?;
            if !tx.still_finished(seen).await? {
                return Ok(None);
            }
            let deleted = tx.delete_some_metrics(seen.id).await?;
            if deleted == 0 {
                let bytes = tx.delete_job(seen.id).await?;
                tx.add(Total::CollectedBytes(reason), bytes).await?;
                tx.add(Total::CollectedJobs(reason), 1).await?;
                tx.commit().await?;
                return Ok(Some(bytes));
            }
            tx.commit().await?;
        }
    }

    /// Deletes the uploads of a finished job, under the same condition.
    ///
    /// # Errors
    /// The database fails: nothing was written.
    pub async fn expire_uploads(&self, seen: &FinishedJob, reason: Reason) -> Result<Option<u64>, StoreError> {
        let mut tx = self.begin().await?;
        if !tx.still_finished(seen).await? {
            return Ok(None);
        }
        let bytes = tx.drop_uploads(seen.id, reason).await?;
        let sql = "update jobs set upload_deleted_at = ?, revision = revision + 1 where id = ?";
        sqlx::query(sql).bind(tx.now).bind(seen.id.to_string()).execute(&mut *tx.sql).await?;
        tx.announce(Signal::JobChanged(seen.id));
        tx.commit().await?;
        Ok(Some(bytes))
    }

    /// Says that a collection went through.
    ///
    /// # Errors
    /// The database fails.
    pub async fn note_collection(&self) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let now = tx.now.unsigned_abs();
        tx.raise(Total::LastCollection, now).await?;
        tx.commit().await
    }
}

fn row_name(row: &sqlx::sqlite::SqliteRow) -> Result<String, StoreError> {
    Ok(row.try_get("name")?)
}

impl Tx {
    /// Whether the job still stands as it was seen.
    async fn still_finished(&mut self, seen: &FinishedJob) -> Result<bool, StoreError> {
        let job = self.standing(seen.id).await?;
        Ok(job.is_some_and(|job| job.status.is_final() && job.finished_at == Some(seen.finished_at)))
    }

    async fn delete_some_metrics(&mut self, job: JobId) -> Result<u64, StoreError> {
        let sql = "delete from metrics where (task, name, step) in (select metrics.task, metrics.name, step from metrics \
                   join tasks on tasks.id = metrics.task where tasks.job = ? limit ?)";
        let deleted = sqlx::query(sql).bind(job.to_string()).bind(METRICS_AT_ONCE).execute(&mut *self.sql).await?;
        Ok(deleted.rows_affected())
    }

    /// Deletes a job's rows and dooms its files. Returns the bytes of those.
    pub(super) async fn delete_job(&mut self, id: JobId) -> Result<u64, StoreError> {
        let bytes = self.kept_bytes(id, "true").await?;
        sqlx::query("delete from jobs where id = ?").bind(id.to_string()).execute(&mut *self.sql).await?;
        self.doom_job(id).await?;
        Ok(bytes)
    }

    /// Deletes the rows of a job's uploads and dooms the files. That they are gone is for the caller to say on the job's row.
    /// Returns the bytes.
    pub(crate) async fn drop_uploads(&mut self, job: JobId, reason: Reason) -> Result<u64, StoreError> {
        let id = job.to_string();
        let bytes = self.kept_bytes(job, UPLOADED).await?;
        let keys = format!("select key from artifacts where job = ? and {UPLOADED}");
        for row in sqlx::query(&keys).bind(&id).fetch_all(&mut *self.sql).await? {
            self.doom_file(job, row.try_get("key")?).await?;
        }
        let sql = format!("delete from artifacts where job = ? and {UPLOADED}");
        sqlx::query(&sql).bind(&id).execute(&mut *self.sql).await?;
        self.add(Total::CollectedBytes(reason), bytes).await?;
        Ok(bytes)
    }

    async fn kept_bytes(&mut self, job: JobId, which: &str) -> Result<u64, StoreError> {
        let sql = format!("select coalesce(sum(bytes), 0) as bytes from artifacts where job = ? and {which}");
        let row = sqlx::query(&sql).bind(job.to_string()).fetch_one(&mut *self.sql).await?;
        rows::number(&row, "bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::artifact::Role;

    #[test]
    fn uploads_are_the_roles_that_clients_send() {
        for role in Role::ALL {
            let quoted = format!("'{}'", role.name());
            assert_eq!(UPLOADED.contains(&quoted), role.is_uploaded(), "{quoted}");
            assert_eq!(FINISHED.contains(&quoted), role.is_uploaded(), "{quoted}");
        }
    }
}
