//! `/openapi.json`: the contract, made from the handlers themselves.

use axum::{Extension, Json};
use std::sync::Arc;
use utoipa::OpenApi;

use crate::domain::config::JobConfig;

/// What is said once about the whole interface; paths and schemas come from the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "kegd",
        description = "Shrinks a frozen classifier without its training data. Every error is application/problem+json \
                       (RFC 9457) with a stable `code`, the `request_id` of the log, and a `hint` where there is a remedy. \
                       Each GET path takes HEAD. A path has no slash at its end.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(JobConfig)),
    tags(
        (name = "jobs", description = "Submitting and steering"),
        (name = "progress", description = "Following along"),
        (name = "results", description = "What came of it"),
        (name = "samples", description = "Generated inputs"),
        (name = "service", description = "The service itself"),
    )
)]
pub struct Document;

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn get(Extension(document): Extension<Arc<utoipa::openapi::OpenApi>>) -> Json<Arc<utoipa::openapi::OpenApi>> {
    Json(document)
}
