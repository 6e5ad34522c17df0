//! Submitting jobs.

use std::{future::poll_fn, task::Poll};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use futures::FutureExt;
use kegd::config::LimitsConfig;
use serde_json::json;
use tower::ServiceExt;

use crate::service::{LENET, Part, Service, form, limits};

#[tokio::test]
async fn an_upload_becomes_a_job() {
    let service = Service::new().await;
    let config = r#"{"name": "mine", "extraction": {"generators": 2}, "seed": 7}"#;
    let parts = [
        Part::file("model", "lenet5.onnx", LENET),
        Part::text("config", config),
        Part::file("eval", "test.npz", b"PK\x03\x04 not looked at yet"),
        Part::file("external_data", "weights.bin", b"side file"),
    ];
    let answer = service.upload("/jobs", &parts, &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let job = answer.json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/jobs/{id}"));
    assert_eq!(job["links"]["self"], format!("/jobs/{id}"));
    assert_eq!((&job["name"], &job["status"]), (&json!("mine"), &json!("queued")));
    assert_eq!((&job["phase"], &job["queue_position"]), (&json!("queued"), &json!(1)));
    assert_eq!(job["config"]["extraction"]["generators"], 2);
    assert_eq!(job["config"]["seed"], 7);

    let artifacts = service.get(&format!("/jobs/{id}/artifacts")).await.json();
    let mut kept: Vec<_> =
        artifacts["data"].as_array().unwrap().iter().map(|file| file["role"].as_str().unwrap()).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["evaluation", "external_data", "teacher"]);
    let model = service.get(&format!("/jobs/{id}/artifacts/lenet5.onnx")).await;
    assert_eq!(model.body, LENET);
}

#[tokio::test]
async fn a_job_without_a_name_is_called_as_its_file() {
    let service = Service::new().await;
    let parts = [Part::file("model", "C:\\models\\net.onnx", LENET)];
    let job = service.upload("/jobs", &parts, &[]).await.json();
    assert_eq!(job["name"], "net");
}

#[tokio::test]
async fn config_may_be_a_file_and_may_come_first() {
    let service = Service::new().await;
    let parts = [Part::file("config", "c.json", br#"{"name": "first"}"#), Part::file("model", "m.onnx", LENET)];
    assert_eq!(service.upload("/jobs", &parts, &[]).await.json()["name"], "first");
}

#[tokio::test]
async fn the_same_request_with_a_key_makes_one_job() {
    let service = Service::new().await;
    let key = [("idempotency-key", "b7c1")];
    let model = || Part::file("model", "m.onnx", LENET);
    let first = service.upload("/jobs", &[model(), Part::text("config", "{}")], &key).await.json();
    let again = service.upload("/jobs", &[Part::text("config", "{ }"), model()], &key).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(again.json()["id"], first["id"]);
    assert_eq!(service.get("/jobs").await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(service.kept().len(), 2, "one folder with one file: {:?}", service.kept());

    let other = service.upload("/jobs", &[model(), Part::text("config", r#"{"seed": 1}"#)], &key).await;
    assert_eq!(other.problem(422), "idempotency_mismatch");
    assert_eq!(service.kept().len(), 2);
    let without = service.upload("/jobs", &[model()], &[]).await.json();
    assert_ne!(without["id"], first["id"]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let service = Service::new().await;
    let whole = form(&[Part::file("model", "m.onnx", LENET)]);
    let half = bytes::Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    let body =
        futures::StreamExt::chain(futures::stream::iter([Ok::<_, std::io::Error>(half)]), futures::stream::pending());
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let request = service.ask(Method::POST, "/jobs", &headers, axum::body::Body::from_stream(body));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(500), request).await.is_err());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !service.kept().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?}", service.kept());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(service.get("/jobs").await.json()["data"], json!([]));
}

/// What comes of a future that is polled so many times at most. Where that is not enough, it is dropped when what it waits
/// for is there.
async fn polled<F: Future + Unpin>(mut future: F, most: usize) -> Option<F::Output> {
    let mut polls = 0;
    poll_fn(move |context| {
        if polls == most {
            return Poll::Ready(None);
        }
        polls += 1;
        future.poll_unpin(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_takes_nothing_from_a_job_that_is_made() {
    let service = Service::with(LimitsConfig { max_queue: 10_000, ..limits() }).await;
    let parts = [Part::file("model", "m.onnx", LENET)];
    let answer = async |polls| {
        let request = Request::post("/jobs").header("content-type", "multipart/form-data; boundary=edge");
        let request = request.body(Body::from(form(&parts))).unwrap();
        polled(Box::pin(service.router.clone().oneshot(request)), polls).await
    };
    let (mut polls, mut told) = (1, 0);
    let made = loop {
        let made = service.house.store.job_ids().await.unwrap();
        // How often one request is polled is chance, so that not every round leaves at the moment that matters.
        if made.len() > told {
            break made;
        }
        polls = match answer(polls).await {
            None => polls + 1,
            Some(answer) => {
                assert_eq!(answer.unwrap().status(), StatusCode::ACCEPTED);
                told += 1;
                1
            }
        };
        assert!(told < 50, "nobody left when the job was made, and before they were told");
    };
    for id in made {
        let model = service.get(&format!("/jobs/{id}/artifacts/m.onnx")).await;
        assert_eq!((model.status, &model.body[..]), (StatusCode::OK, LENET), "{id}");
    }
}
