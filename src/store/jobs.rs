//! Jobs as clients see them: one, a page of them, and what the queue writes on them.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use jiff::Timestamp;
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use super::{NewEvent, Signal, Store, StoreError, Tx, rows};
use crate::{
    clock::Millis,
    domain::{
        access::KeyId,
        artifact::FileName,
        config::{JobConfig, Settings},
        ids::JobId,
        job::{JobStatus, Phase, Progress},
        model::ModelFacts,
        problem::Problem,
        report::JobResult,
        students::StudentResult,
    },
};

/// A job with everything its view needs, in one row.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub name: String,
    /// The key it was sent with; none where nobody was asked for one.
    pub owner: Option<KeyId>,
    pub status: JobStatus,
    pub phase: Phase,
    /// 1, and one more for each retry that a client asked for.
    pub attempt: u32,
    pub priority: i32,
    /// As the client sent it.
    pub config: JobConfig,
    /// As resolved, with every default filled in.
    pub settings: Settings,
    pub model_file: FileName,
    pub model: Option<ModelFacts>,
    /// That of the first target, once all have succeeded.
    pub result: Option<JobResult>,
    /// What came of each target so far, in their order.
    pub results: Vec<StudentResult>,
    pub error: Option<Problem>,
    pub warnings: Vec<String>,
    /// Where its latest run ran: `cpu`, `cuda:0`.
    pub device: Option<String>,
    pub progress: Option<Progress>,
    /// The newest value of every series.
    pub latest_metrics: BTreeMap<String, f64>,
    /// Rises with every visible change: the ETag.
    pub revision: u64,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// When its uploads went; without them it cannot be retried.
    pub upload_deleted_at: Option<Timestamp>,
}

impl Job {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: rows::parsed(row, "id")?,
            name: row.try_get("name")?,
            owner: rows::optional_parsed(row, "owner")?,
            status: rows::parsed(row, "status")?,
            phase: rows::parsed(row, "phase")?,
            attempt: rows::number(row, "attempt")?,
            priority: rows::number(row, "priority")?,
            config: rows::json(row, "config")?,
            settings: rows::json(row, "settings")?,
            model_file: rows::parsed(row, "model_file")?,
            model: rows::optional_json(row, "model")?,
            result: rows::optional_json(row, "result")?,
            results: rows::json(row, "results")?,
            error: rows::optional_json(row, "error")?,
            warnings: rows::json(row, "warnings")?,
            device: row.try_get("device")?,
            progress: rows::optional_json(row, "progress")?,
            latest_metrics: rows::json(row, "latest_metrics")?,
            revision: rows::number(row, "revision")?,
            created_at: rows::time(row, "created_at")?,
            started_at: rows::optional_time(row, "started_at")?,
            finished_at: rows::optional_time(row, "finished_at")?,
            upload_deleted_at: rows::optional_time(row, "upload_deleted_at")?,
        })
    }

    /// Whether the student of that number is done.
    pub fn has_student(&self, number: u32) -> bool {
        self.results.iter().any(|made| made.number == number)
    }

    /// How far it has come, 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.progress.as_ref().map_or(0.0, |progress| progress.fraction)
    }
}

/// What has to be known of a job to end or delete it: no JSON, which another version may have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As [`Job::owner`].
    pub owner: Option<KeyId>,
    pub status: JobStatus,
    pub finished_at: Option<Timestamp>,
}

const STANDING: &str = "select owner, status, finished_at from jobs where id = ?";

impl Standing {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            owner: rows::optional_parsed(row, "owner")?,
            status: rows::parsed(row, "status")?,
            finished_at: rows::optional_time(row, "finished_at")?,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// Which jobs, and how many.
#[derive(Clone, Debug)]
pub struct JobQuery {
    /// Any of these; empty: all.
    pub statuses: Vec<JobStatus>,
    /// Exactly this name.
    pub name: Option<String>,
    pub order: Order,
    pub limit: u32,
    /// Only what comes after this job in the order.
    pub after: Option<JobId>,
}

impl Default for JobQuery {
    fn default() -> Self {
        Self { statuses: Vec::new(), name: None, order: Order::default(), limit: 20, after: None }
    }
}

#[derive(Clone, Debug)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// The `after` of the next page, where there is one.
    pub next: Option<JobId>,
}

