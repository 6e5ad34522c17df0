//! `Idempotency-Key`: however often a request is sent, it makes one job.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use kegd::config::LimitsConfig;
use rstest::rstest;

use crate::{
    retention::bounded,
    service::{LENET, Part, Service, limits},
};

fn model() -> Part<'static> {
    Part::file("model", "m.onnx", LENET)
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_job() {
    let service = Service::new().await;
    let parts = [model()];
    let send = || service.upload("/jobs", &parts, &[("idempotency-key", "at once")]);
    let answers = futures::future::join_all((0..8).map(|_| send())).await;
    let ids: BTreeSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(answer.header("location"), format!("/jobs/{id}"));
            id
        })
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(service.kept().len(), 2, "one folder with one file: {:?}", service.kept());
    assert_eq!(service.get("/jobs").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_failed_leaves_its_key_free() {
    let service = Service::new().await;
    let key = [("idempotency-key", "again")];
    let broken = [model(), Part::text("config", r#"{"seed": "seven"}"#)];
    assert_eq!(service.upload("/jobs", &broken, &key).await.problem(422), "invalid_config");
    assert_eq!(service.upload("/jobs", &[Part::file("model", "m.onnx", b"")], &key).await.problem(400), "empty_file");
    let made = service.upload("/jobs", &[model()], &key).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.json());
}

#[tokio::test]
async fn the_last_job_that_had_room_can_be_sent_again() {
    let service = Service::with(LimitsConfig { max_queue: 1, ..limits() }).await;
    let key = [("idempotency-key", "last")];
    let first = service.upload("/jobs", &[model()], &key).await.json();
    let again = service.upload("/jobs", &[model()], &key).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::ACCEPTED, &first["id"]));
    let other = service.upload("/jobs", &[model()], &[("idempotency-key", "another")]).await;
    assert_eq!(other.problem(429), "too_many_requests");
}

#[tokio::test]
async fn the_last_job_that_had_storage_can_be_sent_again() {
    let service = bounded(1).await;
    let key = [("idempotency-key", "last")];
    let first = service.upload("/jobs", &[model()], &key).await.json();
    let again = service.upload("/jobs", &[model()], &key).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::ACCEPTED, &first["id"]));
    assert_eq!(service.kept().len(), 2, "one folder with one file: {:?}", service.kept());
    let other = service.upload("/jobs", &[model()], &[("idempotency-key", "another")]).await;
    assert_eq!(other.problem(507), "storage_full");
}

#[tokio::test]
async fn a_job_can_be_sent_again_when_its_worker_is_gone() {
    let service = Service::new().await;
    service.house.queue.begin_life("worker-1", &["cuda:0".to_owned()]).await.unwrap();
    let parts = [model(), Part::text("config", r#"{"device": "cuda:0"}"#)];
    let key = [("idempotency-key", "device")];
    let first = service.upload("/jobs", &parts, &key).await.json();
    service.house.queue.begin_life("worker-1", &["cpu".to_owned()]).await.unwrap();
    let again = service.upload("/jobs", &parts, &key).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::ACCEPTED, &first["id"]));
    let other = service.upload("/jobs", &parts, &[("idempotency-key", "another")]).await;
    assert_eq!(other.problem(422), "invalid_config");
}

#[tokio::test]
async fn a_file_of_another_name_is_another_request() {
    let service = Service::new().await;
    let key = [("idempotency-key", "name")];
    service.upload("/jobs", &[model()], &key).await;
    let renamed = service.upload("/jobs", &[Part::file("model", "n.onnx", LENET)], &key).await;
    assert_eq!(renamed.problem(422), "idempotency_mismatch");
    assert_eq!(renamed.json()["param"], "Idempotency-Key");
}

#[tokio::test]
async fn a_deleted_job_takes_its_key_along() {
    let service = Service::new().await;
    let key = [("idempotency-key", "gone")];
    let first = service.upload("/jobs", &[model()], &key).await.json();
    let path = format!("/jobs/{}", first["id"].as_str().unwrap());
    assert_eq!(service.ask(axum::http::Method::DELETE, &path, &[], "").await.status, StatusCode::NO_CONTENT);
    let second = service.upload("/jobs", &[model()], &key).await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    assert_ne!(second.json()["id"], first["id"]);
}

#[rstest]
#[case::empty(&[""])]
#[case::not_ascii(&["schlüssel"])]
#[case::a_tab(&["a\tb"])]
#[case::two(&["a", "b"])]
#[tokio::test]
async fn keys_that_are_none(#[case] keys: &[&str]) {
    let service = Service::new().await;
    let headers: Vec<_> = keys.iter().map(|key| ("idempotency-key", *key)).collect();
    let refused = service.upload("/jobs", &[model()], &headers).await;
    assert_eq!(refused.problem(400), "invalid_request");
    assert_eq!(refused.json()["param"], "Idempotency-Key");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn the_longest_key_is_one() {
    let service = Service::new().await;
    let answer = service.upload("/jobs", &[model()], &[("idempotency-key", &"~".repeat(255))]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}
