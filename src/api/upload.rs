//! Uploads: the parts of a multipart form, streamed to storage while they are counted and hashed.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use axum::{extract::multipart::Field, http::HeaderMap};
use axum_extra::headers::{self, HeaderMapExt};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{
    disk::Reserved,
    error::{ApiError, ApiResult},
    extract::{Delivered, Multipart},
    forgotten_at,
    state::App,
};
use crate::{
    artifacts::{PutError, hexadecimal},
    domain::{
        artifact::{Artifact, FileName, InvalidFileName, Role},
        config::{JobConfig, Settings},
        ids::JobId,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
    },
    formats::sniff,
    retention::{Full, Room},
    store::{IdempotencyKey, NewJob},
};

/// Largest `config`: it is read into memory, and goes with the job into every list. The names of a thousand classes take a
/// tenth of it.
const MAX_CONFIG: usize = 256 << 10;

/// What the form itself may add to the bytes of its parts.
pub const MAX_FRAMING: u64 = 1 << 20;

/// Side files of one model.
const MAX_SIDE_FILES: usize = 256;

/// The parts of `POST /jobs` and `POST /inspect`.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct UploadForm {
    /// The model file.
    #[schema(value_type = String, format = Binary)]
    model: Vec<u8>,
    /// The job's configuration, as text or as a file.
    config: Option<JobConfig>,
    /// The student's network, an ONNX file, where it shall be another than the compressed teacher. `config.student` says
    /// whether it keeps its weights.
    #[schema(value_type = Option<String>, format = Binary)]
    student: Option<Vec<u8>>,
    /// `.npz` with `x` and `y`: real inputs in the model's own layout and their classes, read after training and for the
    /// report alone.
    #[schema(value_type = Option<String>, format = Binary)]
    eval: Option<Vec<u8>>,
    /// Side files of an ONNX model, by the names it uses.
    #[schema(value_type = Option<Vec<String>>)]
    external_data: Option<Vec<Vec<u8>>>,
}

/// How long an upload says that it is, 0 where it does not say; one that is too large is refused before any of it is read.
///
/// # Errors
/// `too_large`.
pub fn announced(app: &App, headers: &HeaderMap) -> ApiResult<u64> {
    let announced = headers.typed_get::<headers::ContentLength>().map_or(0, |length| length.0);
    let most = app.limits.max_upload;
    if announced > most.0.saturating_add(MAX_FRAMING) {
        return Err(too_large(most.to_string(), "model"));
    }
    Ok(announced)
}

/// Files that are kept under an id, as a job's are, of a job which may never be: gone again unless [`Draft::keep`] is called.
pub struct Draft {
    app: App,
    id: JobId,
    /// The id of the job that it becomes, once its files lie there.
    job: OnceLock<JobId>,
    reserved: Reserved,
    discard: AtomicBool,
    /// What it takes of the storage that finished jobs and uploads share.
    room: Option<Room>,
}

impl Draft {
    /// # Errors
    /// `disk_full` where the disk has no room for `announced` bytes.
    pub fn new(app: &App, announced: u64) -> ApiResult<Self> {
        let reserved = app.disk.reserve(announced)?;
        let (id, job, discard) = (JobId::new(), OnceLock::new(), AtomicBool::new(true));
        Ok(Self { app: app.clone(), id, job, reserved, discard, room: None })
    }

    /// Its bytes count against `room` as they come.
    pub fn within(mut self, room: Room) -> Self {
        self.room = Some(room);
        self
    }

    fn take(&self, bytes: u64) -> ApiResult<()> {
        self.room.as_ref().map_or(Ok(()), |room| room.take(bytes).map_err(storage_full))
    }

    /// Whether it still fits now that it is here: others may have arrived meanwhile.
    ///
    /// # Errors
    /// `storage_full`; the database fails.
    pub async fn check_room(&self) -> ApiResult<()> {
        self.app.collector.room().await?.check(0).map_err(storage_full)
    }

