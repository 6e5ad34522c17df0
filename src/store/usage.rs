//! What a key takes up, and whether there is room for more in its quota, and in the queue. Counted in the transaction that
//! takes the room, so that requests at the same moment cannot share one place.

use std::time::Duration;

use sqlx::{Row as _, SqliteExecutor};

use super::{Store, StoreError, Tx, rows};
use crate::{
    clock::{Millis, millis},
    domain::{
        access::{KeyId, Quota},
        problem::{ErrorCode, Problem},
    },
};

/// What counts as a day: the last 24 hours, so that there is no rush at midnight.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When to ask again where only a job that ends, or a deletion, makes room.
const SOON: Duration = Duration::from_secs(60);
const LATER: Duration = Duration::from_secs(3600);

/// When a full queue may have moved.
const QUEUE_MOVES: Duration = Duration::from_secs(30);

/// What a key takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Queued and running jobs.
    pub open_jobs: u64,
    /// Jobs and retries begun within 24 hours.
    pub jobs_today: u64,
    /// Bytes of all files of its jobs.
    pub stored_bytes: u64,
    /// When the oldest of `jobs_today` will be a day old, in milliseconds since the epoch.
    next_place: Option<Millis>,
}

impl Usage {
    /// Whether one more job with files of `bytes` fits.
    ///
    /// # Errors
    /// `too_many_requests`, naming the quota that is used up and when to try again.
    pub fn admits(&self, quota: &Quota, bytes: u64, now: Millis) -> Result<(), Problem> {
        let refused = |param: &str, detail: String, hint: &str, wait: Duration| {
            Err(Problem::new(ErrorCode::TooManyRequests, detail).param(param).hint(hint).retry_after(wait))
        };
        if let Some(most) = quota.open_jobs
            && self.open_jobs >= most
        {
            let detail = format!("{} jobs of this key wait or run; its quota is {most}.", self.open_jobs);
            return refused("open_jobs", detail, "Try again when one has finished, or cancel one.", SOON);
        }
        if let Some(most) = quota.jobs_per_day
            && self.jobs_today >= most
        {
            let wait = self.next_place.map_or(LATER, |at| Duration::from_millis(at.saturating_sub(now).max(0) as u64));
            let detail =
                format!("{} jobs were begun with this key within 24 hours; its quota is {most}.", self.jobs_today);
            return refused("jobs_per_day", detail, "GET /usage shows what is left.", wait);
        }
        if let Some(most) = quota.stored_bytes
            && self.stored_bytes.saturating_add(bytes) > most
        {
            let detail = format!(
                "The files of this key's jobs have {} bytes; {bytes} more exceed its quota of {most}.",
                self.stored_bytes
            );
            return refused("stored_bytes", detail, "Delete jobs that are no longer needed.", LATER);
        }
        Ok(())
    }
}

impl Store {
    /// What a key takes up; `None` asks for the jobs that belong to no key.
    ///
    /// # Errors
    /// The database fails.
    pub async fn usage(&self, owner: Option<&KeyId>) -> Result<Usage, StoreError> {
        usage(&self.readers, owner, self.clock.now()).await
    }

    /// Whether one more job fits among the `most` that may wait or run. Asked before an upload is read; what counts is the
    /// same question in the transaction that queues it.
    ///
    /// # Errors
    /// `too_many_requests` where not; the database fails.
    pub async fn check_queue(&self, most: u64) -> Result<(), StoreError> {
        queue_admits(open_jobs(&self.readers).await?, most)
    }
}

impl Tx {
    /// Takes a place for one more job among the `most` that may wait or run, of `owner`, whose new files have `bytes`; nobody
    /// has no quota.
    ///
    /// # Errors
    /// As [`Store::check_queue`] and [`Usage::admits`]; `unauthorized` where the key went away meanwhile.
    pub(super) async fn take_place(&mut self, most: u64, owner: Option<&KeyId>, bytes: u64) -> Result<(), StoreError> {
        queue_admits(open_jobs(&mut *self.sql).await?, most)?;
        let Some(id) = owner else { return Ok(()) };
        let Some(key) = self.key(id).await? else {
            return Err(Problem::new(ErrorCode::Unauthorized, "The key does not exist any more.").into());
        };
        usage(&mut *self.sql, owner, self.now).await?.admits(&key.quota, bytes, self.now)?;
        sqlx::query("delete from job_starts where key = ? and at <= ?")
            .bind(id.as_str())
            .bind(self.now - millis(DAY))
            .execute(&mut *self.sql)
            .await?;
        sqlx::query("insert into job_starts (key, at) values (?, ?)")
            .bind(id.as_str())
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}

/// How many jobs wait or run.
async fn open_jobs(sql: impl SqliteExecutor<'_>) -> Result<u64, StoreError> {
    let row =
        sqlx::query("select count(*) as n from jobs where status in ('queued', 'running')").fetch_one(sql).await?;
    rows::number(&row, "n")
}

fn queue_admits(open: u64, most: u64) -> Result<(), StoreError> {
    if open < most {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::TooManyRequests, format!("{open} jobs wait or run; the server takes {most}."))
        .hint("Try again when a job has finished: GET /jobs?status=queued,running")
        .retry_after(QUEUE_MOVES)
        .into())
}

const USAGE: &str = "\
select (select count(*) from jobs where owner is ?1 and status in ('queued', 'running')) as open_jobs, \
    (select count(*) from job_starts where key = ?1 and at > ?2) as jobs_today, \
    (select min(at) from job_starts where key = ?1 and at > ?2) as oldest, \
    (select coalesce(sum(bytes), 0) from artifacts join jobs on jobs.id = artifacts.job where owner is ?1) as stored_bytes";

async fn usage(sql: impl SqliteExecutor<'_>, owner: Option<&KeyId>, now: Millis) -> Result<Usage, StoreError> {
    let row = sqlx::query(USAGE).bind(owner.map(KeyId::as_str)).bind(now - millis(DAY)).fetch_one(sql).await?;
    let oldest: Option<Millis> = row.try_get("oldest")?;
    Ok(Usage {
        open_jobs: rows::number(&row, "open_jobs")?,
        jobs_today: rows::number(&row, "jobs_today")?,
        stored_bytes: rows::number(&row, "stored_bytes")?,
        next_place: oldest.map(|at| at + millis(DAY)),
    })
}
