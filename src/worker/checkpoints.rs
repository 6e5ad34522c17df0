//! Checkpoints of a run: kept while it goes on, and laid out for the run after it. None of it may end a run that goes well.

use std::path::Path;

use super::{Shop, outcome::Cause};
use crate::{
    artifacts::{AdoptError, Claimed},
    domain::artifact::{FileName, Role},
    protocol::FileRef,
    queue::{Claim, Hold, QueueError},
    store::{Checkpoint, StoreError},
};

/// Why a checkpoint is not kept.
#[derive(Debug)]
pub(super) enum Missed {
    /// The run must end for it.
    Ends(Cause),
    /// The run goes on: what is lost is what a later run could have gone on from.
    Unkept(String),
}

/// Keeps a checkpoint that the child announced, in the place of the one before it.
pub(super) async fn keep(
    shop: &Shop,
    claim: &Claim,
    directory: &Path,
    (file, step): (FileRef, u64),
) -> Result<Hold, Missed> {
    let FileRef { name, bytes, sha256 } = file;
    let misbehaved = |what: String| Missed::Ends(Cause::Misbehaved(what));
    let name: FileName = name.parse().map_err(|error| misbehaved(format!("{error}")))?;
    if !name.as_str().ends_with(FileName::CHECKPOINT_SUFFIX) {
        return Err(misbehaved(format!("`{name}` is no name of a checkpoint")));
    }
    let made = directory.join(name.as_str());
    let claimed = Claimed { name, role: Role::Checkpoint, bytes, sha256 };
    let adopted = shop.artifacts.adopt(claim.fence(), directory, claimed).await;
    let artifact = adopted.map_err(|error| match error {
        AdoptError::Untrue(what) => misbehaved(what),
        AdoptError::Storage(error) => Missed::Unkept(error.to_string()),
    })?;
    // The child never looks at it again, and a long run would fill its directory.
    if let Err(error) = tokio::fs::remove_file(&made).await {
        tracing::warn!(file = %made.display(), %error, "a checkpoint stays in its run's directory");
    }
    let (refused, obsolete) = match shop.queue.keep_checkpoint(claim, &artifact, step).await {
        Ok((hold, before)) => (Ok(hold), before),
        Err(refused) => (Err(refused), Some(artifact)),
    };
    if let Some(obsolete) = obsolete
        && let Err(error) = shop.artifacts.delete(&obsolete).await
    {
        tracing::warn!(key = obsolete.key, %error, "a checkpoint that nothing names is left behind");
    }
    refused.map_err(|error| match error {
        QueueError::LeaseLost => Missed::Ends(Cause::LeaseLost),
        QueueError::NameTaken(_) | QueueError::Store(StoreError::Corrupt { .. }) => misbehaved(error.to_string()),
        QueueError::Store(error) => Missed::Unkept(error.to_string()),
    })
}

/// Copies a checkpoint into the directory of the run that is to go on from it. One that is gone or damaged is passed over:
/// the run starts from nothing.
pub(super) async fn lay_out(shop: &Shop, checkpoint: Option<&Checkpoint>, directory: &Path) -> Option<String> {
    let artifact = &checkpoint?.artifact;
    let copy = directory.join(artifact.name.as_str());
    match shop.artifacts.copy_to(artifact, &copy).await {
        Ok(()) => Some(artifact.name.to_string()),
        Err(error) => {
            tracing::warn!(key = artifact.key, %error, "a checkpoint cannot be used; the run starts from nothing");
            // It may not have come that far.
            let _ = tokio::fs::remove_file(&copy).await;
            None
        }
    }
}
