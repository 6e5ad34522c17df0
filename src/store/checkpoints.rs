//! Checkpoints: which file a task is taken up from. At most one for each task; a newer one takes the older one's place.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Store, StoreError, Tx, artifacts::ArtifactRow, rows};
use crate::{
    clock::Millis,
    domain::{
        artifact::Artifact,
        ids::{JobId, TaskId},
        task::Fence,
    },
};

/// A state that another run of the task can go on from.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub artifact: Artifact,
    /// Steps of the task that it holds.
    pub step: u64,
    /// Work that led there, over all runs, in milliseconds.
    pub worked: Millis,
}

impl Checkpoint {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let artifact = ArtifactRow::read(row)?.artifact;
        Ok(Self { artifact, step: rows::number(row, "step")?, worked: row.try_get("worked")? })
    }
}

const OF_TASK: &str = "select artifacts.*, step, worked from checkpoints \
    join artifacts on artifacts.job = checkpoints.job and artifacts.name = checkpoints.artifact where checkpoints.task = ?";

/// What a failed or canceled job can go on from: a task that is done, or one that is part of the way.
const LEFTOVERS: &str = "select count(*) as n from tasks left join checkpoints on checkpoints.task = tasks.id \
    where tasks.job = ? and (tasks.status = 'succeeded' or checkpoints.task is not null)";

impl Store {
    /// The checkpoint that the next run of a task would go on from.
    ///
    /// # Errors
    /// The database fails.
    pub async fn checkpoint(&self, task: TaskId) -> Result<Option<Checkpoint>, StoreError> {
        let row = sqlx::query(OF_TASK).bind(task.to_string()).fetch_optional(&self.readers).await?;
        row.as_ref().map(Checkpoint::read).transpose()
    }

    /// Whether anything of the job's work is left to go on from.
    ///
    /// # Errors
    /// The database fails.
    pub async fn has_leftovers(&self, job: JobId) -> Result<bool, StoreError> {
        let row = sqlx::query(LEFTOVERS).bind(job.to_string()).fetch_one(&self.readers).await?;
        Ok(row.try_get::<i64, _>("n")? > 0)
    }
}

impl Tx {
    pub(crate) async fn checkpoint(&mut self, task: TaskId) -> Result<Option<Checkpoint>, StoreError> {
        let row = sqlx::query(OF_TASK).bind(task.to_string()).fetch_optional(&mut *self.sql).await?;
        row.as_ref().map(Checkpoint::read).transpose()
    }

    pub(super) async fn has_leftovers(&mut self, job: JobId) -> Result<bool, StoreError> {
        let row = sqlx::query(LEFTOVERS).bind(job.to_string()).fetch_one(&mut *self.sql).await?;
        Ok(row.try_get::<i64, _>("n")? > 0)
    }

    /// Makes `artifact`, whose row is there, the checkpoint of the run's task, which has none.
    pub(crate) async fn put_checkpoint(
        &mut self,
        fence: Fence,
        artifact: &Artifact,
        step: u64,
    ) -> Result<(), StoreError> {
        let sql = "insert into checkpoints (task, job, artifact, step, worked, at) \
                   select task, ?2, ?3, ?4, max(?5 - started_at, 0) + worked_before, ?5 from runs where task = ?1 and run = ?6";
        sqlx::query(sql)
            .bind(fence.task.to_string())
            .bind(fence.job.to_string())
            .bind(artifact.name.as_str())
            .bind(rows::stored(step, "step")?)
            .bind(self.now)
            .bind(fence.run)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }

    /// Forgets the task's checkpoint and its file's row; the file may go when this is committed.
    pub(crate) async fn drop_checkpoint(&mut self, task: TaskId) -> Result<(), StoreError> {
        let sql = "delete from artifacts where (job, name) in (select job, artifact from checkpoints where task = ?)";
        sqlx::query(sql).bind(task.to_string()).execute(&mut *self.sql).await?;
        Ok(())
    }

    /// A run that got further than the one before: what was lost until now is forgiven.
    pub(crate) async fn forget_losses(&mut self, fence: Fence) -> Result<(), StoreError> {
        sqlx::query("update tasks set losses = 0 where id = ? and run = ? and status = 'running'")
            .bind(fence.task.to_string())
            .bind(fence.run)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
