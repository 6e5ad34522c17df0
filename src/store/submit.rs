//! Submitting a job: its row, its files' rows, its first task and its idempotency key, all or nothing.

use super::{IdempotencyKey, NewEvent, NewTask, Reused, Store, StoreError, Total, Tx, rows};
use crate::domain::{
    access::KeyId,
    artifact::{Artifact, FileName},
    config::{JobConfig, Settings},
    ids::JobId,
    job::{JobStatus, Phase},
    problem::{ErrorCode, Problem},
    task::TaskKind,
};

/// A job to be, with its uploads already kept under its id.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: JobId,
    /// The key it was sent with, whose quota it counts against.
    pub owner: Option<KeyId>,
    /// As the client sent it.
    pub config: JobConfig,
    /// As resolved without knowing the teacher; resolved again after inspection.
    pub settings: Settings,
    /// Which of the uploads is the model.
    pub model_file: FileName,
    pub uploads: Vec<Artifact>,
    /// Generators of another job with their samples, kept under this one's id as well.
    pub reused: Vec<Reused>,
    pub idempotency: Option<IdempotencyKey>,
}

/// What became of a [`NewJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    Created(JobId),
    /// The same request came before and made this job; the new one's files are not needed.
    Replayed(JobId),
}

impl Store {
    /// Accepts a job, as one of at most `most` that wait or run: it is queued, and a waiting slot wakes up.
    ///
    /// # Errors
    /// `idempotency_mismatch`; `too_many_requests` where the queue is full, or the owner's quota used up; `invalid_request`
    /// where two uploads have one name, or one has a name that runs use; the database fails. Nothing is kept then, and the
    /// uploaded files are the caller's to delete.
    pub async fn submit(&self, job: &NewJob, most: u64) -> Result<Submission, StoreError> {
        check_names(job)?;
        let mut tx = self.begin().await?;
        if let Some(idempotency) = &job.idempotency
            && let Some(made) = tx.replayed(job.owner.as_ref(), idempotency).await?
        {
            return Ok(Submission::Replayed(made));
        }
        let files = job.uploads.iter().chain(job.reused.iter().map(|reused| &reused.artifact));
        let bytes = files.map(|file| file.bytes).sum();
        tx.take_place(most, job.owner.as_ref(), bytes).await?;
        tx.insert_job(job).await?;
        tx.add(Total::JobsSubmitted, 1).await?;
        tx.add(Total::UploadBytes, job.uploads.iter().map(|upload| upload.bytes).sum()).await?;
        for upload in &job.uploads {
            tx.insert_upload(job.id, upload).await?;
        }
        tx.insert_reused(job.id, &job.reused).await?;
        if let Some(idempotency) = &job.idempotency {
            tx.keep_key(job.owner.as_ref(), idempotency, job.id).await?;
        }
        tx.append_event(job.id, &NewEvent::Status { status: JobStatus::Queued, phase: Phase::Queued }).await?;
        let (device, priority, run_after) = (&job.settings.device, job.settings.priority, tx.now);
        tx.insert_task(NewTask { job: job.id, kind: TaskKind::Inspect, device, priority, run_after }).await?;
        tx.commit().await?;
        Ok(Submission::Created(job.id))
    }
}

fn check_names(job: &NewJob) -> Result<(), Problem> {
    for (index, upload) in job.uploads.iter().enumerate() {
        let name = &upload.name;
        let complaint = if name.is_reserved() {
            "is the name of a file that a job writes itself"
        } else if job.uploads[..index].iter().any(|earlier| earlier.name == *name) {
            "was sent twice"
        } else {
            continue;
        };
        return Err(Problem::new(ErrorCode::InvalidRequest, format!("the file name `{name}` {complaint}"))
            .hint("Give each file of the upload a name of its own."));
    }
    Ok(())
}

impl Tx {
    async fn insert_job(&mut self, job: &NewJob) -> Result<(), StoreError> {
        let sql = "insert into jobs (id, name, status, phase, priority, config, settings, model_file, owner, created_at) \
                   values (?, ?, 'queued', 'queued', ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(job.id.to_string())
            .bind(&job.settings.name)
            .bind(job.settings.priority)
            .bind(rows::written(&job.config)?)
            .bind(rows::to_json(&job.settings, "settings")?)
            .bind(job.model_file.as_str())
            .bind(job.owner.as_ref().map(KeyId::as_str))
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
