//! What a job leaves: student, report, layers.

use axum::http::{Method, StatusCode};
use kegd::{
    domain::{artifact::Role, config::JobConfig, presets::TeacherKind, report::Report},
    queue::{Ending, Product},
};
use serde_json::json;

use crate::{common::facts, service::Service};

#[tokio::test]
async fn the_student_is_a_file_with_a_name() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let student = service.get(&format!("/jobs/{id}/student")).await;
    assert_eq!((student.status, &student.body[..]), (StatusCode::OK, &b"0123456789"[..]));
    assert_eq!(student.header("content-disposition"), "attachment; filename=\"lenet5-student.onnx\"");
    assert_eq!(student.header("content-length"), "10");
    assert_eq!(student.header("accept-ranges"), "bytes");
    assert_eq!(student.header("x-content-type-options"), "nosniff");

    let head = service.ask(Method::HEAD, &format!("/jobs/{id}/student"), &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), "10");
    assert_eq!(head.header("etag"), student.header("etag"));
}

#[tokio::test]
async fn a_download_can_be_resumed() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let path = format!("/jobs/{id}/student");
    let tag = service.get(&path).await.header("etag").to_owned();
    let rest = service.get_with(&path, &[("range", "bytes=4-"), ("if-range", &tag)]).await;
    assert_eq!((rest.status, &rest.body[..]), (StatusCode::PARTIAL_CONTENT, &b"456789"[..]));
    assert_eq!(rest.header("content-range"), "bytes 4-9/10");
    assert_eq!(rest.header("content-length"), "6");
    let known = service.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let beyond = service.get_with(&path, &[("range", "bytes=10-")]).await;
    assert_eq!(beyond.problem(416), "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */10");
}

#[tokio::test]
async fn other_formats_are_given_where_they_were_written() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.problem(409), "not_ready");
    drop((id, claim));
    let id = service.succeeded_with(&[("student.safetensors", Role::Student, b"weights")]).await;
    let weights = service.get(&format!("/jobs/{id}/student?format=safetensors")).await;
    assert_eq!(weights.body, "weights");
    assert_eq!(weights.header("content-disposition"), "attachment; filename=\"lenet5-student.safetensors\"");
    let missing = service.get(&format!("/jobs/{id}/student?format=pt2")).await;
    assert_eq!(missing.problem(406), "not_acceptable");
    let hint = missing.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("onnx") && hint.contains("safetensors"), "{hint}");
    let unknown = service.get(&format!("/jobs/{id}/student?format=keras")).await;
    assert_eq!(unknown.problem(400), "invalid_request");
}

#[tokio::test]
async fn the_report_is_json_for_programs_and_a_page_for_people() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let path = format!("/jobs/{id}/report");
    let report = service.get(&path).await;
    assert_eq!(report.header("content-type"), "application/json");
    assert!(report.json()["result"]["ratio"]["parameters"].is_number());
    let page = service.get_with(&path, &[("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("<table>") && !html.contains("<script") && !html.contains(" style="), "{html}");
    assert!(html.contains("2.0 points") && html.contains("0.0 points to 5.1 points"), "{html}");
    assert!(html.contains("predicted, not measured") && html.contains("&lt;dog&gt;"), "{html}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn reports_of_older_versions_are_still_read() {
    let settings = JobConfig::default().resolve(TeacherKind::PlainImage, "lenet5").unwrap();
    let mut old = serde_json::to_value(facts::report(settings)).unwrap();
    let result = old["result"].as_object_mut().unwrap();
    assert!(result.remove("audit").unwrap().is_object() && result.remove("training").unwrap().is_array());
    let report: Report = serde_json::from_value(old).unwrap();
    assert_eq!((report.result.audit, report.result.training), (None, vec![]));
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let service = Service::new().await;
    let id = service.submitted().await;
    for what in ["student", "report", "layers", "samples.png", "samples.npz", "samples/latent.png"] {
        let answer = service.get(&format!("/jobs/{id}/{what}")).await;
        assert_eq!(answer.problem(409), "not_ready", "{what}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("queued"), "{what}: {}", answer.json());
    }
}

#[tokio::test]
async fn layers_are_the_plan_first_and_the_outcome_later() {
    let service = Service::new().await;
    let id = service.inspected().await;
    let plan = service.get(&format!("/jobs/{id}/layers")).await.json();
    assert_eq!((&plan["planned"], plan["data"].is_array()), (&json!(true), true));
    drop(service);
    let service = Service::new().await;
    let id = service.succeeded().await;
    assert_eq!(service.get(&format!("/jobs/{id}/layers")).await.json()["planned"], false);
}

#[tokio::test]
async fn a_file_that_has_just_gone_is_not_found() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let row = service.house.store.artifact(id, &"student.onnx".parse().unwrap()).await.unwrap().unwrap();
    std::fs::remove_file(service.house.directory.path().join("artifacts").join(&row.artifact.key)).unwrap();
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.problem(404), "not_found");
    assert_eq!(service.get(&format!("/jobs/{id}/artifacts/student.onnx")).await.problem(404), "not_found");
}

#[tokio::test]
async fn a_report_counts_once_its_student_does() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    let report = facts::report(claim.settings.clone());
    service.keep(&claim, "report.json", Role::Report, &serde_json::to_vec(&report).unwrap()).await;
    assert_eq!(service.get(&format!("/jobs/{id}/report")).await.problem(409), "not_ready");
    service.house.store.cancel(id).await.unwrap();
    service.house.queue.finish(&claim, Ending::Succeeded(Product::Distilled(Box::new(report)))).await.unwrap();
    assert_eq!(service.get(&format!("/jobs/{id}")).await.json()["status"], "canceled");
    assert_eq!(service.get(&format!("/jobs/{id}/report")).await.problem(409), "not_ready");
}
