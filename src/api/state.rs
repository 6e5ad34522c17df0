//! What every handler can reach.

use std::{ops::Deref, path::PathBuf, sync::Arc};

use axum::http::HeaderMap;
use axum_extra::headers::{self, HeaderMapExt};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    caller::Caller,
    disk::Disk,
    error::ApiResult,
    gates::Gates,
    helper::Helper,
    hosts::Hosts,
    traffic::Traffic,
    upload::{MAX_FRAMING, storage_full},
};
use crate::{
    artifacts::Artifacts,
    config::LimitsConfig,
    domain::{
        ids::JobId,
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
    /// The same disk, and who writes to it.
    pub disk: Disk,
    /// The names we go by.
    pub hosts: Hosts,
    /// How much may happen at once.
    pub gates: Gates,
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
        self.store.job(id).await?.ok_or_else(|| no_job(id).into())
    }

    /// Lets through who may cancel, retry or delete the job, also where it cannot be read.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, and whatever the database fails with.
    pub async fn may_change(&self, id: JobId, caller: &Caller) -> ApiResult<()> {
        let job = self.store.standing(id).await?.ok_or_else(|| no_job(id))?;
        caller.may_change(id, job.owner.as_ref())
    }

    /// Whether one more job, with files of `bytes`, fits into the caller's quota. Asked before an upload is read; what
    /// counts is the same question when the job is submitted.
    ///
    /// # Errors
    /// `too_many_requests` where not.
    pub async fn quota(&self, caller: &Caller, bytes: u64) -> ApiResult<()> {
        let Caller::Key(key) = caller else { return Ok(()) };
        let usage = self.store.usage(Some(&key.id)).await?;
        Ok(usage.admits(&key.quota, bytes, self.store.clock().now())?)
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
        self.disk.free()
    }

    /// Whether the disk has room for an upload.
    ///
    /// # Errors
    /// `disk_full` where it has not.
    pub fn room(&self) -> ApiResult<()> {
        self.disk.check()
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
        Ok(self.store.check_queue(self.limits.max_queue).await?)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The answer for a job that is not there.
pub fn no_job(id: JobId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("There is no job {id}."))
        .hint("GET /jobs lists the jobs; a deleted one is gone for good.")
}
