//! SIGKILL at the moments that matter. What was accepted is done, what was not has left nothing.

use tempfile::TempDir;

use super::server::{Server, check, files, serve};
use crate::common::wait::until;

#[tokio::test]
async fn in_the_middle_of_an_upload() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let upload = server.half_an_upload();
    let kept = || files(&data.path().join("artifacts"));
    until("a part of the upload is on the disk", async || {
        kept().iter().any(|file| file.metadata().unwrap().len() > 0).then_some(())
    })
    .await;
    server.kill();
    drop(upload);
    assert!(!kept().is_empty(), "a killed process cleans nothing up");

    let server = Server::start(data.path());
    assert!(kept().is_empty(), "but the next one does");
    assert_eq!(server.json("/jobs").await["data"], serde_json::json!([]));
    server.submit().await;
}

#[tokio::test]
async fn between_the_answer_and_the_first_claim() {
    let data = TempDir::new().unwrap();
    let mut command = serve(data.path());
    command.arg("--no-worker");
    let mut server = Server::run(command).unwrap();
    let id = server.submit().await;
    server.kill();
    check(data.path()).await;

    let server = Server::start(data.path());
    server.until(&id, |job| job["status"] == "succeeded").await;
    assert_eq!(server.outcomes(&id).await, ["succeeded"; 3]);
}

#[tokio::test]
async fn while_a_run_writes() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let id = server.post(super::server::LONG).await;
    let id = super::server::accepted(id).await;
    server.until(&id, |job| job["phase"] == "extracting" && job["latest_metrics"] != serde_json::json!({})).await;
    server.kill();
    check(data.path()).await;

    let mut server = Server::start(data.path());
    let job = server.until(&id, |job| job["phase"] == "extracting" && job["progress"]["step"].as_u64() > Some(0)).await;
    assert_eq!((&job["status"], &job["error"]), (&"running".into(), &serde_json::Value::Null));
    assert_eq!(server.outcomes(&id).await, ["succeeded", "interrupted"], "an interruption, not a loss");
    assert!(server.stop(), "it does not wait for the job");
    check(data.path()).await;
}

#[tokio::test]
async fn while_a_run_finishes() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let id = server.submit().await;
    let student = |artifacts: serde_json::Value| {
        artifacts["data"].as_array().unwrap().iter().any(|file| file["role"] == "student")
    };
    until("the student is there", async || student(server.json(&format!("/jobs/{id}/artifacts")).await).then_some(()))
        .await;
    server.kill();
    check(data.path()).await;

    let server = Server::start(data.path());
    let job = server.until(&id, |job| job["status"] == "succeeded").await;
    let bytes = server.get(&format!("/jobs/{id}/student")).await.bytes().await.unwrap();
    assert_eq!(job["result"]["student"]["bytes"], bytes.len());
    assert!(!server.outcomes(&id).await.iter().any(|outcome| outcome == "lost"));
    check(data.path()).await;
}

#[tokio::test]
async fn again_and_again() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let id = server.submit().await;
    let mut seen = 0;
    for _ in 0..8 {
        let events = format!("/jobs/{id}/events");
        // Another moment each time: whenever something new has happened.
        seen = until("something happens", async || {
            let events = server.json(&events).await;
            let last = events["data"].as_array().unwrap().last()?["id"].as_u64()?;
            (last > seen).then_some(last)
        })
        .await;
        server.kill();
        check(data.path()).await;
        server = Server::start(data.path());
    }
    server.until(&id, |job| job["status"] == "succeeded").await;
    check(data.path()).await;
}
