//! Ending a job on request: cancel and delete.

use super::{Signal, Store, StoreError, Tx};
use crate::domain::{
    ids::JobId,
    job::{JobStatus, Phase},
};

/// What a request to cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting, and is canceled now.
    Canceled,
    /// Its runs were told to stop; it is canceled when they have.
    Asked,
    /// It was canceled before.
    AlreadyCanceled,
    /// It has succeeded or failed, and stays so.
    Finished(JobStatus),
    NotFound,
}

/// What a request to delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Its rows are gone, and its files are doomed: see [`Store::doomed`].
    Deleted,
    /// It runs, and `force` was not given.
    Running,
    NotFound,
}

impl Store {
    /// Cancels this job and no other. Queued tasks end at once, running ones are told.
    ///
    /// # Errors
    /// The database fails.
    pub async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        let mut tx = self.begin().await?;
        let Some(job) = tx.job(id).await? else { return Ok(Cancel::NotFound) };
        match job.status {
            JobStatus::Canceled => return Ok(Cancel::AlreadyCanceled),
            JobStatus::Succeeded | JobStatus::Failed => return Ok(Cancel::Finished(job.status)),
            JobStatus::Queued | JobStatus::Running => {}
        }
        let answer = if tx.stop_tasks(id).await? == 0 {
            tx.end_job_canceled(id).await?;
            Cancel::Canceled
        } else {
            Cancel::Asked
        };
        tx.commit().await?;
        Ok(answer)
    }

    /// Deletes a job's rows. A run that goes on loses its lease and is killed.
    ///
    /// # Errors
    /// The database fails.
    pub async fn delete(&self, id: JobId, force: bool) -> Result<Deletion, StoreError> {
        let mut tx = self.begin().await?;
        let Some(job) = tx.standing(id).await? else { return Ok(Deletion::NotFound) };
        if job.status == JobStatus::Running && !force {
            return Ok(Deletion::Running);
        }
        tx.delete_job(id).await?;
        tx.announce(Signal::StopAsked(id));
        tx.announce(Signal::JobChanged(id));
        tx.commit().await?;
        Ok(Deletion::Deleted)
    }
}

impl Tx {
    /// Makes a job final as canceled; its tasks have ended.
    pub(crate) async fn end_job_canceled(&mut self, id: JobId) -> Result<(), StoreError> {
        let Some(mut job) = self.job(id).await? else { return Ok(()) };
        let before = (job.status, job.phase);
        job.status = JobStatus::Canceled;
        job.phase = Phase::Done;
        job.finished_at = Some(self.timestamp());
        self.count_end(&job).await?;
        self.put_job_announced(&job, before).await
    }
}
