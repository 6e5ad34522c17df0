//! What should become of jobs, in as few words as possible: no SQL, no fences, one list of jobs.

use std::collections::HashMap;

use kegd::domain::{
    device::may_run,
    ids::JobId,
    job::JobStatus,
    task::{TaskKind, TaskStatus},
};

use crate::operation::{Desk, End, Order};

/// Milliseconds.
const LEASE: u64 = 60_000;
const LOOK_EVERY: u64 = LEASE / 4;
const LONGEST_WAIT: i64 = 300_000;
const PAUSE: i64 = 32_000;
const MAX_LOSSES: u32 = 3;

#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub order: Order,
    pub status: JobStatus,
    pub attempt: u32,
    pub tasks: Vec<Task>,
    created_at: i64,
}

#[derive(Clone, Debug)]
pub struct Task {
    /// Rises over all tasks ever made.
    serial: u64,
    pub kind: TaskKind,
    pub status: TaskStatus,
    pub run: u32,
    pub losses: u32,
    run_after: i64,
    pub stop: bool,
    worker: usize,
    /// Rises with every renewal.
    renewals: u64,
    has_checkpoint: bool,
}

/// A run: which task of all, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub job: JobId,
    pub serial: u64,
    pub run: u32,
}

#[derive(Debug, Default)]
pub struct Model {
    pub jobs: Vec<Job>,
    /// What the wall clock shows, and how much time has passed.
    pub wall: i64,
    pub passed: u64,
    serial: u64,
    watches: [Watch; 2],
}

/// What one worker saw of the leases: for how long each was not renewed.
#[derive(Debug, Default)]
struct Watch {
    looked: u64,
    silent: HashMap<(Run, u64), u64>,
}

impl Model {
    /// An empty queue, while the wall clock shows `wall`.
    pub fn at(wall: i64) -> Self {
        Self { wall, ..Self::default() }
    }

    pub fn submit(&mut self, id: JobId, order: Order) {
        let created_at = self.wall;
        let inspect = self.task(TaskKind::Inspect, self.wall);
        let tasks = vec![inspect];
        self.jobs.push(Job { id, order, status: JobStatus::Queued, attempt: 1, tasks, created_at });
    }

    fn task(&mut self, kind: TaskKind, run_after: i64) -> Task {
        self.serial += 1;
        let (serial, status) = (self.serial, TaskStatus::Queued);
        Task {
            serial,
            kind,
            status,
            run: 0,
            losses: 0,
            run_after,
            stop: false,
            worker: 0,
            renewals: 0,
            has_checkpoint: false,
        }
    }

