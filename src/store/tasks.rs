//! Queue rows. Every write for a run carries its [`Fence`]: no row answers once the lease is lost.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Signal, StoreError, Tx, rows};
use crate::{
    clock::Millis,
    domain::{
        ids::{JobId, TaskId},
        job::Progress,
        task::{Fence, TaskKind, TaskStatus},
    },
};

/// Who takes a task, and where it will run.
#[derive(Clone, Debug)]
pub struct Slot {
    pub worker: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
}

#[derive(Clone, Debug)]
pub struct TaskRow {
    pub id: TaskId,
    pub job: JobId,
    pub kind: TaskKind,
    pub status: TaskStatus,
    pub run: u32,
    /// Runs lost in a row, without a checkpoint between them.
    pub losses: u32,
    pub run_after: Millis,
    /// Since when it has waited, or did before its run.
    pub queued_at: Millis,
    pub cancel_requested: bool,
    /// What the newest run reported.
    pub progress: Option<Progress>,
}

impl TaskRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let generator = rows::optional_number(row, "generator")?;
        let kind = match (row.try_get::<&str, _>("kind")?, generator) {
            ("inspect", None) => TaskKind::Inspect,
            ("extract", Some(generator)) => TaskKind::Extract { generator },
            // Those of earlier versions have no number: their jobs had one student.
            ("distill", None) => {
                TaskKind::Distill { target: rows::optional_number(row, "target")?.unwrap_or_default() }
            }
            (kind, _) => return Err(StoreError::Corrupt { column: "kind", cause: kind.to_owned() }),
        };
        Ok(Self {
            id: rows::parsed(row, "id")?,
            job: rows::parsed(row, "job")?,
            kind,
            status: rows::parsed(row, "status")?,
            run: rows::number(row, "run")?,
            losses: rows::number(row, "losses")?,
            run_after: row.try_get("run_after")?,
            queued_at: row.try_get("queued_at")?,
            // A bare column, compared here: `returning <col> is not null` can answer wrongly on SQLite 3.40.
            cancel_requested: row.try_get::<i64, _>("cancel_requested")? != 0,
            progress: rows::optional_json(row, "progress")?,
        })
    }

    pub fn fence(&self) -> Fence {
        Fence { job: self.job, task: self.id, run: self.run }
    }
}

/// A running task with the end of its lease, which rises with every renewal.
#[derive(Clone, Debug)]
pub struct LeasedTask {
    pub task: TaskRow,
    pub lease_until: Millis,
}

#[derive(Clone, Debug)]
pub struct NewTask<'a> {
    pub job: JobId,
    pub kind: TaskKind,
    /// What may take it: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: &'a str,
    pub priority: i32,
    pub run_after: Millis,
}

/// What becomes of a task when its run ends.
#[derive(Clone, Copy, Debug)]
pub enum TaskUpdate {
    Ended(TaskStatus),
    /// Back into the queue, claimable from `run_after`, with `losses` in a row behind it.
    Queued {
        run_after: Millis,
        losses: u32,
    },
}

/// Of the highest priority, the oldest job's: as [`Store::queue_position`](super::Store::queue_position) counts. What waits
/// before its next attempt keeps its job's place. A wait that is longer than any of ours was reckoned on a clock that has been
/// set back since: the task is not kept waiting for the old time to come again.
const CLAIM: &str = "\
update tasks set status = 'running', run = run + 1, worker = ?1, slot = ?2, lease_until = ?3, started_at = ?4, \
    cancel_requested = 0, progress = null \
where id = (select id from tasks where status = 'queued' and run_after not between ?4 + 1 and ?4 + ?5 \
    and (device = 'auto' or device = ?2 or (device = 'cuda' and ?2 like 'cuda:%')) \
    order by priority desc, job, id limit 1) \
returning *";

impl Tx {
    /// Takes the next task for `slot`, if there is one, until `lease_until`. No task waits for longer than `longest_wait`.
    pub(crate) async fn claim_task(
        &mut self,
        slot: &Slot,
        lease_until: Millis,
        longest_wait: Millis,
    ) -> Result<Option<TaskRow>, StoreError> {
        let row = sqlx::query(CLAIM)
            .bind(&slot.worker)
            .bind(&slot.device)
            .bind(lease_until)
            .bind(self.now)
            .bind(longest_wait)
            .fetch_optional(&mut *self.sql)
            .await?;
        row.as_ref().map(TaskRow::read).transpose()
    }

    /// Enqueues a task, unless its job has it already.
    pub(crate) async fn insert_task(&mut self, task: NewTask<'_>) -> Result<(), StoreError> {
        let sql = "insert into tasks (id, job, kind, generator, target, status, device, priority, run_after, \
                   created_at, queued_at) values (?1, ?2, ?3, ?4, ?5, 'queued', ?6, ?7, ?8, ?9, ?9) on conflict do nothing";
        sqlx::query(sql)
            .bind(TaskId::new().to_string())
            .bind(task.job.to_string())
            .bind(task.kind.name())
            .bind(task.kind.generator())
            .bind(task.kind.student())
            .bind(task.device)
            .bind(task.priority)
            .bind(task.run_after)
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        self.announce(Signal::WorkReady);
        Ok(())
    }

