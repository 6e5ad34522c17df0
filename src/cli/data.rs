//! What lies under the data directory.

use std::path::PathBuf;

use anyhow::Context;

use crate::{artifacts::Artifacts, clock::Clock, config::StorageConfig, store::Store};

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
        let store = Store::open(&directory.join("kegd.db"), Clock::System).await.with_context(cannot)?;
        let artifacts = Artifacts::open(directory.join("artifacts")).with_context(cannot)?;
        Ok(Self { directory, store, artifacts })
    }

    /// Removes what a server that was killed left half-way; returns the folder for files of single requests. Only for the
    /// one process that takes uploads, and before it takes any.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub async fn clean(&self) -> anyhow::Result<PathBuf> {
        let swept = self.artifacts.sweep(&self.store.job_ids().await?).await?;
        let scratch = self.directory.join("scratch");
        let emptied = std::fs::remove_dir_all(&scratch).is_ok();
        std::fs::create_dir_all(&scratch)?;
        tracing::debug!(swept, emptied, "cleaned up");
        Ok(scratch)
    }
}
