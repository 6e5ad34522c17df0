//! `/inspect`: what the importer sees in a model, and the compression plan, without a job.

use std::path::Path;

use axum::{Json, extract::State, http::HeaderMap};
use tokio::io::AsyncReadExt;

use super::{
    error::{ApiError, ApiResult},
    extract::Multipart,
    state::App,
    upload::{Draft, Upload, UploadForm, announced},
};
use crate::domain::{
    cost::Extent,
    ids::TaskId,
    presets::TeacherKind,
    problem::{ErrorCode, Problem},
    query::EngineQuery,
    report::{Inspection, MOST_JSON},
    task::{TaskKind, TaskSpec},
};

/// Looks into a model without making a job of it.
///
/// Takes the same parts as `POST /jobs`, and answers with the layers and with the compression that `config` would give.
#[utoipa::path(
    post, path = "/inspect", tag = "jobs",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What the importer sees, and the plan", body = Inspection),
        (status = 400, description = "A part is missing, empty or unknown, or the form is broken", body = Problem),
        (status = 413, description = "Larger than the server allows", body = Problem),
        (status = 415, description = "No form, or a model in no format that is supported", body = Problem),
        (status = 422, description = "No classifier that we can work on, or an invalid configuration", body = Problem),
        (status = 503, description = "It took too long", body = Problem),
        (status = 507, description = "Too little disk space", body = Problem),
    )
)]
pub async fn inspect(State(app): State<App>, headers: HeaderMap, mut form: Multipart) -> ApiResult<Json<Inspection>> {
    // Kept once, and laid out once more for the process that reads it.
    let announced = announced(&app, &headers)?.saturating_mul(2);
    let draft = Draft::new(&app, announced)?;
    let answer = answer(&app, &draft, &mut form).await;
    draft.discard().await;
    if let Err(refusal) = &answer
        && let Err(error) = app.store.count_refusal(refusal.problem()).await
    {
        tracing::error!(%error, "a refusal is not counted");
    }
    answer.map(Json)
}

async fn answer(app: &App, draft: &Draft, form: &mut Multipart) -> ApiResult<Inspection> {
    let upload = Upload::receive(draft, form).await?;
    let directory = app.scratch()?;
    for file in &upload.files {
        app.artifacts.copy_to(file, &directory.path().join(file.name.as_str())).await?;
    }
    // The kind of teacher decides only over training, which an inspection does not do.
    let spec = TaskSpec {
        job: draft.id(),
        task: TaskId::new(),
        run: 1,
        kind: TaskKind::Inspect,
        settings: upload.settings(TeacherKind::PlainImage)?,
        device: "cpu".to_owned(),
        threads: 1,
        model: upload.model.to_string(),
        external_data: upload.side_files(),
        generators: Vec::new(),
        eval: upload.eval.as_ref().map(ToString::to_string),
        student: upload.student.as_ref().map(ToString::to_string),
        run_modules: app.helper.runs_modules(),
        extracting_seconds: 0.0,
        resume: None,
        checkpoint_seconds: None,
    };
    let path = app.helper.ask(&EngineQuery::Inspect(Box::new(spec)), &directory).await?;
    let inspection: Inspection = serde_json::from_slice(&read(&path).await?).map_err(ApiError::internal)?;
    // What a job would be refused for once its model is known.
    Extent::of(&inspection.model).check(&upload.settings(inspection.kind)?)?;
    Ok(inspection)
}

/// What the child wrote. Not however long it is: the child has read a stranger's model.
async fn read(path: &Path) -> ApiResult<Vec<u8>> {
    let mut json = Vec::new();
    // One byte more is enough to see that it is too long.
    tokio::fs::File::open(path).await?.take(MOST_JSON + 1).read_to_end(&mut json).await?;
    if json.len() as u64 <= MOST_JSON {
        return Ok(json);
    }
    let detail = format!("What there is to say of the model's layers has more than {MOST_JSON} bytes.");
    Err(Problem::new(ErrorCode::InvalidModel, detail)
        .param("model")
        .hint("It has too many layers, or their names are too long.")
        .into())
}
