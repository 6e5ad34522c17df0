//! Looking at jobs, and steering them.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use kegd::{
    domain::{
        artifact::Role,
        job::{Phase, Progress},
        problem::{ErrorCode, Problem},
    },
    queue::{Beat, Ending},
};
use serde_json::json;

use crate::service::{LENET, Service};

#[tokio::test]
async fn a_finished_job_has_every_member_of_the_contract() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let mut job = service.get(&format!("/jobs/{id}")).await.json();
    for changing in ["created_at", "started_at", "finished_at", "revision"] {
        assert!(!job[changing].is_null(), "{changing}");
        job[changing] = json!("[differs]");
    }
    // What the presets are is another test's business.
    assert_eq!(job["config"]["preset"], "fast");
    job["config"] = json!("[resolved]");
    let text = serde_json::to_string_pretty(&job).unwrap().replace(&id.to_string(), "[id]");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_failed_job_carries_its_problem() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let claim = service.house.claim().await.unwrap();
    let problem =
        Problem::new(ErrorCode::NotAClassifier, "The model has 10 inputs.").hint("Export one with a single input.");
    service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
    let job = service.get(&format!("/jobs/{id}")).await.json();
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["code"], "not_a_classifier");
    assert_eq!(job["error"]["hint"], "Export one with a single input.");
}

#[tokio::test]
async fn a_job_of_another_version_says_so_and_can_be_deleted() {
    let service = Service::new().await;
    let id = service.submitted().await;
    service.post(&format!("/jobs/{id}/cancel")).await;
    service.house.garble(id).await;
    let answer = service.get(&format!("/jobs/{id}")).await;
    assert_eq!(answer.problem(500), "internal");
    let said = answer.json();
    assert!(said["detail"].as_str().unwrap().contains("another version of kegd"), "{said}");
    assert!(said["hint"].as_str().unwrap().contains("can still be deleted"), "{said}");
    let gone = service.ask(Method::DELETE, &format!("/jobs/{id}"), &[], "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(service.get(&format!("/jobs/{id}")).await.problem(404), "not_found");
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_and_by_status() {
    let service = Service::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(service.submitted().await.to_string());
    }
    service.post(&format!("/jobs/{}/cancel", ids[0])).await;
    let listed = |answer: serde_json::Value| -> Vec<String> {
        answer["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = service.get("/jobs?limit=2").await.json();
    assert_eq!(listed(first.clone()), [ids[2].clone(), ids[1].clone()]);
    let next = service.get(&format!("/jobs?limit=2&after={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!(listed(next.clone()), [ids[0].clone()]);
    assert_eq!(next["next"], json!(null));
    assert_eq!(listed(service.get("/jobs?order=oldest&limit=1").await.json()), [ids[0].clone()]);
    assert_eq!(listed(service.get("/jobs?status=canceled,failed").await.json()), [ids[0].clone()]);
    assert_eq!(listed(service.get("/jobs?status=queued").await.json()).len(), 2);
    assert_eq!(listed(service.get("/jobs?name=lenet5").await.json()).len(), 3);
    assert_eq!(listed(service.get("/jobs?name=other").await.json()).len(), 0);
}

#[tokio::test]
async fn a_long_poll_answers_when_the_job_changes() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}?wait=30");
    let begin = Instant::now();
    let (answer, claim) = tokio::join!(service.get(&path), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        service.house.claim().await.unwrap()
    });
    assert_eq!(answer.json()["status"], "running");
    assert!(begin.elapsed() < Duration::from_secs(20), "it did not wait for the end");
    drop(claim);
}

#[tokio::test]
async fn a_long_poll_ends_without_a_change_too() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let answer = service.get(&format!("/jobs/{id}?wait=0.3")).await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (StatusCode::OK, json!("queued")));
}

#[tokio::test]
async fn nobody_is_kept_waiting_by_a_service_that_ends() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let (begin, path) = (Instant::now(), format!("/jobs/{id}"));
    let polled = async { service.get(&format!("{path}?wait=60")).await.status };
    let streamed =
        async { service.get_with(&format!("{path}/events"), &[("accept", "text/event-stream")]).await.status };
    let ends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        service.stop.cancel();
    };
    let (polled, streamed, ()) = tokio::join!(polled, streamed, ends);
    assert_eq!((polled, streamed), (StatusCode::OK, StatusCode::OK));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_long_poll_hears_of_the_end_of_its_job() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}");
    let begin = Instant::now();
    let (poll, delete) = (format!("{path}?wait=60"), service.ask(Method::DELETE, &path, &[], ""));
    let (polled, deleted) = tokio::join!(service.get(&poll), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        delete.await
    });
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(polled.problem(404), "not_found");
    assert!(begin.elapsed() < Duration::from_secs(20), "it did not wait for the end");
}

