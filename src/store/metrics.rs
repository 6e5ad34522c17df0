//! Metrics: the series of a job's tasks, and how they are thinned out for a chart.
//!
//! A job may have a million points. They are read a page at a time, and a thinned series by looking up its points one by
//! one: nothing here grows with the table but the time of reading all of it.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Store, StoreError, Tx, rows};
use crate::domain::{
    ids::{JobId, TaskId},
    metric::MetricPoint,
    task::Fence,
};

/// Which series, and how densely.
#[derive(Clone, Debug, Default)]
pub struct MetricQuery {
    /// Any of these; empty: all.
    pub names: Vec<String>,
    pub from_step: u64,
    /// At most this many points of each series (never fewer than two of a longer one), evenly spread over its steps; its
    /// first and last are always among them.
    pub max_points: Option<usize>,
}

/// `(step, value)`, steps rising.
pub type Points = Vec<(u64, f64)>;

/// One series of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    /// Which generator's training it belongs to, if any.
    pub generator: Option<u32>,
    pub points: Points,
}

/// Where a series lies, and from where to where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesKey {
    pub name: String,
    pub generator: Option<u32>,
    /// Which student's training it belongs to, if any.
    pub student: Option<u32>,
    task: TaskId,
    first: u64,
    last: u64,
}

impl SeriesKey {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.try_get("name")?,
            generator: rows::optional_number(row, "generator")?,
            student: rows::optional_number(row, "target")?,
            task: rows::parsed(row, "task")?,
            first: rows::number(row, "first")?,
            last: rows::number(row, "last")?,
        })
    }
}

/// Jumps from name to name, since looking for distinct ones would read every point.
const SERIES: &str = "\
with recursive found (task, generator, target, name) as ( \
    select id, generator, target, (select min(name) from metrics where task = tasks.id) from tasks where job = ?1 \
    union all \
    select task, generator, target, (select min(metrics.name) from metrics \
        where metrics.task = found.task and metrics.name > found.name) \
    from found where name is not null), \
ends as ( \
    select task, generator, target, name, \
        (select min(step) from metrics where metrics.task = found.task and metrics.name = found.name and step >= ?2) \
            as first, \
        (select max(step) from metrics where metrics.task = found.task and metrics.name = found.name) as last \
    from found where name is not null) \
select * from ends where first is not null order by task, name";

/// The first point at or after each of `?5` steps, which lie evenly between `?3` and `?4`. A cross join is read from left to
/// right: one look for each step, where the planner may prefer to read the whole series for each.
const THINNED: &str = "\
with recursive target (n) as (select 0 union all select n + 1 from target where n + 1 < ?5), \
chosen (at) as (select distinct (select min(step) from metrics \
    where task = ?1 and name = ?2 and step >= ?3 + (?4 - ?3) * n / (?5 - 1)) from target) \
select step, value from chosen cross join metrics on task = ?1 and name = ?2 and step = at order by step";

/// Most points that are read at once.
const PAGE: usize = 10_000;

impl Store {
    /// All series of a job, with their points.
    ///
    /// # Errors
    /// The database fails.
    pub async fn metrics(&self, job: JobId, query: &MetricQuery) -> Result<Vec<Series>, StoreError> {
        let mut all = Vec::new();
        for key in self.series(job, query).await? {
            let mut points = Points::new();
            let mut pages = self.pages(&key, query.max_points);
            while let Some(page) = pages.next().await? {
                points.extend(page);
            }
            all.push(Series { name: key.name, generator: key.generator, points });
        }
        Ok(all)
    }