    /// The task that `desk` should get: of the highest priority, the oldest job's.
    pub fn claim(&mut self, desk: Desk) -> Option<(Run, TaskKind)> {
        let wall = self.wall;
        let waits = |task: &Task| task.run_after > wall && task.run_after <= wall + LONGEST_WAIT;
        let (job, at) = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| may_run(job.order.device, desk.device))
            .flat_map(|(index, job)| job.tasks.iter().enumerate().map(move |(at, task)| (index, job, at, task)))
            .filter(|(_, _, _, task)| task.status == TaskStatus::Queued && !waits(task))
            .min_by_key(|(_, job, _, task)| (-job.order.priority, job.id, task.serial))
            .map(|(job, _, at, _)| (job, at))?;
        let job = &mut self.jobs[job];
        job.status = JobStatus::Running;
        let task = &mut job.tasks[at];
        (task.status, task.worker, task.stop) = (TaskStatus::Running, desk.worker, false);
        task.run += 1;
        Some((Run { job: job.id, serial: task.serial, run: task.run }, task.kind))
    }

    pub fn job(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// The task of a run that holds it.
    pub fn held(&mut self, run: Run) -> Option<&mut Task> {
        let held =
            |task: &&mut Task| task.serial == run.serial && task.run == run.run && task.status == TaskStatus::Running;
        self.job(run.job)?.tasks.iter_mut().find(held)
    }

    pub fn renew(&mut self, run: Run) {
        if let Some(task) = self.held(run) {
            task.renewals += 1;
        }
    }

    /// A checkpoint forgives what was lost until now.
    pub fn checkpoint(&mut self, run: Run) {
        if let Some(task) = self.held(run) {
            task.renewals += 1;
            (task.has_checkpoint, task.losses) = (true, 0);
        }
    }

    pub fn finish(&mut self, run: Run, end: End) {
        let wall = self.wall;
        let Some(task) = self.held(run) else { return };
        let end = if task.stop { TaskEnd::Stopped } else { TaskEnd::of(end, task.losses) };
        match end {
            TaskEnd::Stopped => task.status = TaskStatus::Canceled,
            TaskEnd::Succeeded => (task.status, task.has_checkpoint) = (TaskStatus::Succeeded, false),
            TaskEnd::Failed => task.status = TaskStatus::Failed,
            TaskEnd::Back => (task.status, task.run_after) = (TaskStatus::Queued, task.run_after.min(wall)),
            TaskEnd::Later => (task.status, task.run_after) = (TaskStatus::Queued, wall + PAUSE),
            TaskEnd::Again { wait } => {
                task.losses += 1;
                (task.status, task.run_after) = (TaskStatus::Queued, wall + wait);
            }
        }
        let kind = task.kind;
        self.carry_on(run.job, kind, end);
    }

    fn carry_on(&mut self, id: JobId, kind: TaskKind, end: TaskEnd) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else { return };
        if job.status.is_final() {
            return;
        }
        let any = |job: &Job, status| job.tasks.iter().any(|task| task.status == status);
        match end {
            TaskEnd::Succeeded if kind.student().is_some() => {
                if job.tasks.iter().all(|task| task.status == TaskStatus::Succeeded) {
                    job.status = JobStatus::Succeeded;
                }
            }
            TaskEnd::Succeeded => self.enqueue_next(id, kind),
            TaskEnd::Failed => {
                job.status = JobStatus::Failed;
                job.stop();
            }
            TaskEnd::Stopped if job.tasks.iter().all(|task| task.status.is_final()) => job.status = JobStatus::Canceled,
            TaskEnd::Back | TaskEnd::Later | TaskEnd::Again { .. } if !any(job, TaskStatus::Running) => {
                job.status = JobStatus::Queued;
            }
            TaskEnd::Stopped | TaskEnd::Back | TaskEnd::Later | TaskEnd::Again { .. } => {}
        }
    }

    fn enqueue_next(&mut self, id: JobId, kind: TaskKind) {
        let Some(job) = self.job(id) else { return };
        let (generators, students, age) = (job.order.generators, job.order.students, job.created_at);
        let done = job.tasks.iter().all(|task| task.status == TaskStatus::Succeeded);
        let next: Vec<TaskKind> = match kind {
            TaskKind::Inspect if generators > 0 => {
                (0..generators).map(|generator| TaskKind::Extract { generator }).collect()
            }
            _ if done => (0..students).map(|target| TaskKind::Distill { target }).collect(),
            _ => vec![],
        };
        let age = age.min(self.wall);
        for kind in next {
            let task = self.task(kind, age);
            self.job(id).unwrap().tasks.push(task);
        }
    }

    /// Counts as lost what `worker` saw not renewed for a whole lease.
    pub fn reap(&mut self, worker: usize) -> usize {
        let watch = &mut self.watches[worker];
        let since = self.passed - watch.looked;
        let before = std::mem::take(&mut watch.silent);
        watch.looked = self.passed;
        let mut expired = Vec::new();
        for (job, task) in self.jobs.iter().flat_map(|job| job.tasks.iter().map(move |task| (job, task))) {
            if task.status == TaskStatus::Running {
                let run = Run { job: job.id, serial: task.serial, run: task.run };
                let seen = before.get(&(run, task.renewals));
                let silent = seen.map_or(0, |silent| silent + since.min(LOOK_EVERY));
                watch.silent.insert((run, task.renewals), silent);
                if silent >= LEASE {
                    expired.push(run);
                }
            }
        }
        for run in &expired {
            self.finish(*run, End::Lost);
        }
        expired.len()
    }

    /// Takes back what `worker` held.
    pub fn begin_life(&mut self, worker: usize) -> usize {
        let held = |task: &&Task| task.status == TaskStatus::Running && task.worker == worker;
        let runs: Vec<Run> = self
            .jobs
            .iter()
            .flat_map(|job| {
                job.tasks.iter().filter(held).map(|task| Run { job: job.id, serial: task.serial, run: task.run })
            })
            .collect();
        for run in &runs {
            self.finish(*run, End::Interrupted);
        }
        runs.len()
    }

    pub fn cancel(&mut self, id: JobId) {
        let job = self.job(id).unwrap();
        if !job.status.is_final() && !job.stop() {
            job.status = JobStatus::Canceled;
        }
    }

    /// Lets a job go on that has stopped short; false where it has not, or has nothing to go on from.
    pub fn resume(&mut self, id: JobId) -> bool {
        let wall = self.wall;
        let job = self.job(id).unwrap();
        let left = job.tasks.iter().any(|task| task.status == TaskStatus::Succeeded || task.has_checkpoint);
        if !matches!(job.status, JobStatus::Failed | JobStatus::Canceled) || !left {
            return false;
        }
        job.status = JobStatus::Queued;
        job.attempt += 1;
        for task in job.tasks.iter_mut().filter(|task| task.status != TaskStatus::Succeeded) {
            (task.status, task.losses, task.run_after, task.stop) = (TaskStatus::Queued, 0, wall, false);
        }
        true
    }

    /// Starts a finished job again; false where it has not finished.
    pub fn retry(&mut self, id: JobId) -> bool {
        let wall = self.wall;
        let inspect = self.task(TaskKind::Inspect, wall);
        let job = self.job(id).unwrap();
        if !job.status.is_final() {
            return false;
        }
        (job.status, job.tasks) = (JobStatus::Queued, vec![inspect]);
        job.attempt += 1;
        true
    }
}

impl Job {
    /// Ends what waits, and tells what runs. Returns whether anything does.
    fn stop(&mut self) -> bool {
        let mut running = false;
        for task in &mut self.tasks {
            match task.status {
                TaskStatus::Queued => task.status = TaskStatus::Canceled,
                TaskStatus::Running => (task.stop, running) = (true, true),
                _ => {}
            }
        }
        running
    }
}

/// What an end comes to for the task.
#[derive(Clone, Copy, Debug)]
enum TaskEnd {
    Succeeded,
    Failed,
    Stopped,
    Back,
    Later,
    Again { wait: i64 },
}

impl TaskEnd {
    fn of(end: End, losses: u32) -> Self {
        match end {
            End::Succeeded => Self::Succeeded,
            End::Failed => Self::Failed,
            // Nobody asked.
            End::Canceled | End::Interrupted => Self::Back,
            End::Hindered => Self::Later,
            End::Lost if losses + 1 >= MAX_LOSSES => Self::Failed,
            End::Lost => Self::Again { wait: 2000 * 4_i64.pow(losses) },
        }
    }
}
