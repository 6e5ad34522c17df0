//! What is deleted by rules: what clients see of it. And that what they delete themselves is gone from the disk.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use futures::StreamExt;
use kegd::{
    domain::{artifact::Role, ids::JobId, task::TaskKind},
    queue::{Ending, Product},
    retention::Policy,
    store::StoredBytes,
};
use serde_json::{Value, json};

use crate::{
    common::{house::name, wait::until},
    service::{LENET, Part, Service, form},
};

const MULTIPART: [(&str, &str); 1] = [("content-type", "multipart/form-data; boundary=edge")];

async fn job(service: &Service, id: impl std::fmt::Display) -> Value {
    service.get(&format!("/jobs/{id}")).await.json()
}

#[tokio::test]
async fn a_job_says_when_it_goes() {
    let day = Duration::from_secs(86_400);
    let service = Service::with_policy(Policy { jobs: Some(30 * day), uploads: Some(day), storage: None }).await;
    let id = service.submitted().await;
    let waiting = job(&service, id).await;
    for member in ["expires_at", "upload_expires_at", "upload_deleted_at"] {
        assert_eq!(waiting.get(member), Some(&json!(null)), "{member}");
    }
    service.post(&format!("/jobs/{id}/cancel")).await;
    let canceled = job(&service, id).await;
    let time = |member: &str| canceled[member].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires_at") - time("finished_at"), jiff::SignedDuration::from_hours(30 * 24));
    assert_eq!(time("upload_expires_at") - time("finished_at"), jiff::SignedDuration::from_hours(24));
}

