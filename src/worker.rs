//! The worker: it offers slots, and supervises one child process in each.
//!
//! It never sees libtorch. A child that crashes, hangs or lies costs one run; what it leaves is a log and a retry.

mod attempt;
mod channel;
mod checkpoints;
mod devices;
mod directory;
mod files;
mod ladder;
mod lease;
mod log;
mod outcome;
mod process;
mod quota;
mod recorded;
mod run;
mod slot;
mod watch;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// For the fuzz targets.
#[cfg(fuzzing)]
pub use self::channel::Events;
use self::slot::SlotPlan;
pub use self::{devices::slots, ladder::Grace};
use crate::{
    artifacts::Artifacts,
    queue::{Queue, QueueError},
    sandbox::{Spawner, Terms},
};

/// What a worker offers, and how patient it is.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Stays the same from one life to the next: by it a worker finds what it held when it died.
    pub name: String,
    /// The device of each slot: `cpu`, `cuda:0`. See [`slots`].
    pub slots: Vec<String>,
    /// Where runs have their directories. Everything in it is the worker's.
    pub runs: PathBuf,
    /// The program that plays the child, called with `run-task --dir DIR`; normally the current executable.
    pub program: PathBuf,
    /// How often a slot with nothing to do looks by itself: for work that another process submitted.
    pub poll: Duration,
    /// How often what a child said is written down, and the longest that a phase of its waits to be seen.
    pub write_every: Duration,
    /// How long each way to end a child is given before the next one, where its work is no longer wanted.
    pub grace: Grace,
    /// How children are isolated, and what each may use.
    pub terms: Terms,
    /// How long a run may stand still before it is taken to hang.
    pub stall: Duration,
    /// The same at a shutdown, where a child is to write a checkpoint first.
    pub drain: Grace,
    /// Least time between two checkpoints of a run; zero: one at every boundary of the training.
    pub checkpoint_every: Duration,
}

/// What is lost at most when a machine fails, as long as an epoch is shorter.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

impl WorkerConfig {
    /// A worker of the current executable with one CPU slot, under `data_dir`.
    ///
    /// # Errors
    /// The current executable cannot be found.
    pub fn new(data_dir: &Path) -> io::Result<Self> {
        Ok(Self {
            name: "local".to_owned(),
            slots: vec!["cpu".to_owned()],
            runs: data_dir.join("runs"),
            program: std::env::current_exe()?,
            poll: Duration::from_secs(1),
            write_every: Duration::from_secs(1),
            grace: Grace::default(),
            terms: Terms::default(),
            stall: Duration::from_secs(600),
            drain: Grace::default(),
            checkpoint_every: CHECKPOINT_EVERY,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("another worker works in {}; stop it first, or give this one its own data directory", .0.display())]
    Taken(PathBuf),
    #[error("the directory of runs, {}: {cause}", path.display())]
    Directory { path: PathBuf, cause: io::Error },
    #[error("a worker needs at least one slot")]
    NoSlots,
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// What all slots share.
#[derive(Debug)]
struct Shop {
    config: WorkerConfig,
    queue: Queue,
    artifacts: Artifacts,
    spawner: Spawner,
    shutdown: CancellationToken,
}

/// Works until `shutdown`: then running children write a checkpoint and exit, and their tasks are given back as queued.
///
/// # Errors
/// The worker cannot begin: another one works in the same directory, or the directory or the database cannot be used.
pub async fn run(
    config: WorkerConfig,
    queue: Queue,
    artifacts: Artifacts,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    if config.slots.is_empty() {
        return Err(WorkerError::NoSlots);
    }
    let _lock = take_directory(&config.runs).await?;
    let given_back = queue.begin_life(&config.name, &config.slots).await?;
    tracing::info!(worker = config.name, slots = ?config.slots, given_back, "worker begins");
    let plans = SlotPlan::share(&config.slots);
    let shop = Arc::new(Shop { config, queue, artifacts, spawner: Spawner::start(), shutdown });
    let mut slots = JoinSet::new();
    for plan in plans {
        slots.spawn(slot::work(Arc::clone(&shop), plan));
    }
    let reaper = tokio::spawn(reap(shop.queue.clone(), Some(shop.config.name.clone())));
    while let Some(ended) = slots.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a slot ended early");
        }
    }
    reaper.abort();
    tracing::info!(worker = shop.config.name, "worker ends");
    Ok(())
}

/// How long a worker waits for the lock of an earlier life to go. A process that was just forked holds what its parent
/// had open until it becomes another program, so a lock can outlive the worker that took it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes the directory of runs ours, and empties it: nothing of an earlier life is of use.
async fn take_directory(runs: &Path) -> Result<File, WorkerError> {
    let trouble = |cause| WorkerError::Directory { path: runs.to_owned(), cause };
    std::fs::create_dir_all(runs).map_err(trouble)?;
    let lock = File::create(runs.join(".lock")).map_err(trouble)?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => sleep(PATIENCE / 100).await,
            Err(TryLockError::WouldBlock) => return Err(WorkerError::Taken(runs.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(trouble(cause)),
        }
    }
    directory::clear(runs).map_err(trouble)?;
    Ok(lock)
}

/// Looks for runs whose lease ran out, a few times within each lease, and says that `worker` is there. Never returns.
///
/// Without a worker it is for a service whose workers are elsewhere, where nobody else would see that the last one is gone.
pub async fn reap(queue: Queue, worker: Option<String>) {
    let mut turn = tokio::time::interval(queue.config().look_every());
    loop {
        turn.tick().await;
        match queue.reap(worker.as_deref()).await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(lost, "runs lost their lease"),
            Err(error) => tracing::error!(%error, "cannot look for lost runs"),
        }
    }
}
