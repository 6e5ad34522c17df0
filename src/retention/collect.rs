//! The collector: it carries a plan out, at the service's start, from time to time, and when an upload needs the room.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Expired, Policy, RetentionError, Usage, What, bury, plan::plan};
use crate::{artifacts::Artifacts, store::Store};

/// What a collection deleted.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    pub jobs: u64,
    /// Jobs that kept everything but their uploads.
    pub uploads: u64,
    pub bytes: u64,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collector(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    artifacts: Artifacts,
    policy: Policy,
    temporary: Vec<PathBuf>,
    /// One collection at a time in this process; two would only get into each other's way.
    turn: Mutex<()>,
    /// Bytes of uploads that are under way.
    arriving: Arc<AtomicU64>,
}

impl Collector {
    /// `temporary` are directories whose files no row names: of runs, of requests.
    pub fn new(store: Store, artifacts: Artifacts, policy: Policy, temporary: Vec<PathBuf>) -> Self {
        let (turn, arriving) = (Mutex::default(), Arc::default());
        Self(Arc::new(Parts { store, artifacts, policy, temporary, turn, arriving }))
    }

    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn arriving(&self) -> &Arc<AtomicU64> {
        &self.0.arriving
    }

    /// # Errors
    /// The database fails, or a directory cannot be read.
    pub async fn usage(&self) -> Result<Usage, RetentionError> {
        Usage::measure(&self.0.store, self.0.temporary.clone()).await
    }

    /// What would go now. Changes nothing.
    ///
    /// # Errors
    /// The database fails, or a directory cannot be read.
    pub async fn plan(&self) -> Result<Vec<Expired>, RetentionError> {
        if self.policy().keeps_everything() {
            return Ok(Vec::new());
        }
        let used = if self.policy().storage.is_some() { self.usage().await?.total() } else { 0 };
        let finished = self.0.store.finished_jobs().await?;
        let now = Timestamp::from_millisecond(self.0.store.clock().now()).unwrap_or(Timestamp::MAX);
        Ok(plan(self.policy(), now, used, &finished))
    }

    /// Deletes what has expired, and the files that an earlier collection left.
    ///
    /// # Errors
    /// The database fails, or a directory cannot be read. What could be deleted is: one job that cannot go keeps no other.
    pub async fn collect(&self) -> Result<Collected, RetentionError> {
        let _turn = self.0.turn.lock().await;
        self.bury().await?;
        self.0.store.forget_keys().await?;
        let (mut collected, mut failed) = (Collected::default(), None);
        for expired in self.plan().await? {
            if let Err(error) = self.expire(&expired, &mut collected).await {
                tracing::error!(job = %expired.job.id, %error, "an expired job cannot be deleted");
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.0.store.note_collection().await?;
                Ok(collected)
            }
        }
    }

    async fn expire(&self, expired: &Expired, collected: &mut Collected) -> Result<(), RetentionError> {
        let Expired { job, what, reason } = expired;
        let bytes = match what {
            What::Job => self.0.store.expire_job(job, *reason).await?,
            What::Uploads => self.0.store.expire_uploads(job, *reason).await?,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        tracing::info!(job = %job.id, ?what, reason = reason.name(), bytes, "expired");
        match what {
            What::Job => collected.jobs += 1,
            What::Uploads => collected.uploads += 1,
        }
        collected.bytes += bytes;
        self.bury().await
    }

    /// Deletes the files that no row names any more.
    ///
    /// # Errors
    /// The database fails.
    pub async fn bury(&self) -> Result<(), RetentionError> {
        bury(&self.0.store, &self.0.artifacts).await?;
        Ok(())
    }
}

/// Collects at once and then every `interval`, until `stop`.
pub async fn run(collector: Collector, interval: Duration, stop: CancellationToken) {
    let mut turn = tokio::time::interval(interval);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(turn.tick()).await.is_some() {
        match stop.run_until_cancelled(collector.collect()).await {
            Some(Ok(Collected { jobs: 0, uploads: 0, .. })) | None => {}
            Some(Ok(Collected { jobs, uploads, bytes })) => tracing::info!(jobs, uploads, bytes, "collected"),
            Some(Err(error)) => tracing::error!(%error, "the collection failed; it is tried again"),
        }
    }
}