#[tokio::test]
async fn a_long_poll_from_a_known_state_ends_with_that_state() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}");
    let tag = service.get(&path).await.header("etag").to_owned();
    let same = service.get_with(&format!("{path}?wait=0.3"), &[("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.header("etag")), (StatusCode::NOT_MODIFIED, &*tag));
    let other = service.get_with(&format!("{path}?wait=60"), &[("if-none-match", "W/\"0\"")]).await;
    assert_eq!(other.status, StatusCode::OK, "what the client has is old already: there is nothing to wait for");
}

#[tokio::test]
async fn a_finished_job_is_answered_at_once() {
    let service = Service::new().await;
    let id = service.submitted().await;
    service.post(&format!("/jobs/{id}/cancel")).await;
    let begin = Instant::now();
    assert_eq!(service.get(&format!("/jobs/{id}?wait=60")).await.json()["status"], "canceled");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_known_state_is_not_sent_again() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}");
    let tag = service.get(&path).await.header("etag").to_owned();
    let unchanged = service.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(unchanged.header("etag"), tag);
    service.post(&format!("/jobs/{id}/cancel")).await;
    let changed = service.get_with(&format!("{path}?wait=60"), &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test]
async fn progress_and_the_newest_metrics_are_shown() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let claim = service.house.claim().await.unwrap();
    let progress = Progress { fraction: 0.5, phase: Phase::Importing, step: 1, steps: 2, eta_seconds: Some(3.0) };
    let _ = service.house.queue.record(&claim, &Beat { progress: Some(progress), metrics: vec![] }).await.unwrap();
    let job = service.get(&format!("/jobs/{id}")).await.json();
    assert_eq!(job["progress"]["phase"], "importing");
    assert_eq!(job["progress"]["step"], 1);
    assert_eq!(job["device"], "cpu");
}

#[tokio::test]
async fn cancel_says_what_it_did() {
    let service = Service::new().await;
    let (waiting, other) = (service.submitted().await, service.submitted().await);
    let canceled = service.post(&format!("/jobs/{waiting}/cancel")).await;
    assert_eq!((canceled.status, canceled.json()["status"].clone()), (StatusCode::OK, json!("canceled")));
    assert_eq!(service.post(&format!("/jobs/{waiting}/cancel")).await.status, StatusCode::OK);
    assert_eq!(service.get(&format!("/jobs/{other}")).await.json()["status"], "queued", "no other job");

    let claim = service.house.claim().await.unwrap();
    let asked = service.post(&format!("/jobs/{other}/cancel")).await;
    assert_eq!((asked.status, asked.json()["status"].clone()), (StatusCode::ACCEPTED, json!("running")));
    service.house.queue.finish(&claim, Ending::Canceled).await.unwrap();

    let done = service.succeeded().await;
    let finished = service.post(&format!("/jobs/{done}/cancel")).await;
    assert_eq!(finished.problem(409), "conflict");
}

#[tokio::test]
async fn delete_takes_the_files_along() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let path = format!("/jobs/{id}");
    assert!(!service.kept().is_empty());
    assert_eq!(service.ask(Method::DELETE, &path, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(service.kept(), [""; 0]);
    assert_eq!(service.get(&path).await.problem(404), "not_found");
    assert_eq!(service.ask(Method::DELETE, &path, &[], "").await.problem(404), "not_found");
}

#[tokio::test]
async fn a_running_job_is_deleted_only_by_force() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let claim = service.house.claim().await.unwrap();
    let path = format!("/jobs/{id}");
    assert_eq!(service.ask(Method::DELETE, &path, &[], "").await.problem(409), "conflict");
    assert_eq!(service.get(&path).await.status, StatusCode::OK);
    let forced = service.ask(Method::DELETE, &format!("{path}?force=true"), &[], "").await;
    assert_eq!(forced.status, StatusCode::NO_CONTENT);
    assert!(service.house.queue.record(&claim, &Beat::default()).await.is_err(), "its run has lost the lease");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn retry_starts_a_finished_job_again() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let path = format!("/jobs/{id}/retry");
    let json = [("content-type", "application/json")];
    for nothing_said in ["", "null", "{}"] {
        let refused = service.ask(Method::POST, &path, &json, nothing_said).await;
        assert_eq!(refused.problem(409), "conflict", "{nothing_said}");
        assert!(refused.json()["hint"].as_str().unwrap().contains("delete the student"), "{}", refused.json());
    }
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.status, StatusCode::OK, "it is still there");
    let answer = service.ask(Method::POST, &path, &json, r#"{"from":"start"}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    let job = answer.json();
    assert_eq!((&job["status"], &job["attempt"]), (&json!("queued"), &json!(2)));
    assert_eq!((&job["result"], &job["model"], &job["finished_at"]), (&json!(null), &json!(null), &json!(null)));
    let artifacts = service.get(&format!("/jobs/{id}/artifacts")).await.json();
    assert_eq!(artifacts["data"].as_array().unwrap().len(), 1, "the upload alone: {artifacts}");
    assert_eq!(service.get(&format!("/jobs/{id}/artifacts/lenet5.onnx")).await.body, LENET);
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.problem(409), "not_ready");
    let claim = service.house.claim().await.expect("it can be claimed");
    assert_eq!(service.post(&path).await.problem(409), "conflict", "it runs");
    drop(claim);
}

