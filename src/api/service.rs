//! `/version`, `/livez`, `/readyz`: about the service itself.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{devices::Offer, error::ApiResult, state::App};
use crate::{
    domain::problem::{ErrorCode, Problem},
    store::StoreError,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    name: &'static str,
    version: &'static str,
    /// Largest upload, in bytes.
    max_upload: u64,
}

/// What runs here.
#[utoipa::path(get, path = "/version", tag = "service", responses((status = 200, description = "Name and version", body = Version)))]
pub async fn version(State(app): State<App>) -> Json<Version> {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    Json(Version { name, version, max_upload: app.limits.max_upload.0 })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
    /// What does not keep it from taking jobs, but keeps jobs waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Health {
    fn ok(warnings: Vec<String>) -> Json<Self> {
        Json(Self { status: "ok", warnings })
    }
}

/// Whether the process answers at all. Restart it if not.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, description = "It answers", body = Health)))]
pub async fn live() -> Json<Health> {
    Health::ok(Vec::new())
}

/// Whether it can take jobs: the database answers, and files can be written. Send no traffic if not.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, description = "It can", body = Health), (status = 503, description = "It cannot", body = Problem))
)]
pub async fn ready(State(app): State<App>) -> ApiResult<Json<Health>> {
    app.store.ping().await.map_err(|error| {
        tracing::error!(%error, "not ready");
        match error {
            StoreError::Gone(_) => Problem::from(error),
            _ => Problem::new(ErrorCode::Unavailable, "The database does not answer.")
                .hint("The server's log has the cause."),
        }
    })?;
    // Room is not enough: the directory may have become read-only.
    tempfile::tempfile_in(&app.scratch).map_err(|error| {
        tracing::error!(%error, directory = %app.scratch.display(), "not ready");
        Problem::new(ErrorCode::Unavailable, "The server cannot write where it keeps its files.")
            .hint("The server's log names the place and the cause.")
    })?;
    app.room().map_err(|error| {
        let problem = error.problem();
        Problem::new(ErrorCode::Unavailable, problem.detail.clone()).hint("Delete jobs that are no longer needed.")
    })?;
    let (offer, wanted) = (Offer::now(&app.store).await?, app.store.wanted_devices().await?);
    let warnings: BTreeSet<String> = wanted.iter().filter_map(|wanted| offer.complaint(wanted)).collect();
    Ok(Health::ok(warnings.into_iter().collect()))
}
