//! Cleaning up at start: files that no job owns, and uploads that a crash cut off.

use std::{collections::HashSet, fs, io, path::Path};

use super::{ArtifactError, Artifacts};
use crate::domain::ids::JobId;

impl Artifacts {
    /// Deletes the files of jobs that are not `known`, and what was left half-written. Only before anything is uploaded:
    /// an upload's job is not known until it is complete. Returns how many were deleted.
    ///
    /// # Errors
    /// A file or directory cannot be read or deleted.
    pub async fn sweep(&self, known: &[JobId]) -> Result<usize, ArtifactError> {
        let known: HashSet<String> = known.iter().map(ToString::to_string).collect();
        let root = self.root.clone();
        let swept = tokio::task::spawn_blocking(move || sweep_root(&root, &known)).await.map_err(io::Error::other)?;
        Ok(swept?)
    }
}

fn sweep_root(root: &Path, known: &HashSet<String>) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.parse::<JobId>().is_ok()) && entry.file_type()?.is_dir();
        if !ours {
            continue;
        }
        if name.to_str().is_some_and(|name| known.contains(name)) {
            swept += sweep_staged(&entry.path())?;
        } else {
            fs::remove_dir_all(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Deletes what storage calls `<file>#<number>`: the beginnings of uploads. No key of ours has that sign in it. Directories
/// belong to runs, and a worker that is a process of its own may be writing there: it cleans up itself (`tidy`).
fn sweep_staged(directory: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}