#[tokio::test]
async fn a_job_that_would_be_refused_today_keeps_what_it_made() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let before = r#"{"preset": "best", "distillation": {"epochs": 50}}"#;
    let sql = "update jobs set config = ? where id = ?";
    let update = sqlx::query(sql).bind(before).bind(id.to_string());
    update.execute(&mut service.house.database().await).await.unwrap();
    let answer = service.post(&format!("/jobs/{id}/retry")).await;
    assert_eq!(answer.problem(422), "invalid_config");
    assert!(answer.json()["hint"].as_str().unwrap().contains("Submit a new job"));
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn retry_says_what_it_cannot_do() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}/retry");
    assert_eq!(service.post(&path).await.problem(409), "conflict");
    let json = [("content-type", "application/json")];
    let answer = service.ask(Method::POST, &path, &json, r#"{"from":"middle"}"#).await;
    assert_eq!(answer.problem(400), "invalid_request");
    service.post(&format!("/jobs/{id}/cancel")).await;
    let answer = service.ask(Method::POST, &path, &json, r#"{"from":"checkpoint"}"#).await;
    assert_eq!(answer.problem(409), "conflict");
    let problem = answer.json();
    assert!(problem["detail"].as_str().unwrap().contains("nothing to go on from"), "{problem}");
    assert_eq!(service.get(&format!("/jobs/{id}")).await.json()["can_resume"], false);

    let id = service.succeeded().await;
    let answer = service.ask(Method::POST, &format!("/jobs/{id}/retry"), &json, r#"{"from":"checkpoint"}"#).await;
    assert_eq!(answer.problem(409), "conflict");
    assert!(answer.json()["detail"].as_str().unwrap().contains("succeeded"), "{}", answer.json());
}

#[tokio::test]
async fn a_failed_job_goes_on_from_its_checkpoint() {
    let service = Service::new().await;
    let id = service.inspected().await;
    let claim = service.house.claim().await.unwrap();
    let problem = Problem::new(ErrorCode::OutOfMemory, "no memory is left");
    service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
    let path = format!("/jobs/{id}");
    let failed = service.get(&path).await.json();
    assert_eq!((&failed["status"], &failed["can_resume"]), (&json!("failed"), &json!(true)), "{failed}");
    assert_eq!(service.get("/jobs").await.json()["data"][0], failed, "a list shows the job as it is");
    let json = [("content-type", "application/json")];
    let answer = service.ask(Method::POST, &format!("{path}/retry"), &json, r#"{"from":"checkpoint"}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    let job = answer.json();
    assert_eq!((&job["status"], &job["attempt"], &job["error"]), (&json!("queued"), &json!(2), &json!(null)));
    assert_eq!((&job["model"], &job["can_resume"]), (&failed["model"], &json!(false)), "the inspection stands");
    assert_eq!(service.house.claim().await.unwrap().fence().task, claim.fence().task);
}

#[tokio::test]
async fn an_artifact_is_found_by_its_whole_name() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    service.keep(&claim, "a b.npz", Role::Samples, b"x").await;
    let list = service.get(&format!("/jobs/{id}/artifacts")).await.json();
    let href = list["data"].as_array().unwrap().iter().find(|file| file["name"] == "a b.npz").unwrap()["href"].clone();
    assert_eq!(service.get(href.as_str().unwrap()).await.body, "x");
    for name in ["nothing", "..%2f..%2fkegd.db", "%2e%2e", "a%00"] {
        assert_eq!(service.get(&format!("/jobs/{id}/artifacts/{name}")).await.problem(404), "not_found", "{name}");
    }
}