    /// What its files lie under.
    pub fn id(&self) -> JobId {
        self.job.get().copied().unwrap_or(self.id)
    }

    /// Gives `job` an id, and the files to it. Only now, when all is there: jobs are listed and queued by their ids, and an
    /// upload that takes long must neither come before what a list has shown already, nor hold a place in the queue.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn become_job(&self, job: &mut NewJob) -> ApiResult<()> {
        job.id = *self.job.get_or_init(JobId::new);
        let reused = job.reused.iter_mut().map(|reused| &mut reused.artifact);
        let files = job.uploads.iter_mut().chain(reused).collect();
        Ok(self.app.artifacts.hand_over(self.id, job.id, files).await?)
    }

    /// The job is there now, and the files are its own.
    pub fn keep(&self) {
        self.discard.store(false, Ordering::Relaxed);
    }

    /// All that its files may lie under: they may have been on their way from one id to the other.
    fn ids(&self) -> Vec<JobId> {
        [Some(self.id), self.job.get().copied()].into_iter().flatten().collect()
    }

    /// Deletes the files before the answer goes out.
    pub async fn discard(&self) {
        delete(&self.app, self.ids()).await;
        // Only now: until here a client that goes away leaves them to `drop`.
        self.keep();
    }
}

/// A client that goes away drops the request's future wherever it stands.
impl Drop for Draft {
    fn drop(&mut self) {
        if *self.discard.get_mut() {
            let (app, ids) = (self.app.clone(), self.ids());
            tokio::spawn(async move { delete(&app, ids).await });
        }
    }
}

async fn delete(app: &App, ids: Vec<JobId>) {
    for id in ids {
        if let Err(error) = app.artifacts.delete_job(id).await {
            tracing::error!(%error, "the files of a refused upload could not be deleted");
        }
    }
}

/// A complete upload.
pub struct Upload {
    pub config: JobConfig,
    pub model: FileName,
    pub eval: Option<FileName>,
    /// The student that came along.
    pub student: Option<FileName>,
    /// Model, evaluation set, student and side files.
    pub files: Vec<Artifact>,
}

impl Upload {
    /// Receives the parts of `form`.
    ///
    /// # Errors
    /// A part is unknown, empty, missing or sent twice; the upload is too large; the model is in no known format; the
    /// configuration cannot be read; storage fails.
    pub async fn receive(draft: &Draft, form: &mut Multipart) -> ApiResult<Self> {
        let delivered = form.delivered();
        let mut parts = Parts { draft, delivered, received: AtomicU64::new(0), config: None, files: Vec::new() };
        while let Some(field) = form.next_field().await? {
            parts.take(field).await?;
        }
        let Parts { config, files, .. } = parts;
        let of_role = |role| files.iter().find(|file: &&Artifact| file.role == role);
        let Some(model) = of_role(Role::Teacher) else {
            return Err(Problem::new(ErrorCode::MissingModel, "The upload has no part `model`.")
                .param("model")
                .hint("curl -F model=@model.onnx …/jobs")
                .into());
        };
        check_format(draft, model, "model").await?;
        let student = of_role(Role::GivenStudent);
        if let Some(student) = student {
            check_format(draft, student, "student").await?;
        }
        let config = config.unwrap_or_default().with_student_file(student.is_some())?;
        let name = |file: &Artifact| file.name.clone();
        let (model, student, eval) = (name(model), student.map(name), of_role(Role::Evaluation).map(name));
        Ok(Self { config, model, eval, student, files })
    }

    /// With every default filled in that does not depend on the model.
    ///
    /// # Errors
    /// `invalid_config` where a value lies outside its bounds.
    pub fn settings(&self, teacher: TeacherKind) -> Result<Settings, Problem> {
        let name = self.model.as_str();
        self.config.resolve(teacher, name.rsplit_once('.').map_or(name, |(stem, _)| stem))
    }

