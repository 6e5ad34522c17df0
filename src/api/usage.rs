//! `/usage`: what the caller's key is, and how much of its quota is left.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{caller::Caller, error::ApiResult, state::App};
use crate::domain::{
    access::{KeyId, Quota, Scope},
    problem::Problem,
};

/// The key that the request was made with.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    /// Its public part; jobs show it as `owner`.
    id: KeyId,
    name: String,
    scope: Scope,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A count and its bound.
#[derive(Debug, Serialize, ToSchema)]
pub struct Share {
    used: u64,
    /// Null: no bound but the server's own.
    limit: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageView {
    /// Null while the service asks nobody for a key; the counts are then those of all jobs without an owner.
    key: Option<Key>,
    /// Queued and running jobs.
    open_jobs: Share,
    /// Jobs and retries begun within the last 24 hours.
    jobs_per_day: Share,
    /// Bytes of all files of the key's jobs.
    stored_bytes: Share,
}

/// Which key this is, and what it takes up of its quota.
#[utoipa::path(
    get, path = "/usage", tag = "service",
    responses((status = 200, description = "Counts and bounds", body = UsageView), (status = 401, description = "No valid key", body = Problem))
)]
pub async fn get(State(app): State<App>, caller: Caller) -> ApiResult<Json<UsageView>> {
    let usage = app.store.usage(caller.owner()).await?;
    let (key, quota) = match caller {
        Caller::Anyone => (None, Quota::default()),
        Caller::Key(row) => {
            (Some(Key { id: row.id, name: row.name, scope: row.scope, expires_at: row.expires_at }), row.quota)
        }
    };
    Ok(Json(UsageView {
        key,
        open_jobs: Share { used: usage.open_jobs, limit: quota.open_jobs },
        jobs_per_day: Share { used: usage.jobs_today, limit: quota.jobs_per_day },
        stored_bytes: Share { used: usage.stored_bytes, limit: quota.stored_bytes },
    }))
}
