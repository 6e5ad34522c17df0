//! Starting a finished job again.

use super::{NewEvent, NewTask, Store, StoreError, Tx, artifacts::ArtifactRow};
use crate::domain::{
    artifact::Artifact,
    ids::JobId,
    job::{JobStatus, Phase},
    task::TaskKind,
};

/// What a request to retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is queued again; the files of the attempt before are doomed: see [`Store::doomed`].
    Queued,
    /// It has not finished.
    NotFinished(JobStatus),
    /// Its uploads are gone: there is nothing to start from.
    NoUpload,
    NotFound,
}

impl Store {
    /// Starts a finished job from its upload again. What the attempt before made and measured is forgotten.
    ///
    /// # Errors
    /// `too_many_requests` where the owner's quota is used up; the database fails.
    pub async fn retry_from_start(&self, id: JobId) -> Result<Retry, StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut job) = tx.job(id).await? else { return Ok(Retry::NotFound) };
        if !job.status.is_final() {
            return Ok(Retry::NotFinished(job.status));
        }
        if job.upload_deleted_at.is_some() {
            return Ok(Retry::NoUpload);
        }
        tx.take_place(job.owner.as_ref(), 0).await?;
        for artifact in tx.made_artifacts(id).await? {
            tx.doom_file(id, &artifact.key).await?;
        }
        // Runs, metrics, artifacts and samples go with their tasks.
        sqlx::query("delete from tasks where job = ?").bind(id.to_string()).execute(&mut *tx.sql).await?;
        job.status = JobStatus::Queued;
        job.phase = Phase::Queued;
        job.attempt += 1;
        job.model = None;
        job.result = None;
        job.error = None;
        job.device = None;
        job.progress = None;
        job.started_at = None;
        job.finished_at = None;
        job.warnings.clear();
        job.latest_metrics.clear();
        tx.put_job(&job).await?;
        tx.append_event(id, &NewEvent::Status { status: job.status, phase: job.phase }).await?;
        let (device, priority, run_after) = (&job.settings.device, job.settings.priority, tx.now);
        tx.insert_task(NewTask { job: id, kind: TaskKind::Inspect, device, priority, run_after }).await?;
        tx.commit().await?;
        Ok(Retry::Queued)
    }
}

impl Tx {
    /// The files of a job that its runs made.
    async fn made_artifacts(&mut self, job: JobId) -> Result<Vec<Artifact>, StoreError> {
        let sql = "select * from artifacts where job = ? and task is not null";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&mut *self.sql).await?;
        rows.iter().map(|row| ArtifactRow::read(row).map(|row| row.artifact)).collect()
    }
}
