//! API keys: made, listed, revoked by the command line, and looked up by the service at each request, so that all of it
//! counts at once.

use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Store, StoreError, Tx, rows};
use crate::{
    clock::Millis,
    domain::{
        access::{KeyDigest, KeyId, Quota, Scope},
        problem::{ErrorCode, Problem},
    },
};

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub id: KeyId,
    pub name: String,
    pub scope: Scope,
    pub digest: KeyDigest,
    pub quota: Quota,
    pub expires_at: Option<Timestamp>,
}

/// A stored key.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub id: KeyId,
    pub name: String,
    pub scope: Scope,
    pub digest: KeyDigest,
    pub quota: Quota,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Valid,
    Expired,
    Revoked,
}

impl KeyRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: rows::parsed(row, "id")?,
            name: row.try_get("name")?,
            scope: rows::parsed(row, "scope")?,
            digest: rows::parsed(row, "sha256")?,
            quota: Quota {
                open_jobs: rows::optional_number(row, "max_open_jobs")?,
                jobs_per_day: rows::optional_number(row, "max_jobs_per_day")?,
                stored_bytes: rows::optional_number(row, "max_stored_bytes")?,
            },
            created_at: rows::time(row, "created_at")?,
            expires_at: rows::optional_time(row, "expires_at")?,
            revoked_at: rows::optional_time(row, "revoked_at")?,
        })
    }

    /// How the key stands at `now`.
    pub fn state(&self, now: Millis) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end.as_millisecond() <= now) {
            KeyState::Expired
        } else {
            KeyState::Valid
        }
    }
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// `conflict` where a key of that name is not revoked; the database fails.
    pub async fn create_key(&self, key: &NewKey) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let taken = sqlx::query("select id from api_keys where name = ? and revoked_at is null")
            .bind(&key.name)
            .fetch_optional(&mut *tx.sql)
            .await?;
        if taken.is_some() {
            return Err(Problem::new(ErrorCode::Conflict, format!("There is a key named `{}` already.", key.name))
                .hint("Choose another name, or revoke that key first.")
                .into());
        }
        let bound = |bound: Option<u64>, column| bound.map(|bound| rows::stored(bound, column)).transpose();
        let sql = "insert into api_keys (id, name, scope, sha256, max_open_jobs, max_jobs_per_day, max_stored_bytes, \
                   created_at, expires_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(key.id.as_str())
            .bind(&key.name)
            .bind(key.scope.name())
            .bind(key.digest.to_hex())
            .bind(bound(key.quota.open_jobs, "max_open_jobs")?)
            .bind(bound(key.quota.jobs_per_day, "max_jobs_per_day")?)
            .bind(bound(key.quota.stored_bytes, "max_stored_bytes")?)
            .bind(tx.now)
            .bind(key.expires_at.map(Timestamp::as_millisecond))
            .execute(&mut *tx.sql)
            .await?;
        tx.commit().await
    }

    /// All keys, also those that open nothing any more, oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query("select * from api_keys order by created_at, id").fetch_all(&self.readers).await?;
        rows.iter().map(KeyRow::read).collect()
    }

    /// # Errors
    /// The database fails.
    pub async fn key(&self, id: &KeyId) -> Result<Option<KeyRow>, StoreError> {
        let row =
            sqlx::query("select * from api_keys where id = ?").bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(KeyRow::read).transpose()
    }

    /// Whether a key was ever made; revoked and expired ones count.
    ///
    /// # Errors
    /// The database fails.
    pub async fn has_keys(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query("select 1 from api_keys limit 1").fetch_optional(&self.readers).await?.is_some())
    }

    /// Revokes the key with that name or id; `None` where there is none that is not revoked yet.
    ///
    /// # Errors
    /// The database fails.
    pub async fn revoke_key(&self, name_or_id: &str) -> Result<Option<KeyRow>, StoreError> {
        let mut tx = self.begin().await?;
        let sql = "update api_keys set revoked_at = ?1 where (name = ?2 or id = ?2) and revoked_at is null returning *";
        let row = sqlx::query(sql).bind(tx.now).bind(name_or_id).fetch_optional(&mut *tx.sql).await?;
        let key = row.as_ref().map(KeyRow::read).transpose()?;
        tx.commit().await?;
        Ok(key)
    }
}

impl Tx {
    pub(super) async fn key(&mut self, id: &KeyId) -> Result<Option<KeyRow>, StoreError> {
        let row =
            sqlx::query("select * from api_keys where id = ?").bind(id.as_str()).fetch_optional(&mut *self.sql).await?;
        row.as_ref().map(KeyRow::read).transpose()
    }
}
