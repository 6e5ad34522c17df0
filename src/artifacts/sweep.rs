//! Cleaning up at start: files that no job owns, and what a crash cut off.

use std::{collections::HashSet, fs, io, path::Path};

use super::{ArtifactError, Artifacts, TRASH};
use crate::domain::ids::JobId;

/// Whether folders of jobs lie under `root`, which need not be there.
///
/// # Errors
/// It is there and cannot be read.
pub fn holds_jobs(root: &Path) -> io::Result<bool> {
    for entry in read_if_there(root)? {
        if is_job(&entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file that lies in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: String,
    /// The run that made it, as `<task>-<run>`; none for an upload.
    pub run: Option<String>,
}

impl Artifacts {
    /// Whether there are no files of any job: where one ought to have some, the folder is away, as that of a disk that is not
    /// mounted.
    pub fn is_away(&self) -> bool {
        !holds_jobs(&self.root).unwrap_or(false)
    }

    /// All files of all jobs, also those that are still being written.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub async fn found(&self) -> Result<Vec<Found>, ArtifactError> {
        let root = self.root.clone();
        Ok(tokio::task::spawn_blocking(move || find(&root)).await.map_err(io::Error::other)??)
    }

    /// Deletes a file as it was found: storage itself does not know the beginning of one by its name.
    ///
    /// # Errors
    /// It is there and cannot be deleted.
    pub async fn delete_found(&self, found: &Found) -> Result<(), ArtifactError> {
        let path = self.root.join(&found.key);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if let (Some(directory), Some(_)) = (path.parent(), &found.run) {
            // It stays where it holds anything else.
            let _ = tokio::fs::remove_dir(directory).await;
        }
        Ok(())
    }

    /// Deletes the files of jobs that are not `known`, uploads that were left half-written, and what was being deleted.
    /// Only before anything is uploaded: an upload's job is not known until it is complete. Returns how many were deleted.
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
    // Another process may be emptying it just now.
    let _ = fs::remove_dir_all(root.join(TRASH));
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !is_job(&entry)? {
            continue;
        }
        if entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
            swept += sweep_staged(&entry.path())?;
        } else {
            fs::remove_dir_all(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn is_job(entry: &fs::DirEntry) -> io::Result<bool> {
    let named = entry.file_name().to_str().is_some_and(|name| name.parse::<JobId>().is_ok());
    Ok(named && entry.file_type()?.is_dir())
}

/// Deletes what storage calls `<file>#<number>`: the beginnings of uploads. No key of ours has that sign in it.
fn sweep_staged(directory: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // What runs write is judged by their rows: a worker of its own may be at it.
        if entry.file_type()?.is_file() && entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn find(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for job in fs::read_dir(root)? {
        let job = job?;
        if !is_job(&job)? {
            continue;
        }
        let name = job.file_name().to_string_lossy().into_owned();
        for entry in read_if_there(&job.path())? {
            let inner = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type()?.is_dir() {
                found.push(Found { key: format!("{name}/{inner}"), run: None });
                continue;
            }
            for file in read_if_there(&entry.path())? {
                let key = format!("{name}/{inner}/{}", file.file_name().to_string_lossy());
                found.push(Found { key, run: Some(inner.clone()) });
            }
        }
    }
    Ok(found)
}

/// A worker that deletes its last file in a directory takes the directory along.
fn read_if_there(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}
