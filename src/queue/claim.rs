//! Taking a task, and giving back what dead workers held.

use super::{Ending, Queue, QueueError, plan};
use crate::{
    clock::millis,
    domain::{
        artifact::{Artifact, FileName, Role},
        config::Settings,
        job::{JobStatus, Progress},
        task::{Fence, TaskKind},
    },
    store::{Checkpoint, Job, NewEvent, Slot, StoreError, TaskRow, Timing, Tx},
};

/// The files a run starts from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Which of the files is the uploaded model.
    pub model: FileName,
    pub eval: Option<FileName>,
    /// The trained generators, in order.
    pub generators: Vec<FileName>,
    /// Side files of the model.
    pub external_data: Vec<FileName>,
    /// All files to be laid out, those above among them.
    pub files: Vec<Artifact>,
    /// How long training the generators took, summed over them.
    pub extracting_seconds: f64,
    /// Where an earlier run of the task got to. It is not among `files`: a run can do without it.
    pub checkpoint: Option<Checkpoint>,
}

/// The right to run a task. It exists only while the task is held: ending the run takes it away.
#[derive(Debug)]
pub struct Claim {
    pub(super) fence: Fence,
    pub(super) kind: TaskKind,
    pub settings: Settings,
    pub inputs: Inputs,
}

impl Claim {
    pub fn fence(&self) -> Fence {
        self.fence
    }

    pub fn kind(&self) -> TaskKind {
        self.kind
    }
}

impl Queue {
    /// Takes the next task that may run on `slot`, if there is one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn claim(&self, slot: &Slot) -> Result<Option<Claim>, QueueError> {
        let mut tx = self.store.begin().await?;
        let until = tx.now + millis(self.config.lease);
        let Some(task) = tx.claim_task(slot, until).await? else { return Ok(None) };
        let fence = task.fence();
        let job = tx.job(task.job).await?.ok_or(QueueError::LeaseLost)?;
        let checkpoint = tx.checkpoint(fence.task).await?;
        let resumed_step = checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        tx.insert_run(fence, slot, checkpoint.as_ref()).await?;
        let waited = tx.now - task.queued_at.max(task.run_after);
        tx.observe(Timing::QueueWait(task.kind), waited).await?;
        // What an earlier run measured beyond the checkpoint, this one measures again.
        tx.drop_metrics(fence, resumed_step).await?;
        let inputs = Inputs { checkpoint, ..inputs(&mut tx, &job, task.kind).await? };
        let claim = Claim { fence, kind: task.kind, settings: job.settings.clone(), inputs };
        tx.append_event(fence.job, &run_started(&task, slot, resumed_step)).await?;
        start_job(&mut tx, job, task.kind, slot).await?;
        tx.commit().await?;
        Ok(Some(claim))
    }

    /// Announces a worker, and takes back what its earlier life held: an interruption, not a loss.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin_life(&self, worker: &str, slots: &[String]) -> Result<usize, QueueError> {
        let mut tx = self.store.begin().await?;
        tx.put_worker(worker, slots).await?;
        let held = tx.held_tasks(worker).await?;
        for task in &held {
            self.settle(&mut tx, task.fence(), Ending::Interrupted).await?;
        }
        tx.commit().await?;
        Ok(held.len())
    }

    /// Says that `worker` is there, and counts as lost every run whose lease has run out, whoever held it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reap(&self, worker: &str) -> Result<usize, QueueError> {
        let mut tx = self.store.begin().await?;
        tx.see_worker(worker).await?;
        let expired = tx.expired_tasks().await?;
        for task in &expired {
            let (job, kind, run) = (task.job, task.kind.name(), task.run);
            tracing::warn!(%job, task = kind, run, "a run lost its lease");
            let detail = "its lease ran out: the worker is gone, or hangs".to_owned();
            self.settle(&mut tx, task.fence(), Ending::Lost(detail)).await?;
        }
        tx.commit().await?;
        Ok(expired.len())
    }
}

fn run_started<'a>(task: &TaskRow, slot: &'a Slot, resumed_step: Option<u64>) -> NewEvent<'a> {
    let (task, generator, run) = (task.kind.name(), task.kind.generator(), task.run);
    NewEvent::RunStarted { task, generator, run, device: &slot.device, resumed_step }
}

async fn start_job(tx: &mut Tx, mut job: Job, kind: TaskKind, slot: &Slot) -> Result<(), StoreError> {
    let (before, fraction) = ((job.status, job.phase), job.fraction());
    job.status = JobStatus::Running;
    job.phase = plan::first_phase(kind);
    job.device = Some(slot.device.clone());
    job.started_at = job.started_at.or(Some(tx.timestamp()));
    // A second generator beside a first one that is under way does not start the bar again.
    if before != (job.status, job.phase) {
        job.progress = Some(Progress { fraction, phase: job.phase, step: 0, steps: 0, eta_seconds: None });
    }
    tx.put_job_announced(&job, before).await
}

async fn inputs(tx: &mut Tx, job: &Job, kind: TaskKind) -> Result<Inputs, StoreError> {
    let mut files = tx.inputs(job.id).await?;
    files.retain(|file| match file.role {
        Role::Teacher | Role::ExternalData => true,
        Role::Generator => kind == TaskKind::Distill,
        // What trains generators is not given real data, not even to leave it unread.
        Role::Evaluation => matches!(kind, TaskKind::Inspect | TaskKind::Distill),
        _ => false,
    });
    let names = |role| files.iter().filter(move |file: &&Artifact| file.role == role).map(|file| file.name.clone());
    Ok(Inputs {
        model: job.model_file.clone(),
        eval: names(Role::Evaluation).next(),
        generators: names(Role::Generator).collect(),
        external_data: names(Role::ExternalData).collect(),
        extracting_seconds: tx.extracting_seconds(job.id).await?,
        checkpoint: None,
        files,
    })
}
