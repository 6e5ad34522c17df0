//! Artifacts: a job's immutable files, with their hashes. The only object storage of the house; local files today.
//!
//! Layout under the root: `<job>/<name>` for uploads, `<job>/<task>-<run>/<name>` for what a run made. A run writes under
//! a key of its own, so a run that lost its lease cannot replace a file of the run after it. An upload lies under an id of
//! its own until its job is made.

mod adopt;
mod error;
mod reuse;
mod room;
mod sweep;
mod tidy;
mod upload;

use std::{ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

pub use self::{
    adopt::Claimed,
    error::{AdoptError, ArtifactError, PutError},
    room::free,
    sweep::{Found, holds_jobs},
};
pub use crate::domain::artifact::hexadecimal;
use crate::domain::{
    artifact::{Artifact, FileName},
    ids::JobId,
};

/// The directory of what is being deleted; no job is called so.
const TRASH: &str = ".trash";

/// The kept files of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifacts {
    storage: Arc<LocalFileSystem>,
    root: PathBuf,
}

impl Artifacts {
    /// Keeps files under `root`, which is made where there is none.
    ///
    /// # Errors
    /// The directory cannot be made or used.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let root = root.into();
        std::fs::create_dir_all(&root)?;
        // Synced, so that no row can name a file that a power cut emptied.
        let storage = LocalFileSystem::new_with_prefix(&root)?.with_automatic_cleanup(true).with_fsync(true);
        Ok(Self { storage: Arc::new(storage), root })
    }

    /// The bytes of an artifact, or of a range of it.
    ///
    /// # Errors
    /// The file is gone or cannot be read, or the range lies outside it.
    pub async fn read(
        &self,
        artifact: &Artifact,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, ArtifactError>>, ArtifactError> {
        // An empty range cannot be asked for, and the whole of an empty file is one.
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(futures::stream::empty().boxed());
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.storage.get_opts(&Path::parse(&artifact.key)?, options).await?;
        Ok(found.into_stream().map_err(ArtifactError::from).boxed())
    }

    /// The whole of a small artifact.
    ///
    /// # Errors
    /// As [`Artifacts::read`], and `TooLarge` above `most` bytes.
    pub async fn read_whole(&self, artifact: &Artifact, most: u64) -> Result<Bytes, ArtifactError> {
        if artifact.bytes > most {
            return Err(ArtifactError::TooLarge { name: artifact.name.clone(), bytes: artifact.bytes, most });
        }
        Ok(self.storage.get(&Path::parse(&artifact.key)?).await?.bytes().await?)
    }

    /// Writes a copy of an artifact to `file`, and checks that it is what was kept. A copy, not a link: whoever gets it
    /// may do with it what he likes.
    ///
    /// # Errors
    /// As [`Artifacts::read`]; the copy cannot be written; or the bytes are no longer those of the artifact's hash.
    pub async fn copy_to(&self, artifact: &Artifact, file: &std::path::Path) -> Result<(), ArtifactError> {
        let mut bytes = self.read(artifact, None).await?;
        let mut copy = tokio::fs::File::create_new(file).await?;
        let mut hash = Sha256::new();
        while let Some(chunk) = bytes.try_next().await? {
            hash.update(&chunk);
            copy.write_all(&chunk).await?;
        }
        copy.flush().await?;
        if hexadecimal(&hash.finalize()) == artifact.sha256 {
            return Ok(());
        }
        Err(ArtifactError::Damaged { name: artifact.name.clone() })
    }

    /// Deletes one file, if it is there.
    ///
    /// # Errors
    /// It is there and cannot be deleted.
    pub async fn delete(&self, artifact: &Artifact) -> Result<(), ArtifactError> {
        self.delete_key(&artifact.key).await
    }

    /// The same, for a file of which nothing is known but its place. Deleting twice is no error.
    ///
    /// # Errors
    /// As [`Artifacts::delete`].
    pub async fn delete_key(&self, key: &str) -> Result<(), ArtifactError> {
        match self.storage.delete(&Path::parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes all files of a job, whether rows name them or not. Deleting twice is no error.
    ///
    /// # Errors
    /// One of them cannot be deleted.
    pub async fn delete_job(&self, job: JobId) -> Result<(), ArtifactError> {
        let (directory, trash) = (self.root.join(job.to_string()), self.root.join(TRASH));
        tokio::fs::create_dir_all(&trash).await?;
        // Out of the way first: a run that is just writing there could put a file into a directory that is being emptied.
        let aside = trash.join(uuid::Uuid::now_v7().to_string());
        match tokio::fs::rename(&directory, &aside).await {
            Ok(()) => Ok(tokio::fs::remove_dir_all(&aside).await?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A name as the last part of a key. Storage escapes what it does not like, which may make a name too long for a file
/// system: a name with anything unusual is kept under its hash instead. The row has the name itself.
fn key_part(name: &FileName) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.as_str().chars().all(usual) {
        return name.to_string();
    }
    hexadecimal(&Sha256::digest(name.as_str()))
}
