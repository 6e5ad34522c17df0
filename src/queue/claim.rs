//! Taking a task, and giving back what dead workers held.

use std::sync::PoisonError;

use super::{Ending, Queue, QueueConfig, QueueError, plan};
use crate::{
    clock::millis,
    domain::{
        artifact::{Artifact, FileName, Role},
        config::Settings,
        job::{JobStatus, Progress},
        problem::{ErrorCode, Problem},
        targets::Target,
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
    /// The uploaded student, where one was.
    pub student: Option<FileName>,
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
        let longest_wait = millis(QueueConfig::LONGEST_WAIT);
        let Some(task) = tx.claim_task(slot, until, longest_wait).await? else { return Ok(None) };
        let fence = task.fence();
        let job = match tx.job(task.job).await {
            Err(cause @ StoreError::Corrupt { .. }) => {
                tx.insert_run(fence, slot, None).await?;
                condemn(&mut tx, fence, &cause).await?;
                tx.commit().await?;
                return Box::pin(self.claim(slot)).await;
            }
            job => job?.ok_or(QueueError::LeaseLost)?,
        };
        let checkpoint = tx.checkpoint(fence.task).await?;
        let resumed_step = checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        tx.insert_run(fence, slot, checkpoint.as_ref()).await?;
        let waited = tx.now - task.queued_at.max(task.run_after);
        tx.observe(Timing::QueueWait(task.kind), waited).await?;
        // What an earlier run measured beyond the checkpoint, this one measures again.
        tx.drop_metrics(fence, resumed_step).await?;
        let inputs = Inputs { checkpoint, ..inputs(&mut tx, &job, task.kind).await? };
        let claim = Claim { fence, kind: task.kind, settings: job.settings.clone(), inputs };
        let target = task.kind.student().and_then(|student| job.settings.swept(student));
        tx.append_event(fence.job, &run_started(&task, target, slot, resumed_step)).await?;
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

    /// Says that `worker` is there, where there is one, and counts as lost every run whose lease has run out, whoever held it.
    ///
    /// To be called every [`QueueConfig::look_every`]. A lease runs out when its run has not renewed it for as long as a lease
    /// lasts, seen by this queue's own looks: clocks that are set, a machine that slept and a database that was locked cost
    /// no run its lease.
    ///
    /// # Errors
    /// The database fails.
    pub async fn reap(&self, worker: Option<&str>) -> Result<usize, QueueError> {
        let mut tx = self.store.begin().await?;
        if let Some(worker) = worker {
            tx.see_worker(worker).await?;
        }
        let leased = tx.leased_tasks().await?;
        let expired = {
            // A panic while looking leaves times that are still times.
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.look(&leased, self.store.clock().steady(), &self.config)
        };
        for fence in &expired {
            tracing::warn!(job = %fence.job, task = %fence.task, run = fence.run, "a run lost its lease");
            let detail = "its lease ran out: the worker is gone, or hangs".to_owned();
            self.settle(&mut tx, *fence, Ending::Lost(detail)).await?;
        }
        tx.commit().await?;
        Ok(expired.len())
    }
}

/// Ends a job that this version cannot read, so that it does not hold up all others.
pub(super) async fn condemn(tx: &mut Tx, fence: Fence, cause: &StoreError) -> Result<(), StoreError> {
    tracing::error!(job = %fence.job, %cause, "a job cannot be read, and is ended");
    let detail = "what the database holds of the job cannot be read by this version of kegd";
    let problem =
        Problem::new(ErrorCode::Internal, detail).hint("The server's log has the cause. Submit its model again.");
    tx.condemn(fence.job, &problem).await
}

fn run_started<'a>(task: &TaskRow, target: Option<Target>, slot: &'a Slot, resumed_step: Option<u64>) -> NewEvent<'a> {
    let target = target.map(|target| target.value);
    let (task, generator, run) = (task.kind.name(), task.kind.generator(), task.run);
    NewEvent::RunStarted { task, generator, target, run, device: &slot.device, resumed_step }
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
        Role::Generator => kind.student().is_some(),
        // What trains generators is not given real data, not even to leave it unread.
        Role::Evaluation | Role::GivenStudent => matches!(kind, TaskKind::Inspect | TaskKind::Distill { .. }),
        _ => false,
    });
    let names = |role| files.iter().filter(move |file: &&Artifact| file.role == role).map(|file| file.name.clone());
    Ok(Inputs {
        model: job.model_file.clone(),
        eval: names(Role::Evaluation).next(),
        student: names(Role::GivenStudent).next(),
        generators: names(Role::Generator).collect(),
        external_data: names(Role::ExternalData).collect(),
        extracting_seconds: tx.extracting_seconds(job.id).await?,
        checkpoint: None,
        files,
    })
}
