//! `POST /jobs`: an upload becomes a job.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};

use tracing::Instrument;

use super::{
    access_log,
    caller::Caller,
    devices::Offer,
    error::{ApiError, ApiResult},
    extract::Multipart,
    jobs::shown,
    reuse,
    state::App,
    upload::{Draft, Upload, UploadForm, announced},
    view::JobView,
};
use crate::{
    domain::{
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
    },
    store::{NewJob, Submission},
};

/// Submits a job.
///
/// Send the model as the part `model` of a multipart form. What may stand in `config` is the schema `JobConfig`; an
/// `eval` set is read for the report alone, after training.
///
/// A list as the target of `config.compression` (`{"ratio": [2, 4, 8]}`) makes a student for each of up to eight targets from
/// generators that are trained once; the job is done when all are. `config.from_job` takes the generators of a finished job.
///
/// Bare weights (safetensors) need the name of their network in `config.arch`. A student that is not the compressed teacher
/// comes as the part `student`, or by its name in `config.student.arch`.
///
/// With an `Idempotency-Key`, sending the same request again gives the same job, also many times at once and after a
/// restart: the same parts, under the same file names. A key stands for its job for 24 hours, or until the job is deleted; a
/// request that failed leaves its key free.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[ -~]*$",
        example = "6c1d4c9e-5f0a-4a57-9d0e-0f8f3f0b6f6e",
        description = "Chosen by the client, once for each job it wants: 1 to 255 printable ASCII characters")),
    responses(
        (status = 202, description = "Accepted", body = JobView, headers(("Location" = String, description = "The job's path"))),
        (status = 400, description = "A part is missing, empty or unknown, or the form is broken", body = Problem),
        (status = 413, description = "Larger than the server allows", body = Problem),
        (status = 415, description = "No form, or a model in no format that is supported", body = Problem),
        (status = 422, description = "The configuration is invalid, or the key was used otherwise", body = Problem),
        (status = 429, description = "The queue is full, or the key's quota used up", body = Problem),
        (status = 507, description = "Too little disk space, or as much is kept as may be", body = Problem),
    )
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    mut form: Multipart,
) -> ApiResult<Response> {
    let Admitted { key, known, announced } = admitted(&app, &caller, &headers).await?;
    // Kept once, and laid out once more for each run; what is sent again gets no run of its own.
    let copies = if known { 1 } else { 2 };
    let mut draft = Draft::new(&app, announced.saturating_mul(copies))?;
    if !known {
        draft = draft.within(app.room_for(&headers).await?);
    }
    let draft = Arc::new(draft);
    let id = match submit(&app, &draft, &caller, key, &mut form).await {
        Ok(Submission::Created(id)) => {
            access_log::made(id);
            id
        }
        Ok(Submission::Replayed(id)) => {
            draft.discard().await;
            id
        }
        Err(error) => {
            draft.discard().await;
            return Err(error);
        }
    };
    let job = app.job(id).await?;
    let location = [(LOCATION, format!("/jobs/{id}"))];
    Ok((StatusCode::ACCEPTED, location, shown(&app, job).await?).into_response())
}

/// What an upload says of itself before any of it is read.
struct Admitted {
    key: Option<String>,
    /// The key stands for a job already.
    known: bool,
    /// Bytes, 0 where it does not say.
    announced: u64,
}

/// Whether an upload is worth receiving.
async fn admitted(app: &App, caller: &Caller, headers: &HeaderMap) -> ApiResult<Admitted> {
    let announced = announced(app, headers)?;
    let key = idempotency_key(headers)?;
    // A job that is there already needs neither place nor room: its client must hear of it also when it took the last.
    let known = match &key {
        Some(key) => app.store.knows_key(caller.owner(), key).await?,
        None => false,
    };
    if !known {
        app.place().await?;
        app.quota(caller, announced).await?;
    }
    Ok(Admitted { key, known, announced })
}

async fn submit(
    app: &App,
    draft: &Arc<Draft>,
    caller: &Caller,
    key: Option<String>,
    form: &mut Multipart,
) -> ApiResult<Submission> {
    let upload = Upload::receive(draft, form).await?;
    let idempotency = key.map(|key| upload.idempotency(key));
    // What was answered once is answered again, also where it would be refused by now: the worker that it asks for, or the
    // job that it names, may be gone.
    if let Some(key) = &idempotency
        && let Some(made) = app.store.replay(caller.owner(), key).await?
    {
        return Ok(Submission::Replayed(made));
    }
    // What depends on the model is resolved again once it has been inspected.
    let settings = upload.settings(TeacherKind::PlainImage)?;
    Offer::now(&app.store).await?.check(&settings.device)?;
    let (settings, reused) = match settings.from_job {
        None => (settings, Vec::new()),
        Some(source) => reuse::adopt(app, caller, (draft.id(), &upload), (source, settings)).await?,
    };
    let job = NewJob {
        id: draft.id(),
        owner: caller.owner().cloned(),
        settings,
        idempotency,
        config: upload.config,
        model_file: upload.model,
        uploads: upload.files,
        reused,
    };
    draft.check_room().await?;
    // A task of its own: a client that goes away drops the request, but not a transaction that is being committed, and
    // what that made must not lose its files.
    let recorded = tokio::spawn(record(app.clone(), Arc::clone(draft), job).in_current_span());
    recorded.await.map_err(ApiError::internal)?
}

/// Makes the job, which owns its files from then on.
async fn record(app: App, draft: Arc<Draft>, mut job: NewJob) -> ApiResult<Submission> {
    let _turn = app.gates.make().await?;
    draft.become_job(&mut job).await?;
    let submission = app.store.submit(&job, app.limits.max_queue).await?;
    if let Submission::Created(_) = submission {
        draft.keep();
        make_room(&app);
    }
    Ok(submission)
}

/// The upload fits if older jobs go. Only now, when it is accepted: a refused one must not cost anybody a job.
/// The client need not wait for it.
fn make_room(app: &App) {
    if app.collector.policy().storage.is_none() {
        return;
    }
    let collector = app.collector.clone();
    let collect = async move {
        if let Err(error) = collector.collect().await {
            tracing::error!(%error, "no room could be made for an upload; it is tried again");
        }
    };
    tokio::spawn(collect.in_current_span());
}

/// The key of a request that shall have effect once.
fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let printable =
        |key: &&str| (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match (value.to_str().ok().filter(printable), values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(
            ErrorCode::InvalidRequest,
            "An Idempotency-Key is one header of 1 to 255 printable ASCII characters.",
        )
        .param("Idempotency-Key")
        .hint("A random UUID is a good key.")
        .into()),
    }
}
