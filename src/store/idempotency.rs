//! Idempotency keys: a request that is sent twice makes one job.

use sqlx::Row as _;

use super::{StoreError, Tx, rows};
use crate::domain::{
    access::KeyId,
    ids::JobId,
    problem::{ErrorCode, Problem},
};

/// The `Idempotency-Key` of a request, with a hash of everything else in it.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    pub key: String,
    /// Lower-case hexadecimal, over all parts of the body.
    pub body_sha256: String,
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
        let row = sqlx::query("select body_sha256, job from idempotency_keys where owner = ? and key = ?")
            .bind(owner.map_or("", KeyId::as_str))
            .bind(&idempotency.key)
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

    pub(super) async fn keep_key(
        &mut self,
        owner: Option<&KeyId>,
        idempotency: &IdempotencyKey,
        job: JobId,
    ) -> Result<(), StoreError> {
        let sql = "insert into idempotency_keys (owner, key, body_sha256, job, created_at) values (?, ?, ?, ?, ?)";
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
