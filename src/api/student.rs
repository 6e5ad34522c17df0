//! `/jobs/{id}/student`: what it was all for.

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    download::Download,
    error::ApiResult,
    extract::{Path, Query},
    files,
    state::App,
};
use crate::domain::{
    artifact::{Artifact, Role},
    ids::JobId,
    problem::{ErrorCode, Problem},
};

/// File formats of a student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StudentFormat {
    Onnx,
    Torchscript,
    Pt2,
    Safetensors,
}

impl StudentFormat {
    const ALL: [Self; 4] = [Self::Onnx, Self::Torchscript, Self::Pt2, Self::Safetensors];

    fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Torchscript => "torchscript",
            Self::Pt2 => "pt2",
            Self::Safetensors => "safetensors",
        }
    }

    /// The suffix of the file that a run makes, `student.<suffix>`, and of the download.
    fn suffix(self) -> &'static str {
        match self {
            Self::Torchscript => "pt",
            other => other.name(),
        }
    }

    fn of(artifact: &Artifact) -> Option<Self> {
        let (_, suffix) = artifact.name.as_str().rsplit_once('.')?;
        Self::ALL.into_iter().find(|format| format.suffix() == suffix)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FormatQuery {
    /// Another format than the one uploaded.
    #[param(inline)]
    format: Option<StudentFormat>,
    /// Of a sweep, the student of this target; that of the first where absent.
    #[param(example = 4)]
    target: Option<f64>,
}

/// The student, in the format that was uploaded or in another one.
#[utoipa::path(
    get, path = "/jobs/{id}/student", tag = "results", params(("id" = String, Path, format = Uuid), FormatQuery),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("ETag" = String), ("Content-Disposition" = String))),
        (status = 206, description = "The bytes of Range", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "You have it already"),
        (status = 400, description = "There is no such format", body = Problem),
        (status = 404, description = "No such job, or no such target", body = Problem),
        (status = 406, description = "The student was not written in that format", body = Problem),
        (status = 409, description = "There is no student of that target yet", body = Problem),
        (status = 412, description = "If-Match names another file", body = Problem),
        (status = 416, description = "The range lies outside the file", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<FormatQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    let number = job.settings.student_with(query.target)?;
    // Of a sweep that has not ended, or not well, what is done is there.
    if !job.has_student(number) {
        return Err(files::not_ready(&job, "student").into());
    }
    let uploaded = job.model.as_ref().map_or("onnx", |model| model.format.as_str());
    let wanted: &str = match query.format {
        Some(format) => format.name(),
        None => uploaded,
    };
    let students: Vec<(StudentFormat, Artifact)> = app
        .store
        .artifacts_of_role(id, Role::Student)
        .await?
        .into_iter()
        .filter_map(|row| Some((StudentFormat::of(&row.artifact)?, row.artifact)))
        .filter(|(format, file)| {
            job.settings.file_of_student(number, &format!("student.{}", format.suffix())) == file.name.as_str()
        })
        .collect();
    let Some((_, artifact)) = students.iter().find(|(format, _)| format.name() == wanted) else {
        let there: Vec<&str> = students.iter().map(|(format, _)| format.name()).collect();
        return Err(Problem::new(ErrorCode::NotAcceptable, format!("The student was not written as {wanted}."))
            .param("format")
            .hint(format!("There is: {}.", there.join(", ")))
            .into());
    };
    let file = job.model_file.as_str();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let download = Download {
        name: format!("{stem}-{}", artifact.name),
        media_type: "application/octet-stream",
        bytes: artifact.bytes,
        sha256: artifact.sha256.clone(),
    };
    files::send(&app, artifact, &download, &headers).await
}
