//! `/jobs/{id}/report` and `/jobs/{id}/layers`: what a job found out.

use axum::{
    Json,
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    accept::preferred,
    error::{ApiError, ApiResult},
    extract::Path,
    files, report_page,
    state::App,
};
use crate::{
    domain::{
        artifact::Role,
        ids::JobId,
        problem::Problem,
        report::{Inspection, LayerRow, Report},
    },
    store::Job,
};

/// The whole result.
///
/// With `Accept: text/html`, which browsers send, a page for people.
#[utoipa::path(
    get, path = "/jobs/{id}/report", tag = "results", params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The report", content((Report = "application/json"), (String = "text/html"))),
        (status = 404, description = "No such job", body = Problem),
        (status = 406, description = "Accept allows neither JSON nor HTML", body = Problem),
        (status = 409, description = "The job has not succeeded", body = Problem),
    )
)]
pub async fn get(State(app): State<App>, Path(id): Path<JobId>, headers: HeaderMap) -> ApiResult<Response> {
    let form = preferred(&headers, &["application/json", "text/html"])?;
    let job = app.job(id).await?;
    let Some(report) = newest::<Report>(&app, &job, Role::Report).await? else {
        return Err(files::not_ready(&job, "report").into());
    };
    if form == "application/json" {
        return Ok(([(VARY, "accept")], Json(report)).into_response());
    }
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8"), (VARY, "accept")], report_page::render(&job, &report))
        .into_response())
}

/// The compression table.
#[derive(Debug, Serialize, ToSchema)]
pub struct LayerTable {
    /// True until the job has compressed the model: ranks as planned, nothing measured.
    planned: bool,
    data: Vec<LayerRow>,
}

/// What became of each layer, or what shall become of it.
#[utoipa::path(
    get, path = "/jobs/{id}/layers", tag = "results", params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "One row for each layer", body = LayerTable),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "The model has not been read yet", body = Problem),
    )
)]
pub async fn layers(State(app): State<App>, Path(id): Path<JobId>) -> ApiResult<Json<LayerTable>> {
    let job = app.job(id).await?;
    if let Some(report) = newest::<Report>(&app, &job, Role::Report).await? {
        return Ok(Json(LayerTable { planned: false, data: report.layers }));
    }
    match newest::<Inspection>(&app, &job, Role::Inspection).await? {
        Some(inspection) => Ok(Json(LayerTable { planned: true, data: inspection.plan })),
        None => Err(files::not_ready(&job, "compression table").into()),
    }
}

/// The job's JSON file of that role, if it has one.
async fn newest<T: DeserializeOwned>(app: &App, job: &Job, role: Role) -> ApiResult<Option<T>> {
    let rows = app.store.artifacts_of_role(job.id, role).await?;
    let Some(row) = rows.iter().find(|row| row.artifact.name.as_str().ends_with(".json")) else { return Ok(None) };
    let json = files::read_json(app, &row.artifact).await?;
    serde_json::from_slice(&json).map(Some).map_err(ApiError::internal)
}
