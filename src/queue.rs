//! The queue: claim, renew, finish, reap. The rules; the statements are the store's.
//!
//! A job is a chain of tasks: `inspect`, then an `extract` for each generator, then `distill`. Each success enqueues what
//! comes next in the transaction that records it, so a crash between two tasks cannot leave a job that nothing continues.
//! Nothing here holds a transaction while a task runs.

mod claim;
mod finish;
mod plan;
mod progress;
mod record;
mod watch;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use self::watch::Watch;
pub use self::{
    claim::{Claim, Inputs},
    finish::{Ending, Product, Settled},
    record::{Beat, Hold},
};
use crate::{
    domain::artifact::FileName,
    store::{Store, StoreError},
};

/// When a silent run is taken to be lost, and what follows.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// How long a claim is good for without a sign of life.
    pub lease: Duration,
    /// Wait before the second attempt; four times as long before each further one.
    pub backoff: Duration,
    /// Attempts lost in a row that end the job as failed.
    pub max_losses: u32,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { lease: Duration::from_secs(60), backoff: Duration::from_secs(2), max_losses: 3 }
    }
}

impl QueueConfig {
    /// How often leases are to be looked at.
    pub fn look_every(&self) -> Duration {
        self.lease / 4
    }

    /// The longest wait before another attempt.
    const LONGEST_WAIT: Duration = Duration::from_secs(300);

    /// The wait after `losses` attempts lost in a row.
    fn wait_after(&self, losses: u32) -> Duration {
        self.backoff.saturating_mul(4_u32.saturating_pow(losses.saturating_sub(1))).min(Self::LONGEST_WAIT)
    }

    /// The wait after trouble of the service's own. That is not counted, so the wait cannot grow: it is as long from the
    /// first time on as after all losses that are borne, 32 s.
    fn pause(&self) -> Duration {
        self.wait_after(self.max_losses)
    }
}

#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    config: QueueConfig,
    watch: Arc<Mutex<Watch>>,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Another run holds the task, or the job is gone: kill the child, and write nothing more.
    #[error("the lease is lost")]
    LeaseLost,
    /// The file's name belongs to an upload or to another task of the job.
    #[error("the name `{0}` is taken")]
    NameTaken(FileName),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Queue {
    pub fn new(store: Store, config: QueueConfig) -> Self {
        Self { store, config, watch: Arc::default() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn config(&self) -> &QueueConfig {
        &self.config
    }
}