    /// Names of the model's side files.
    pub fn side_files(&self) -> Vec<String> {
        self.files.iter().filter(|file| file.role == Role::ExternalData).map(|file| file.name.to_string()).collect()
    }

    /// `key` with a hash of all that was sent, whatever the order of the parts.
    pub fn idempotency(&self, key: String) -> IdempotencyKey {
        let mut parts: Vec<String> =
            self.files.iter().map(|file| format!("{} {} {:?}", file.role.name(), file.sha256, file.name)).collect();
        parts.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(parts.join("\n"));
        hash.update(self.config.written().map(|config| config.to_string()).unwrap_or_default());
        IdempotencyKey { key, body_sha256: hexadecimal(&hash.finalize()) }
    }
}

/// Refuses what is no model before a job is made of it.
async fn check_format(draft: &Draft, file: &Artifact, part: &str) -> ApiResult<()> {
    let end = file.bytes.min(sniff::HEAD as u64);
    let chunks: Vec<Bytes> = draft.app.artifacts.read(file, Some(0..end)).await?.try_collect().await?;
    let format = sniff::sniff(&chunks.concat(), file.bytes);
    let format = format.map_err(|problem| problem.param(part))?;
    if part == "student" && format == sniff::Format::Safetensors {
        let detail = "The student is a file of bare weights, and a student needs its network with it.";
        return Err(Problem::new(ErrorCode::UnsupportedFormat, detail)
            .param(part)
            .hint("Send it as an ONNX file, or name one that kegd builds: {\"student\": {\"arch\": \"lenet5\"}}.")
            .into());
    }
    Ok(())
}

/// What has been received so far.
struct Parts<'a> {
    draft: &'a Draft,
    /// Tells the form what has been taken from it.
    delivered: Delivered,
    /// Bytes of all parts.
    received: AtomicU64,
    config: Option<JobConfig>,
    files: Vec<Artifact>,
}