#[tokio::test]
async fn a_job_whose_uploads_are_gone_says_so_and_is_not_retried() {
    let service = Service::with_policy(Policy { uploads: Some(Duration::ZERO), ..Policy::default() }).await;
    let id = service.succeeded().await;
    let collector = service.house.collector(Policy { uploads: Some(Duration::ZERO), ..Policy::default() });
    collector.collect().await.unwrap();
    let after = job(&service, id).await;
    assert_eq!((&after["status"], after["upload_deleted_at"].is_string()), (&json!("succeeded"), true));
    let refused = service.post(&format!("/jobs/{id}/retry")).await;
    assert_eq!(refused.problem(409), "conflict");
    assert!(refused.json()["detail"].as_str().unwrap().contains("uploads were deleted"), "{}", refused.json());
    assert!(refused.json()["hint"].as_str().unwrap().contains("POST /jobs"));
    assert_eq!(service.get(&format!("/jobs/{id}/artifacts/lenet5.onnx")).await.problem(404), "not_found");
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.body, "0123456789", "the results stay");
    assert_eq!(service.get(&format!("/jobs/{id}/report")).await.status, StatusCode::OK);
    assert_eq!(service.get(&format!("/jobs/{id}/layers")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn keep_upload_is_a_member_of_the_configuration() {
    let service = Service::new().await;
    let kept = service.submitted().await;
    assert_eq!(job(&service, kept).await["config"]["keep_upload"], true, "the default");
    let parts = [Part::file("model", "m.onnx", LENET), Part::text("config", r#"{"keep_upload": false}"#)];
    let job = service.upload("/jobs", &parts, &[]).await.json();
    assert_eq!(job["config"]["keep_upload"], false);
    let parts = [Part::file("model", "m.onnx", LENET), Part::text("config", r#"{"keep_upload": "no"}"#)];
    assert_eq!(service.upload("/jobs", &parts, &[]).await.problem(422), "invalid_config");
    let document = service.get("/openapi.json").await.json();
    for schema in ["JobConfig", "Settings"] {
        let member = &document["components"]["schemas"][schema]["properties"]["keep_upload"];
        assert!(member["description"].as_str().unwrap().contains("uploads"), "{schema}: {member}");
    }
}

/// What is kept without the finished jobs, and as much again as `uploads` of the model need.
pub async fn bounded(uploads: u64) -> Service {
    let empty = Service::new().await;
    let StoredBytes { database, .. } = empty.house.store.stored_bytes().await.unwrap();
    // A job's rows need some pages too.
    let storage = Some(database + (64 << 10) + uploads * LENET.len() as u64);
    Service::with_policy(Policy { storage, ..Policy::default() }).await
}

#[tokio::test]
async fn an_upload_makes_room_by_the_oldest_finished_jobs() {
    let service = bounded(2).await;
    let (first, second) = (service.submitted().await, service.submitted().await);
    // Both still wait: neither may go, and there is room for two.
    let part = || Part::file("model", "lenet5.onnx", LENET);
    let refused = service.upload("/jobs", &[part()], &[]).await;
    assert_eq!(refused.problem(507), "storage_full");
    assert!(refused.json()["hint"].as_str().unwrap().contains("--max-storage"), "{}", refused.json());
    assert_eq!(service.get("/jobs").await.json()["data"].as_array().unwrap().len(), 2, "nobody lost anything");
    assert_eq!(service.kept().len(), 4, "{:?}", service.kept());

    service.post(&format!("/jobs/{second}/cancel")).await;
    service.post(&format!("/jobs/{first}/cancel")).await;
    let third = service.submitted().await;
    until("the job goes that finished first", async || {
        (service.get(&format!("/jobs/{second}")).await.status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    for stays in [first, third] {
        assert_eq!(service.get(&format!("/jobs/{stays}/artifacts/lenet5.onnx")).await.body, LENET);
    }
}

#[tokio::test]
async fn an_upload_that_never_fits_costs_no_job() {
    let service = bounded(2).await;
    let finished = service.submitted().await;
    service.post(&format!("/jobs/{finished}/cancel")).await;
    let big = vec![7; 3 * LENET.len()];
    let parts = [Part::file("model", "lenet5.onnx", LENET), Part::file("external_data", "w.bin", &big)];
    let announced = form(&parts).len().to_string();
    let headers = [MULTIPART[0], ("content-length", announced.as_str())];
    for headers in [&headers[..], &MULTIPART[..]] {
        // Announced, and unannounced: then the bytes are counted as they come.
        let body = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(form(&parts))]));
        assert_eq!(service.ask(Method::POST, "/jobs", headers, body).await.problem(507), "storage_full");
        assert_eq!(service.get(&format!("/jobs/{finished}")).await.status, StatusCode::OK);
        assert_eq!(service.kept().len(), 2, "{:?}", service.kept());
    }
    service.submitted().await;
}

/// A job that stands in every state that there is, by the way it got there.
async fn in_state(service: &Service, state: &str) -> JobId {
    let id = match state {
        "succeeded" => return service.succeeded().await,
        _ => service.submitted().await,
    };
    match state {
        "queued" => {}
        "running" => drop(service.house.claim().await.unwrap()),
        "canceling" => {
            service.house.claim().await.unwrap();
            assert_eq!(service.post(&format!("/jobs/{id}/cancel")).await.status, StatusCode::ACCEPTED);
        }
        "canceled" => assert_eq!(service.post(&format!("/jobs/{id}/cancel")).await.status, StatusCode::OK),
        "failed" => {
            let claim = service.house.claim().await.unwrap();
            let problem = crate::common::facts::problem();
            service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
        }
        other => panic!("{other}"),
    }
    id
}

const STATES: [&str; 6] = ["queued", "running", "canceling", "canceled", "failed", "succeeded"];

#[tokio::test]
async fn every_request_has_its_answer_in_every_state() {
    // As api.md has them: cancel, retry without a word, delete, delete with force.
    let expected = [
        [200, 409, 204, 204],
        [202, 409, 409, 204],
        [202, 409, 409, 204],
        [200, 202, 204, 204],
        [409, 202, 204, 204],
        [409, 409, 204, 204],
    ];
    for (state, expected) in STATES.into_iter().zip(expected) {
        let requests = [
            (Method::POST, "/cancel"),
            (Method::POST, "/retry"),
            (Method::DELETE, ""),
            (Method::DELETE, "?force=true"),
        ];
        for ((method, suffix), status) in requests.into_iter().zip(expected) {
            let service = Service::new().await;
            let other = service.submitted().await;
            service.post(&format!("/jobs/{other}/cancel")).await;
            let id = in_state(&service, state).await;
            let answer = service.ask(method.clone(), &format!("/jobs/{id}{suffix}"), &[], "").await;
            assert_eq!(answer.status, status, "{method} {suffix} of a {state} job: {:?}", answer.body);
            match status {
                409 => assert_eq!(answer.problem(409), "conflict"),
                204 => assert!(!service.house.directory.path().join(format!("artifacts/{id}")).exists(), "{state}"),
                _ => assert_eq!(answer.json()["id"], id.to_string()),
            }
            assert_eq!(job(&service, other).await["status"], "canceled", "another job is not touched");
        }
    }
}

#[tokio::test]
async fn a_deleted_job_stays_gone_though_its_run_is_just_writing() {
    let service = Arc::new(Service::new().await);
    let (id, claim) = service.distilling().await;
    let claim = Arc::new(claim);
    // The run writes one file after the other, as fast as it can, until it hears that it lost its lease.
    let writing = tokio::spawn({
        let (service, claim) = (Arc::clone(&service), Arc::clone(&claim));
        async move {
            let mut written = 0;
            for index in 0.. {
                let (file, content) = (name(&format!("samples-{index}.npz")), bytes::Bytes::from(vec![1; 300_000]));
                let kept = service.house.artifacts.put_for_run(claim.fence(), file, Role::Samples, content).await;
                // Its directory went while it wrote: a worker takes that for trouble, and ends the run.
                let Ok(kept) = kept else { break };
                if service.house.queue.keep(&claim, &kept, None).await.is_err() {
                    service.house.artifacts.delete(&kept).await.unwrap();
                    break;
                }
                written += 1;
            }
            written
        }
    });
    let samples = format!("/jobs/{id}/artifacts");
    while service.get(&samples).await.json()["data"].as_array().is_none_or(|files| files.len() < 5) {
        tokio::task::yield_now().await;
    }
    let deleted = service.ask(Method::DELETE, &format!("/jobs/{id}?force=true"), &[], "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(writing.await.unwrap() > 0);
    let left: Vec<String> = service.kept().into_iter().filter(|path| path.contains(&id.to_string())).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn deleting_leaves_an_upload_under_way_alone() {
    let service = Service::with_policy(Policy { jobs: Some(Duration::ZERO), ..Policy::default() }).await;
    let doomed = service.submitted().await;
    let body = form(&[Part::file("model", "late.onnx", LENET)]);
    let (first, rest) = body.split_at(body.len() / 2);
    let (first, rest) = (bytes::Bytes::copy_from_slice(first), bytes::Bytes::copy_from_slice(rest));
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let late = futures::stream::once(async move {
        gone.await.unwrap();
        rest
    });
    let stream = futures::stream::iter([first]).chain(late).map(Ok::<_, std::io::Error>);
    let upload = service.ask(Method::POST, "/jobs", &MULTIPART, Body::from_stream(stream));
    let delete = async {
        // It has begun to write.
        while service.kept().len() < 4 {
            tokio::task::yield_now().await;
        }
        let deleted = service.ask(Method::DELETE, &format!("/jobs/{doomed}"), &[], "").await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        service.house.collector(Policy { storage: Some(0), ..Policy::default() }).collect().await.unwrap();
        go.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(upload, delete);
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(service.get(&format!("/jobs/{id}/artifacts/late.onnx")).await.body, LENET);
}

#[tokio::test]
async fn a_retry_leaves_no_file_of_the_attempt_before() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    let fence = claim.fence();
    let file =
        service.house.artifacts.put_for_run(fence, name("samples-9.npz"), Role::Samples, "x".into()).await.unwrap();
    let _ = service.house.queue.keep(&claim, &file, None).await.unwrap();
    assert_eq!(claim.kind(), TaskKind::Distill { target: 0 });
    let report = Box::new(crate::common::facts::report(claim.settings.clone()));
    service.house.queue.finish(&claim, Ending::Succeeded(Product::Distilled(report))).await.unwrap();
    assert_eq!(
        service.ask(Method::POST, &format!("/jobs/{id}/retry"), &[], r#"{"from":"start"}"#).await.status,
        StatusCode::ACCEPTED
    );
    let kept = service.kept();
    assert_eq!(kept.iter().filter(|path| path.ends_with(".npz")).count(), 0, "{kept:?}");
    assert_eq!(kept.iter().filter(|path| path.ends_with("lenet5.onnx")).count(), 1, "{kept:?}");
}
