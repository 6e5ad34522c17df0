//! Every answer that any test here gets is one that the OpenAPI document promises; and the document and the router have
//! the same paths and methods.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::service::{Answer, Service};

/// Fails where the document does not know the answer's status or media type.
pub async fn check(router: &Router, method: &Method, path: &str, answer: &Answer) {
    let document = document(router).await;
    let Some((template, item)) = item(document, path.split('?').next().unwrap()) else { return };
    let name = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let Some(operation) = item.get(&name) else {
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {template} is not in the document");
        return;
    };
    let promised = &operation["responses"][answer.status.as_str()];
    assert!(promised.is_object(), "{method} {template} answers {}, which the document does not know", answer.status);
    if answer.body.is_empty() {
        return;
    }
    let media_type = answer.header("content-type").split(';').next().unwrap();
    let known = promised["content"].get(media_type).is_some();
    assert!(known, "{method} {template} answers {} as {media_type}: {promised}", answer.status);
}

pub async fn document(router: &Router) -> &'static Value {
    static DOCUMENT: OnceCell<Value> = OnceCell::const_new();
    DOCUMENT
        .get_or_init(|| async {
            let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
            let body = router.clone().oneshot(request).await.unwrap().into_body();
            serde_json::from_slice(&axum::body::to_bytes(body, usize::MAX).await.unwrap()).unwrap()
        })
        .await
}

/// The document's path that covers `path`, as the router would choose it: one without parameters goes first.
fn item<'a>(document: &'a Value, path: &str) -> Option<(&'a str, &'a Value)> {
    let covers = |template: &str| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let paths = document["paths"].as_object().unwrap();
    let mut found: Vec<_> = paths.iter().filter(|(template, _)| covers(template)).collect();
    found.sort_by_key(|(template, _)| template.matches('{').count());
    found.first().map(|(template, item)| (template.as_str(), *item))
}

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

#[tokio::test]
async fn the_router_takes_the_methods_of_the_document_and_no_others() {
    let service = Service::new().await;
    for (path, item) in document(&service.router).await["paths"].as_object().unwrap() {
        let concrete = path.replace("{id}", "01900000-0000-7000-8000-000000000000").replace("{name}", "x");
        for method in METHODS {
            let documented = item.get(method.as_str().to_lowercase()).is_some();
            let answer = service.ask(method.clone(), &concrete, &[], "").await;
            let taken = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(taken, documented, "{method} {path}: {}", answer.status);
            if !taken {
                assert_eq!(answer.problem(405), "method_not_allowed");
                let mut allowed: Vec<_> =
                    answer.header("allow").split(',').filter(|method| *method != "HEAD").collect();
                allowed.sort_unstable();
                let mut known: Vec<_> = item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
                known.sort_unstable();
                assert_eq!(allowed, known, "{path}");
            }
        }
    }
}

/// What the router has beside the document is the page's: read from its source, since a router does not list its paths.
#[test]
fn every_route_goes_through_the_document() {
    let source = include_str!("../../src/api/router.rs");
    let outside: Vec<_> = source.lines().map(str::trim).filter(|line| line.starts_with(".route(")).collect();
    assert_eq!(outside, [r#".route("/", get(assets::file))"#, r#".route("/docs", get(assets::file))"#]);
    assert!(!source.contains(".nest") && !source.contains(".route_service"), "another way past the document");
}

#[tokio::test]
async fn operations_have_names_of_their_own_and_failures_their_type() {
    let service = Service::new().await;
    let mut names = Vec::new();
    for (path, item) in document(&service.router).await["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}
