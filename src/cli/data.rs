//! What lies under the data directory.

use std::path::PathBuf;

use anyhow::Context;

use crate::{
    artifacts::Artifacts,
    clock::Clock,
    config::{RetentionConfig, StorageConfig},
    retention::{self, Collector, Policy},
    store::Store,
};

const DATABASE: &str = "kegd.db";
const SCRATCH: &str = "scratch";

pub struct Data {
    pub directory: PathBuf,
    pub store: Store,
    pub artifacts: Artifacts,
}

impl Data {
    /// # Errors
    /// The directory cannot be made or used, or the database is not ours.
    pub async fn open(config: &StorageConfig) -> anyhow::Result<Self> {
        let cannot = || format!("--data-dir {} cannot be used", config.data_dir.display());
        std::fs::create_dir_all(&config.data_dir).with_context(cannot)?;
        // Children have working directories of their own.
        let directory = config.data_dir.canonicalize().with_context(cannot)?;
        let store = Store::open(&directory.join(DATABASE), Clock::System).await.with_context(cannot)?;
        let artifacts = Artifacts::open(directory.join("artifacts")).with_context(cannot)?;
        Ok(Self { directory, store, artifacts })
    }

    /// For a command that only makes sense where a service has kept something already.
    ///
    /// # Errors
    /// As [`Data::open`], and where nothing was kept there.
    pub async fn open_existing(config: &StorageConfig) -> anyhow::Result<Self> {
        let directory = &config.data_dir;
        anyhow::ensure!(
            directory.join(DATABASE).is_file(),
            "there is no {DATABASE} in {}; --data-dir names the data directory of `kegd serve`",
            directory.display()
        );
        Self::open(config).await
    }

    /// The collector of this directory.
    pub fn collector(&self, config: &RetentionConfig) -> Collector {
        let policy = Policy {
            jobs: config.retain_jobs.map(|span| span.0),
            uploads: config.retain_uploads.map(|span| span.0),
            storage: config.max_storage.map(|size| size.0),
        };
        let temporary = ["runs", SCRATCH].map(|name| self.directory.join(name)).to_vec();
        Collector::new(self.store.clone(), self.artifacts.clone(), policy, temporary)
    }

    /// Removes what a server that was killed left half-way; returns the folder for files of single requests. Only for the
    /// one process that takes uploads, and before it takes any.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub async fn clean(&self) -> anyhow::Result<PathBuf> {
        let swept = retention::sweep(&self.store, &self.artifacts).await?;
        let scratch = self.directory.join(SCRATCH);
        let emptied = std::fs::remove_dir_all(&scratch).is_ok();
        std::fs::create_dir_all(&scratch)?;
        tracing::debug!(swept, emptied, "cleaned up");
        Ok(scratch)
    }
}
