//! A run's directory: the inputs laid out, and what to do with them.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Shop, checkpoints, slot::SlotPlan};
use crate::{
    artifacts::{self, ArtifactError},
    domain::{artifact::Artifact, task::TaskSpec},
    protocol::TASK_FILE,
    queue::{Claim, Ending},
};

/// Removed when it is dropped.
#[derive(Debug)]
pub(super) struct RunDirectory(PathBuf);

#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("its directory cannot be made: {0}")]
    Io(#[from] io::Error),
    #[error("its inputs cannot be laid out: {0}")]
    Input(#[from] ArtifactError),
    /// In words that are the same at each attempt: they become a warning of the job.
    #[error("the disk has no room for the {0} bytes of its inputs")]
    NoRoom(u64),
    #[error("its inputs cannot be laid out: the folder of all jobs' files is empty, or not there")]
    Away,
}

impl From<LayoutError> for Ending {
    fn from(error: LayoutError) -> Self {
        let why = error.to_string();
        // No time brings such a file back, so the attempts have to come to an end.
        let lasts = |input: &ArtifactError| input.is_missing() || matches!(input, ArtifactError::Damaged { .. });
        match error {
            LayoutError::Input(input) if lasts(&input) => Self::Lost(why),
            LayoutError::Input(_) | LayoutError::Io(_) | LayoutError::NoRoom(_) | LayoutError::Away => {
                Self::Hindered(why)
            }
        }
    }
}

impl RunDirectory {
    /// Makes the directory of a run, with its inputs and its `task.json`.
    pub(super) async fn lay_out(shop: &Shop, plan: &SlotPlan, claim: &Claim) -> Result<Self, LayoutError> {
        let fence = claim.fence();
        let path = shop.config.runs.join(format!("{}-{}", fence.task, fence.run));
        DirBuilder::new().mode(0o700).create(&path)?;
        let directory = Self(path);
        check_room(&claim.inputs.files, directory.path())?;
        for input in &claim.inputs.files {
            let copied = shop.artifacts.copy_to(input, &directory.path().join(input.name.as_str())).await;
            copied.map_err(|error| if shop.artifacts.is_away() { LayoutError::Away } else { error.into() })?;
        }
        let resume = checkpoints::lay_out(shop, claim.inputs.checkpoint.as_ref(), directory.path()).await;
        let checkpoint_seconds = Some(shop.config.checkpoint_every.as_secs_f64());
        let spec =
            TaskSpec { resume, checkpoint_seconds, run_modules: shop.config.terms.run_modules, ..spec(plan, claim) };
        let json = serde_json::to_vec_pretty(&spec).map_err(io::Error::other)?;
        tokio::fs::write(directory.path().join(TASK_FILE), json).await?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "a run's directory is left behind");
        }
    }
}

/// Begins no copy that does not fit: on its way it would take the last byte from the files of everybody else, again at each
/// attempt.
fn check_room(inputs: &[Artifact], directory: &Path) -> Result<(), LayoutError> {
    let needed = inputs.iter().map(|input| input.bytes).sum();
    if artifacts::free(directory)? < needed { Err(LayoutError::NoRoom(needed)) } else { Ok(()) }
}

fn spec(plan: &SlotPlan, claim: &Claim) -> TaskSpec {
    let (fence, inputs) = (claim.fence(), &claim.inputs);
    TaskSpec {
        job: fence.job,
        task: fence.task,
        run: fence.run,
        kind: claim.kind(),
        settings: claim.settings.clone(),
        device: plan.device.clone(),
        threads: plan.threads,
        model: inputs.model.to_string(),
        external_data: inputs.external_data.iter().map(ToString::to_string).collect(),
        extracting_seconds: inputs.extracting_seconds,
        generators: inputs.generators.iter().map(ToString::to_string).collect(),
        eval: inputs.eval.as_ref().map(ToString::to_string),
        student: inputs.student.as_ref().map(ToString::to_string),
        run_modules: false,
        resume: None,
        checkpoint_seconds: None,
    }
}

/// Empties the directory of runs, but for the lock of who works there.
pub(super) fn clear(runs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, also where a run took the right to do so away.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(directory)?;
            fs::remove_dir_all(directory)
        }
        removed => removed,
    }
}

fn unlock(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}
