//! What lies under the data directory.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    artifacts::{self, Artifacts},
    clock::Clock,
    config::{RetentionConfig, StorageConfig},
    retention::{self, Collector, Policy},
    store::{Absent, Schema, Store, StoreError},
};

const DATABASE: &str = "kegd.db";
const ARTIFACTS: &str = "artifacts";
const SCRATCH: &str = "scratch";

/// How often a process sees whether its database is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Data {
    pub directory: PathBuf,
    pub store: Store,
    pub artifacts: Artifacts,
}

fn exists(config: &StorageConfig) -> anyhow::Result<()> {
    let directory = &config.data_dir;
    anyhow::ensure!(
        directory.join(DATABASE).is_file(),
        "there is no {DATABASE} in {}; --data-dir names the data directory of `kegd serve`",
        directory.display()
    );
    Ok(())
}

/// The directory, made where there is none. Absolute: children have working directories of their own.
fn made(config: &StorageConfig) -> anyhow::Result<PathBuf> {
    let cannot = || cannot_be_used(&config.data_dir);
    std::fs::create_dir_all(&config.data_dir).with_context(cannot)?;
    config.data_dir.canonicalize().with_context(cannot)
}

fn cannot_be_used(directory: &Path) -> String {
    format!("--data-dir {} cannot be used", directory.display())
}

/// Makes this process the one that takes uploads in `directory`, for as long as what is returned lives.
///
/// # Errors
/// Another one is, or the directory cannot be used.
fn own(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("serve.lock");
    let lock = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another kegd serve uses {}; stop it first, or give this one a --data-dir of its own",
                directory.display()
            )
        }
        Err(TryLockError::Error(cause)) => Err(cause).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

impl Data {
    /// For the service: owns the directory until the file that is returned is closed, and brings the database up to date.
    ///
    /// # Errors
    /// The directory cannot be made or used, is another service's, the database is not ours, or there are files of jobs
    /// without one.
    pub async fn owned(config: &StorageConfig) -> anyhow::Result<(Self, File)> {
        let directory = made(config)?;
        // First: what follows would change the database under another service, and clean up the files of its uploads.
        let lock = own(&directory)?;
        Ok((Self::within(directory, Schema::UpToDate).await?, lock))
    }

    /// For who works beside a service.
    ///
    /// # Errors
    /// The directory cannot be made or used, the database is not ours or not of this version, or there are files of jobs
    /// without one.
    pub async fn open(config: &StorageConfig) -> anyhow::Result<Self> {
        Self::within(made(config)?, Schema::Current).await
    }

    async fn within(directory: PathBuf, schema: Schema) -> anyhow::Result<Self> {
        let cannot = || cannot_be_used(&directory);
        let (database, files) = (directory.join(DATABASE), directory.join(ARTIFACTS));
        // A service deletes the files of jobs that its database does not know: with a new one, all of them.
        let kept = artifacts::holds_jobs(&files).with_context(cannot)?;
        let absent = if kept { Absent::Refused } else { Absent::Made };
        let store = Store::open_with(&database, Clock::System, schema, absent).await.with_context(cannot)?;
        let artifacts = Artifacts::open(files).with_context(cannot)?;
        Ok(Self { directory, store, artifacts })
    }

    /// Returns why, once the database is no longer where it was: from then on nothing that is written would last.
    pub async fn gone(&self) -> anyhow::Error {
        loop {
            if let Err(error @ StoreError::Gone(_)) = self.store.check_file() {
                let error = anyhow::Error::from(error);
                return error.context("the data directory is gone; what it kept is lost unless it was moved");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// For a command that only makes sense where a service has kept something already.
    ///
    /// # Errors
    /// As [`Data::open`], and where nothing was kept there.
    pub async fn open_existing(config: &StorageConfig) -> anyhow::Result<Self> {
        exists(config)?;
        Self::open(config).await
    }

    /// As [`Data::open_existing`], for who leaves the database as it is, whichever version wrote it.
    ///
    /// # Errors
    /// The directory cannot be used, or nothing was kept there.
    pub async fn open_unchanged(config: &StorageConfig) -> anyhow::Result<Self> {
        exists(config)?;
        Self::within(made(config)?, Schema::AsItIs).await
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
