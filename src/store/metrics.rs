//! Metrics: the series of a job's tasks, and how they are thinned out for a chart.

use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{Store, StoreError, Tx, rows};
use crate::domain::{ids::JobId, metric::MetricPoint, task::Fence};

/// Which series, and how densely.
#[derive(Clone, Debug, Default)]
pub struct MetricQuery {
    /// Any of these; empty: all.
    pub names: Vec<String>,
    pub from_step: u64,
    /// At most this many points of each series; its first and last are always among them.
    pub max_points: Option<usize>,
}

/// One series of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    /// Which generator's training it belongs to, if any.
    pub generator: Option<u32>,
    /// `(step, value)`, steps rising.
    pub points: Vec<(u64, f64)>,
}

impl Store {
    /// # Errors
    /// The database fails.
    pub async fn metrics(&self, job: JobId, query: &MetricQuery) -> Result<Vec<Series>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "select tasks.generator, metrics.name, step, value from metrics join tasks on tasks.id = metrics.task \
             where tasks.job = ",
        );
        sql.push_bind(job.to_string()).push(" and step >= ").push_bind(rows::stored(query.from_step, "step")?);
        if !query.names.is_empty() {
            let mut list = sql.push(" and metrics.name in (").separated(", ");
            for name in &query.names {
                list.push_bind(name);
            }
            sql.push(")");
        }
        sql.push(" order by tasks.id, metrics.name, step");
        let rows = sql.build().fetch_all(&self.readers).await?;
        let mut all: Vec<Series> = Vec::new();
        for row in &rows {
            let (name, generator) = (row.try_get::<&str, _>("name")?, rows::optional_number(row, "generator")?);
            let point = (rows::number(row, "step")?, row.try_get("value")?);
            match all.last_mut() {
                Some(series) if series.name == name && series.generator == generator => series.points.push(point),
                _ => all.push(Series { name: name.to_owned(), generator, points: vec![point] }),
            }
        }
        if let Some(most) = query.max_points {
            all.iter_mut().for_each(|series| thin(&mut series.points, most));
        }
        Ok(all)
    }
}

/// Keeps at most `most` points (never fewer than two of a longer series), evenly spread, with the first and the last.
fn thin<T: Copy>(points: &mut Vec<T>, most: usize) {
    let (all, most) = (points.len(), most.max(2));
    if all > most {
        *points = (0..most).map(|index| points[index * (all - 1) / (most - 1)]).collect();
    }
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

#[cfg(test)]
mod tests {
    use super::thin;

    #[test]
    fn thinning_keeps_both_ends_and_the_order() {
        let thinned = |count: u32, most| {
            let mut points: Vec<u32> = (0..count).collect();
            thin(&mut points, most);
            points
        };
        assert_eq!(thinned(5, 10), [0, 1, 2, 3, 4]);
        assert_eq!(thinned(5, 3), [0, 2, 4]);
        assert_eq!(thinned(5, 0), [0, 4], "the two ends remain, whatever was asked");
        assert!(thinned(0, 3).is_empty());
        let many = thinned(1000, 100);
        assert_eq!((many.len(), many[0], many[99]), (100, 0, 999));
        assert!(many.is_sorted());
    }
}
