//! Histograms of how long things took, kept beside the sums and for the same reasons.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Job, Store, StoreError, Total, Tx, rows};
use crate::{
    clock::Millis,
    domain::{
        job::{JobStatus, Phase},
        task::TaskKind,
    },
};

/// Upper bounds in milliseconds: from a second to a day.
const BOUNDS: [Millis; 10] =
    [1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 43_200_000, 86_400_000];

/// The bucket of what took longer than any bound.
const BEYOND: Millis = Millis::MAX;

/// A year; nothing takes longer.
const LONGEST: Millis = 365 * 86_400_000;

/// What was timed.
#[derive(Clone, Copy, Debug)]
pub enum Timing {
    /// From when a task could be claimed to when it was.
    QueueWait(TaskKind),
    /// A phase of a job that succeeded, as its report has it.
    JobPhase(Phase),
    /// From a job's first run to its end.
    Job(JobStatus),
}

impl Timing {
    fn key(self) -> (&'static str, &'static str) {
        match self {
            Self::QueueWait(kind) => ("queue_wait", kind.name()),
            Self::JobPhase(phase) => ("job_phase", phase.name()),
            Self::Job(status) => ("job", status.name()),
        }
    }
}

/// How long something took, over all times that it happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds (the last one is infinite), and how many took at most so long.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds, summed.
    pub sum: f64,
}

/// Counts and milliseconds of one timing, by bound.
type Buckets = BTreeMap<Millis, (u64, Millis)>;

/// All histograms at one moment.
#[derive(Clone, Debug, Default)]
pub struct Durations(BTreeMap<(String, String), Buckets>);

impl Durations {
    /// With all buckets, also where nothing was timed yet.
    pub fn get(&self, timing: Timing) -> Histogram {
        let (name, label) = timing.key();
        let known = self.0.get(&(name.to_owned(), label.to_owned()));
        let mut histogram = Histogram::default();
        let mut count = 0;
        let mut below = Millis::MIN;
        for bound in BOUNDS.into_iter().chain([BEYOND]) {
            // Rows of an earlier version may have other bounds; they count with the next higher one.
            for (_, (more, millis)) in known.into_iter().flatten().filter(|&(&of, _)| below < of && of <= bound) {
                count += more;
                histogram.sum += *millis as f64 / 1e3;
            }
            let seconds = if bound == BEYOND { f64::INFINITY } else { bound as f64 / 1e3 };
            histogram.buckets.push((seconds, count));
            below = bound;
        }
        histogram
    }
}

impl Store {
    /// # Errors
    /// The database fails.
    pub async fn durations(&self) -> Result<Durations, StoreError> {
        let mut all = Durations::default();
        for row in sqlx::query("select * from durations").fetch_all(&self.readers).await? {
            let key = (row.try_get("name")?, row.try_get("label")?);
            let value = (rows::number(&row, "count")?, row.try_get("millis")?);
            all.0.entry(key).or_default().insert(row.try_get("bound")?, value);
        }
        Ok(all)
    }
}

impl Tx {
    /// Counts a job that has come to its end.
    pub(crate) async fn count_end(&mut self, job: &Job) -> Result<(), StoreError> {
        self.add(Total::JobsFinished(job.status), 1).await?;
        match (job.started_at, job.finished_at) {
            (Some(begin), Some(end)) => {
                let took = end.as_millisecond() - begin.as_millisecond();
                self.observe(Timing::Job(job.status), took).await
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn observe(&mut self, timing: Timing, took: Millis) -> Result<(), StoreError> {
        let (name, label) = timing.key();
        // A clock that was set back must not subtract, and no figure that a run made up may overflow the sum.
        let took = took.clamp(0, LONGEST);
        let bound = BOUNDS.into_iter().find(|&bound| took <= bound).unwrap_or(BEYOND);
        let sql = "insert into durations (name, label, bound, count, millis) values (?, ?, ?, 1, ?) \
                   on conflict (name, label, bound) do update set count = count + 1, millis = millis + excluded.millis";
        sqlx::query(sql).bind(name).bind(label).bind(bound).bind(took).execute(&mut *self.sql).await?;
        Ok(())
    }
}
