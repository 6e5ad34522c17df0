//! Keeping a file that a run made. What the run says about it is a claim, checked while the bytes are copied: the run is
//! still alive, and could change the file after a check that came first.

use std::{io, os::unix::fs::OpenOptionsExt, path::Path as FilePath};

use bytes::Bytes;
use object_store::path::Path;
use tokio_util::io::ReaderStream;

use super::{AdoptError, ArtifactError, Artifacts, PutError, key_part};
use crate::domain::{
    artifact::{Artifact, FileName, Role},
    task::Fence,
};

/// What a run says about a file in its directory.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub name: FileName,
    pub role: Role,
    pub bytes: u64,
    pub sha256: String,
}

impl Artifacts {
    /// Keeps the file `claimed.name` of `directory`.
    ///
    /// # Errors
    /// `Untrue` where there is no such plain file, or its size or hash is another; storage fails.
    pub async fn adopt(&self, run: Fence, directory: &FilePath, claimed: Claimed) -> Result<Artifact, AdoptError> {
        let file = open_plain(&directory.join(claimed.name.as_str()), &claimed).await?;
        let key = key_of_run(run, &claimed.name);
        // One byte more than claimed is enough to see that it grew.
        let bounded = tokio::io::AsyncReadExt::take(file, claimed.bytes.saturating_add(1));
        let written = self.write(&key, ReaderStream::with_capacity(bounded, 256 << 10)).await;
        let (bytes, sha256) = written.map_err(|error| match error {
            PutError::Source(error) => ArtifactError::from(error),
            PutError::Storage(error) => error,
        })?;
        let Claimed { name, role, .. } = claimed;
        if bytes == claimed.bytes && sha256 == claimed.sha256 {
            return Ok(Artifact { name, role, bytes, sha256, key: key.to_string() });
        }
        self.remove(&key).await?;
        Err(AdoptError::Untrue(format!("`{name}` is not the file that was announced: its size or hash is another")))
    }
}

impl Artifacts {
    /// Keeps what the supervisor itself has to say about a run.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn put_for_run(
        &self,
        run: Fence,
        name: FileName,
        role: Role,
        content: Bytes,
    ) -> Result<Artifact, ArtifactError> {
        let key = key_of_run(run, &name);
        let whole = futures::stream::iter([Ok::<_, std::convert::Infallible>(content)]);
        match self.write(&key, whole).await {
            Ok((bytes, sha256)) => Ok(Artifact { name, role, bytes, sha256, key: key.to_string() }),
            Err(PutError::Storage(error)) => Err(error),
            Err(PutError::Source(never)) => match never {},
        }
    }
}

fn key_of_run(run: Fence, name: &FileName) -> Path {
    Path::from_iter([run.job.to_string(), format!("{}-{}", run.task, run.run), key_part(name)])
}

/// Opens a regular file of the announced size. Not through a link, which could lead anywhere, and without waiting for the
/// other end of a pipe.
async fn open_plain(path: &FilePath, claimed: &Claimed) -> Result<tokio::fs::File, AdoptError> {
    let name = &claimed.name;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match tokio::fs::OpenOptions::from(options).open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(AdoptError::Untrue(format!("there is no file `{name}`")));
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(AdoptError::Untrue(format!("`{name}` is a link, not a file")));
        }
        // Whoever made it may also keep everybody from reading it, and a socket is never opened.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied || error.raw_os_error() == Some(libc::ENXIO) => {
            return Err(AdoptError::Untrue(format!("`{name}` cannot be read: {error}")));
        }
        Err(error) => return Err(ArtifactError::from(error).into()),
    };
    let facts = file.metadata().await.map_err(ArtifactError::from)?;
    if !facts.is_file() {
        return Err(AdoptError::Untrue(format!("`{name}` is no regular file")));
    }
    if facts.len() != claimed.bytes {
        let detail = format!("`{name}` has {} bytes, but {} were announced", facts.len(), claimed.bytes);
        return Err(AdoptError::Untrue(detail));
    }
    Ok(file)
}
