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
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{
    accept::preferred,
    error::{ApiError, ApiResult},
    extract::{Path, Query},
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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TargetQuery {
    /// Of a sweep, the student of this target; that of the first where absent.
    #[param(example = 4)]
    target: Option<f64>,
}

/// The whole result.
///
/// With `Accept: text/html`, which browsers send, a page for people.
#[utoipa::path(
    get, path = "/jobs/{id}/report", tag = "results", params(("id" = String, Path, format = Uuid), TargetQuery),
    responses(
        (status = 200, description = "The report", content((Report = "application/json"), (String = "text/html"))),
        (status = 400, description = "`target` is no number", body = Problem),
        (status = 404, description = "No such job, or no such target", body = Problem),
        (status = 406, description = "Accept allows neither JSON nor HTML", body = Problem),
        (status = 409, description = "There is no student of that target yet", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<TargetQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let form = preferred(&headers, &["application/json", "text/html"])?;
    let job = app.job(id).await?;
    let number = job.settings.student_with(query.target)?;
    let Some(report) = report(&app, &job, number).await? else {
        return Err(files::not_ready(&job, "report").into());
    };
    if form == "application/json" {
        return Ok(([(VARY, "accept")], Json(report)).into_response());
    }
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8"), (VARY, "accept")], report_page::render(&job, number, &report))
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
    get, path = "/jobs/{id}/layers", tag = "results", params(("id" = String, Path, format = Uuid), TargetQuery),
    responses(
        (status = 200, description = "One row for each layer", body = LayerTable),
        (status = 400, description = "`target` is no number", body = Problem),
        (status = 404, description = "No such job, or no such target", body = Problem),
        (status = 409, description = "The model has not been read yet", body = Problem),
    )
)]
pub async fn layers(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<TargetQuery>,
) -> ApiResult<Json<LayerTable>> {
    let job = app.job(id).await?;
    let number = job.settings.student_with(query.target)?;
    if let Some(report) = report(&app, &job, number).await? {
        return Ok(Json(LayerTable { planned: false, data: report.layers }));
    }
    match json_file::<Inspection>(&app, &job, Role::Inspection, "inspection.json").await? {
        Some(mut inspection) => {
            let swept = inspection.sweep.get_mut(number as usize).map(|planned| std::mem::take(&mut planned.plan));
            Ok(Json(LayerTable { planned: true, data: swept.unwrap_or(inspection.plan) }))
        }
        None => Err(files::not_ready(&job, "compression table").into()),
    }
}

/// The report of a student that counts, if there is one: a run that was lost or canceled may have left one too.
async fn report(app: &App, job: &Job, number: u32) -> ApiResult<Option<Report>> {
    if !job.has_student(number) {
        return Ok(None);
    }
    json_file(app, job, Role::Report, &job.settings.file_of_student(number, "report.json")).await
}

/// The job's JSON file of that role and name, if it has one.
async fn json_file<T: DeserializeOwned>(app: &App, job: &Job, role: Role, name: &str) -> ApiResult<Option<T>> {
    let rows = app.store.artifacts_of_role(job.id, role).await?;
    let Some(row) = rows.iter().find(|row| row.artifact.name.as_str() == name) else { return Ok(None) };
    let json = files::read_json(app, &row.artifact).await?;
    serde_json::from_slice(&json).map(Some).map_err(ApiError::internal)
}