    /// The series of a job that have points from `query.from_step` on, by task and name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn series(&self, job: JobId, query: &MetricQuery) -> Result<Vec<SeriesKey>, StoreError> {
        let from = rows::stored(query.from_step, "step")?;
        let found = sqlx::query(SERIES).bind(job.to_string()).bind(from).fetch_all(&self.readers).await?;
        let mut all = found.iter().map(SeriesKey::read).collect::<Result<Vec<_>, _>>()?;
        all.retain(|key| query.names.is_empty() || query.names.contains(&key.name));
        Ok(all)
    }

    /// The points of a series, or those that stand for them (see [`MetricQuery::max_points`]), a page at a time: no
    /// connection is held while the caller does something with a page.
    pub fn pages(&self, key: &SeriesKey, max_points: Option<usize>) -> Pages {
        let most = max_points.map(|most| most.max(2));
        Pages { store: self.clone(), key: key.clone(), next: Some(key.first), most }
    }
}

/// See [`Store::pages`].
#[derive(Debug)]
pub struct Pages {
    store: Store,
    key: SeriesKey,
    /// The step from which the next page begins.
    next: Option<u64>,
    /// Until it is known whether there are more points than that.
    most: Option<usize>,
}

impl Pages {
    /// The next points, at least one; `None` after the last.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next(&mut self) -> Result<Option<Points>, StoreError> {
        let Some(from) = self.next else { return Ok(None) };
        if let Some(most) = self.most.take()
            && self.is_longer_than(most).await?
        {
            self.next = None;
            return self.thinned(most.min(PAGE)).await.map(Some);
        }
        let sql = "select step, value from metrics where task = ? and name = ? and step >= ? order by step limit ?";
        let found = sqlx::query(sql)
            .bind(self.key.task.to_string())
            .bind(&self.key.name)
            .bind(rows::stored(from, "step")?)
            .bind(PAGE as i64)
            .fetch_all(&self.store.readers)
            .await?;
        self.next = if found.len() == PAGE { found.last().map(after).transpose()? } else { None };
        if found.is_empty() { Ok(None) } else { found.iter().map(point).collect::<Result<_, _>>().map(Some) }
    }

    async fn is_longer_than(&self, most: usize) -> Result<bool, StoreError> {
        let sql = "select count(*) as n from (select 1 from metrics where task = ? and name = ? and step >= ? limit ?)";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let row = sqlx::query(sql)
            .bind(self.key.task.to_string())
            .bind(&self.key.name)
            .bind(rows::stored(self.key.first, "step")?)
            .bind(most.saturating_add(1))
            .fetch_one(&self.store.readers)
            .await?;
        Ok(row.try_get::<i64, _>("n")? > most)
    }

    async fn thinned(&self, most: usize) -> Result<Points, StoreError> {
        let found = sqlx::query(THINNED)
            .bind(self.key.task.to_string())
            .bind(&self.key.name)
            .bind(rows::stored(self.key.first, "step")?)
            .bind(rows::stored(self.key.last, "step")?)
            .bind(most as i64)
            .fetch_all(&self.store.readers)
            .await?;
        found.iter().map(point).collect()
    }
}

fn point(row: &SqliteRow) -> Result<(u64, f64), StoreError> {
    Ok((rows::number(row, "step")?, row.try_get("value")?))
}

fn after(row: &SqliteRow) -> Result<u64, StoreError> {
    Ok(rows::number::<u64>(row, "step")? + 1)
}

impl Tx {
    pub(crate) async fn put_metrics(&mut self, fence: Fence, points: &[MetricPoint]) -> Result<(), StoreError> {
        let sql = "insert into metrics (task, name, step, value) values (?, ?, ?, ?) \
                   on conflict (task, name, step) do update set value = excluded.value";
        let task = fence.task.to_string();
        for point in points {
            sqlx::query(sql)
                .bind(&task)
                .bind(&point.name)
                .bind(rows::stored(point.step, "step")?)
                .bind(point.value)
                .execute(&mut *self.sql)
                .await?;
        }
        Ok(())
    }

    /// Drops what earlier runs of the task measured beyond the step `after`; all of it where there is none.
    pub(crate) async fn drop_metrics(&mut self, fence: Fence, after: Option<u64>) -> Result<(), StoreError> {
        let after = after.map_or(Ok(-1), |step| rows::stored(step, "step"))?;
        sqlx::query("delete from metrics where task = ? and step > ?")
            .bind(fence.task.to_string())
            .bind(after)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
