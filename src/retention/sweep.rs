//! Cleaning up at start, after a crash: files without a row.

use super::{RetentionError, bury};
use crate::{artifacts::Artifacts, store::Store};

/// Deletes files of jobs that are gone, beginnings of files, files of ended runs that have no row, and what is listed as
/// doomed. Only before anything is uploaded: an upload has no rows until it is complete. Workers may work meanwhile.
/// Returns how many files or directories went.
///
/// # Errors
/// The database fails, or a file or directory cannot be read or deleted.
pub async fn sweep(store: &Store, artifacts: &Artifacts) -> Result<usize, RetentionError> {
    let mut swept = artifacts.sweep(&store.job_ids().await?).await?;
    // In this order: a run that is not under way when we ask has all the rows that it will ever have, and a file that is
    // found was there before.
    let found = artifacts.found().await?;
    let running = store.runs_under_way().await?;
    let named = store.named_files().await?;
    for file in found {
        let may_get_a_row = file.run.as_ref().is_some_and(|run| running.contains(run));
        if !named.contains(&file.key) && !may_get_a_row {
            tracing::info!(key = file.key, "a file without a row is deleted");
            artifacts.delete_found(&file).await?;
            swept += 1;
        }
    }
    Ok(swept + bury(store, artifacts).await?)
}
