//! Starting a finished job again.

use super::{Job, NewEvent, NewTask, RunEnd, Signal, Store, StoreError, Tx, artifacts::ArtifactRow};
use crate::domain::{
    artifact::Artifact,
    ids::JobId,
    job::{JobStatus, Phase, Progress},
    task::TaskKind,
};

/// What a request to retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is queued again; the files of the attempt before are doomed: see [`Store::doomed`].
    Queued,
    /// It has not finished.
    NotFinished(JobStatus),
    /// It has succeeded: nothing is left to do.
    Succeeded,
    /// Nothing of its work was kept.
    NothingLeft,
    /// Its uploads are gone: there is nothing to start from.
    NoUpload,
    NotFound,
}

impl Store {
    /// Starts a finished job from its upload again, as one of at most `most` that wait or run. What the attempt before made and
    /// measured is forgotten; of a job that has succeeded only `even_succeeded`.
    ///
    /// # Errors
    /// `too_many_requests` where the queue is full, or the owner's quota is used up; the database fails.
    pub async fn retry_from_start(&self, id: JobId, most: u64, even_succeeded: bool) -> Result<Retry, StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut job) = tx.job(id).await? else { return Ok(Retry::NotFound) };
        if !job.status.is_final() {
            return Ok(Retry::NotFinished(job.status));
        }
        if job.upload_deleted_at.is_some() {
            return Ok(Retry::NoUpload);
        }
        if job.status == JobStatus::Succeeded && !even_succeeded {
            return Ok(Retry::Succeeded);
        }
        tx.take_place(most, job.owner.as_ref(), 0).await?;
        for artifact in tx.made_artifacts(id).await? {
            tx.doom_file(id, &artifact.key).await?;
        }
        tx.end_runs(id, RunEnd::Canceled, None).await?;
        // Runs, metrics, artifacts and samples go with their tasks.
        sqlx::query("delete from tasks where job = ?").bind(id.to_string()).execute(&mut *tx.sql).await?;
        job.model = None;
        job.progress = None;
        job.warnings.clear();
        job.latest_metrics.clear();
        job.results.clear();
        tx.queue_again(&mut job).await?;
        let (device, priority, run_after) = (&job.settings.device, job.settings.priority, tx.now);
        tx.insert_task(NewTask { job: id, kind: TaskKind::Inspect, device, priority, run_after }).await?;
        tx.commit().await?;
        Ok(Retry::Queued)
    }

    /// Lets a failed or canceled job go on where it stopped: tasks that succeeded keep their results, and the others are
    /// queued again, each from its checkpoint where it has one. At most `most` jobs wait or run with it.
    ///
    /// # Errors
    /// `too_many_requests` where the queue is full, or the owner's quota is used up; the database fails.
    pub async fn retry_from_checkpoint(&self, id: JobId, most: u64) -> Result<Retry, StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut job) = tx.job(id).await? else { return Ok(Retry::NotFound) };
        match job.status {
            JobStatus::Queued | JobStatus::Running => return Ok(Retry::NotFinished(job.status)),
            JobStatus::Succeeded => return Ok(Retry::Succeeded),
            JobStatus::Failed | JobStatus::Canceled => {}
        }
        if job.upload_deleted_at.is_some() {
            return Ok(Retry::NoUpload);
        }
        if !tx.has_leftovers(id).await? {
            return Ok(Retry::NothingLeft);
        }
        tx.take_place(most, job.owner.as_ref(), 0).await?;
        tx.queue_unfinished(id).await?;
        job.progress = job.progress.take().map(|progress| Progress { eta_seconds: None, ..progress });
        tx.queue_again(&mut job).await?;
        tx.commit().await?;
        Ok(Retry::Queued)
    }
}

impl Tx {
    /// A finished job waits again, for its next attempt.
    async fn queue_again(&mut self, job: &mut Job) -> Result<(), StoreError> {
        job.status = JobStatus::Queued;
        job.phase = Phase::Queued;
        job.attempt += 1;
        job.result = None;
        job.error = None;
        job.device = None;
        job.started_at = None;
        job.finished_at = None;
        self.put_job(job).await?;
        self.append_event(job.id, &NewEvent::Status { status: job.status, phase: job.phase }).await
    }

    /// Queues all tasks of a job that have not succeeded. A run that is still being ended since its sibling failed loses its
    /// lease: it must not end its task again.
    async fn queue_unfinished(&mut self, job: JobId) -> Result<(), StoreError> {
        self.end_runs(job, RunEnd::Canceled, None).await?;
        let sql = "update tasks set status = 'queued', losses = 0, run_after = ?1, queued_at = ?1, cancel_requested = 0, \
                   worker = null, slot = null, lease_until = null, finished_at = null \
                   where job = ?2 and status != 'succeeded'";
        sqlx::query(sql).bind(self.now).bind(job.to_string()).execute(&mut *self.sql).await?;
        self.announce(Signal::StopAsked(job));
        self.announce(Signal::WorkReady);
        Ok(())
    }

    /// The files of a job that its runs made.
    async fn made_artifacts(&mut self, job: JobId) -> Result<Vec<Artifact>, StoreError> {
        let sql = "select * from artifacts where job = ? and task is not null";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&mut *self.sql).await?;
        rows.iter().map(|row| ArtifactRow::read(row).map(|row| row.artifact)).collect()
    }
}
