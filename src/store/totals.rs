//! Sums that only rise: what has happened here, whatever was deleted since.

use std::{borrow::Cow, collections::BTreeMap};

use sqlx::Row as _;

use super::{RunEnd, Store, StoreError, Tx, rows};
use crate::domain::{ids::JobId, job::JobStatus, operators, problem::Problem, retention::Reason, task::TaskKind};

/// One sum. Whatever becomes a label comes from a closed list.
#[derive(Clone, Copy, Debug)]
pub enum Total {
    JobsSubmitted,
    /// Jobs that reached a final status; one that is retried counts each time.
    JobsFinished(JobStatus),
    Runs(TaskKind, RunEnd),
    /// Bytes of the uploads of accepted jobs.
    UploadBytes,
    /// Refused models, by an operator that they have and we do not.
    UnsupportedOperator(&'static str),
    CollectedBytes(Reason),
    CollectedJobs(Reason),
    /// When the last collection was complete, in milliseconds since the epoch: a sum that is raised, not added to.
    LastCollection,
}

impl Total {
    pub const UNSUPPORTED_OPERATOR: &str = "unsupported_operator";

    fn key(self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::JobsSubmitted => ("jobs_submitted", "".into()),
            Self::JobsFinished(status) => ("jobs_finished", status.name().into()),
            Self::Runs(kind, end) => ("runs", format!("{}/{}", kind.name(), end.name()).into()),
            Self::UploadBytes => ("upload_bytes", "".into()),
            Self::UnsupportedOperator(name) => (Self::UNSUPPORTED_OPERATOR, name.into()),
            Self::CollectedBytes(reason) => ("collected_bytes", reason.name().into()),
            Self::CollectedJobs(reason) => ("collected_jobs", reason.name().into()),
            Self::LastCollection => ("last_collection", "".into()),
        }
    }
}

/// All sums at one moment.
#[derive(Clone, Debug, Default)]
pub struct Totals(BTreeMap<(String, String), u64>);

impl Totals {
    /// 0 where nothing was counted yet.
    pub fn get(&self, total: Total) -> u64 {
        let (name, label) = total.key();
        self.0.get(&(name.to_owned(), label.into_owned())).copied().unwrap_or(0)
    }

    /// The parts of one sum, by label.
    pub fn parts(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(move |((of, _), _)| of == name).map(|((_, label), value)| (label.as_str(), *value))
    }
}

impl Store {
    /// # Errors
    /// The database fails.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let rows = sqlx::query("select name, label, value from totals").fetch_all(&self.readers).await?;
        let read = |row| Ok(((row_text(row, "name")?, row_text(row, "label")?), rows::number(row, "value")?));
        rows.iter().map(read).collect::<Result<_, StoreError>>().map(Totals)
    }

    /// Counts the operators that a model was refused for.
    ///
    /// # Errors
    /// The database fails.
    pub async fn count_refusal(&self, problem: &Problem) -> Result<(), StoreError> {
        if problem.errors.iter().all(|cause| cause.operator.is_none()) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        tx.add_refusal(problem).await?;
        tx.commit().await
    }
}

fn row_text(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<String, StoreError> {
    Ok(row.try_get(column)?)
}

impl Tx {
    pub(crate) async fn add(&mut self, total: Total, more: u64) -> Result<(), StoreError> {
        self.sum(total, more, "value + excluded.value").await
    }

    /// For what is a moment, not a count.
    pub(crate) async fn raise(&mut self, total: Total, to: u64) -> Result<(), StoreError> {
        self.sum(total, to, "max(value, excluded.value)").await
    }

    async fn sum(&mut self, total: Total, value: u64, rule: &str) -> Result<(), StoreError> {
        let (name, label) = total.key();
        let sql = format!(
            "insert into totals (name, label, value) values (?, ?, ?) on conflict (name, label) do update set value = {rule}"
        );
        let stored = rows::stored(value, "value")?;
        sqlx::query(&sql).bind(name).bind(label.as_ref()).bind(stored).execute(&mut *self.sql).await?;
        Ok(())
    }

    /// Counts the runs of a job that are about to end so, as [`Total::Runs`].
    pub(super) async fn add_open_runs(&mut self, job: JobId, end: RunEnd) -> Result<(), StoreError> {
        let sql = "insert into totals (name, label, value) \
                   select 'runs', kind || '/' || ?, count(*) from runs join tasks on tasks.id = task \
                   where job = ? and ended_at is null group by kind \
                   on conflict (name, label) do update set value = value + excluded.value";
        sqlx::query(sql).bind(end.name()).bind(job.to_string()).execute(&mut *self.sql).await?;
        Ok(())
    }

    /// Counts each operator once for a model, however many nodes it has.
    pub(crate) async fn add_refusal(&mut self, problem: &Problem) -> Result<(), StoreError> {
        let mut names: Vec<&'static str> =
            problem.errors.iter().filter_map(|cause| cause.operator.as_deref()).map(operators::label).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.add(Total::UnsupportedOperator(name), 1).await?;
        }
        Ok(())
    }
}
