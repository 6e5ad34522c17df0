//! Keeping a stream of bytes: hashed and counted while it is written, visible only when it is whole.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutMultipartOptions, WriteMultipart, path::Path};
use sha2::{Digest, Sha256};

use super::{ArtifactError, Artifacts, PutError, hexadecimal, key_part};
use crate::domain::{
    artifact::{Artifact, FileName, Role},
    ids::JobId,
};

/// Parts on their way to the disk at once: what bounds the memory of an upload.
const PARTS_IN_FLIGHT: usize = 2;
const PART: usize = 1 << 20;

impl Artifacts {
    /// Keeps an upload of a job. The job need not exist yet; if it never will, [`Artifacts::delete_job`] cleans up.
    ///
    /// # Errors
    /// The stream fails, or storage does. Nothing is left behind then, nor where the future is dropped half-way.
    pub async fn put<E>(
        &self,
        job: JobId,
        name: FileName,
        role: Role,
        stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Artifact, PutError<E>> {
        let key = Path::from_iter([job.to_string(), key_part(&name)]);
        let (bytes, sha256) = self.write(&key, stream).await?;
        Ok(Artifact { name, role, bytes, sha256, key: key.to_string() })
    }

    /// Makes the files of `draft` those of `job`, which has none: `files` are all of them, and say afterwards where they lie.
    ///
    /// # Errors
    /// Storage fails; then they lie under either.
    pub async fn hand_over(&self, draft: JobId, job: JobId, files: Vec<&mut Artifact>) -> Result<(), ArtifactError> {
        tokio::fs::rename(self.root.join(draft.to_string()), self.root.join(job.to_string())).await?;
        // The new name is on the disk before any row has it.
        tokio::fs::File::open(&self.root).await?.sync_all().await?;
        for file in files {
            file.key = Path::from_iter([job.to_string(), key_part(&file.name)]).to_string();
        }
        Ok(())
    }

    /// Writes a stream to `key`, and returns its length and hash.
    pub(super) async fn write<E>(
        &self,
        key: &Path,
        mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(u64, String), PutError<E>> {
        let storage = |error: object_store::Error| PutError::Storage(ArtifactError::from(error));
        let upload = self.storage.put_multipart_opts(key, PutMultipartOptions::default()).await.map_err(storage)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
        let (mut bytes, mut hash) = (0, Sha256::new());
        loop {
            let chunk = match stream.try_next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    // The stream's own error is the cause to report; what is left of the file goes with the writer.
                    let _ = writer.abort().await;
                    return Err(PutError::Source(error));
                }
            };
            bytes += chunk.len() as u64;
            hash.update(&chunk);
            writer.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(storage)?;
            writer.put(chunk);
        }
        writer.finish().await.map_err(storage)?;
        Ok((bytes, hexadecimal(&hash.finalize())))
    }

    pub(super) async fn remove(&self, key: &Path) -> Result<(), ArtifactError> {
        Ok(self.storage.delete(key).await?)
    }
}
