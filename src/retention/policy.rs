//! The rules of one service.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::Job;

/// How long and how much is kept. None: without an end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// A finished job, after its end.
    pub jobs: Option<Duration>,
    /// Its uploads, after its end.
    pub uploads: Option<Duration>,
    /// Bytes under the data directory.
    pub storage: Option<u64>,
}

impl Policy {
    pub fn keeps_everything(&self) -> bool {
        self.jobs.is_none() && self.uploads.is_none() && self.storage.is_none()
    }

    /// When the job goes; none while it has not finished, and where jobs are kept.
    pub fn job_expires(&self, job: &Job) -> Option<Timestamp> {
        after(job.finished_at, self.jobs)
    }

    /// When its uploads go; none where they are gone already, and where they stay as long as the job.
    pub fn upload_expires(&self, job: &Job) -> Option<Timestamp> {
        let uploads = if job.upload_deleted_at.is_none() { after(job.finished_at, self.uploads) } else { None };
        match (uploads, self.job_expires(job)) {
            (Some(uploads), Some(job)) => Some(uploads.min(job)),
            (uploads, _) => uploads,
        }
    }
}

/// A moment beyond the calendar is never.
pub(super) fn after(finished_at: Option<Timestamp>, retain: Option<Duration>) -> Option<Timestamp> {
    finished_at?.checked_add(jiff::SignedDuration::try_from(retain?).ok()?).ok()
}
