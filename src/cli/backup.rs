//! `kegd backup`: a copy of the database, while the service runs.

use std::path::PathBuf;

use anyhow::Context;

use super::data::Data;
use crate::config::StorageConfig;

/// Copy the database to a file, while the service runs.
///
/// The copy is whole and of one moment. Files of jobs never change once they are kept: copy the folder `artifacts` of the
/// data directory after this. To restore, put the copy as `kegd.db` and that folder into an empty data directory.
/// Where a `kegd.db` is replaced, remove `kegd.db-wal` and `kegd.db-shm` first: they are of the old one.
#[derive(clap::Args, Debug)]
pub struct Backup {
    /// Where the copy goes; there must be no such file yet.
    file: PathBuf,
    #[command(flatten)]
    storage: StorageConfig,
}

impl Backup {
    pub fn run(self) -> anyhow::Result<()> {
        tokio::runtime::Runtime::new()?.block_on(async {
            anyhow::ensure!(!self.file.exists(), "{} is there already; choose another name", self.file.display());
            let data = Data::open_unchanged(&self.storage).await?;
            let cannot = || format!("the copy cannot be written to {}", self.file.display());
            data.store.back_up(&self.file).await.with_context(cannot)?;
            data.store.close().await;
            Ok(())
        })
    }
}
