//! `POST /inspect`, answered by a real child of the real binary.

use kegd::config::LimitsConfig;
use serde_json::json;
use std::time::Duration;

use crate::service::{LENET, Part, Service, limits};

fn model() -> Part<'static> {
    Part::file("model", "lenet5.onnx", LENET)
}

#[tokio::test]
async fn a_model_is_looked_into_without_a_job() {
    let service = Service::new().await;
    let config = Part::text("config", r#"{"compression": {"layers": {"conv3": {"ranks": [7, 11]}}}}"#);
    let answer = service.upload("/inspect", &[model(), config], &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let inspection = answer.json();
    assert_eq!((&inspection["format"], &inspection["classes"]), (&json!("onnx"), &json!(10)));
    assert_eq!(inspection["input"]["shape"], json!([null, 1, 32, 32]));
    assert_eq!((&inspection["parameters"], &inspection["kind"]), (&json!(61706), &json!("plain_image")));
    let layers: Vec<_> = inspection["layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert_eq!(layers, ["conv1", "conv2", "conv3", "fc1", "fc2"]);
    let planned = inspection["plan"].as_array().unwrap().iter().find(|row| row["layer"] == "conv3").unwrap();
    assert_eq!((&planned["action"], &planned["ranks"]), (&json!("tucker"), &json!([7, 11])));
    assert_eq!(service.kept(), [""; 0]);
    assert_eq!(service.get("/jobs").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_only_the_importer_sees_is_the_clients_to_mend() {
    let service = Service::new().await;
    let cut = service.upload("/inspect", &[Part::file("model", "cut.onnx", &LENET[..100_000])], &[]).await;
    assert_eq!(cut.problem(422), "invalid_model");
    let config = Part::text("config", r#"{"compression": {"layers": {"conv9": "evbmf"}}}"#);
    let unknown = service.upload("/inspect", &[model(), config], &[]).await;
    assert_eq!(unknown.problem(422), "invalid_compression");
    let classes = Part::text("config", r#"{"classes": ["one", "two"]}"#);
    assert_eq!(service.upload("/inspect", &[model(), classes], &[]).await.problem(422), "invalid_config");
    let eval = Part::file("eval", "eval.npz", b"PK\x03\x04 no archive");
    assert_eq!(service.upload("/inspect", &[model(), eval], &[]).await.problem(422), "invalid_eval");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_ended() {
    let service = Service::with(LimitsConfig { helper_timeout: Duration::from_millis(1), ..limits() }).await;
    assert_eq!(service.upload("/inspect", &[model()], &[]).await.problem(503), "unavailable");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_child_that_dies_costs_one_request() {
    let killed = Service::with_program("#!/bin/sh\nkill -9 $$\n").await;
    assert_eq!(killed.upload("/inspect", &[model()], &[]).await.problem(500), "out_of_memory");
    let crashed = Service::with_program("#!/bin/sh\necho trouble >&2; exit 3\n").await;
    assert_eq!(crashed.upload("/inspect", &[model()], &[]).await.problem(500), "worker_crashed");
    let silent = Service::with_program("#!/bin/sh\nexit 0\n").await;
    assert_eq!(silent.upload("/inspect", &[model()], &[]).await.problem(500), "worker_crashed");
    assert_eq!(silent.get("/readyz").await.status, 200);
    assert_eq!(silent.kept(), [""; 0]);
}

#[tokio::test]
async fn a_child_that_makes_files_without_end_is_ended() {
    let program = "#!/bin/sh\ncd \"$3\" && seq 10500 | xargs touch; exec sleep 1000\n";
    let service = Service::with_program(program).await;
    assert_eq!(service.upload("/inspect", &[model()], &[]).await.problem(500), "worker_crashed");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let service = Service::with_program("#!/bin/sh\ntruncate -s 67108865 \"$3/inspection.json\"\n").await;
    assert_eq!(service.upload("/inspect", &[model()], &[]).await.problem(422), "invalid_model");
    assert_eq!(service.kept(), [""; 0]);
}
