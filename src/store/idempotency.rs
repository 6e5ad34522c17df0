//! Idempotency keys: a request that is sent twice makes one job.

use std::time::Duration;

use sqlx::Row as _;

use super::{Store, StoreError, Tx, rows};
use crate::{
    clock::{Millis, millis},
    domain::{
        access::KeyId,
        ids::JobId,
        problem::{ErrorCode, Problem},
    },
};

/// How long a key stands for the job that it made. Later, the same request makes another job; so it does when the job was
/// deleted, since its key goes with it.
pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The `Idempotency-Key` of a request, with a hash of everything else in it.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    pub key: String,
    /// Lower-case hexadecimal, over all parts of the body.
    pub body_sha256: String,
}

impl Store {
    /// Whether `key` stands for a job of the owner's now: a request that carries it makes no new one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn knows_key(&self, owner: Option<&KeyId>, key: &str) -> Result<bool, StoreError> {
        let sql = "select job from idempotency_keys where owner = ? and key = ? and created_at > ?";
        let row = sqlx::query(sql)
            .bind(owner.map_or("", KeyId::as_str))
            .bind(key)
            .bind(oldest(self.clock.now()))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }

    /// The job that the same request made before, if it did.
    ///
    /// # Errors
    /// `idempotency_mismatch` where the key was used with another body; the database fails.
    pub async fn replay(&self, owner: Option<&KeyId>, key: &IdempotencyKey) -> Result<Option<JobId>, StoreError> {
        self.begin().await?.replayed(owner, key).await
    }

    /// Deletes the keys that stand for nothing any more. They harm nobody; this is for the size of the database. Returns
    /// how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_keys(&self) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let forgotten = sqlx::query("delete from idempotency_keys where created_at <= ?")
            .bind(oldest(tx.now))
            .execute(&mut *tx.sql)
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(forgotten)
    }
}

/// Keys made after this moment are alive.
fn oldest(now: Millis) -> Millis {
    now.saturating_sub(millis(KEY_LIFETIME))
}

impl Tx {
    /// The job that the key made before for the same owner, if any.
    ///
    /// # Errors
    /// `idempotency_mismatch` where the key was used with another body.
    pub(super) async fn replayed(
        &mut self,
        owner: Option<&KeyId>,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<JobId>, StoreError> {
        let row =
            sqlx::query("select body_sha256, job from idempotency_keys where owner = ? and key = ? and created_at > ?")
                .bind(owner.map_or("", KeyId::as_str))
                .bind(&idempotency.key)
                .bind(oldest(self.now))
                .fetch_optional(&mut *self.sql)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let job: JobId = rows::parsed(&row, "job")?;
        if row.try_get::<&str, _>("body_sha256")? != idempotency.body_sha256 {
            let detail = format!("this Idempotency-Key made job {job} from another upload or configuration");
            let problem = Problem::new(ErrorCode::IdempotencyMismatch, detail)
                .param("Idempotency-Key")
                .hint("Send the same request again, or choose a new key.");
            return Err(problem.into());
        }
        Ok(Some(job))
    }

    /// Keeps a key that [`Tx::replayed`] did not find; one that has outlived its time is taken over.
    pub(super) async fn keep_key(
        &mut self,
        owner: Option<&KeyId>,
        idempotency: &IdempotencyKey,
        job: JobId,
    ) -> Result<(), StoreError> {
        let sql = "insert into idempotency_keys (owner, key, body_sha256, job, created_at) values (?, ?, ?, ?, ?) \
                   on conflict (owner, key) do update set body_sha256 = excluded.body_sha256, job = excluded.job, \
                   created_at = excluded.created_at";
        sqlx::query(sql)
            .bind(owner.map_or("", KeyId::as_str))
            .bind(&idempotency.key)
            .bind(&idempotency.body_sha256)
            .bind(job.to_string())
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
