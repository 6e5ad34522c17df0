//! Rows of the kept files. The bytes are the business of `crate::artifacts`.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Store, StoreError, Tx, rows};
use crate::domain::{
    artifact::{Artifact, FileName, Role},
    ids::{JobId, TaskId},
    task::Fence,
};

#[derive(Clone, Debug)]
pub struct ArtifactRow {
    pub artifact: Artifact,
    pub created_at: Timestamp,
}

impl ArtifactRow {
    pub(super) fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            artifact: Artifact {
                name: rows::parsed(row, "name")?,
                role: rows::parsed(row, "role")?,
                bytes: rows::number(row, "bytes")?,
                sha256: row.try_get("sha256")?,
                key: row.try_get("key")?,
            },
            created_at: rows::time(row, "created_at")?,
        })
    }
}

impl Store {
    /// Everything kept for a job, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn artifacts(&self, job: JobId) -> Result<Vec<ArtifactRow>, StoreError> {
        let sql = "select * from artifacts where job = ? order by created_at, name";
        let rows = sqlx::query(sql).bind(job.to_string()).fetch_all(&self.readers).await?;
        rows.iter().map(ArtifactRow::read).collect()
    }

    /// # Errors
    /// The database fails.
    pub async fn artifact(&self, job: JobId, name: &FileName) -> Result<Option<ArtifactRow>, StoreError> {
        let sql = "select * from artifacts where job = ? and name = ?";
        let row = sqlx::query(sql).bind(job.to_string()).bind(name.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(ArtifactRow::read).transpose()
    }

    /// A job's files of one role, in the order of their names.
    ///
    /// # Errors
    /// The database fails.
    pub async fn artifacts_of_role(&self, job: JobId, role: Role) -> Result<Vec<ArtifactRow>, StoreError> {
        let sql = "select * from artifacts where job = ? and role = ? order by name";
        let rows = sqlx::query(sql).bind(job.to_string()).bind(role.name()).fetch_all(&self.readers).await?;
        rows.iter().map(ArtifactRow::read).collect()
    }
}

impl Store {
    /// The places of all kept files.
    ///
    /// # Errors
    /// The database fails.
    pub async fn named_files(&self) -> Result<HashSet<String>, StoreError> {
        let rows = sqlx::query("select key from artifacts").fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get("key")?)).collect()
    }
}

impl Tx {
    /// What runs read: the uploads, and the trained generators in their order.
    pub(crate) async fn inputs(&mut self, job: JobId) -> Result<Vec<Artifact>, StoreError> {
        let sql = "select artifacts.* from artifacts left join tasks on tasks.id = artifacts.task \
                   where artifacts.job = ? and (artifacts.task is null or role = ?) \
                   order by tasks.generator, length(artifacts.name), artifacts.name";
        let rows =
            sqlx::query(sql).bind(job.to_string()).bind(Role::Generator.name()).fetch_all(&mut *self.sql).await?;
        rows.iter().map(|row| ArtifactRow::read(row).map(|row| row.artifact)).collect()
    }

    /// Names of what a task was run for: students and reports.
    pub(crate) async fn names_of_results(&mut self, job: JobId, task: TaskId) -> Result<Vec<String>, StoreError> {
        let sql = "select name from artifacts where job = ? and task = ? and role in (?, ?) order by role desc, name";
        let names = sqlx::query_scalar(sql)
            .bind(job.to_string())
            .bind(task.to_string())
            .bind(Role::Student.name())
            .bind(Role::Report.name());
        Ok(names.fetch_all(&mut *self.sql).await?)
    }

    /// The name of a task's newest log.
    pub(crate) async fn latest_log(&mut self, fence: Fence) -> Result<Option<String>, StoreError> {
        let sql = "select name from artifacts where job = ? and task = ? and role = ? order by created_at desc, name desc limit 1";
        let name =
            sqlx::query_scalar(sql).bind(fence.job.to_string()).bind(fence.task.to_string()).bind(Role::Log.name());
        Ok(name.fetch_optional(&mut *self.sql).await?)
    }

    /// Keeps an uploaded file's row.
    pub(crate) async fn insert_upload(&mut self, job: JobId, artifact: &Artifact) -> Result<(), StoreError> {
        self.write_artifact(job, None, artifact).await.map(drop)
    }

    /// Keeps the row of a file that a run made; an earlier run of the same task may have made it before. Returns false,
    /// and keeps nothing, where the name belongs to an upload or to another task.
    pub(crate) async fn put_artifact(&mut self, fence: Fence, artifact: &Artifact) -> Result<bool, StoreError> {
        self.write_artifact(fence.job, Some(fence), artifact).await
    }

    /// Whether the task has made this file before, to the byte.
    pub(crate) async fn has_artifact(&mut self, fence: Fence, artifact: &Artifact) -> Result<bool, StoreError> {
        let sql = "select count(*) as n from artifacts where job = ? and name = ? and task = ? and sha256 = ?";
        let row = sqlx::query(sql)
            .bind(fence.job.to_string())
            .bind(artifact.name.as_str())
            .bind(fence.task.to_string())
            .bind(&artifact.sha256)
            .fetch_one(&mut *self.sql)
            .await?;
        Ok(row.try_get::<i64, _>("n")? > 0)
    }

    async fn write_artifact(&mut self, job: JobId, by: Option<Fence>, artifact: &Artifact) -> Result<bool, StoreError> {
        let sql = "insert into artifacts (job, name, role, bytes, sha256, key, task, created_at) \
                   values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (job, name) do update set role = excluded.role, \
                   bytes = excluded.bytes, sha256 = excluded.sha256, key = excluded.key, \
                   created_at = excluded.created_at where artifacts.task = excluded.task";
        let written = sqlx::query(sql)
            .bind(job.to_string())
            .bind(artifact.name.as_str())
            .bind(artifact.role.name())
            .bind(rows::stored(artifact.bytes, "bytes")?)
            .bind(&artifact.sha256)
            .bind(&artifact.key)
            .bind(by.map(|fence| fence.task.to_string()))
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        Ok(written.rows_affected() == 1)
    }
}
