//! What can go wrong with kept files.

use std::io;

use crate::domain::{
    artifact::FileName,
    problem::{ErrorCode, Problem},
};

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("artifact storage: {0}")]
    Storage(#[from] object_store::Error),
    #[error("artifact storage: {0}")]
    Key(#[from] object_store::path::Error),
    #[error("artifact storage: {0}")]
    Io(#[from] io::Error),
    #[error("`{name}` is no longer what was kept: its hash has changed")]
    Damaged { name: FileName },
    #[error("`{name}` has {bytes} bytes, more than the {most} that are read at once")]
    TooLarge { name: FileName, bytes: u64, most: u64 },
}

impl ArtifactError {
    fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let full =
                error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull);
            if full {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        if error.is_disk_full() {
            return Self::new(ErrorCode::DiskFull, "the disk that holds the files is full")
                .hint("Delete jobs that are no longer needed, or free some space.");
        }
        // The cause may name paths: it belongs in the log, not in an answer.
        Self::new(ErrorCode::Internal, "a file could not be kept or read; the server's log has the cause")
    }
}

/// Why a stream was not kept. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PutError<E> {
    /// The stream failed: a limit, a broken connection.
    #[error("{0}")]
    Source(E),
    #[error(transparent)]
    Storage(#[from] ArtifactError),
}

/// Why a run's file was not kept.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The run said something about its file that is not so.
    #[error("{0}")]
    Untrue(String),
    #[error(transparent)]
    Storage(#[from] ArtifactError),
}
