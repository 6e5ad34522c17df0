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
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    /// What the file system said, if it comes from there.
    fn io_kind(&self) -> Option<io::ErrorKind> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Some(error.kind());
            }
            cause = error.source();
        }
        None
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.io_kind() {
            Some(StorageFull | QuotaExceeded) => {
                Self::new(ErrorCode::DiskFull, "the disk that holds the files is full")
                    .hint("Delete jobs that are no longer needed, or free some space.")
            }
            Some(PermissionDenied | ReadOnlyFilesystem) => {
                Self::new(ErrorCode::Unavailable, "The server may not write where it keeps its files.")
                    .hint("Whoever runs the server has to give it back the right to; its log names the place.")
            }
            // The cause may name paths: it belongs in the log, not in an answer.
            _ => Self::new(ErrorCode::Internal, "a file could not be kept or read; the server's log has the cause"),
        }
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
