//! Giving a job a file of another job: the same bytes under a key of its own, so that neither depends on the other.

use object_store::{ObjectStoreExt, path::Path};

use super::{ArtifactError, Artifacts, key_part};
use crate::domain::{artifact::Artifact, ids::JobId};

impl Artifacts {
    /// Keeps `artifact` for `job` as well, as if it had been uploaded. The storage links files rather than copies them, which
    /// takes neither time nor space; whichever of the two is deleted first, the other stays.
    ///
    /// # Errors
    /// The file is gone, or storage fails.
    pub async fn share(&self, artifact: &Artifact, job: JobId) -> Result<Artifact, ArtifactError> {
        let key = Path::from_iter([job.to_string(), key_part(&artifact.name)]);
        self.storage.copy(&Path::parse(&artifact.key)?, &key).await?;
        Ok(Artifact { key: key.to_string(), ..artifact.clone() })
    }
}
