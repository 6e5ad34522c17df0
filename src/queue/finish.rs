//! How a run ends, and what that means for its task and its job: one transaction each.

use std::{collections::BTreeMap, time::Duration};

use super::{Claim, Queue, QueueError, claim::condemn, plan};
use crate::{
    clock::millis,
    domain::{
        cost::Extent,
        ids::TaskId,
        job::{JobStatus, Phase, Progress},
        problem::{ErrorCode, Problem},
        report::{Inspection, Report},
        retention::Reason,
        students::{self, StudentResult},
        task::{Fence, TaskKind, TaskStatus},
        warnings,
    },
    store::{Job, NewEvent, NewTask, RunEnd, StoreError, TaskRow, TaskUpdate, Timing, Total, Tx},
};

/// What a successful run found out.
#[derive(Clone, Debug)]
pub enum Product {
    Inspected(Box<Inspection>),
    Extracted,
    Distilled(Box<Report>),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    Succeeded(Product),
    /// A planned failure: trying again would fail again.
    Failed(Problem),
    /// It was told to stop, and has.
    Canceled,
    /// It ended without a result; why, in words. Counted, and tried again later.
    Lost(String),
    /// Given back by a worker that ends: not counted.
    Interrupted,
    /// Trouble of the service's own kept it from a result; which, in words. Not counted, and tried again later.
    Hindered(String),
}

/// What became of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Ended(TaskStatus),
    Requeued,
}

impl Queue {
    /// Ends a run: the task, the job, and the tasks that follow.
    ///
    /// # Errors
    /// The lease is lost, or the database fails: nothing was written.
    pub async fn finish(&self, claim: &Claim, ending: Ending) -> Result<Settled, QueueError> {
        let mut tx = self.store.begin().await?;
        let settled = self.settle(&mut tx, claim.fence, ending).await?;
        tx.commit().await?;
        Ok(settled)
    }

    pub(super) async fn settle(&self, tx: &mut Tx, fence: Fence, ending: Ending) -> Result<Settled, QueueError> {
        let task = tx.held_task(fence).await?.ok_or(QueueError::LeaseLost)?;
        let job = match tx.job(fence.job).await {
            Err(cause @ StoreError::Corrupt { .. }) => {
                condemn(tx, fence, &cause).await?;
                return Ok(Settled::Ended(TaskStatus::Failed));
            }
            job => job?.ok_or(QueueError::LeaseLost)?,
        };
        let mut verdict = self.verdict(&task, &job, ending, tx.now);
        if let Some(problem) = verdict.problem() {
            problem.log = tx.latest_log(fence).await?;
        }
        let update = verdict.update(&task);
        tx.release_task(fence, update).await?;
        if matches!(update, TaskUpdate::Ended(TaskStatus::Succeeded)) {
            tx.drop_checkpoint(fence.task).await?;
        }
        let (end, detail) = verdict.run_end();
        tx.end_run(fence, end, detail).await?;
        tx.add(Total::Runs(task.kind, end), 1).await?;
        let (kind, generator, run) = (task.kind.name(), task.kind.generator(), fence.run);
        let target = task.kind.student().and_then(|student| job.settings.swept(student)).map(|target| target.value);
        let event = NewEvent::RunEnded { task: kind, generator, target, run, outcome: end.name(), detail };
        tx.append_event(fence.job, &event).await?;
        if !job.status.is_final() {
            carry_on(tx, job, verdict).await?;
        }
        Ok(match update {
            TaskUpdate::Ended(status) => Settled::Ended(status),
            TaskUpdate::Queued { .. } => Settled::Requeued,
        })
    }

    /// What an ending comes to, for this task of this job.
    fn verdict(&self, task: &TaskRow, job: &Job, ending: Ending, now: i64) -> Verdict {
        // Who asked for an end gets one, however the run came to it.
        if task.cancel_requested {
            return Verdict::Canceled;
        }
        match ending {
            Ending::Succeeded(Product::Inspected(inspection)) => resolve(job, inspection),
            Ending::Succeeded(Product::Extracted) => Verdict::Extracted,
            Ending::Succeeded(Product::Distilled(report)) => {
                Verdict::Distilled { task: task.id, student: task.kind.student().unwrap_or(0), report }
            }
            Ending::Failed(problem) => Verdict::Failed(problem),
            // An end that nobody asked for must not leave a job that nothing continues.
            Ending::Canceled | Ending::Interrupted => {
                Verdict::GivenBack { detail: None, run_after: task.run_after.min(now) }
            }
            Ending::Hindered(detail) => {
                Verdict::GivenBack { detail: Some(detail), run_after: now + millis(self.config.pause()) }
            }
            Ending::Lost(detail) => {
                let losses = task.losses + 1;
                let run_after = now + millis(self.config.wait_after(losses));
                if losses < self.config.max_losses {
                    Verdict::TriedAgain { detail, losses, run_after }
                } else {
                    let problem = crashed(task.kind, losses, &detail);
                    Verdict::GivenUp { detail, problem }
                }
            }
        }
    }
}

