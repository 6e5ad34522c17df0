//! The database's file: whether it is still the one that was opened.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::StoreError;

/// A file by path and by what it is.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Whether nothing is at `path`, or an empty file.
pub(super) fn is_empty(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(facts) => facts.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

impl DatabaseFile {
    pub(super) fn at(path: &Path) -> Result<Self, StoreError> {
        let facts = std::fs::metadata(path).map_err(sqlx::Error::Io)?;
        Ok(Self { path: path.to_owned(), device: facts.dev(), inode: facts.ino() })
    }

    /// # Errors
    /// `Gone`, where another file, or none, lies at the path.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(facts) if (facts.dev(), facts.ino()) == (self.device, self.inode) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(sqlx::Error::Io(error).into()),
            Ok(_) | Err(_) => Err(StoreError::Gone(self.path.clone())),
        }
    }
}
