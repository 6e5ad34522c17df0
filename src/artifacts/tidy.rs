//! Cleaning up after a run: files that it made, and that no row names any more.

use std::{collections::HashSet, fs, io, path::Path};

use super::{ArtifactError, Artifacts};
use crate::domain::task::Fence;

impl Artifacts {
    /// Deletes what `run`, which has ended, and the runs of its task before it left, but for the keys in `named`: files that
    /// a later run made again, checkpoints that a later one replaced, and what a worker that was killed had not recorded yet.
    /// Returns how many files were deleted.
    ///
    /// # Errors
    /// A file or directory cannot be read or deleted.
    pub async fn tidy(&self, run: Fence, named: HashSet<String>) -> Result<usize, ArtifactError> {
        let directory = self.root.join(run.job.to_string());
        let tidied = tokio::task::spawn_blocking(move || tidy_job(&directory, run, &named));
        Ok(tidied.await.map_err(io::Error::other)??)
    }
}

fn tidy_job(directory: &Path, run: Fence, named: &HashSet<String>) -> io::Result<usize> {
    let mut deleted = 0;
    let entries = match fs::read_dir(directory) {
        // The job is deleted, or has no files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mine = format!("{}-", run.task);
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix(&mine).and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| number <= run.run) {
            deleted += tidy_run(&entry.path(), &format!("{}/{name}", run.job), named)?;
        }
    }
    Ok(deleted)
}

fn tidy_run(directory: &Path, key: &str, named: &HashSet<String>) -> io::Result<usize> {
    let mut deleted = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !named.contains(&format!("{key}/{}", entry.file_name().to_string_lossy())) {
            fs::remove_file(entry.path())?;
            deleted += 1;
        }
    }
    // Only an empty directory goes.
    let _ = fs::remove_dir(directory);
    Ok(deleted)
}