/// JSON on one page, about: a page is held in memory.
const PAGE_BYTES: u64 = 4 << 20;

/// Bytes of the columns that a client, or a model, can make long.
const JSON_BYTES: &str = "length(config) + length(settings) + length(coalesce(model, '')) + length(coalesce(result, '')) + \
                          length(results) + length(warnings) + length(latest_metrics)";

impl Store {
    /// # Errors
    /// The database fails.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row =
            sqlx::query("select * from jobs where id = ?").bind(id.to_string()).fetch_optional(&self.readers).await?;
        row.as_ref().map(Job::read).transpose()
    }

    /// Whose job it is, and how it stands, also where no more of it can be read.
    ///
    /// # Errors
    /// The database fails.
    pub async fn standing(&self, id: JobId) -> Result<Option<Standing>, StoreError> {
        let row = sqlx::query(STANDING).bind(id.to_string()).fetch_optional(&self.readers).await?;
        row.as_ref().map(Standing::read).transpose()
    }

    /// A page of jobs. Ids sort by age, so the last id of a page is the cursor, and new jobs shift nothing. A page of jobs
    /// with much JSON is shorter than asked for, and one with jobs that this version cannot read has the others.
    ///
    /// # Errors
    /// The database fails.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError> {
        // The page is found in an index; only its own rows, which are large, are read and sorted.
        let columns =
            format!("select *, {JSON_BYTES} as json_bytes from jobs where id in (select id from jobs where true");
        let mut sql = QueryBuilder::<Sqlite>::new(columns);
        if !query.statuses.is_empty() {
            let mut list = sql.push(" and status in (").separated(", ");
            for status in &query.statuses {
                list.push_bind(status.name());
            }
            sql.push(")");
        }
        if let Some(name) = &query.name {
            sql.push(" and name = ").push_bind(name);
        }
        let (beyond, order) = match query.order {
            Order::NewestFirst => (" and id < ", " order by id desc"),
            Order::OldestFirst => (" and id > ", " order by id"),
        };
        if let Some(after) = query.after {
            sql.push(beyond).push_bind(after.to_string());
        }
        // One more than asked for tells whether there is a next page.
        sql.push(order).push(" limit ").push_bind(i64::from(query.limit) + 1).push(")").push(order);
        let mut rows = sql.build().fetch(&self.readers);
        let (mut jobs, mut seen, mut bytes, mut last) = (Vec::new(), 0, 0, None);
        while let Some(row) = rows.try_next().await? {
            bytes += rows::number::<u64>(&row, "json_bytes")?;
            if seen == query.limit || (bytes > PAGE_BYTES && seen > 0) {
                return Ok(JobPage { jobs, next: last });
            }
            let id = rows::parsed(&row, "id")?;
            (seen, last) = (seen + 1, Some(id));
            match Job::read(&row) {
                Ok(job) => jobs.push(job),
                Err(cause @ StoreError::Corrupt { .. }) => {
                    tracing::error!(job = %id, %cause, "a job cannot be read, and is not listed")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(JobPage { jobs, next: None })
    }

    /// How many waiting jobs come before this one, plus one; `None` when it does not wait.
    ///
    /// # Errors
    /// The database fails.
    pub async fn queue_position(&self, id: JobId) -> Result<Option<u64>, StoreError> {
        let sql = "select count(*) as ahead from jobs me join jobs other on other.status = 'queued' \
                   and (other.priority > me.priority or (other.priority = me.priority and other.id <= me.id)) \
                   where me.id = ? and me.status = 'queued'";
        let row = sqlx::query(sql).bind(id.to_string()).fetch_one(&self.readers).await?;
        let position: u64 = rows::number(&row, "ahead")?;
        Ok((position > 0).then_some(position))
    }

    /// The place of every waiting job, as [`Store::queue_position`] gives it for one: for a list of them.
    ///
    /// # Errors
    /// The database fails.
    pub async fn queue_positions(&self) -> Result<HashMap<JobId, u64>, StoreError> {
        let sql = "select id from jobs where status = 'queued' order by priority desc, id";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().zip(1..).map(|(row, position)| Ok((rows::parsed(row, "id")?, position))).collect()
    }

    /// How many jobs stand in `status`.
    ///
    /// # Errors
    /// The database fails.
    pub async fn count_jobs(&self, status: JobStatus) -> Result<u64, StoreError> {
        let sql = "select count(*) as n from jobs where status = ?";
        let row = sqlx::query(sql).bind(status.name()).fetch_one(&self.readers).await?;
        rows::number(&row, "n")
    }

    /// Ids of all jobs: what may have files.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job_ids(&self) -> Result<Vec<JobId>, StoreError> {
        let rows = sqlx::query("select id from jobs").fetch_all(&self.readers).await?;
        rows.iter().map(|row| rows::parsed(row, "id")).collect()
    }
}