impl Parts<'_> {
    async fn take(&mut self, field: Field<'_>) -> ApiResult<()> {
        let part = field.name().unwrap_or_default().to_owned();
        match part.as_str() {
            "model" => self.file(field, Role::Teacher, "model").await,
            "eval" => self.file(field, Role::Evaluation, "eval").await,
            "student" => self.file(field, Role::GivenStudent, "student").await,
            "external_data" => self.file(field, Role::ExternalData, "external_data").await,
            "config" => self.config(field).await,
            _ => {
                // As long as the client likes, which an answer must not be.
                let part: String = part.escape_debug().take(100).collect();
                Err(Problem::new(ErrorCode::InvalidRequest, format!("There is no part `{part}`."))
                    .param(part)
                    .hint("The parts are model, config, eval, student and external_data.")
                    .into())
            }
        }
    }

    async fn file(&mut self, field: Field<'_>, role: Role, part: &str) -> ApiResult<()> {
        let sent = self.files.iter().filter(|file| file.role == role).count();
        let most = if role == Role::ExternalData { MAX_SIDE_FILES } else { 1 };
        if sent >= most {
            let detail = format!("The part `{part}` was sent more than {most} times.");
            return Err(Problem::new(ErrorCode::InvalidRequest, detail).param(part).into());
        }
        let (name, is_file) = (file_name(&field, role, part)?, field.file_name().is_some());
        if self.files.iter().any(|file| file.name == name) {
            // Checked before it is written: it would replace the other one.
            let detail = format!("Two files of the upload are called `{name}`.");
            return Err(Problem::new(ErrorCode::InvalidRequest, detail)
                .param(part)
                .hint("Give each file a name of its own.")
                .into());
        }
        let draft = self.draft;
        let stream = Box::pin(self.counted(field, part));
        let stored = draft.app.artifacts.put(draft.id, name, role, stream).await;
        let artifact = stored.map_err(|error| match error {
            PutError::Source(error) => error,
            PutError::Storage(error) => error.into(),
        })?;
        if artifact.bytes == 0 {
            return Err(Problem::new(
                ErrorCode::EmptyFile,
                format!("The file `{}` of the part `{part}` is empty.", artifact.name),
            )
            .param(part)
            .hint("Check the path that you gave; with curl: -F model=@path/to/model.onnx")
            .into());
        }
        if !is_file && artifact.bytes <= forgotten_at::MOST as u64 {
            let content = draft.app.artifacts.read_whole(&artifact, artifact.bytes).await?;
            forgotten_at::problem(part, &content).map_or(Ok(()), Err)?;
        }
        self.files.push(artifact);
        Ok(())
    }

    async fn config(&mut self, field: Field<'_>) -> ApiResult<()> {
        if self.config.is_some() {
            return Err(Problem::new(ErrorCode::InvalidRequest, "The part `config` was sent twice.")
                .param("config")
                .into());
        }
        let is_file = field.file_name().is_some();
        let mut json = Vec::new();
        let mut stream = Box::pin(self.counted(field, "config"));
        while let Some(chunk) = stream.try_next().await? {
            if json.len() + chunk.len() > MAX_CONFIG {
                let detail = format!("The configuration has more than {MAX_CONFIG} bytes.");
                return Err(Problem::new(ErrorCode::TooLarge, detail).param("config").into());
            }
            json.extend_from_slice(&chunk);
        }
        drop(stream);
        if !is_file && let Some(problem) = forgotten_at::problem("config", &json) {
            return Err(problem.into());
        }
        self.config = Some(JobConfig::parse(&json)?);
        Ok(())
    }

    /// The bytes of a part, failing where all parts together become too many.
    fn counted<'f>(&self, field: Field<'f>, part: &str) -> impl Stream<Item = Result<Bytes, ApiError>> + use<'_, 'f> {
        let (draft, most) = (self.draft, self.draft.app.limits.max_upload);
        let part = part.to_owned();
        field.map(move |chunk| {
            let chunk = chunk?;
            self.delivered.count(chunk.len());
            draft.reserved.arrived(chunk.len() as u64)?;
            let before = self.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if before + chunk.len() as u64 > most.0 {
                return Err(too_large(most.to_string(), &part));
            }
            draft.take(chunk.len() as u64)?;
            Ok(chunk)
        })
    }
}

pub fn storage_full(full: Full) -> ApiError {
    let Full { most, room } = full;
    let detail =
        format!("The server keeps at most {most} bytes; even without any finished job it has {room} for uploads.");
    Problem::new(ErrorCode::StorageFull, detail)
        .hint("Send a smaller upload, or wait until running jobs have finished. The server's operator can raise --max-storage.")
        .into()
}

fn too_large(most: String, part: &str) -> ApiError {
    Problem::new(ErrorCode::TooLarge, format!("The upload is larger than {most}."))
        .param(part)
        .hint("The server's operator can raise the limit with --max-upload.")
        .into()
}

/// The name that the client gave, without the path that some send along (RFC 7578, section 4.2).
fn file_name(field: &Field<'_>, role: Role, part: &str) -> ApiResult<FileName> {
    let given = field.file_name().unwrap_or(part);
    let last = given.rsplit(['/', '\\']).next().unwrap_or(given);
    // Many call it student.onnx, which is what the job will call the one that it makes.
    let last = &if role == Role::GivenStudent { format!("given-{last}") } else { last.to_owned() };
    let refused = |detail: String| Problem::new(ErrorCode::InvalidRequest, detail).param(part).hint("Rename the file.");
    let name: FileName = last.parse().map_err(|error: InvalidFileName| refused(error.to_string()))?;
    if name.is_reserved() {
        return Err(refused(format!("`{name}` is the name of a file that a job writes itself.")).into());
    }
    Ok(name)
}
