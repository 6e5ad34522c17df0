//! What a run reports on its way: progress, metrics, files. All of it fenced, all of it a sign of life.

use super::{Claim, Queue, QueueError, progress::job_progress};
use crate::{
    clock::millis,
    domain::{artifact::Artifact, config::Settings, job::Progress, metric::MetricPoint, task::Fence, task::TaskKind},
    store::{Job, NewEvent, SampleRow, Tx},
};

/// What a run had to say since the last time.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    pub progress: Option<Progress>,
    pub metrics: Vec<MetricPoint>,
}

/// Whether the run shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Hold {
    GoOn,
    /// The job was canceled, or a sibling failed.
    Stop,
}

impl Queue {
    /// Renews the lease, and keeps what the run said.
    ///
    /// # Errors
    /// The lease is lost; the database fails.
    pub async fn record(&self, claim: &Claim, beat: &Beat) -> Result<Hold, QueueError> {
        let mut tx = self.store.begin().await?;
        let hold = self.renew(&mut tx, claim.fence, beat.progress.as_ref()).await?;
        tx.put_metrics(claim.fence, &beat.metrics).await?;
        if (beat.progress.is_some() || !beat.metrics.is_empty())
            && let Some(job) = tx.job(claim.fence.job).await?
            && !job.status.is_final()
        {
            update_job(&mut tx, job, claim.kind, beat).await?;
        }
        tx.commit().await?;
        Ok(hold)
    }

    /// Keeps the row of a file that the run made, and its sample index row where it is one.
    ///
    /// # Errors
    /// The lease is lost, the name is taken, or the database fails: the file is not kept, and the caller's to delete.
    pub async fn keep(
        &self,
        claim: &Claim,
        artifact: &Artifact,
        sample: Option<&SampleRow>,
    ) -> Result<Hold, QueueError> {
        let (fence, Artifact { name, role, bytes, sha256, .. }) = (claim.fence, artifact);
        let mut tx = self.store.begin().await?;
        let hold = self.renew(&mut tx, fence, None).await?;
        let known = tx.has_artifact(fence, artifact).await?;
        if !tx.put_artifact(fence, artifact).await? {
            return Err(QueueError::NameTaken(name.clone()));
        }
        if let Some(sample) = sample {
            tx.put_sample(fence.job, sample).await?;
        }
        // A run that goes on from a checkpoint makes again what lay beyond it; whoever follows along has seen that.
        if !known {
            let event = NewEvent::Artifact { name: name.as_str(), role: *role, bytes: *bytes, sha256 };
            tx.append_event(fence.job, &event).await?;
            if let Some(&SampleRow { generator, epoch, count, .. }) = sample {
                let event = NewEvent::Sample { artifact: name.as_str(), generator, epoch, count };
                tx.append_event(fence.job, &event).await?;
            }
        }
        if let Some(job) = tx.job(fence.job).await? {
            tx.put_job(&job).await?;
        }
        tx.commit().await?;
        Ok(hold)
    }

    /// Makes a file the checkpoint of the run's task. Returns the file whose place it takes, which may go now.
    ///
    /// # Errors
    /// The lease is lost, the name is taken, or the database fails: the file is not kept, and the caller's to delete.
    pub async fn keep_checkpoint(
        &self,
        claim: &Claim,
        artifact: &Artifact,
        step: u64,
    ) -> Result<(Hold, Option<Artifact>), QueueError> {
        let fence = claim.fence;
        let mut tx = self.store.begin().await?;
        let hold = self.renew(&mut tx, fence, None).await?;
        let before = tx.checkpoint(fence.task).await?.map(|checkpoint| checkpoint.artifact);
        tx.drop_checkpoint(fence.task).await?;
        if !tx.put_artifact(fence, artifact).await? {
            return Err(QueueError::NameTaken(artifact.name.clone()));
        }
        tx.put_checkpoint(fence, artifact, step).await?;
        tx.forget_losses(fence).await?;
        tx.commit().await?;
        Ok((hold, before.filter(|before| before.key != artifact.key)))
    }

    async fn renew(&self, tx: &mut Tx, fence: Fence, progress: Option<&Progress>) -> Result<Hold, QueueError> {
        let until = tx.now + millis(self.config.lease);
        let task = tx.renew_task(fence, until, progress).await?.ok_or(QueueError::LeaseLost)?;
        Ok(if task.cancel_requested { Hold::Stop } else { Hold::GoOn })
    }
}

async fn update_job(tx: &mut Tx, mut job: Job, kind: TaskKind, beat: &Beat) -> Result<(), QueueError> {
    let before = (job.status, job.phase);
    if let Some(progress) = &beat.progress {
        let tasks = tx.tasks(job.id).await?;
        let progress = job_progress(&tasks, &job.settings, (kind, progress), job.fraction());
        job.phase = progress.phase;
        job.progress = Some(progress);
    }
    for point in &beat.metrics {
        let name = latest_name(kind, &job.settings, &point.name);
        job.latest_metrics.insert(name, point.value);
    }
    Ok(tx.put_job_announced(&job, before).await?)
}

/// Generators have series of the same names, and so have the students of a sweep: `generator 0: loss`, `ratio 4: loss`.
fn latest_name(kind: TaskKind, settings: &Settings, series: &str) -> String {
    match (kind.generator(), kind.student().and_then(|student| settings.swept(student))) {
        (Some(generator), _) => format!("generator {generator}: {series}"),
        (_, Some(target)) => format!("{} {}: {series}", target.by.name(), target.value),
        _ => series.to_owned(),
    }
}
