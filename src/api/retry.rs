//! `/jobs/{id}/retry`: a finished job runs again.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    caller::Caller,
    error::ApiResult,
    extract::{Path, SmallBody},
    jobs::{bury, shown},
    state::{App, no_job},
    view::JobView,
};
use crate::{
    domain::{
        ids::JobId,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
    },
    store::{Job, Retry},
};

/// Where a retry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RetryFrom {
    /// The upload, with everything made since then forgotten.
    Start,
    /// Where the runs of a failed or canceled job stopped: what is done stays, and the rest goes on from its checkpoints.
    Checkpoint,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The start where it is left out, but for a job that has succeeded: what that made goes only where somebody says so.
    from: Option<RetryFrom>,
}

impl RetryRequest {
    /// No body asks for the default.
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        // `null` asks for the default too: it is what a client without a wish may write.
        serde_json::from_slice::<Option<Self>>(body).map(Option::unwrap_or_default).map_err(|error| {
            Problem::new(ErrorCode::InvalidRequest, format!("The body cannot be read: {error}."))
                .hint(r#"Send {"from":"start"} or {"from":"checkpoint"}; nothing means the start, of a failed or canceled job."#)
        })
    }
}

/// Runs a finished job again, under the same id.
///
/// From the start (the default, but for a job that has succeeded), everything that it made is forgotten. From its checkpoint,
/// a failed or canceled job goes on: tasks that succeeded keep their results, and the others start where their runs last
/// wrote a checkpoint, or anew where they wrote none. `can_resume` of the job says whether there is anything to go on from.
///
/// The body is JSON, whatever its `Content-Type`; none at all asks for the default.
#[utoipa::path(
    post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, format = Uuid)),
    request_body(content = Option<RetryRequest>),
    responses(
        (status = 202, description = "It is queued again", body = JobView),
        (status = 400, description = "The body cannot be read", body = Problem),
        (status = 403, description = "Another key's job", body = Problem),
        (status = 413, description = "The body is too large to be one", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It has not finished, there is nothing to go on from, its uploads were deleted, or it has succeeded and the body does not say from where", body = Problem),
        (status = 422, description = "This version does not take its configuration", body = Problem),
        (status = 429, description = "The queue is full, or the key's quota used up", body = Problem),
    )
)]
pub async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<JobId>,
    SmallBody(body): SmallBody,
) -> ApiResult<Response> {
    app.may_change(id, &caller).await?;
    let RetryRequest { from } = RetryRequest::parse(&body)?;
    if from != Some(RetryFrom::Checkpoint) {
        check_again(&app.job(id).await?)?;
    }
    let most = app.limits.max_queue;
    let retry = match from {
        Some(RetryFrom::Checkpoint) => app.store.retry_from_checkpoint(id, most).await?,
        said => app.store.retry_from_start(id, most, said.is_some()).await?,
    };
    match retry {
        Retry::Queued => bury(&app).await,
        refused => return Err(not_retried(id, refused).into()),
    }
    let job = app.job(id).await?;
    Ok((StatusCode::ACCEPTED, shown(&app, job).await?).into_response())
}

/// A configuration that an older version took, and this one does not: what the job made is not forgotten for that.
fn check_again(job: &Job) -> Result<(), Problem> {
    let resolved = job.config.resolve(TeacherKind::PlainImage, &job.name);
    resolved
        .map(drop)
        .map_err(|problem| problem.hint("An older version took this configuration. Submit a new job instead."))
}

fn not_retried(id: JobId, retry: Retry) -> Problem {
    let conflict = |detail: String| Problem::new(ErrorCode::Conflict, detail);
    let from_start = r#"Send {"from":"start"} to run it again from its upload"#;
    match retry {
        Retry::NotFinished(status) => {
            conflict(format!("The job is {status}; only a finished one can be retried.")).hint("Cancel it first.")
        }
        Retry::Succeeded => conflict("The job has succeeded: nothing of it is left to do.".to_owned())
            .param("from")
            .hint(format!("{from_start}, and to delete the student that it made.")),
        Retry::NothingLeft => {
            let detail = "None of the job's tasks has succeeded or left a checkpoint: there is nothing to go on from.";
            conflict(detail.to_owned()).param("from").hint(format!("{from_start}."))
        }
        Retry::NoUpload => conflict("The job's uploads were deleted; there is nothing to start from.".to_owned())
            .hint("Submit the model again: POST /jobs."),
        Retry::NotFound | Retry::Queued => no_job(id),
    }
}