/// An ending, weighed against the task's history.
#[derive(Debug)]
enum Verdict {
    Inspected { inspection: Box<Inspection>, settings: Box<crate::domain::config::Settings> },
    Extracted,
    Distilled { task: TaskId, student: u32, report: Box<Report> },
    Failed(Problem),
    Canceled,
    GivenBack { detail: Option<String>, run_after: i64 },
    TriedAgain { detail: String, losses: u32, run_after: i64 },
    GivenUp { detail: String, problem: Problem },
}

impl Verdict {
    fn update(&self, task: &TaskRow) -> TaskUpdate {
        match self {
            Self::Inspected { .. } | Self::Extracted | Self::Distilled { .. } => {
                TaskUpdate::Ended(TaskStatus::Succeeded)
            }
            Self::Failed(_) | Self::GivenUp { .. } => TaskUpdate::Ended(TaskStatus::Failed),
            Self::Canceled => TaskUpdate::Ended(TaskStatus::Canceled),
            Self::GivenBack { run_after, .. } => TaskUpdate::Queued { run_after: *run_after, losses: task.losses },
            Self::TriedAgain { losses, run_after, .. } => TaskUpdate::Queued { run_after: *run_after, losses: *losses },
        }
    }

    fn problem(&mut self) -> Option<&mut Problem> {
        match self {
            Self::Failed(problem) | Self::GivenUp { problem, .. } => Some(problem),
            _ => None,
        }
    }

    fn run_end(&self) -> (RunEnd, Option<&str>) {
        match self {
            Self::Inspected { .. } | Self::Extracted | Self::Distilled { .. } => (RunEnd::Succeeded, None),
            Self::Failed(problem) => (RunEnd::Failed, Some(&problem.detail)),
            Self::Canceled => (RunEnd::Canceled, None),
            Self::GivenBack { detail, .. } => (RunEnd::Interrupted, detail.as_deref()),
            Self::TriedAgain { detail, .. } | Self::GivenUp { detail, .. } => (RunEnd::Lost, Some(detail)),
        }
    }
}

/// The settings once more, now that the teacher is known: the preset's hyper-parameters depend on it.
fn resolve(job: &Job, inspection: Box<Inspection>) -> Verdict {
    let extent = Extent::of(&inspection.model);
    let settings =
        job.config.resolve(inspection.traits(), &job.settings.name).map(|settings| settings.reusing(&job.settings));
    match settings.and_then(|settings| extent.check(&settings).map(|()| settings)) {
        Ok(settings) => Verdict::Inspected { inspection, settings: Box::new(settings) },
        Err(problem) => Verdict::Failed(problem),
    }
}

fn crashed(kind: TaskKind, losses: u32, detail: &str) -> Problem {
    let task = kind.name();
    Problem::new(ErrorCode::WorkerCrashed, format!("the {task} task was tried {losses} times; the last time, {detail}"))
        .hint("The job's artifacts have the log of each run. Where memory ran out, a smaller batch_size may help.")
}

/// What the verdict means for the job.
async fn carry_on(tx: &mut Tx, mut job: Job, verdict: Verdict) -> Result<(), StoreError> {
    match verdict {
        Verdict::Inspected { inspection, settings } => {
            job.settings = *settings;
            job.model = Some(inspection.model);
            job.warnings.clear();
            warnings::add(&mut job.warnings, inspection.warnings);
            for kind in plan::after_inspection(&job.settings) {
                enqueue(tx, &job, kind).await?;
            }
            tx.put_job(&job).await
        }
        Verdict::Extracted => {
            let unfinished = tx.tasks(job.id).await?.iter().any(|task| task.status != TaskStatus::Succeeded);
            if unfinished {
                return Ok(());
            }
            for kind in plan::after_extraction(&job.settings) {
                enqueue(tx, &job, kind).await?;
            }
            Ok(())
        }
        Verdict::Distilled { task, student, report } => {
            let artifacts = tx.names_of_results(job.id, task).await?;
            let made = StudentResult::new(&job.settings, student, artifacts, report.result);
            take_in(tx, job, made, report.warnings).await
        }
        Verdict::Failed(problem) | Verdict::GivenUp { problem, .. } => fail(tx, job, problem).await,
        Verdict::Canceled => {
            let ended = tx.tasks(job.id).await?.iter().all(|task| task.status.is_final());
            if ended { tx.end_job_canceled(job.id).await } else { Ok(()) }
        }
        Verdict::GivenBack { detail: Some(detail), .. } => {
            warnings::add(&mut job.warnings, vec![format!("{HINDERED}: {detail}")]);
            pause(tx, job).await
        }
        Verdict::GivenBack { detail: None, .. } | Verdict::TriedAgain { .. } => pause(tx, job).await,
    }
}

