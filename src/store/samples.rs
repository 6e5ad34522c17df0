//! The index of generated samples; the inputs themselves lie in artifacts.

use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, Tx, rows};
use crate::domain::{artifact::FileName, ids::JobId};

/// One file of samples: which generator made them, at which epoch, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRow {
    pub artifact: FileName,
    pub generator: u32,
    pub epoch: u32,
    pub count: u64,
}

impl SampleRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            artifact: rows::parsed(row, "artifact")?,
            generator: rows::number(row, "generator")?,
            epoch: rows::number(row, "epoch")?,
            count: rows::number(row, "count")?,
        })
    }
}

impl Store {
    /// All sample files of a job, by generator and epoch.
    ///
    /// # Errors
    /// The database fails.
    pub async fn samples(&self, job: JobId) -> Result<Vec<SampleRow>, StoreError> {
        let sql = "select * from samples where job = ? order by generator, epoch, artifact";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&self.readers).await?;
        rows.iter().map(SampleRow::read).collect()
    }
}

impl Tx {
    /// Keeps the index row of an artifact that is there already.
    pub(crate) async fn put_sample(&mut self, job: JobId, sample: &SampleRow) -> Result<(), StoreError> {
        let sql = "insert into samples (job, artifact, generator, epoch, count) values (?, ?, ?, ?, ?) \
                   on conflict (job, artifact) do update set generator = excluded.generator, epoch = excluded.epoch, \
                   count = excluded.count";
        sqlx::query(sql)
            .bind(job.to_string())
            .bind(sample.artifact.as_str())
            .bind(sample.generator)
            .bind(sample.epoch)
            .bind(rows::stored(sample.count, "count")?)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