impl Tx {
    pub(crate) async fn job(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row =
            sqlx::query("select * from jobs where id = ?").bind(id.to_string()).fetch_optional(&mut *self.sql).await?;
        row.as_ref().map(Job::read).transpose()
    }

    pub(crate) async fn standing(&mut self, id: JobId) -> Result<Option<Standing>, StoreError> {
        let row = sqlx::query(STANDING).bind(id.to_string()).fetch_optional(&mut *self.sql).await?;
        row.as_ref().map(Standing::read).transpose()
    }

    /// Writes every column of the job that can change, and raises its revision.
    pub(crate) async fn put_job(&mut self, job: &Job) -> Result<(), StoreError> {
        let finished = job.finished_at.map(Timestamp::as_millisecond);
        let started = job.started_at.map(Timestamp::as_millisecond);
        let upload_deleted = job.upload_deleted_at.map(Timestamp::as_millisecond);
        let sql = "update jobs set status = ?, phase = ?, attempt = ?, settings = ?, model = ?, result = ?, results = ?, error = ?, \
                   warnings = ?, device = ?, progress = ?, latest_metrics = ?, started_at = ?, finished_at = ?, \
                   upload_deleted_at = ?, revision = revision + 1 where id = ?";
        sqlx::query(sql)
            .bind(job.status.name())
            .bind(job.phase.name())
            .bind(job.attempt)
            .bind(rows::to_json(&job.settings, "settings")?)
            .bind(optional_json(job.model.as_ref(), "model")?)
            .bind(optional_json(job.result.as_ref(), "result")?)
            .bind(rows::to_json(&job.results, "results")?)
            .bind(optional_json(job.error.as_ref(), "error")?)
            .bind(rows::to_json(&job.warnings, "warnings")?)
            .bind(&job.device)
            .bind(optional_json(job.progress.as_ref(), "progress")?)
            .bind(rows::to_json(&job.latest_metrics, "latest_metrics")?)
            .bind(started)
            .bind(finished)
            .bind(upload_deleted)
            .bind(job.id.to_string())
            .execute(&mut *self.sql)
            .await?;
        self.announce(Signal::JobChanged(job.id));
        Ok(())
    }

    /// As [`Tx::put_job`], with an event where the job no longer stands where it stood `before`.
    pub(crate) async fn put_job_announced(&mut self, job: &Job, before: (JobStatus, Phase)) -> Result<(), StoreError> {
        self.put_job(job).await?;
        let (status, phase) = (job.status, job.phase);
        if before == (status, phase) {
            return Ok(());
        }
        self.append_event(job.id, &NewEvent::Status { status, phase }).await
    }

    /// The moment of this transaction, as a job shows it.
    pub(crate) fn timestamp(&self) -> Timestamp {
        timestamp(self.now)
    }
}

fn timestamp(now: Millis) -> Timestamp {
    // Only a clock set beyond the year 9999 falls outside.
    Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX)
}

fn optional_json<T: serde::Serialize>(value: Option<&T>, column: &'static str) -> Result<Option<String>, StoreError> {
    value.map(|value| rows::to_json(value, column)).transpose()
}
