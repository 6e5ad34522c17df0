//! The real queue, which two workers reach through a store handle each, and the model beside it.

use std::{collections::BTreeMap, time::Duration};

use kegd::{
    clock::Clock,
    domain::{
        artifact::{Artifact, Role},
        config::JobConfig,
        ids::JobId,
        job::{JobStatus, Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        task::TaskKind,
    },
    queue::{Beat, Claim, Ending, Hold, Product, Queue, QueueConfig, QueueError},
    store::{Cancel, Deletion, NewJob, Retry, SampleRow, Slot, Store, Submission},
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    common::{facts, house::name, ledger::Ledger},
    model::{Model, Run},
    operation::{Desk, End, Operation, Order, Pick},
};

const WORKERS: [&str; 2] = ["worker-a", "worker-b"];
/// Some moment in 2025.
const NOW: i64 = 1_750_000_000_000;

pub struct World {
    model: Model,
    clock: Clock,
    queues: [Queue; 2],
    ledger: Ledger,
    /// Every run that ever began.
    runs: Vec<(Run, Claim)>,
    files: usize,
    /// What was seen after the step before.
    before: Sight,
    _directory: TempDir,
}

/// What may only change in one direction.
#[derive(Default)]
struct Sight {
    /// Attempt, revision, progress and all that a client sees, by job.
    jobs: BTreeMap<String, (u32, u64, f64, String)>,
    /// The newest run of each task.
    tasks: BTreeMap<String, u32>,
    last_event: u64,
}

fn pick<T>(from: &[T], which: Pick) -> Option<&T> {
    from.get(usize::from(which) % from.len().max(1))
}

impl World {
    pub async fn new() -> Self {
        // A file system of memory where there is one: every step waits for the disk.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = directory.path().join("kegd.db");
        let clock = Clock::manual(NOW);
        let open = async || Queue::new(Store::open(&path, clock.clone()).await.unwrap(), QueueConfig::default());
        let queues = [open().await, open().await];
        for (queue, worker) in queues.iter().zip(WORKERS) {
            queue.begin_life(worker, &["cpu".into()]).await.unwrap();
        }
        let ledger = Ledger::open(&path).await;
        let model = Model::at(NOW);
        Self { model, clock, queues, ledger, runs: vec![], files: 0, before: Sight::default(), _directory: directory }
    }

    fn store(&self) -> &Store {
        self.queues[0].store()
    }

    /// Lets it happen to both, and compares.
    pub async fn play(&mut self, operation: &Operation) {
        match *operation {
            Operation::Submit(order) => self.submit(order).await,
            Operation::Claim(desk) => self.claim(desk).await,
            Operation::Record { run, percent, metric } => self.record(run, percent, metric).await,
            Operation::Keep { run } => self.keep(run).await,
            Operation::Finish { run, end } => self.finish(run, end).await,
            Operation::WriteStale { run } => self.write_stale(run).await,
            Operation::Advance { seconds } => self.advance(seconds),
            Operation::SetClock { by_seconds } => self.clock.set(self.clock.now() + by_seconds * 1000),
            Operation::Reap { worker } => self.reap(worker).await,
            Operation::Lapse { worker, looks } => {
                for _ in 0..looks {
                    self.advance(15);
                    self.model.wall = self.clock.now();
                    self.reap(worker).await;
                }
            }
            Operation::BeginLife { worker } => {
                let held = self.queues[worker].begin_life(WORKERS[worker], &["cpu".into()]).await.unwrap();
                assert_eq!(held, self.model.begin_life(worker), "runs taken back");
            }
            Operation::Cancel { job } => self.cancel(job).await,
            Operation::Delete { job, force } => self.delete(job, force).await,
            Operation::Retry { job } => self.retry(job).await,
            Operation::Resume { job } => self.resume(job).await,
            Operation::Checkpoint { run } => self.checkpoint(run).await,
        }
        self.model.wall = self.clock.now();
        self.compare().await;
        self.ledger.check().await;
        self.look().await;
    }

    pub async fn close(self) {
        for queue in &self.queues {
            queue.store().close().await;
        }
    }

    fn advance(&mut self, seconds: u32) {
        self.clock.advance(Duration::from_secs(seconds.into()));
        self.model.passed += u64::from(seconds) * 1000;
    }

    async fn reap(&mut self, worker: usize) {
        let expired = self.queues[worker].reap(Some(WORKERS[worker])).await.unwrap();
        assert_eq!(expired, self.model.reap(worker), "expired leases");
    }

    async fn submit(&mut self, order: Order) {
        let extraction = match order.generators {
            0 => json!({"sampler": "uniform"}),
            generators => json!({"generators": generators}),
        };
        let ratio: Vec<u32> = (2..2 + order.students).collect();
        let (compression, priority, device) = (json!({"ratio": ratio}), order.priority, order.device);
        let config =
            json!({"compression": compression, "extraction": extraction, "priority": priority, "device": device});
        let config = config.to_string();
        let config = JobConfig::parse(config.as_bytes()).unwrap();
        let settings = config.resolve(TeacherKind::PlainImage, "model").unwrap();
        let (id, model_file) = (JobId::new(), name("model.onnx"));
        let (bytes, sha256, key) = (1, "00".to_owned(), format!("{id}/model.onnx"));
        let upload = Artifact { name: model_file.clone(), role: Role::Teacher, bytes, sha256, key };
        let (uploads, reused) = (vec![upload], vec![]);
        let job = NewJob { id, config, settings, model_file, uploads, reused, idempotency: None, owner: None };
        assert_eq!(self.store().submit(&job, u64::MAX).await.unwrap(), Submission::Created(id));
        self.model.submit(id, order);
    }

    async fn claim(&mut self, desk: Desk) {
        let slot = Slot { worker: WORKERS[desk.worker].into(), device: desk.device.into() };
        let claim = self.queues[desk.worker].claim(&slot).await.unwrap();
        let expected = self.model.claim(desk);
        let got = claim.as_ref().map(|claim| (claim.fence().job, claim.kind(), claim.fence().run));
        assert_eq!(got, expected.map(|(run, kind)| (run.job, kind, run.run)), "the task that was claimed");
        if let (Some((run, _)), Some(claim)) = (expected, claim) {
            self.runs.push((run, claim));
        }
    }

    /// A run that holds its task, or one that does not any more.
    fn run(&mut self, which: Pick, holds: bool) -> Option<usize> {
        let runs = self.runs.iter().enumerate();
        let fitting: Vec<usize> =
            runs.filter(|(_, (run, _))| self.model.held(*run).is_some() == holds).map(|(index, _)| index).collect();
        pick(&fitting, which).copied()
    }

    async fn record(&mut self, which: Pick, percent: u8, metric: bool) {
        let Some(index) = self.run(which, true) else { return };
        let (run, claim) = &self.runs[index];
        let beat = beat(claim.kind(), percent, metric);
        let hold = self.queues[index % 2].record(claim, &beat).await.unwrap();
        let stop = self.model.held(*run).is_some_and(|task| task.stop);
        assert_eq!(hold, if stop { Hold::Stop } else { Hold::GoOn });
        self.model.renew(*run);
    }

    async fn keep(&mut self, which: Pick) {
        let Some(index) = self.run(which, true) else { return };
        self.files += 1;
        let (run, claim) = &self.runs[index];
        let (file, sample) = file(self.files);
        let _ = self.queues[index % 2].keep(claim, &file, Some(&sample)).await.unwrap();
        self.model.renew(*run);
        assert!(self.store().artifact(claim.fence().job, &file.name).await.unwrap().is_some());
    }

    async fn checkpoint(&mut self, which: Pick) {
        let Some(index) = self.run(which, true) else { return };
        self.files += 1;
        let (run, claim) = &self.runs[index];
        let (file, _) = file(self.files);
        let file = Artifact { role: Role::Checkpoint, ..file };
        let _ = self.queues[index % 2].keep_checkpoint(claim, &file, 1).await.unwrap();
        self.model.checkpoint(*run);
    }

    async fn finish(&mut self, which: Pick, end: End) {
        let Some(index) = self.run(which, true) else { return };
        let (run, claim) = &self.runs[index];
        self.queues[index % 2].finish(claim, ending(claim, end)).await.unwrap();
        self.model.finish(*run, end);
    }

    /// Whatever a run without a task tries, the database stays as it is.
    async fn write_stale(&mut self, which: Pick) {
        let Some(index) = self.run(which, false) else { return };
        let before = self.ledger.lines().await;
        let (_, claim) = &self.runs[index];
        let queue = &self.queues[index % 2];
        let refused = |error: Option<QueueError>| assert!(matches!(error, Some(QueueError::LeaseLost)), "{error:?}");
        refused(queue.record(claim, &beat(claim.kind(), 99, true)).await.err());
        let (file, sample) = file(0);
        refused(queue.keep(claim, &file, Some(&sample)).await.err());
        refused(queue.keep_checkpoint(claim, &file, 1).await.err());
        for end in [End::Succeeded, End::Failed, End::Canceled, End::Lost, End::Interrupted, End::Hindered] {
            refused(queue.finish(claim, ending(claim, end)).await.err());
        }
        assert_eq!(self.ledger.lines().await, before, "a lost run wrote something");
    }

    async fn cancel(&mut self, which: Pick) {
        let Some(id) = pick(&self.model.jobs, which).map(|job| job.id) else { return };
        let before = self.model.job(id).unwrap().status;
        let answer = self.store().cancel(id).await.unwrap();
        self.model.cancel(id);
        let expected = match (before, self.model.job(id).unwrap().status) {
            (JobStatus::Canceled, _) => Cancel::AlreadyCanceled,
            (status, _) if status.is_final() => Cancel::Finished(status),
            (_, JobStatus::Canceled) => Cancel::Canceled,
            _ => Cancel::Asked,
        };
        assert_eq!(answer, expected);
    }

    async fn delete(&mut self, which: Pick, force: bool) {
        let Some((id, status)) = pick(&self.model.jobs, which).map(|job| (job.id, job.status)) else { return };
        let refused = status == JobStatus::Running && !force;
        let expected = if refused { Deletion::Running } else { Deletion::Deleted };
        assert_eq!(self.store().delete(id, force).await.unwrap(), expected);
        if !refused {
            self.model.jobs.retain(|job| job.id != id);
        }
    }

    async fn retry(&mut self, which: Pick) {
        let Some(id) = pick(&self.model.jobs, which).map(|job| job.id) else { return };
        let answer = self.store().retry_from_start(id, u64::MAX, true).await.unwrap();
        let queued = self.model.retry(id);
        assert!(matches!((queued, &answer), (true, Retry::Queued) | (false, Retry::NotFinished(_))), "{answer:?}");
    }

    async fn resume(&mut self, which: Pick) {
        let Some(id) = pick(&self.model.jobs, which).map(|job| job.id) else { return };
        let answer = self.store().retry_from_checkpoint(id, u64::MAX).await.unwrap();
        assert_eq!(answer == Retry::Queued, self.model.resume(id), "{answer:?}");
    }

    /// Every job and task stands where the model says, and no other is there.
    async fn compare(&mut self) {
        let mut ids: Vec<JobId> = self.store().job_ids().await.unwrap();
        let mut expected: Vec<JobId> = self.model.jobs.iter().map(|job| job.id).collect();
        ids.sort_unstable_by_key(ToString::to_string);
        expected.sort_unstable_by_key(ToString::to_string);
        assert_eq!(ids, expected);
        for job in &self.model.jobs {
            let real = self.store().job(job.id).await.unwrap().unwrap();
            assert_eq!((real.status, real.attempt), (job.status, job.attempt), "job {}", job.id);
            let tasks = self.store().tasks(job.id).await.unwrap().into_iter();
            let real: Vec<_> =
                tasks.map(|task| (task.kind, task.status, task.run, task.losses, task.cancel_requested)).collect();
            let expected: Vec<_> =
                job.tasks.iter().map(|task| (task.kind, task.status, task.run, task.losses, task.stop)).collect();
            assert_eq!(real, expected, "tasks of job {}", job.id);
        }
    }

    /// What may only rise has not fallen.
    async fn look(&mut self) {
        let mut sight = Sight::default();
        for id in self.model.jobs.iter().map(|job| job.id) {
            let job = self.store().job(id).await.unwrap().unwrap();
            let (attempt, revision, fraction) = (job.attempt, job.revision, job.fraction());
            let seen = format!("{:?}", kegd::store::Job { revision: 0, ..job });
            if let Some((attempt_before, revision_before, fraction_before, seen_before)) =
                self.before.jobs.get(&id.to_string())
            {
                assert!(attempt >= *attempt_before && revision >= *revision_before);
                assert!(
                    attempt > *attempt_before || fraction >= *fraction_before,
                    "the bar goes back: {fraction_before} to {fraction}"
                );
                assert!(
                    seen == *seen_before || revision > *revision_before,
                    "a change without a revision: {seen_before} to {seen}"
                );
            }
            for task in self.store().tasks(id).await.unwrap() {
                let before = self.before.tasks.get(&task.id.to_string()).copied().unwrap_or_default();
                assert!(task.run >= before, "a run's number falls");
                sight.tasks.insert(task.id.to_string(), task.run);
            }
            let events = self.store().events(id, 0, u32::MAX).await.unwrap();
            assert!(events.is_sorted_by(|one, next| one.id < next.id));
            sight.last_event = sight.last_event.max(events.last().map_or(0, |event| event.id));
            sight.jobs.insert(id.to_string(), (attempt, revision, fraction, seen));
        }
        // Also where the last event's job was deleted.
        sight.last_event = sight.last_event.max(self.before.last_event);
        let new = sight.jobs.keys().filter(|id| !self.before.jobs.contains_key(*id));
        for id in new {
            let first = self.store().events(id.parse().unwrap(), 0, 1).await.unwrap();
            assert!(first[0].id > self.before.last_event, "an event's id is used again");
        }
        self.before = sight;
    }
}

fn beat(kind: TaskKind, percent: u8, metric: bool) -> Beat {
    let phase = match kind {
        TaskKind::Inspect => Phase::Importing,
        TaskKind::Extract { .. } => Phase::Extracting,
        TaskKind::Distill { .. } => Phase::Distilling,
    };
    let (step, fraction) = (u64::from(percent), f64::from(percent) / 100.0);
    let progress = Some(Progress { fraction, phase, step, steps: 100, eta_seconds: None });
    let point = MetricPoint { name: "loss".into(), step, value: fraction };
    Beat { progress, metrics: if metric { vec![point] } else { vec![] } }
}

fn file(number: usize) -> (Artifact, SampleRow) {
    let name = name(&format!("samples-{number}.npz"));
    let file = Artifact {
        name: name.clone(),
        role: Role::Samples,
        bytes: 1,
        sha256: "00".into(),
        key: format!("key-{number}"),
    };
    (file, SampleRow { artifact: name, generator: 0, epoch: 1, count: 1 })
}

fn ending(claim: &Claim, end: End) -> Ending {
    match end {
        End::Succeeded => Ending::Succeeded(match claim.kind() {
            TaskKind::Inspect => Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage))),
            TaskKind::Extract { .. } => Product::Extracted,
            TaskKind::Distill { .. } => Product::Distilled(Box::new(facts::report(claim.settings.clone()))),
        }),
        End::Failed => Ending::Failed(Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite")),
        End::Canceled => Ending::Canceled,
        End::Lost => Ending::Lost("it crashed".into()),
        End::Interrupted => Ending::Interrupted,
        End::Hindered => Ending::Hindered("the disk is full".into()),
    }
}
