//! `/openapi.json`: the contract, made from the handlers themselves.

use axum::{Extension, Json};
use std::sync::Arc;
use utoipa::{
    OpenApi,
    openapi::{
        Content, Ref, RefOr, Response,
        path::{Operation, Parameter, ParameterIn, PathItem},
    },
};

use crate::domain::config::JobConfig;

/// The media type of every failure (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What any path may answer before, or instead of, its handler.
const EVERYWHERE: [(&str, &str); 1] = [("500", "Our own fault")];

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

/// What is the same for every operation: a name that no other has, the type of failures, and that we may fail.
pub fn completed(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(name(method, path));
            complete(operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `get_jobs_id_student` for `GET /jobs/{id}/student`.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn complete(operation: &mut Operation) {
    let queried = |parameter: &Parameter| matches!(parameter.parameter_in, ParameterIn::Query);
    let queried = operation.parameters.iter().flatten().any(queried);
    let responses = &mut operation.responses.responses;
    let problem = |about: &str| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        RefOr::T(Response::builder().description(about).content(PROBLEM, content).build())
    };
    for (status, about) in EVERYWHERE {
        responses.entry(status.to_owned()).or_insert_with(|| problem(about));
    }
    if queried {
        responses.entry("400".to_owned()).or_insert_with(|| problem("A parameter is wrong"));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        // The annotations say `body = Problem`, from which the macro makes plain JSON.
        if status.starts_with(['4', '5'])
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
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
