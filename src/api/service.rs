//! `/version`, `/livez`, `/readyz`: about the service itself.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{error::ApiResult, state::App};
use crate::{
    domain::problem::{ErrorCode, Problem},
    sandbox::{SandboxMode, Support},
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

/// Whether it can take jobs, and how the processes that read uploads are isolated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    status: &'static str,
    /// `off` where whoever runs the service has asked for no isolation.
    sandbox: &'static str,
    /// Landlock's version, for files; null without.
    landlock: Option<u32>,
    /// Whether system calls are filtered.
    seccomp: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// Whether the process answers at all. Restart it if not.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, description = "It answers", body = Health)))]
pub async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether it can take jobs: the database answers and the disk has room. Send no traffic if not.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, description = "It can", body = Readiness), (status = 503, description = "It cannot", body = Problem))
)]
pub async fn ready(State(app): State<App>) -> ApiResult<Json<Readiness>> {
    app.store.ping().await.map_err(|error| {
        tracing::error!(%error, "not ready");
        Problem::new(ErrorCode::Unavailable, "The database does not answer.").hint("The server's log has the cause.")
    })?;
    app.room().map_err(|error| {
        let problem = error.problem();
        Problem::new(ErrorCode::Unavailable, problem.detail.clone()).hint("Delete jobs that are no longer needed.")
    })?;
    let mode = app.helper.sandbox();
    let Support { landlock, seccomp } = match mode {
        SandboxMode::Off => Support::default(),
        SandboxMode::Auto | SandboxMode::Require => Support::of_kernel(),
    };
    Ok(Json(Readiness { status: "ok", sandbox: mode.name(), landlock, seccomp }))
}
