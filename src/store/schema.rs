//! The schema of a database, and who may change it.

use std::path::Path;

use sqlx::{Row as _, SqlitePool};

use super::{Store, StoreError};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// What becomes of the schema of a database that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// It is brought up to date. For the one process that owns the database: another one may be of the version before, and
    /// goes on writing as that did.
    UpToDate,
    /// It has to be that of this version.
    Current,
    /// It is left as it is, whatever it is.
    AsItIs,
}

/// What happens where there is no database: no file, an empty one, or one without any schema, as where the file was copied
/// and its log was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// One is made.
    Made,
    /// None is, and nothing is touched: what lies beside it would be that of no job.
    Refused,
}

/// The number of this version's schema.
fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Sees to the schema of the database at `path`; a new database gets that of this version.
pub(super) async fn settle(writer: &SqlitePool, path: &Path, schema: Schema, absent: Absent) -> Result<(), StoreError> {
    let known = known();
    let found = version(writer).await.map_err(|cause| StoreError::at_open(path.to_owned(), cause))?;
    match (schema, found) {
        (_, None) if absent == Absent::Refused => return Err(StoreError::Absent(path.to_owned())),
        (Schema::AsItIs, Some(_)) => return Ok(()),
        (Schema::Current, Some(found)) if found < known => return Err(StoreError::Older { found, known }),
        _ => {}
    }
    MIGRATIONS.run(writer).await.map_err(|error| StoreError::at_migration(path.to_owned(), known, error))
}

/// The number of the newest migration that the database has; none where it is new.
async fn version(pool: &SqlitePool) -> Result<Option<i64>, sqlx::Error> {
    let sql = "select count(*) as n from sqlite_master where name = '_sqlx_migrations'";
    if sqlx::query(sql).fetch_one(pool).await?.try_get::<i64, _>("n")? == 0 {
        return Ok(None);
    }
    let sql = "select max(version) as version from _sqlx_migrations where success";
    sqlx::query(sql).fetch_one(pool).await?.try_get("version")
}

impl Store {
    /// The number of the newest migration that the database has, and of the newest that this version knows.
    ///
    /// # Errors
    /// The database fails.
    pub async fn schema_versions(&self) -> Result<(i64, i64), StoreError> {
        Ok((version(&self.readers).await?.unwrap_or_default(), known()))
    }
}
