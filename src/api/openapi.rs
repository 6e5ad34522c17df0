//! `/openapi.json`: the contract, made from the handlers themselves.

use axum::{Extension, Json};
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::domain::config::JobConfig;

/// What is said once about the whole interface; paths and schemas come from the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "kegd",
        description = "Shrinks a frozen classifier without its training data. Errors are application/problem+json (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(JobConfig)),
    modifiers(&Bearer),
    // Needed from the first key on; `/usage` says whether one was asked for.
    security((), ("key" = [])),
    tags(
        (name = "jobs", description = "Submitting and steering"),
        (name = "progress", description = "Following along"),
        (name = "results", description = "What came of it"),
        (name = "samples", description = "Generated inputs"),
        (name = "service", description = "The service itself"),
    )
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let about = "An API key, from `kegd keys create`. No key is asked for while none exists.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("kegd_…").description(Some(about));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer.build()));
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn get(Extension(document): Extension<Arc<utoipa::openapi::OpenApi>>) -> Json<Arc<utoipa::openapi::OpenApi>> {
    Json(document)
}
