//! Waiting for something to happen to a job: long polls and event streams.

use std::time::Duration;

use tokio::{sync::broadcast::error::RecvError, time::Instant};

use super::{Job, Signal, Store, StoreError, rows};
use crate::domain::ids::JobId;

/// How often a waiting client looks by itself: another process announces nothing here.
const RECHECK: Duration = Duration::from_secs(1);

/// What a client has seen of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    /// The newest event; [`u64::MAX`] where only the job itself matters.
    pub event: u64,
}

/// The newest there is of a job.
struct Newest {
    revision: u64,
    event: u64,
}

impl Newest {
    fn is_news_to(&self, seen: Seen) -> bool {
        self.revision != seen.revision || self.event > seen.event
    }
}

impl Store {
    /// Long poll: the job as soon as its revision is not `seen`, or as it stands after `patience`; `None` where there is no
    /// such job, or no longer.
    ///
    /// # Errors
    /// The database fails.
    pub async fn wait_for_change(&self, id: JobId, seen: u64, patience: Duration) -> Result<Option<Job>, StoreError> {
        self.wait_for_news(id, Seen { revision: seen, event: u64::MAX }, patience).await
    }

    /// As [`Store::wait_for_change`], also for events that changed nothing about the job itself.
    ///
    /// # Errors
    /// The database fails.
    pub async fn wait_for_news(&self, id: JobId, seen: Seen, patience: Duration) -> Result<Option<Job>, StoreError> {
        // Before the first look: what happens after it is not missed.
        let mut signals = self.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            let Some(newest) = self.newest(id).await? else { return Ok(None) };
            if newest.is_news_to(seen) || Instant::now() >= deadline {
                return self.job(id).await;
            }
            let recheck = deadline.min(Instant::now() + RECHECK);
            let changed = async {
                loop {
                    match signals.recv().await {
                        Ok(Signal::JobChanged(changed)) if changed == id => return,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                    }
                }
            };
            // Running into the deadline is not an error: the next turn looks and returns.
            let _ = tokio::time::timeout_at(recheck, changed).await;
        }
    }

    /// Without the job's JSON: hundreds of clients may wait at once, and each looks every second.
    async fn newest(&self, id: JobId) -> Result<Option<Newest>, StoreError> {
        let sql =
            "select revision, (select max(id) from job_events where job = jobs.id) as event from jobs where id = ?";
        let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(&self.readers).await?;
        let read = |row| {
            let (revision, event) = (rows::number(&row, "revision")?, rows::optional_number(&row, "event")?);
            Ok(Newest { revision, event: event.unwrap_or(0) })
        };
        row.map(read).transpose()
    }
}
