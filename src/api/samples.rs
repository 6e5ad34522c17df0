//! `/jobs/{id}/samples`: generated inputs, as an index, as pictures, and as a data set.

use std::{collections::BTreeMap, fs::File};

use axum::{
    Json,
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::{
    download::Download,
    error::{ApiError, ApiResult},
    etag::is_known,
    extract::{Path, Query},
    files,
    state::App,
    view::Links,
};
use crate::{
    domain::{
        artifact::{Artifact, FileName, Role},
        ids::JobId,
        latent::{LatentMode, LatentRequest},
        problem::{ErrorCode, Problem},
        query::EngineQuery,
    },
    imaging::{
        npz::Npz,
        sheet::{self, Contents},
    },
    store::{Job, SampleRow},
};

/// Largest magnification of a picture.
const MAX_SCALE: usize = 32;

/// One file of samples.
#[derive(Debug, Serialize, ToSchema)]
pub struct SampleFile {
    /// From 0.
    generator: u32,
    epoch: u32,
    count: u64,
    /// Where the file (`x`, `y`) is downloaded.
    href: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SampleIndex {
    /// Number of classes; null until the model has been read.
    classes: Option<usize>,
    /// Their names, where the configuration gives them.
    class_names: Option<Vec<String>>,
    generators: Vec<u32>,
    epochs: Vec<u32>,
    /// Samples in all files.
    count: u64,
    data: Vec<SampleFile>,
    links: SampleLinks,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SampleLinks {
    png: String,
    latent_png: String,
    npz: String,
}

/// What has been generated so far.
#[utoipa::path(
    get, path = "/jobs/{id}/samples", tag = "samples", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The index", body = SampleIndex), (status = 404, description = "No such job", body = Problem))
)]
pub async fn index(State(app): State<App>, Path(id): Path<JobId>) -> ApiResult<Json<SampleIndex>> {
    let job = app.job(id).await?;
    let rows = app.store.samples(id).await?;
    let ascending = |of: fn(&SampleRow) -> u32| {
        let mut values: Vec<u32> = rows.iter().map(of).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let Links { samples_png: png, latent_png, samples_npz: npz, .. } = Links::of(id);
    let file = |row: &SampleRow| SampleFile {
        generator: row.generator,
        epoch: row.epoch,
        count: row.count,
        href: format!("/jobs/{id}/artifacts/{}", files::path_segment(row.artifact.as_str())),
    };
    Ok(Json(SampleIndex {
        classes: job.model.as_ref().map(|model| model.classes),
        class_names: job.settings.classes,
        generators: ascending(|row| row.generator),
        epochs: ascending(|row| row.epoch),
        count: rows.iter().map(|row| row.count).sum(),
        data: rows.iter().map(file).collect(),
        links: SampleLinks { png, latent_png, npz },
    }))
}

#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SheetQuery {
    /// Only this class, by number or name.
    class: Option<String>,
    /// Samples in each row.
    #[serde(default = "ten")]
    #[param(minimum = 1, maximum = 1000, default = 10)]
    per_class: usize,
    /// Only this generator, from 0; all of them in turns where absent.
    generator: Option<u32>,
    /// The epoch to show; each generator's last where absent.
    epoch: Option<u32>,
    /// Pixels for each value.
    #[serde(default = "two")]
    #[param(minimum = 1, maximum = 32, default = 2)]
    scale: usize,
}

fn ten() -> usize {
    10
}

fn two() -> usize {
    2
}

/// A contact sheet: one row for each class.
#[utoipa::path(
    get, path = "/jobs/{id}/samples.png", tag = "samples", params(("id" = String, Path, format = Uuid), SheetQuery),
    responses(
        (status = 200, description = "The picture", content_type = "image/png", body = Vec<u8>),
        (status = 304, description = "You have it already"),
        (status = 400, description = "A parameter is wrong, or the picture would be too large", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "Nothing has been generated yet", body = Problem),
    )
)]
pub async fn png(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<SheetQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    let chosen = chosen(&app, &job, &query).await?;
    let contents = contents(&job, query.class.as_deref(), query.per_class, query.scale)?;
    let tag = entity_tag(&chosen, &contents);
    if is_known(&headers, &tag) {
        let cache = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok((StatusCode::NOT_MODIFIED, [cache, (ETAG, tag)]).into_response());
    }
    let place = app.gates.draw().await?;
    let mut opened = Vec::new();
    for artifact in &chosen {
        opened.push(files::open(&app, artifact).await?);
    }
    let picture = files::drawn(place, move || sheet::by_class(opened, &contents)).await?;
    Ok(picture_response(picture, Some(tag)))
}

