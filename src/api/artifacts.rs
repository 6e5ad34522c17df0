//! `/jobs/{id}/artifacts`: everything kept for a job.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{caller::Caller, download::Download, error::ApiResult, extract::Path, files, state::App};
use crate::domain::{
    artifact::{FileName, Role},
    ids::JobId,
    problem::{ErrorCode, Problem},
};

/// A kept file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub struct ArtifactView {
    #[schema(value_type = String)]
    name: FileName,
    role: Role,
    bytes: u64,
    /// Lower-case hexadecimal.
    sha256: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Where it is downloaded.
    href: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactList {
    data: Vec<ArtifactView>,
}

/// Everything kept for a job: uploads, samples, generators, student, report, logs.
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts", tag = "results", params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "All files, oldest first", body = ArtifactList),
        (status = 404, description = "No such job", body = Problem),
    )
)]
pub async fn list(State(app): State<App>, Path(id): Path<JobId>) -> ApiResult<Json<ArtifactList>> {
    app.job(id).await?;
    let data = app.store.artifacts(id).await?.into_iter().map(|row| ArtifactView {
        href: format!("/jobs/{id}/artifacts/{}", files::path_segment(row.artifact.name.as_str())),
        name: row.artifact.name,
        role: row.artifact.role,
        bytes: row.artifact.bytes,
        sha256: row.artifact.sha256,
        created_at: row.created_at,
    });
    Ok(Json(ArtifactList { data: data.collect() }))
}

/// One file of a job.
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts/{name}", tag = "results",
    params(("id" = String, Path, format = Uuid), ("name" = String, Path)),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "The bytes of Range", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "You have it already"),
        (status = 403, description = "An upload of another key", body = Problem),
        (status = 404, description = "No such job or file", body = Problem),
        (status = 412, description = "If-Match names another file", body = Problem),
        (status = 416, description = "The range lies outside the file", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(JobId, String)>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    let missing = || {
        Problem::new(ErrorCode::NotFound, format!("Job {id} has no file `{}`.", name.escape_debug()))
            .hint(format!("GET /jobs/{id}/artifacts lists its files."))
    };
    let file_name: FileName = name.parse().map_err(|_| missing())?;
    let row = app.store.artifact(id, &file_name).await?.ok_or_else(missing)?;
    caller.may_fetch(&job, row.artifact.role)?;
    let download = Download {
        name: name.clone(),
        media_type: "application/octet-stream",
        bytes: row.artifact.bytes,
        sha256: row.artifact.sha256.clone(),
    };
    files::send(&app, &row.artifact, &download, &headers).await
}