/// What a job says whose runs wait, or waited, for the service's own trouble to end.
const HINDERED: &str =
    "A run could not go on, for a reason that is the service's own, and was given back to be tried again";

/// The job waits where none of its tasks runs.
async fn pause(tx: &mut Tx, job: Job) -> Result<(), StoreError> {
    let running = tx.tasks(job.id).await?.iter().any(|task| task.status == TaskStatus::Running);
    if running { tx.put_job(&job).await } else { wait(tx, job).await }
}

/// Enqueues a task of a job that is under way: at the job's own age, before everything that was submitted after it.
async fn enqueue(tx: &mut Tx, job: &Job, kind: TaskKind) -> Result<(), StoreError> {
    let (device, priority) = (&job.settings.device, job.priority);
    // The clock may have been set back since the job was made; what has to follow does not wait for that.
    let run_after = job.created_at.as_millisecond().min(tx.now);
    tx.insert_task(NewTask { job: job.id, kind, device, priority, run_after }).await
}

/// Records what came of a target. The job has succeeded with its last one.
async fn take_in(tx: &mut Tx, mut job: Job, made: StudentResult, found: Vec<String>) -> Result<(), StoreError> {
    students::record(&mut job.results, made);
    warnings::add(&mut job.warnings, found);
    let unfinished = tx.tasks(job.id).await?.iter().any(|task| task.status != TaskStatus::Succeeded);
    if unfinished { tx.put_job(&job).await } else { succeed(tx, job).await }
}

async fn succeed(tx: &mut Tx, mut job: Job) -> Result<(), StoreError> {
    let before = (job.status, job.phase);
    time_phases(tx, &seconds(&job.results)).await?;
    if !job.settings.keep_upload {
        tx.drop_uploads(job.id, Reason::KeepUpload).await?;
        job.upload_deleted_at = Some(tx.timestamp());
    }
    job.result = job.results.first().map(|first| first.result.clone());
    let (step, steps) = job.progress.as_ref().map_or((0, 0), |progress| (progress.steps, progress.steps));
    job.progress = Some(Progress { fraction: 1.0, phase: Phase::Done, step, steps, eta_seconds: None });
    end(tx, job, before, JobStatus::Succeeded).await
}

/// Seconds by phase, over all students. They share their generators, whose time each of them reports.
fn seconds(results: &[StudentResult]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for (name, &seconds) in results.iter().flat_map(|student| &student.result.seconds) {
        let sum = all.entry(name.clone()).or_default();
        *sum = if name == Phase::Extracting.name() { sum.max(seconds) } else { *sum + seconds };
    }
    all
}

/// How long the phases took, of those that there are: a run may call its figures what it likes.
async fn time_phases(tx: &mut Tx, seconds: &BTreeMap<String, f64>) -> Result<(), StoreError> {
    for (name, seconds) in seconds {
        if let Ok(phase) = name.parse::<Phase>()
            && let Ok(took) = Duration::try_from_secs_f64(*seconds)
        {
            tx.observe(Timing::JobPhase(phase), millis(took)).await?;
        }
    }
    Ok(())
}

async fn fail(tx: &mut Tx, mut job: Job, problem: Problem) -> Result<(), StoreError> {
    let before = (job.status, job.phase);
    tx.stop_tasks(job.id).await?;
    tx.append_event(job.id, &NewEvent::Failed { error: &problem }).await?;
    tx.add_refusal(&problem).await?;
    job.error = Some(problem);
    end(tx, job, before, JobStatus::Failed).await
}

async fn end(tx: &mut Tx, mut job: Job, before: (JobStatus, Phase), status: JobStatus) -> Result<(), StoreError> {
    job.status = status;
    job.phase = Phase::Done;
    job.finished_at = Some(tx.timestamp());
    tx.count_end(&job).await?;
    tx.put_job_announced(&job, before).await
}

/// Nothing of the job runs: it waits again, and keeps the progress that it showed.
async fn wait(tx: &mut Tx, mut job: Job) -> Result<(), StoreError> {
    let before = (job.status, job.phase);
    (job.status, job.phase) = (JobStatus::Queued, Phase::Queued);
    tx.put_job_announced(&job, before).await
}
