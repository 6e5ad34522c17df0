//! Between handlers and kept files: sending them, reading small ones, and opening those that are read out of order.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    ops::Range,
};

use axum::{body::Body, http::HeaderMap, response::Response};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::OwnedSemaphorePermit,
};
use tokio_util::io::ReaderStream;

use super::{
    download::Download,
    error::{ApiError, ApiResult},
    state::App,
};
use crate::{
    artifacts::ArtifactError,
    domain::{
        artifact::{Artifact, Role},
        job::JobStatus,
        problem::{ErrorCode, Problem},
    },
    store::Job,
};

/// Largest JSON file that is read at once: a report of some thousand layers has a tenth of it.
const MAX_JSON: u64 = 16 << 20;

/// Answers a download of `artifact`, as the conditions and ranges of the request want it.
pub async fn send(app: &App, artifact: &Artifact, download: &Download, request: &HeaderMap) -> ApiResult<Response> {
    let open = |range| async {
        let bytes = app.artifacts.read(artifact, Some(range)).await.map_err(|error| gone_or(error, artifact))?;
        Ok(Body::from_stream(bytes))
    };
    download.respond(request, open).await
}

/// `not_found` where the file went after its row was read: a job was deleted, or a checkpoint took the place of another.
fn gone_or(error: ArtifactError, artifact: &Artifact) -> ApiError {
    if !error.is_missing() {
        return error.into();
    }
    tracing::warn!(name = %artifact.name, key = artifact.key, "a file that a row named is gone");
    Problem::new(ErrorCode::NotFound, format!("The file `{}` has just been replaced or deleted.", artifact.name))
        .hint("Ask again; GET /jobs/{id}/artifacts lists the files that there are.")
        .into()
}

/// The bytes of a range of an open file.
pub async fn send_file(file: File, range: Range<u64>) -> ApiResult<Body> {
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(range.start)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(range.end - range.start), 256 << 10)))
}

/// The whole of a JSON artifact.
pub async fn read_json(app: &App, artifact: &Artifact) -> ApiResult<bytes::Bytes> {
    app.artifacts.read_whole(artifact, MAX_JSON).await.map_err(|error| gone_or(error, artifact))
}

/// A copy that can be read out of order, and is gone when it is closed. Storage itself gives streams alone.
pub async fn open(app: &App, artifact: &Artifact) -> ApiResult<File> {
    let directory = app.scratch()?;
    let path = directory.path().join("artifact");
    app.artifacts.copy_to(artifact, &path).await.map_err(|error| gone_or(error, artifact))?;
    // The directory goes when it is dropped; an open file stays readable.
    Ok(File::open(path)?)
}

/// The job's first file of that role.
pub async fn of_role(app: &App, job: &Job, role: Role) -> ApiResult<Option<Artifact>> {
    Ok(app.store.artifacts_of_role(job.id, role).await?.into_iter().next().map(|row| row.artifact))
}

/// Runs what computes, or reads files, without holding up other requests.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> ApiResult<T>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?.map_err(Into::into)
}

/// As [`blocking`], in a place to draw or to unpack in. The place is the work's own: a client that goes away drops its
/// request, but the work goes on, and must go on being counted.
pub async fn drawn<T, E>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> ApiResult<T>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    let in_place = move || {
        let done = work();
        drop(place);
        done
    };
    blocking(in_place).await
}

/// Length of a file, leaving it at its start.
pub fn length(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(length)
}

/// The answer for something that the job does not have, or not yet.
pub fn not_ready(job: &Job, what: &str) -> Problem {
    let (detail, hint) = match job.status {
        JobStatus::Queued | JobStatus::Running => (
            format!("There is no {what} yet: the job is {}, phase {}.", job.status, job.phase),
            format!("GET /jobs/{}?wait=30 answers when the job changes.", job.id),
        ),
        JobStatus::Failed => {
            (format!("There is no {what}: the job failed."), format!("GET /jobs/{} says why in `error`.", job.id))
        }
        JobStatus::Canceled => (format!("There is no {what}: the job was canceled."), "Submit it again.".to_owned()),
        JobStatus::Succeeded => (
            format!("There is no {what}: the job made none."),
            format!("GET /jobs/{}/artifacts lists what it made.", job.id),
        ),
    };
    Problem::new(ErrorCode::NotReady, detail).hint(hint)
}

/// `name` as one segment of a path (RFC 3986).
pub fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => segment.push(char::from(byte)),
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_place_is_taken_until_the_work_ends() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let (begin, begun) = oneshot::channel();
        let (end, ended) = mpsc::channel::<()>();
        let work = move || {
            begin.send(()).unwrap();
            ended.recv().map_err(ApiError::internal)
        };
        let request = tokio::spawn(drawn(place, work));
        begun.await.unwrap();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(places.available_permits(), 0, "the client is gone, and the work is not");
        end.send(()).unwrap();
        let _free_again = places.acquire().await.unwrap();
    }
}
