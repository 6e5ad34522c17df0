//! What every handler can reach.

use std::{ops::Deref, path::PathBuf, sync::Arc};

use axum::http::HeaderMap;
use axum_extra::headers::{self, HeaderMapExt};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    error::{ApiError, ApiResult},
    helper::Helper,
    traffic::Traffic,
    upload::{MAX_FRAMING, storage_full},
};
use crate::{
    artifacts::Artifacts,
    config::LimitsConfig,
    domain::{
        ids::JobId,
        job::JobStatus,
        problem::{ErrorCode, Problem},
    },
    retention::{Collector, Room},
    store::{Job, Store},
};

/// The service's parts. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub store: Store,
    pub artifacts: Artifacts,
    /// Deletes what has expired, and knows what there is room for.
    pub collector: Collector,
    pub limits: LimitsConfig,
    /// Runs what needs the engine, in a process of its own.
    pub helper: Helper,
    /// For files that live as long as a request: on the disk of the data, since `/tmp` may be memory.
    pub scratch: PathBuf,
    pub traffic: Traffic,
    /// The service is about to end: whoever waits for something answers now.
    pub stop: CancellationToken,
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// # Errors
    /// `not_found`, and whatever the database fails with.
    pub async fn job(&self, id: JobId) -> ApiResult<Job> {
        self.store.job(id).await?.ok_or_else(|| {
            Problem::new(ErrorCode::NotFound, format!("There is no job {id}."))
                .hint("GET /jobs lists the jobs; a deleted one is gone for good.")
                .into()
        })
    }

    /// A directory that goes when it is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> ApiResult<TempDir> {
        Ok(TempDir::new_in(&self.scratch)?)
    }

    /// Bytes that the service may still write where its data lie.
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn free_disk(&self) -> ApiResult<u64> {
        let disk = nix::sys::statvfs::statvfs(&self.scratch).map_err(ApiError::internal)?;
        Ok(disk.blocks_available() as u64 * disk.fragment_size() as u64)
    }

    /// Whether the disk has room for an upload.
    ///
    /// # Errors
    /// `disk_full` where it has not.
    pub fn room(&self) -> ApiResult<()> {
        let (free, least) = (self.free_disk()?, self.limits.min_free_disk);
        if free >= least.0 {
            return Ok(());
        }
        let detail = format!("The server's disk has {free} bytes free; uploads must leave {least}.");
        Err(Problem::new(ErrorCode::DiskFull, detail)
            .hint("Delete jobs that are no longer needed, and try again.")
            .into())
    }

    /// Room for an upload under the bound of the storage; refused at once where the upload says itself that it cannot fit.
    ///
    /// # Errors
    /// `storage_full`; the database fails.
    pub async fn room_for(&self, headers: &HeaderMap) -> ApiResult<Room> {
        let room = self.collector.room().await?;
        let announced = headers.typed_get::<headers::ContentLength>().map_or(0, |length| length.0);
        room.check(announced.saturating_sub(MAX_FRAMING)).map_err(storage_full)?;
        Ok(room)
    }

    /// Whether one more job may be queued.
    ///
    /// # Errors
    /// `too_many_requests` where not.
    pub async fn place(&self) -> ApiResult<()> {
        let waiting =
            self.store.count_jobs(JobStatus::Queued).await? + self.store.count_jobs(JobStatus::Running).await?;
        let most = self.limits.max_queue;
        if waiting < most {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::TooManyRequests, format!("{waiting} jobs wait or run; the server takes {most}."))
            .hint("Try again when a job has finished: GET /jobs?status=queued,running")
            .into())
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