/// The files that the query asks for, at least one.
async fn chosen(app: &App, job: &Job, query: &SheetQuery) -> ApiResult<Vec<Artifact>> {
    let rows = app.store.samples(job.id).await?;
    let mut names: BTreeMap<u32, &FileName> = BTreeMap::new();
    // Rows ascend by epoch, so the last one of each generator stays.
    for row in &rows {
        if query.generator.is_none_or(|generator| generator == row.generator)
            && query.epoch.is_none_or(|epoch| epoch == row.epoch)
        {
            names.insert(row.generator, &row.artifact);
        }
    }
    if names.is_empty() && (query.generator.is_some() || query.epoch.is_some()) && !rows.is_empty() {
        return Err(Problem::new(ErrorCode::NotFound, "There are no samples of that generator and epoch.")
            .hint(format!("GET /jobs/{}/samples lists what there is.", job.id))
            .into());
    }
    let mut artifacts = Vec::new();
    for name in names.into_values() {
        artifacts.extend(app.store.artifact(job.id, name).await?.map(|row| row.artifact));
    }
    if artifacts.is_empty() {
        // The baselines train no generator; the inputs of samples.npz are there all the same.
        artifacts.extend(files::of_role(app, job, Role::Bank).await?);
    }
    if artifacts.is_empty() { Err(files::not_ready(job, "samples").into()) } else { Ok(artifacts) }
}

/// What a sheet of this job shows.
fn contents(job: &Job, class: Option<&str>, per_class: usize, scale: usize) -> ApiResult<Contents> {
    let refused = |param: &str, detail: String| -> ApiError {
        Problem::new(ErrorCode::InvalidRequest, detail).param(param).into()
    };
    if !(1..=MAX_SCALE).contains(&scale) {
        return Err(refused("scale", format!("scale={scale} is not 1 to {MAX_SCALE}.")));
    }
    if !(1..=1000).contains(&per_class) {
        return Err(refused("per_class", format!("per_class={per_class} is not 1 to 1000.")));
    }
    let Some(model) = &job.model else { return Err(files::not_ready(job, "samples").into()) };
    let classes = match class {
        None => (0..model.classes as i64).collect(),
        Some(class) => vec![class_number(job, class, model.classes)?],
    };
    let input = &job.settings.input;
    let channels_last = !model.input.layout.is_channels_first();
    Ok(Contents { classes, per_class, scale, channels_last, mean: input.mean.clone(), std: input.std.clone() })
}

/// A class by its name in the configuration, or by its number.
fn class_number(job: &Job, class: &str, classes: usize) -> ApiResult<i64> {
    let named = job.settings.classes.iter().flatten().position(|name| name == class);
    let number = named.or_else(|| class.parse().ok()).filter(|&number| number < classes);
    number.map(|number| number as i64).ok_or_else(|| {
        let detail = format!("The model has no class `{}`.", class.escape_debug());
        Problem::new(ErrorCode::InvalidRequest, detail)
            .param("class")
            .hint(format!("Give a number from 0 to {}, or a name of the configuration.", classes.saturating_sub(1)))
            .into()
    })
}

