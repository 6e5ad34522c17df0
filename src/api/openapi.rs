//! `/openapi.json`: the contract, made from the handlers themselves.

use axum::{Extension, Json, http::Method};
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, OpenApi as Described, Ref, Response, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::caller;
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
    fn modify(&self, document: &mut Described) {
        let about = "An API key, from `kegd keys create`. No key is asked for while none exists.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("kegd_…").description(Some(about));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer.build()));
    }
}

/// Adds to each operation what it may be answered before its handler is reached.
pub fn with_refusals(mut document: Described) -> Described {
    for (path, item) in &mut document.paths.paths {
        let operations =
            [(Method::GET, &mut item.get), (Method::POST, &mut item.post), (Method::DELETE, &mut item.delete)];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            for (status, when) in refusals(&method, path) {
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(when).into());
            }
        }
    }
    document
}

fn refusals(method: &Method, path: &str) -> Vec<(&'static str, String)> {
    let mut refusals = Vec::new();
    if let Some(scope) = caller::needed(method, Some(path)) {
        refusals.push(("401", "No valid key, where keys are asked for".to_owned()));
        refusals.push(("403", format!("The key has not the scope `{scope}`, or another site's page asks")));
    }
    if matches!(path, "/jobs" | "/inspect") && method == Method::POST {
        refusals.push(("408", "Nothing more of the upload arrived for too long".to_owned()));
    }
    if writes(method, path) {
        refusals.push(("507", "The server's disk is full".to_owned()));
    }
    if !matches!(path, "/livez" | "/readyz") {
        refusals.push(("503", "As many requests as can be are being answered".to_owned()));
    }
    refusals
}

/// Whether answering takes disk space: for the database, or for a copy that can be read out of order.
fn writes(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    !reads || matches!(path, "/jobs/{id}/samples.png" | "/jobs/{id}/samples.npz" | "/jobs/{id}/samples/latent.png")
}

fn problem(when: String) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(when).content("application/problem+json", body).build()
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object))
)]
pub async fn get(Extension(document): Extension<Arc<Described>>) -> Json<Arc<Described>> {
    Json(document)
}
