//! A job's events: an append-only list, for clients that follow along and resume by id.
//!
//! Only what is worth reading later is kept: where the job stands, runs, files. Progress and metrics change every second;
//! they are on the job's row, and every change of it raises its revision.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Signal, Store, StoreError, Tx, rows};
use crate::domain::{
    artifact::Role,
    ids::JobId,
    job::{JobStatus, Phase},
    problem::Problem,
};

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum NewEvent<'a> {
    /// The job's status or phase changed.
    Status {
        status: JobStatus,
        phase: Phase,
    },
    RunStarted {
        task: &'a str,
        generator: Option<u32>,
        /// Of the student in a sweep.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<f64>,
        run: u32,
        device: &'a str,
        /// The step of the checkpoint that it goes on from; null where it starts from nothing.
        resumed_step: Option<u64>,
    },
    RunEnded {
        task: &'a str,
        generator: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<f64>,
        run: u32,
        outcome: &'a str,
        detail: Option<&'a str>,
    },
    Artifact {
        name: &'a str,
        role: Role,
        bytes: u64,
        sha256: &'a str,
    },
    Sample {
        artifact: &'a str,
        generator: u32,
        epoch: u32,
        count: u64,
    },
    /// The job failed. Not called `error`: a browser's EventSource has an event of that name for itself.
    Failed {
        error: &'a Problem,
    },
}

impl NewEvent<'_> {
    /// The event's type: a stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::RunStarted { .. } => "run_started",
            Self::RunEnded { .. } => "run_ended",
            Self::Artifact { .. } => "artifact",
            Self::Sample { .. } => "sample",
            Self::Failed { .. } => "failed",
        }
    }
}

/// An event as kept.
#[derive(Clone, Debug)]
pub struct JobEvent {
    /// Rises over all jobs; the `id` of a Server-Sent Event.
    pub id: u64,
    /// See [`NewEvent::name`].
    pub kind: String,
    pub data: serde_json::Value,
    pub at: Timestamp,
}

impl JobEvent {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: rows::number(row, "id")?,
            kind: row.try_get("type")?,
            data: rows::json(row, "data")?,
            at: rows::time(row, "at")?,
        })
    }
}

impl Store {
    /// At most `limit` events of a job after the event `after` (0: from the first), in order.
    ///
    /// # Errors
    /// The database fails.
    pub async fn events(&self, job: JobId, after: u64, limit: u32) -> Result<Vec<JobEvent>, StoreError> {
        let sql = "select * from job_events where job = ? and id > ? order by id limit ?";
        // A client may send any number as the last one it saw; none lies beyond the largest.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind(job.to_string()).bind(after).bind(limit).fetch_all(&self.readers).await?;
        rows.iter().map(JobEvent::read).collect()
    }
}

impl Tx {
    pub(crate) async fn append_event(&mut self, job: JobId, event: &NewEvent<'_>) -> Result<(), StoreError> {
        sqlx::query("insert into job_events (job, type, data, at) values (?, ?, ?, ?)")
            .bind(job.to_string())
            .bind(event.name())
            .bind(rows::to_json(event, "data")?)
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        self.announce(Signal::JobChanged(job));
        Ok(())
    }
}
