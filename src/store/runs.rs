//! Runs: one row for each attempt at a task, kept for whoever asks what happened.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Checkpoint, Slot, Store, StoreError, Tx, rows};
use crate::domain::{
    ids::{JobId, TaskId},
    task::Fence,
};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    Failed,
    Canceled,
    /// Crashed, stalled, or its worker vanished: counted.
    Lost,
    /// Given back by a worker that was told to stop: not counted.
    Interrupted,
}

impl RunEnd {
    pub const ALL: [Self; 5] = [Self::Succeeded, Self::Failed, Self::Canceled, Self::Lost, Self::Interrupted];

    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One attempt at a task.
#[derive(Clone, Debug)]
pub struct Run {
    pub task: TaskId,
    pub run: u32,
    pub worker: String,
    pub device: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// A [`RunEnd`] by name; absent while it runs.
    pub outcome: Option<String>,
    pub detail: Option<String>,
    /// The step of the checkpoint that it went on from; none where it started from nothing.
    pub resumed_step: Option<u64>,
}

impl Run {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            task: rows::parsed(row, "task")?,
            run: rows::number(row, "run")?,
            worker: row.try_get("worker")?,
            device: row.try_get("device")?,
            started_at: rows::time(row, "started_at")?,
            ended_at: rows::optional_time(row, "ended_at")?,
            outcome: row.try_get("outcome")?,
            detail: row.try_get("detail")?,
            resumed_step: rows::optional_number(row, "resumed_step")?,
        })
    }
}

impl Tx {
    /// A run begins, from `checkpoint` if there is one.
    pub(crate) async fn insert_run(
        &mut self,
        fence: Fence,
        slot: &Slot,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), StoreError> {
        let resumed_step = checkpoint.map(|checkpoint| rows::stored(checkpoint.step, "resumed_step")).transpose()?;
        let sql = "insert into runs (task, run, worker, device, started_at, resumed_step, worked_before) \
                   values (?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(fence.task.to_string())
            .bind(fence.run)
            .bind(&slot.worker)
            .bind(&slot.device)
            .bind(self.now)
            .bind(resumed_step)
            .bind(checkpoint.map_or(0, |checkpoint| checkpoint.worked))
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }

    pub(crate) async fn end_run(&mut self, fence: Fence, end: RunEnd, detail: Option<&str>) -> Result<(), StoreError> {
        sqlx::query("update runs set ended_at = ?, outcome = ?, detail = ? where task = ? and run = ?")
            .bind(self.now)
            .bind(end.name())
            .bind(detail)
            .bind(fence.task.to_string())
            .bind(fence.run)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }

    /// Ends and counts every run of a job that is under way, whether the job can be read or not.
    pub(super) async fn end_runs(&mut self, job: JobId, end: RunEnd, detail: Option<&str>) -> Result<(), StoreError> {
        self.add_open_runs(job, end).await?;
        let sql = "update runs set ended_at = ?, outcome = ?, detail = ? \
                   where ended_at is null and task in (select id from tasks where job = ?)";
        sqlx::query(sql)
            .bind(self.now)
            .bind(end.name())
            .bind(detail)
            .bind(job.to_string())
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}

impl Tx {
    /// How long training the job's generators took, summed over them: the successful runs, and the work in the checkpoints
    /// that these went on from.
    pub(crate) async fn extracting_seconds(&mut self, job: JobId) -> Result<f64, StoreError> {
        let sql = "select coalesce(sum(max(ended_at - runs.started_at, 0) + worked_before), 0) as millis from runs \
                   join tasks on tasks.id = task where job = ? and kind = 'extract' and outcome = 'succeeded'";
        let row = sqlx::query(sql).bind(job.to_string()).fetch_one(&mut *self.sql).await?;
        Ok(row.try_get::<i64, _>("millis")? as f64 / 1e3)
    }
}

impl Store {
    /// Runs that hold their task now, as their files' places name them: `<task>-<run>`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn runs_under_way(&self) -> Result<HashSet<String>, StoreError> {
        let sql = "select id || '-' || run as run from tasks where status = 'running'";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get("run")?)).collect()
    }

    /// Every run of a job, oldest task first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn runs(&self, job: JobId) -> Result<Vec<Run>, StoreError> {
        let sql = "select runs.* from runs join tasks on tasks.id = runs.task where tasks.job = ? order by task, run";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&self.readers).await?;
        rows.iter().map(Run::read).collect()
    }
}
