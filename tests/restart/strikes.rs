//! Who is struck, and how.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    common::wait::{gone, until},
    rig::Rig,
    struck::{outcomes, struck, went_on_everywhere},
};

#[tokio::test]
async fn a_child_that_is_killed() {
    let (rig, id) = struck(false, async |rig| strike_child(rig, Signal::SIGKILL).await).await;
    went_on_everywhere(&rig, &id).await;
    // More than three, but never in a row without a checkpoint in between.
    assert_eq!(outcomes(&rig, &id, "lost").await, 4);
}

/// As a service manager does that signals all processes of a service.
#[tokio::test]
async fn a_child_that_is_told_to_end_by_somebody_else() {
    let (rig, id) = struck(false, async |rig| strike_child(rig, Signal::SIGTERM).await).await;
    went_on_everywhere(&rig, &id).await;
    assert_eq!((outcomes(&rig, &id, "lost").await, outcomes(&rig, &id, "interrupted").await), (0, 4));
}

async fn strike_child(rig: &Rig, signal: Signal) {
    let child = until("a child", async || rig.server.children().pop()).await;
    kill(Pid::from_raw(child), signal).unwrap();
    gone(&child.to_string()).await;
}

#[tokio::test]
async fn a_server_that_is_killed_with_its_worker() {
    let (rig, id) = struck(false, async |rig| {
        rig.server.kill();
        rig.serve_again();
    })
    .await;
    went_on_everywhere(&rig, &id).await;
    assert_eq!(outcomes(&rig, &id, "lost").await, 0, "a worker takes back what it held");
}

#[tokio::test]
async fn a_server_that_is_stopped() {
    let (rig, id) = struck(false, async |rig| {
        rig.server.stop();
        rig.serve_again();
    })
    .await;
    went_on_everywhere(&rig, &id).await;
    assert_eq!(outcomes(&rig, &id, "lost").await, 0);
    assert!(outcomes(&rig, &id, "interrupted").await >= 4);
}

#[tokio::test]
async fn a_worker_of_its_own_that_is_killed_and_stopped() {
    let mut killed = false;
    let (rig, id) = struck(true, async |rig| {
        let worker = rig.worker.as_mut().unwrap();
        killed = !killed;
        if killed {
            worker.kill()
        } else {
            worker.stop()
        }
        *worker = Rig::work(rig.data.path());
    })
    .await;
    went_on_everywhere(&rig, &id).await;
    assert_eq!(outcomes(&rig, &id, "lost").await, 0);
}

#[tokio::test]
async fn a_server_that_is_killed_beside_its_worker() {
    let (rig, id) = struck(true, async |rig| {
        rig.server.kill();
        rig.serve_again();
    })
    .await;
    let (resumed, ended) = rig.runs(&id).await;
    assert_eq!((resumed, ended.len()), (Vec::new(), 4), "the worker noticed nothing: {ended:?}");
}

#[tokio::test]
async fn a_job_that_is_canceled_and_retried() {
    let (rig, id) = struck(false, async |rig| {
        let id = rig.json("/jobs").await["data"][0]["id"].as_str().unwrap().to_owned();
        rig.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
        until("it is canceled", async || {
            (rig.json(&format!("/jobs/{id}?wait=5")).await["status"] == "canceled").then_some(())
        })
        .await;
        let (status, job) = rig.post(&format!("/jobs/{id}/retry"), &json!({"from": "checkpoint"})).await;
        // A slot may have taken it before the answer was written.
        assert!(status == 202 && (job["status"] == "queued" || job["status"] == "running"), "{job:#}");
    })
    .await;
    went_on_everywhere(&rig, &id).await;
    assert_eq!(rig.json(&format!("/jobs/{id}")).await["attempt"], 5);
}
