//! How much is kept under the data directory.

use std::{fs, io, path::Path, path::PathBuf};

use super::RetentionError;
use crate::store::{Store, StoredBytes};

/// Bytes under the data directory, by what they are.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// What rows name, and the database.
    pub stored: StoredBytes,
    /// Directories of runs and of requests that are under way.
    pub temporary: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.stored.total() + self.temporary
    }

    /// Measures: kept files by their rows, so that it stays quick with many of them, and `temporary` directories by a walk.
    ///
    /// # Errors
    /// The database fails, or a directory cannot be read.
    pub async fn measure(store: &Store, temporary: Vec<PathBuf>) -> Result<Self, RetentionError> {
        let stored = store.stored_bytes().await?;
        let walk = move || temporary.iter().map(|directory| size(directory)).sum::<io::Result<u64>>();
        let temporary = tokio::task::spawn_blocking(walk).await.map_err(io::Error::other)??;
        Ok(Self { stored, temporary })
    }
}

/// Bytes of the files below `directory`; 0 where it is not there. What goes while we look counts as nothing.
fn size(directory: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            // A link is itself: what a run links to is not counted twice.
            Ok(facts) if facts.is_dir() => size(&entry.path())?,
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}
