//! Ends that wait for no boundary.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    common::wait::{gone, until},
    rig::Rig,
    struck::outcomes,
};

/// An epoch that nobody waits for.
const ENDLESS: &str = r#"{"extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 10000, "batch_size": 256}}"#;

/// Waits until a generator trains, and returns the process that does.
async fn training(rig: &Rig, id: &str) -> i32 {
    until("a generator trains", async || {
        let job = rig.json(&format!("/jobs/{id}")).await;
        (job["phase"] == "extracting" && job["progress"]["step"].as_u64() > Some(0))
            .then(|| rig.server.children().pop())?
    })
    .await
}

#[tokio::test]
async fn an_epoch_that_is_longer_than_the_grace_is_cut_off() {
    let mut rig = Rig::start_with(["--shutdown-grace", "2"]);
    let id = rig.submit(ENDLESS).await;
    let child = training(&rig, &id).await;
    rig.server.stop();
    gone(&child.to_string()).await;
    rig.serve_again();
    assert_eq!((outcomes(&rig, &id, "interrupted").await, outcomes(&rig, &id, "lost").await), (1, 0));
    rig.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut rig = Rig::start(false);
    let id = rig.submit(ENDLESS).await;
    let child = training(&rig, &id).await;
    let signal = |rig: &Rig| kill(Pid::from_raw(rig.server.0.id() as i32), Signal::SIGTERM).unwrap();
    signal(&rig);
    let address = rig.url.trim_start_matches("http://").to_owned();
    until("the first one is heard", async || std::net::TcpStream::connect(&address).is_err().then_some(())).await;
    signal(&rig);
    assert_eq!(rig.server.0.wait().unwrap().code(), Some(143));
    gone(&child.to_string()).await;
}
