//! The store: the only SQL of the house, on SQLite.
//!
//! One writer connection and a pool of readers. Every write is a [`Tx`] that begins with `BEGIN IMMEDIATE`: it takes the
//! write lock at once, so it can never fail half-way because a reader wants to become a writer. What a transaction changed
//! is announced when it commits, so that nobody has to poll.

mod artifacts;
mod backup;
mod cancel;
mod checkpoints;
mod condemn;
mod connections;
mod doomed;
mod durations;
mod error;
mod events;
mod expiry;
mod file;
mod idempotency;
mod jobs;
mod keys;
mod metrics;
mod queue_facts;
mod retry;
mod reuse;
mod rows;
mod runs;
mod samples;
mod schema;
mod signals;
mod submit;
mod tasks;
mod totals;
mod usage;
mod waiting;
mod workers;

use std::{path::Path, sync::Arc};

use sqlx::{Sqlite, SqlitePool, Transaction};

pub use self::{
    artifacts::ArtifactRow,
    cancel::{Cancel, Deletion},
    checkpoints::Checkpoint,
    doomed::Doomed,
    durations::{Durations, Histogram, Timing},
    error::StoreError,
    events::{JobEvent, NewEvent},
    expiry::FinishedJob,
    idempotency::{IdempotencyKey, KEY_LIFETIME},
    jobs::{Job, JobPage, JobQuery, Order, Standing},
    keys::{KeyRow, KeyState, NewKey},
    metrics::{MetricQuery, Pages, Points, Series, SeriesKey},
    queue_facts::{OpenTasks, StoredBytes},
    retry::Retry,
    reuse::Reused,
    runs::{Run, RunEnd},
    samples::SampleRow,
    schema::{Absent, Schema},
    signals::Signal,
    submit::{NewJob, Submission},
    tasks::{LeasedTask, NewTask, Slot, TaskRow, TaskUpdate},
    totals::{Total, Totals},
    usage::Usage,
    waiting::Seen,
    workers::{Occupied, WorkerRow},
};
use self::{file::DatabaseFile, signals::Signals};
use crate::clock::Clock;

/// The database of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    signals: Arc<Signals>,
    clock: Clock,
    file: Arc<DatabaseFile>,
}

impl Store {
    /// Opens the database at `path`, makes it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a newer version.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_with(path, clock, Schema::UpToDate, Absent::Made).await
    }

    /// As [`Store::open`], where a database that is there may be another version's, and one that is not may have to be put back.
    ///
    /// # Errors
    /// As [`Store::open`], and what `schema` and `absent` do not allow.
    pub async fn open_with(path: &Path, clock: Clock, schema: Schema, absent: Absent) -> Result<Self, StoreError> {
        // Before SQLite looks: it takes an empty file for a new database, and deletes the log beside it.
        if absent == Absent::Refused && file::is_empty(path) {
            return Err(StoreError::Absent(path.to_owned()));
        }
        let writer = connections::writer(path).await.map_err(|cause| StoreError::at_open(path.to_owned(), cause))?;
        schema::settle(&writer, path, schema, absent).await?;
        let readers = connections::readers(path).await?;
        let file = Arc::new(DatabaseFile::at(path)?);
        Ok(Self { writer, readers, signals: Arc::default(), clock, file })
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the database is where it was, and answers; for the readiness probe.
    ///
    /// # Errors
    /// It is not, or does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.check_file()?;
        sqlx::query("select 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Whether the file that is open is still the one at its path.
    ///
    /// # Errors
    /// `Gone`: what is written from now on is lost.
    pub fn check_file(&self) -> Result<(), StoreError> {
        self.file.check()
    }

    /// Ends all connections; what is running ends first.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// A write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        // SQLite would go on writing into a deleted file, and a job would be accepted that no restart finds.
        self.check_file()?;
        let sql = self.writer.begin_with("begin immediate").await?;
        Ok(Tx { sql, now: self.clock.now(), signals: Arc::clone(&self.signals), pending: Vec::new() })
    }
}

/// A write transaction: what it changed is announced if, and only if, it commits.
#[derive(Debug)]
pub(crate) struct Tx {
    sql: Transaction<'static, Sqlite>,
    /// One moment for everything that happens together.
    pub(crate) now: crate::clock::Millis,
    signals: Arc<Signals>,
    pending: Vec<Signal>,
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.sql.commit().await?;
        for signal in self.pending {
            self.signals.send(signal);
        }
        Ok(())
    }

    fn announce(&mut self, signal: Signal) {
        if !self.pending.contains(&signal) {
            self.pending.push(signal);
        }
    }
}
