//! `config.from_job`: the generators of an earlier job, given to a new one.

use std::collections::BTreeSet;

use super::{
    caller::Caller,
    error::{ApiError, ApiResult},
    state::App,
    upload::Upload,
};
use crate::{
    artifacts::ArtifactError,
    domain::{
        artifact::{Artifact, Role},
        config::Settings,
        ids::JobId,
        problem::Problem,
        reuse,
    },
    store::{Job, Reused},
};

/// Shares the generators of `source` with the job `id` of this upload, and returns its settings with those that the
/// generators were trained with. The files become the new job's own: it does not matter what becomes of the source then.
///
/// # Errors
/// `invalid_config` where there is no such job of the caller's, it is of another model, says otherwise how generators are
/// trained, has not finished, or has no generators; the database or storage fails.
pub async fn adopt(
    app: &App,
    caller: &Caller,
    (id, upload): (JobId, &Upload),
    (source, settings): (JobId, Settings),
) -> ApiResult<(Settings, Vec<Reused>)> {
    let found = app.store.job(source).await?.filter(|job| caller.owns(job));
    let job = found.ok_or_else(|| reuse::unknown(source))?;
    upload.config.check_reuse(&job.settings)?;
    check_model(app, &job, upload).await?;
    let mut reused = app.store.generators_to_share(&job).await?;
    for Reused { artifact, .. } in &mut reused {
        *artifact = app.artifacts.share(artifact, id).await.map_err(|error| gone(source, error))?;
    }
    Ok((settings.reusing(&job.settings), reused))
}

/// It may have been deleted since it was looked up.
fn gone(source: JobId, error: ArtifactError) -> ApiError {
    if error.is_missing() { reuse::unknown(source).into() } else { error.into() }
}

/// The same model: the same bytes, also of the files in which its weights may lie.
async fn check_model(app: &App, job: &Job, upload: &Upload) -> ApiResult<()> {
    let (same, side) = (sha256_of(&upload.files, Role::Teacher), sha256_of(&upload.files, Role::ExternalData));
    let known: Vec<Artifact> = app.store.artifacts(job.id).await?.into_iter().map(|row| row.artifact).collect();
    let other = |what: &str| -> Problem {
        reuse::refused(format!("job {} is of another model: {what}", job.id)).hint(
            "Generators fit the model that they were trained against alone: send that one, or leave `from_job` out.",
        )
    };
    // The facts stay when the uploads go.
    let facts = job.model.iter().map(|model| model.sha256.clone()).collect();
    let teacher = Some(sha256_of(&known, Role::Teacher)).filter(|known| !known.is_empty()).unwrap_or(facts);
    if teacher != same {
        return Err(other("its file has other bytes").into());
    }
    let known = sha256_of(&known, Role::ExternalData);
    if known != side {
        let gone = job.upload_deleted_at.is_some();
        return Err(other(if gone {
            "its side files were deleted, and cannot be compared"
        } else {
            "its side files have other bytes"
        })
        .into());
    }
    Ok(())
}

fn sha256_of(files: &[Artifact], role: Role) -> BTreeSet<String> {
    files.iter().filter(|file| file.role == role).map(|file| file.sha256.clone()).collect()
}
