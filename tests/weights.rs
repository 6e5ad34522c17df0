//! Bare weights and given students through the real service and the real command line.

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    service::{KEGD, Service},
    teacher::{named, small_file},
};
use kegd::{
    domain::architecture::Architecture,
    formats::{
        graph::{Graph, Tensor},
        onnx,
    },
};
use reqwest::{Client, multipart};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/lenet5-mnist.onnx");

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// A job of seconds; what it learns does not matter here.
fn small(more: Value) -> Value {
    let mut config = json!({
        "input": {"mean": [0.1307], "std": [0.3081]},
        "extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 5, "batch_size": 16},
        "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 16, "adversarial_steps": 2}
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

impl Service {
    async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// Sends files by part and name, with a configuration; the status and what was answered.
    async fn post(&self, path: &str, files: &[(&'static str, &str, &[u8])], config: Value) -> (u16, Value) {
        let mut form = multipart::Form::new().text("config", config.to_string());
        for (part, name, bytes) in files {
            form = form.part(*part, multipart::Part::bytes(bytes.to_vec()).file_name((*name).to_owned()));
        }
        let answer = Client::new().post(format!("{}{path}", self.url)).multipart(form).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Submits a job, and waits for its end.
    async fn job(&self, files: &[(&'static str, &str, &[u8])], config: Value) -> Value {
        let (status, job) = self.post("/jobs", files, config).await;
        assert_eq!(status, 202, "{job:#}");
        self.ended(job["id"].as_str().unwrap()).await
    }

    async fn ended(&self, id: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.json(&format!("/jobs/{id}?wait=5")).await;
            if job["finished_at"] != Value::Null {
                return job;
            }
            assert!(Instant::now() < deadline, "{job:#}");
        }
    }
}

fn teacher() -> Graph {
    onnx::import(&std::fs::read(MODEL).unwrap(), &Default::default()).unwrap().graph
}

/// As `safetensors.torch.save_file` writes a state dict.
fn bare(weights: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let bytes: Vec<(&String, &Tensor, Vec<u8>)> =
        weights.iter().map(|(name, tensor)| (name, tensor, kegd::formats::safetensors::to_bytes(tensor))).collect();
    let views = bytes
        .iter()
        .map(|(name, tensor, bytes)| (name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[tokio::test]
async fn weights_in_and_weights_out() {
    let data = TempDir::new().unwrap();
    let service = Service::start(data.path());
    let weights = bare(&teacher().weights);
    let model = [("model", "lenet5.safetensors", &weights[..])];
    let (status, problem) = service.post("/inspect", &model, json!({})).await;
    assert_eq!((status, &problem["param"]), (422, &json!("config.arch")), "{problem:#}");
    assert!(problem["hint"].as_str().unwrap().contains(r#"{"arch": "lenet5"}"#), "{problem:#}");
    let (status, inspection) = service.post("/inspect", &model, json!({"arch": "lenet5"})).await;
    assert_eq!((status, &inspection["parameters"]), (200, &json!(61706)), "{inspection:#}");

    let job = service.job(&model, small(json!({"arch": "lenet5", "compression": {"ratio": 4}}))).await;
    assert_eq!((&job["status"], &job["model"]["format"]), (&json!("succeeded"), &json!("safetensors")), "{job:#}");
    assert_eq!(
        (&job["config"]["arch"], &job["result"]["student"]["format"]),
        (&json!("lenet5"), &json!("safetensors"))
    );
    let id = job["id"].as_str().unwrap();
    let student = service.bytes(&format!("/jobs/{id}/student")).await;
    assert_eq!(job["result"]["student"]["bytes"], student.len());
    let file = SafeTensors::deserialize(&student).unwrap();
    let description: Value =
        serde_json::from_slice(&service.bytes(&format!("/jobs/{id}/artifacts/student.json")).await).unwrap();
    assert_eq!(description["architecture"], "lenet5");
    let as_onnx = service.bytes(&format!("/jobs/{id}/student?format=onnx")).await;
    let graph = onnx::import(&as_onnx, &Default::default()).unwrap().graph;
    assert_eq!(job["result"]["student"]["parameters"], graph.parameters());
    for (name, tensor) in &graph.weights {
        assert_eq!(file.tensor(name).unwrap().data(), kegd::formats::safetensors::to_bytes(tensor), "{name}");
        assert_eq!(description["weights"][name], json!(tensor.shape), "{name}");
    }

    // Without a name the job fails as the inspection did; with a network's own file the name is one too many.
    let failed = service.job(&model, small(json!({}))).await;
    assert_eq!((&failed["status"], &failed["error"]["param"]), (&json!("failed"), &json!("config.arch")), "{failed:#}");
    let whole = std::fs::read(MODEL).unwrap();
    let (status, problem) = service.post("/inspect", &[("model", "m.onnx", &whole)], json!({"arch": "lenet5"})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_config")), "{problem:#}");
    let pickle = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let (status, problem) = service.post("/jobs", &[("model", "m.pth", &pickle[..])], json!({})).await;
    assert_eq!(status, 415);
    assert!(problem["hint"].as_str().unwrap().contains("safetensors.torch.save_file"), "{problem:#}");
}

#[tokio::test]
async fn students_that_are_given_learn_from_the_same_generators() {
    let data = TempDir::new().unwrap();
    let service = Service::start(data.path());
    let whole = small_file();
    let model = ("model", "m.onnx", &whole[..]);
    let named = service.job(&[model], small(json!({"student": {"arch": "mlp"}}))).await;
    assert_eq!(named["status"], "succeeded", "{named:#}");
    assert_eq!(named["config"]["student"], json!({"arch": "mlp", "init": "anew"}));
    let id = named["id"].as_str().unwrap();
    let layers = service.json(&format!("/jobs/{id}/layers")).await;
    assert_eq!((&layers["planned"], &layers["data"][0]["action"]), (&json!(false), &json!("anew")));
    let student = service.bytes(&format!("/jobs/{id}/student")).await;

    // The student of one job is the given student of the next one, under the name that the service itself gives.
    let from =
        json!({"from_job": id, "student": {"init": "weights"}, "distillation": small(json!({}))["distillation"]});
    let again = service.job(&[model, ("student", "student.onnx", &student)], from).await;
    assert_eq!(again["status"], "succeeded", "{again:#}");
    assert_eq!(again["result"]["student"]["parameters"], named["result"]["student"]["parameters"]);
    let id = again["id"].as_str().unwrap();
    let artifacts = service.json(&format!("/jobs/{id}/artifacts")).await;
    let given = artifacts["data"].as_array().unwrap().iter().find(|file| file["role"] == "given_student").unwrap();
    assert_eq!(given["name"], "given-student.onnx");
    let events = service.json(&format!("/jobs/{id}/events")).await["data"].clone();
    let trained = events.as_array().unwrap().iter().any(|event| event["data"]["task"] == "extract");
    assert!(!trained, "{events}");
}

#[tokio::test]
async fn what_is_wrong_with_a_student_is_said_before_anything_is_trained() {
    let data = TempDir::new().unwrap();
    let service = Service::start(data.path());
    let whole = std::fs::read(MODEL).unwrap();
    let weights = bare(&teacher().weights);
    let model = ("model", "m.onnx", &whole[..]);
    let student = ("student", "s.onnx", &whole[..]);
    let resnet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mlp_dynamo18.onnx");
    let other = std::fs::read(resnet).unwrap();
    for (files, config, status, words) in [
        (vec![model, student], json!({"compression": {"ratio": 2}}), 422, "exclude each other"),
        (vec![model, student], json!({"student": {"arch": "lenet5"}}), 422, "exclude each other"),
        (vec![model], json!({"student": {"init": "anew"}}), 422, "nor does a file bring it"),
        (vec![model], json!({"student": {"arch": "lenet5", "init": "weights"}}), 422, "no weights to begin with"),
        (vec![model], json!({"student": {"arch": "lenet6"}}), 422, "unknown variant"),
        (vec![model], json!({"student": {"arch": "resnet18", "size": 3}}), 422, "unknown field"),
        (vec![model, ("student", "s.safetensors", &weights[..])], json!({}), 415, "bare weights"),
        (vec![model, ("student", "s.txt", &b"hello"[..])], json!({}), 415, "text"),
        (vec![model, ("student", "s.onnx", &b""[..])], json!({}), 400, "empty"),
        (vec![model, student, ("student", "t.onnx", &whole[..])], json!({}), 400, "more than 1 times"),
        (vec![model, ("student", "s.onnx", &other[..])], json!({}), 422, "The student takes inputs of"),
        (vec![model, ("student", "s.onnx", &whole[..2000])], json!({}), 422, "The student cannot be taken"),
    ] {
        let (found, problem) = service.post("/inspect", &files, config).await;
        assert_eq!(found, status, "{problem:#}");
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(words), "{said}");
        assert!(problem["param"].is_string(), "{problem:#}");
    }
    let formats = service.json("/formats").await;
    let safetensors =
        formats["data"].as_array().unwrap().iter().find(|format| format["name"] == "safetensors").unwrap();
    assert_eq!(safetensors["read"], true);
    let names: Vec<&str> =
        safetensors["architectures"].as_array().unwrap().iter().map(|known| known["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lenet5", "resnet14", "resnet20", "resnet32", "resnet56", "mlp", "resnet18", "mobilenet_v2"]);
}

#[test]
fn the_command_line_takes_weights_and_students() {
    let out = TempDir::new().unwrap();
    let (weights, config, own) =
        (out.path().join("w.safetensors"), out.path().join("config.json"), out.path().join("student.onnx"));
    let shape = [1, 4, 4];
    std::fs::write(&weights, bare(&named(Architecture::Resnet14, &shape, 4).weights)).unwrap();
    std::fs::write(&own, onnx::export(&named(Architecture::Mlp, &shape, 4)).unwrap()).unwrap();
    let before = std::fs::read(&own).unwrap();
    std::fs::write(&config, small(json!({"student": {"init": "weights"}, "input": {"shape": shape}})).to_string())
        .unwrap();
    let made = out.path().join("made");
    let distilled = Command::new(KEGD)
        .args(["distill", "--arch", "resnet14", "--threads", "1", "--device", "cpu", "--quiet"])
        .args([weights.as_path(), Path::new("--config"), &config, Path::new("--student"), &own, Path::new("-o"), &made])
        .output()
        .unwrap();
    assert!(distilled.status.success(), "{distilled:?}");
    assert_eq!(std::fs::read(&own).unwrap(), before, "the user's own file stays as it is");
    for name in ["student.safetensors", "student.json", "student.onnx", "report.json"] {
        assert!(made.join(name).is_file(), "{name}");
    }
    std::fs::write(&weights, bare(&teacher().weights)).unwrap();
    let inspected = Command::new(KEGD).arg("inspect").arg(&weights).output().unwrap();
    let stderr = String::from_utf8_lossy(&inspected.stderr);
    assert!(!inspected.status.success() && stderr.contains(r#"{"arch": "lenet5"}"#), "{stderr}");
    let inspected = Command::new(KEGD).args(["inspect", "--arch", "lenet5"]).arg(&weights).output().unwrap();
    assert!(String::from_utf8_lossy(&inspected.stdout).contains("61,706 parameters"), "{inspected:?}");
    let unknown = Command::new(KEGD).args(["inspect", "--arch", "vgg", MODEL]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("known are lenet5"), "{unknown:?}");
}