fn entity_tag(artifacts: &[Artifact], contents: &Contents) -> HeaderValue {
    let mut hash = Sha256::new();
    for artifact in artifacts {
        hash.update(&artifact.sha256);
    }
    hash.update(format!("{contents:?}"));
    let hex: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn picture_response(picture: Vec<u8>, tag: Option<HeaderValue>) -> Response {
    let fixed =
        [(CONTENT_TYPE, HeaderValue::from_static("image/png")), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response = (fixed, picture).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SliceQuery {
    /// Only the first so many samples.
    n: Option<usize>,
}

/// Up to 2,000 inputs of the job's generators with the teacher's answers, as a data set: `x` as the model takes it, `y`,
/// `teacher_logits`.
///
/// With `paper` the student learned from such inputs, with `fast` and `best` from others. A job whose `sampler` is
/// a kind of noise has no generators, and gives such noise.
#[utoipa::path(
    get, path = "/jobs/{id}/samples.npz", tag = "samples", params(("id" = String, Path, format = Uuid), SliceQuery),
    responses(
        (status = 200, description = "NumPy archive", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, description = "The bytes of Range", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "You have it already"),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "The student has not been trained yet", body = Problem),
        (status = 412, description = "If-Match names another file", body = Problem),
        (status = 416, description = "The range lies outside the file", body = Problem),
    )
)]
pub async fn npz(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<SliceQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    let Some(bank) = files::of_role(&app, &job, Role::Bank).await? else {
        return Err(files::not_ready(&job, "data set").into());
    };
    let mut download = Download {
        name: format!("{}-samples.npz", job.name),
        media_type: "application/octet-stream",
        bytes: bank.bytes,
        sha256: bank.sha256.clone(),
    };
    let Some(n) = query.n else { return files::send(&app, &bank, &download, &headers).await };
    let place = app.gates.draw().await?;
    let source = files::open(&app, &bank).await?;
    let scratch = tempfile::tempfile_in(&app.scratch)?;
    let mut sliced = files::drawn(place, move || Npz::open(source)?.first_rows(n, scratch)).await?;
    download.bytes = files::length(&mut sliced)?;
    download.sha256 = format!("{}-{n}", bank.sha256);
    download.respond(&headers, |range| files::send_file(sliced, range)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LatentQuery {
    /// By number or name; the engine shows all classes in turn where absent.
    class: Option<String>,
    /// `vary`: new latent vectors of one class; `interpolate`: from one to another.
    #[serde(default)]
    #[param(inline)]
    mode: LatentMode,
    /// Pictures of one class, or steps from one latent vector to another.
    #[serde(default = "ten")]
    #[param(minimum = 1, maximum = 100, default = 10)]
    rows: usize,
    #[serde(default)]
    seed: u64,
    /// Which generator, from 0.
    #[serde(default)]
    generator: u32,
    #[serde(default = "two")]
    #[param(minimum = 1, maximum = 32, default = 2)]
    scale: usize,
}

/// What the latent vector does: rows of one class with the latent vector varied.
#[utoipa::path(
    get, path = "/jobs/{id}/samples/latent.png", tag = "samples", params(("id" = String, Path, format = Uuid), LatentQuery),
    responses(
        (status = 200, description = "The picture", content_type = "image/png", body = Vec<u8>),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "No generator has been trained yet", body = Problem),
        (status = 503, description = "It took too long", body = Problem),
    )
)]
pub async fn latent(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<LatentQuery>,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    if !(1..=100).contains(&query.rows) {
        let detail = format!("rows={} is not 1 to 100.", query.rows);
        return Err(Problem::new(ErrorCode::InvalidRequest, detail).param("rows").into());
    }
    let contents = contents(&job, query.class.as_deref(), 1, query.scale)?;
    let (Some(generator), Some(model)) = (generator(&app, id, query.generator).await?, &job.model) else {
        return Err(files::not_ready(&job, "generator").into());
    };
    let request = LatentRequest {
        generator: generator.name.to_string(),
        form: job.settings.extraction.form,
        input: job.settings.input.clone(),
        classes: model.classes,
        latent_dim: job.settings.extraction.latent_dim as usize,
        shape: model.input.inside(),
        layout: model.input.layout,
        class: query.class.is_some().then(|| contents.classes[0] as usize),
        mode: query.mode,
        rows: query.rows,
        seed: query.seed,
    };
    let directory = app.scratch()?;
    app.artifacts.copy_to(&generator, &directory.path().join(generator.name.as_str())).await?;
    let answer = app.helper.ask(&EngineQuery::Latent(request), &directory).await?;
    let place = app.gates.draw().await?;
    let draw = move || sheet::by_position(File::open(answer)?, query.rows, &contents);
    let picture = files::drawn(place, draw).await?;
    Ok(picture_response(picture, None))
}

/// The generator of that number. By its name: there may be more of them than digits sort, and a later one may be done first.
async fn generator(app: &App, job: JobId, number: u32) -> ApiResult<Option<Artifact>> {
    let name = FileName::of_generator(number);
    let found = app.store.artifact(job, &name).await?.map(|row| row.artifact);
    Ok(found.filter(|artifact| artifact.role == Role::Generator))
}
