//! What is the same for every operation of the OpenAPI document, and so is not annotated at each.

use utoipa::openapi::{
    Content, OpenApi, Ref, RefOr, Response,
    path::{Operation, Parameter, ParameterIn, PathItem},
};

/// The media type of every failure (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What any path may answer before, or instead of, its handler.
const EVERYWHERE: [(&str, &str); 1] = [("500", "Our own fault")];

/// Gives each operation a name that no other has, the type of failures, and that we may fail.
pub fn completed(mut document: OpenApi) -> OpenApi {
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
        // The annotations say `body = Problem`, from which the macro makes plain JSON. Where both are said, both are meant.
        if status.starts_with(['4', '5'])
            && !response.content.contains_key(PROBLEM)
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
}
