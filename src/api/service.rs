//! `/version`: what runs here.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::state::App;

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