    /// All tasks of a job, in the order in which they were made.
    pub(crate) async fn tasks(&mut self, job: JobId) -> Result<Vec<TaskRow>, StoreError> {
        let rows = sqlx::query("select * from tasks where job = ? order by id")
            .bind(job.to_string())
            .fetch_all(&mut *self.sql)
            .await?;
        rows.iter().map(TaskRow::read).collect()
    }

    /// The task, if the run still holds it.
    pub(crate) async fn held_task(&mut self, fence: Fence) -> Result<Option<TaskRow>, StoreError> {
        let row = sqlx::query("select * from tasks where id = ? and run = ? and status = 'running'")
            .bind(fence.task.to_string())
            .bind(fence.run)
            .fetch_optional(&mut *self.sql)
            .await?;
        row.as_ref().map(TaskRow::read).transpose()
    }

    /// Prolongs the lease, and keeps the progress where there is one. `None`: the lease is lost.
    pub(crate) async fn renew_task(
        &mut self,
        fence: Fence,
        lease_until: Millis,
        progress: Option<&Progress>,
    ) -> Result<Option<TaskRow>, StoreError> {
        let progress = progress.map(|progress| rows::to_json(progress, "progress")).transpose()?;
        // It rises whatever the clock says: that it does is how others see that the run is alive.
        let sql = "update tasks set lease_until = max(?, lease_until + 1), progress = coalesce(?, progress) \
                   where id = ? and run = ? and status = 'running' returning *";
        let row = sqlx::query(sql)
            .bind(lease_until)
            .bind(progress)
            .bind(fence.task.to_string())
            .bind(fence.run)
            .fetch_optional(&mut *self.sql)
            .await?;
        row.as_ref().map(TaskRow::read).transpose()
    }

    /// Ends the run's hold on its task. False: the lease is lost, and nothing was written.
    pub(crate) async fn release_task(&mut self, fence: Fence, update: TaskUpdate) -> Result<bool, StoreError> {
        let (status, run_after, losses, finished_at) = match update {
            TaskUpdate::Ended(status) => (status, None, None, Some(self.now)),
            TaskUpdate::Queued { run_after, losses } => (TaskStatus::Queued, Some(run_after), Some(losses), None),
        };
        let sql = "update tasks set status = ?, run_after = coalesce(?, run_after), losses = coalesce(?, losses), \
                   finished_at = ?, queued_at = coalesce(?, queued_at), lease_until = null, worker = null, slot = null \
                   where id = ? and run = ? and status = 'running'";
        let released = sqlx::query(sql)
            .bind(status.name())
            .bind(run_after)
            .bind(losses)
            .bind(finished_at)
            .bind((status == TaskStatus::Queued).then_some(self.now))
            .bind(fence.task.to_string())
            .bind(fence.run)
            .execute(&mut *self.sql)
            .await?
            .rows_affected()
            == 1;
        if status == TaskStatus::Queued && released {
            self.announce(Signal::WorkReady);
        }
        Ok(released)
    }

    /// Cancels a job's queued tasks, and asks its running ones to stop. Returns how many are running.
    pub(crate) async fn stop_tasks(&mut self, job: JobId) -> Result<u64, StoreError> {
        sqlx::query("update tasks set status = 'canceled', finished_at = ? where job = ? and status = 'queued'")
            .bind(self.now)
            .bind(job.to_string())
            .execute(&mut *self.sql)
            .await?;
        let running = sqlx::query("update tasks set cancel_requested = 1 where job = ? and status = 'running'")
            .bind(job.to_string())
            .execute(&mut *self.sql)
            .await?
            .rows_affected();
        if running > 0 {
            self.announce(Signal::StopAsked(job));
        }
        Ok(running)
    }

    /// Every running task, with its lease.
    pub(crate) async fn leased_tasks(&mut self) -> Result<Vec<LeasedTask>, StoreError> {
        let rows =
            sqlx::query("select * from tasks where status = 'running' order by id").fetch_all(&mut *self.sql).await?;
        let leased = rows.iter().map(|row| {
            let lease_until = row.try_get("lease_until")?;
            TaskRow::read(row).map(|task| LeasedTask { task, lease_until })
        });
        leased.collect()
    }

    /// Running tasks that `worker` holds.
    pub(crate) async fn held_tasks(&mut self, worker: &str) -> Result<Vec<TaskRow>, StoreError> {
        let rows = sqlx::query("select * from tasks where status = 'running' and worker = ? order by id")
            .bind(worker)
            .fetch_all(&mut *self.sql)
            .await?;
        rows.iter().map(TaskRow::read).collect()
    }
}

impl super::Store {
    /// When the next waiting task becomes claimable, in milliseconds since the epoch; for a slot that has nothing to do.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_run_after(&self) -> Result<Option<Millis>, StoreError> {
        let sql = "select min(run_after) as next from tasks where status = 'queued' and run_after > ?";
        let row = sqlx::query(sql).bind(self.clock.now()).fetch_one(&self.readers).await?;
        Ok(row.try_get("next")?)
    }

    /// The tasks of a job, in the order in which they were made.
    ///
    /// # Errors
    /// The database fails.
    pub async fn tasks(&self, job: JobId) -> Result<Vec<TaskRow>, StoreError> {
        let sql = "select * from tasks where job = ? order by id";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&self.readers).await?;
        rows.iter().map(TaskRow::read).collect()
    }
}
