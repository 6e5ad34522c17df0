//! The published contract: OpenAPI, the page, headers.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{LENET, Part, Service};

/// Every path and method that clients may rely on.
pub const CONTRACT: [(&str, &[&str]); 24] = [
    ("/jobs", &["get", "post"]),
    ("/inspect", &["post"]),
    ("/jobs/{id}", &["delete", "get"]),
    ("/jobs/{id}/cancel", &["post"]),
    ("/jobs/{id}/retry", &["post"]),
    ("/jobs/{id}/events", &["get"]),
    ("/jobs/{id}/metrics", &["get"]),
    ("/jobs/{id}/layers", &["get"]),
    ("/jobs/{id}/report", &["get"]),
    ("/jobs/{id}/student", &["get"]),
    ("/jobs/{id}/artifacts", &["get"]),
    ("/jobs/{id}/artifacts/{name}", &["get"]),
    ("/jobs/{id}/samples", &["get"]),
    ("/jobs/{id}/samples.png", &["get"]),
    ("/jobs/{id}/samples/latent.png", &["get"]),
    ("/jobs/{id}/samples.npz", &["get"]),
    ("/formats", &["get"]),
    ("/workers", &["get"]),
    ("/usage", &["get"]),
    ("/version", &["get"]),
    ("/livez", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
];

#[tokio::test]
async fn openapi_lists_every_path() {
    let document = Service::new().await.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in CONTRACT {
        let mut found: Vec<&String> = paths[path].as_object().unwrap().keys().collect();
        found.sort();
        assert_eq!(found, methods, "{path}");
    }
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    assert_eq!(document["security"], serde_json::json!([{}, {"key": []}]));
    assert_eq!(paths.len(), CONTRACT.len(), "{:?}", paths.keys());
}

#[tokio::test]
async fn openapi_defines_all_that_it_refers_to() {
    let document = Service::new().await.get("/openapi.json").await.json();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} is not defined");
    }
    let config = &document["components"]["schemas"]["JobConfig"]["properties"];
    for member in ["name", "preset", "input", "classes", "compression", "extraction", "distillation", "seed", "device"]
    {
        assert!(config[member].is_object(), "{member}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(reference) if name == "$ref" => references.push(reference.to_owned()),
                    _ => collect(member, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn every_path_answers_and_never_with_our_own_fault() {
    for (path, methods) in CONTRACT {
        for method in methods {
            // A fresh one each time: some of them change the job.
            let service = Service::new().await;
            let id = service.succeeded().await.to_string();
            let path = path.replace("{id}", &id).replace("{name}", "report.json");
            let answer = service.ask(method.to_uppercase().parse().unwrap(), &path, &[], "").await;
            assert!(answer.status.as_u16() < 500, "{method} {path}: {} {:?}", answer.status, answer.body);
            assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_ne!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_page_and_the_reference_are_served_by_us() {
    let service = Service::new().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/docs.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let again = service.get_with(path, &[("if-none-match", answer.header("etag"))]).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(service.ask(Method::HEAD, path, &[], "").await.status, StatusCode::OK, "{path}");
    }
    for path in ["/", "/docs"] {
        let html = String::from_utf8(service.get(path).await.body.to_vec()).unwrap();
        assert!(!html.contains("https://") && !html.contains("//cdn"), "{path} needs something from elsewhere");
    }
    for path in ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/static/index.html"] {
        assert_eq!(service.get(path).await.problem(404), "not_found", "{path}");
    }
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with() {
    let service = Service::new().await;
    let answer = service.get_with("/nowhere", &[("x-request-id", "abc-1")]).await;
    assert_eq!(answer.problem(404), "not_found");
    assert_eq!(answer.json()["request_id"], "abc-1");
}

#[tokio::test]
async fn an_id_that_does_not_belong_into_a_log_is_replaced() {
    let service = Service::new().await;
    let long = "x".repeat(65);
    for bad in ["", "a b", "a\"}", "é", "a;b", "<script>", long.as_str()] {
        let answer = service.get_with("/nowhere", &[("x-request-id", bad)]).await;
        assert_eq!(answer.problem(404), "not_found");
        let id = answer.header("x-request-id");
        assert!(id != bad && id.parse::<uuid::Uuid>().is_ok(), "{bad:?} became {id:?}");
    }
    let twice = service.get_with("/livez", &[("x-request-id", "a"), ("x-request-id", "b")]).await;
    assert!(twice.header("x-request-id").parse::<uuid::Uuid>().is_ok());
    let good = service.get_with("/livez", &[("x-request-id", "Trace_1.2-3")]).await;
    assert_eq!(good.header("x-request-id"), "Trace_1.2-3");
}

#[tokio::test]
async fn what_is_asked_of_a_layer_is_described_as_it_is_taken() {
    let service = Service::new().await;
    let document = service.get("/openapi.json").await.json();
    let choices = &document["components"]["schemas"]["LayerChoice"]["oneOf"];
    assert_eq!(choices[0]["enum"], json!(["keep", "evbmf"]));
    assert_eq!(choices[1]["properties"]["ranks"]["type"], "array");
    for choice in [json!("keep"), json!("evbmf"), json!({"ranks": [5, 8]})] {
        let config = json!({"compression": {"layers": {"conv2": choice}}}).to_string();
        let answer =
            service.upload("/jobs", &[Part::file("model", "m.onnx", LENET), Part::text("config", &config)], &[]).await;
        assert_eq!(answer.status, 202, "{config}");
    }
}
