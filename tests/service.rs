//! The real binary from upload to student: the service, its worker, the children and the command line.

mod common;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    service::{KEGD, Service},
    teacher::small_file,
};
use kegd::formats::{imported::ImportOptions, onnx, pt2};
use reqwest::{Client, multipart};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/lenet5-mnist.onnx");

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// A job of seconds; what it learns does not matter here.
const SMALL: &str = r#"{
    "name": "small",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 5, "batch_size": 16},
    "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 16, "adversarial_steps": 2}
}"#;

/// `SMALL` with more members.
fn small(more: Value) -> Value {
    let mut config: Value = serde_json::from_str(SMALL).unwrap();
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

impl Service {
    /// The small teacher, with more members of the configuration.
    async fn submit_with(&self, more: Value) -> String {
        self.submit("small.onnx", small_file(), more).await
    }

    async fn submit(&self, name: &'static str, model: Vec<u8>, more: Value) -> String {
        let model = multipart::Part::bytes(model).file_name(name);
        let form = multipart::Form::new().part("model", model).text("config", small(more).to_string());
        let answer = Client::new().post(format!("{}/jobs", self.url)).multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Long-polls until `done`.
    async fn until(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.json(&format!("/jobs/{id}?wait=5")).await;
            if done(&job) {
                return job;
            }
            assert!(Instant::now() < deadline && job["status"] != "failed", "{job:#}");
        }
    }
}

#[tokio::test]
async fn an_upload_comes_back_as_a_student() {
    let data = TempDir::new().unwrap();
    let mut service = Service::start(data.path());
    let id = service.submit("lenet5.onnx", std::fs::read(MODEL).unwrap(), json!({})).await;
    let job = service.until(&id, |job| job["status"] == "succeeded").await;
    assert_eq!((&job["phase"], &job["progress"]["fraction"]), (&json!("done"), &json!(1.0)));
    assert!(job["result"]["ratio"]["parameters"].as_f64().unwrap() >= 4.0, "{}", job["result"]);

    let student = service.get(&format!("/jobs/{id}/student")).await;
    assert_eq!(student.headers()["content-disposition"], "attachment; filename=\"lenet5-student.onnx\"");
    let bytes = student.bytes().await.unwrap();
    assert_eq!(job["result"]["student"]["bytes"], bytes.len());
    let picture = async |path: &str| {
        let answer = service.get(&format!("/jobs/{id}/{path}")).await;
        assert_eq!(answer.status(), 200, "{path}");
        let picture = answer.bytes().await.unwrap();
        let info = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap().info().size();
        (info.0 > 100, info.1)
    };
    // Pictures of 32 x 32 at scale 2, with gaps of 2.
    assert_eq!(picture("samples.png").await, (true, 2 + 10 * 66));
    assert_eq!(picture("samples/latent.png?class=3&rows=2&scale=1").await, (true, 2 + 2 * 34));
    assert_eq!(picture("samples/latent.png?mode=interpolate&rows=3&scale=1").await, (true, 2 + 3 * 34));
    let layers = service.json(&format!("/jobs/{id}/layers")).await;
    assert_eq!(layers["planned"], false);
    assert_eq!(service.get(&format!("/jobs/{id}/samples.npz?n=10")).await.status(), 200);
    assert!(!service.json(&format!("/jobs/{id}/metrics")).await["series"].as_array().unwrap().is_empty());

    assert!(service.stop(), "it ends well");
    let service = Service::start(data.path());
    assert_eq!(service.json(&format!("/jobs/{id}")).await["status"], "succeeded", "what was kept is there again");
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn an_exported_program_comes_back_as_one() {
    let data = TempDir::new().unwrap();
    let service = Service::start(data.path());
    let program = std::fs::read("tests/fixtures/pt2/lenet5.pt2").unwrap();
    let form = || {
        let model = multipart::Part::bytes(program.clone()).file_name("digits.pt2");
        multipart::Form::new().part("model", model).text("config", SMALL)
    };
    let post =
        async |path: &str| Client::new().post(format!("{}{path}", service.url)).multipart(form()).send().await.unwrap();
    let inspection: Value = post("/inspect").await.json().await.unwrap();
    assert_eq!((&inspection["format"], &inspection["input"]["name"]), (&json!("pt2"), &json!("x")), "{inspection}");
    let answer = post("/jobs").await;
    assert_eq!(answer.status(), 202);
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let job = service.until(&id, |job| job["status"] == "succeeded").await;
    assert_eq!((&job["model"]["format"], &job["result"]["student"]["format"]), (&json!("pt2"), &json!("pt2")));
    let student = service.get(&format!("/jobs/{id}/student")).await;
    assert_eq!(student.headers()["content-disposition"], "attachment; filename=\"digits-student.pt2\"");
    let bytes = student.bytes().await.unwrap();
    assert_eq!(job["result"]["student"]["bytes"], bytes.len());
    let student = pt2::import(&bytes, &ImportOptions::default()).unwrap().graph;
    assert_eq!((student.input.shape.as_slice(), student.classes()), (&[1, 32, 32][..], 10));
    assert_eq!(job["result"]["student"]["parameters"], student.parameters());
    let other = service.get(&format!("/jobs/{id}/student?format=onnx")).await;
    assert_eq!(other.headers()["content-disposition"], "attachment; filename=\"digits-student.onnx\"");
    let other = onnx::import(&other.bytes().await.unwrap(), &ImportOptions::default()).unwrap().graph;
    assert_eq!(other.parameters(), student.parameters());
}

#[tokio::test]
async fn one_set_of_generators_makes_students_of_several_jobs() {
    let data = TempDir::new().unwrap();
    let service = Service::start_with(data.path(), &["--slots", "2"]);
    let sweep = service.submit_with(json!({"compression": {"ratio": [2, 8]}})).await;
    let job = service.until(&sweep, |job| job["status"] == "succeeded").await;
    let reached = |number: usize| job["results"][number]["result"]["ratio"]["parameters"].as_f64().unwrap();
    assert!(reached(0) >= 2.0 && reached(0) < 2.5 && reached(1) >= 8.0, "{}", job["results"]);
    for (target, number) in [(2, 0), (8, 1)] {
        let student = service.get(&format!("/jobs/{sweep}/student?target={target}")).await.bytes().await.unwrap();
        assert_eq!(job["results"][number]["result"]["student"]["bytes"], student.len());
        let layers = service.json(&format!("/jobs/{sweep}/layers?target={target}")).await;
        assert_eq!(layers["planned"], false);
    }
    let trained = async |id: &str| {
        let events = service.json(&format!("/jobs/{id}/events")).await["data"].clone();
        let started = |event: &&Value| event["type"] == "run_started" && event["data"]["task"] == "extract";
        events.as_array().unwrap().iter().filter(started).count()
    };
    assert_eq!(trained(&sweep).await, 1, "once for both");

    let extraction = json!({"generators": 1});
    let config = json!({"from_job": sweep, "compression": {"macs": 15_000}, "extraction": extraction, "input": {}});
    let again = service.submit_with(config).await;
    // At any moment of the new job's life.
    let deleted = Client::new().delete(format!("{}/jobs/{sweep}", service.url)).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    let job = service.until(&again, |job| job["status"] == "succeeded").await;
    assert_eq!((trained(&again).await, &job["config"]["from_job"]), (0, &json!(sweep)));
    assert!(job["result"]["student"]["macs"].as_u64().unwrap() <= 15_000, "{}", job["result"]);
    assert_eq!(service.get(&format!("/jobs/{again}/samples.png")).await.status(), 200);
    assert_eq!(service.get(&format!("/jobs/{again}/samples/latent.png?rows=2")).await.status(), 200);
}

#[tokio::test]
async fn a_running_job_can_be_canceled_and_the_service_stopped() {
    let data = TempDir::new().unwrap();
    let mut service = Service::start(data.path());
    let epochs = |epochs: u32| json!({"generators": 1, "epochs": epochs, "steps_per_epoch": 20, "batch_size": 16});
    let first = service.submit_with(json!({"extraction": epochs(10_000)})).await;
    let second = service.submit_with(json!({"extraction": epochs(5)})).await;
    service.until(&first, |job| job["status"] == "running").await;
    let answer = Client::new().post(format!("{}/jobs/{first}/cancel", service.url)).send().await.unwrap();
    assert!(answer.status() == 202 || answer.status() == 200, "{}", answer.status());
    service.until(&first, |job| job["status"] == "canceled").await;
    service.until(&second, |job| job["status"] != "queued").await;
    assert!(service.stop(), "it does not wait for the job");
    let service = Service::start(data.path());
    assert_ne!(service.json(&format!("/jobs/{second}")).await["status"], "succeeded");
    service.until(&second, |job| job["status"] == "succeeded").await;
}

#[tokio::test]
async fn an_idempotency_key_survives_a_restart() {
    let data = TempDir::new().unwrap();
    let mut service = Service::start_with(data.path(), &["--no-worker"]);
    let send = async |url: &str| {
        let model = multipart::Part::bytes(std::fs::read(MODEL).unwrap()).file_name("lenet5.onnx");
        let request = Client::new().post(format!("{url}/jobs")).header("Idempotency-Key", "once");
        let answer = request.multipart(multipart::Form::new().part("model", model)).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["id"].clone()
    };
    let first = send(&service.url).await;
    assert!(service.stop());
    let service = Service::start_with(data.path(), &["--no-worker"]);
    assert_eq!(send(&service.url).await, first);
    assert_eq!(service.json("/jobs").await["data"].as_array().unwrap().len(), 1);
}

#[test]
fn health_is_an_exit_status() {
    let data = TempDir::new().unwrap();
    let mut service = Service::start(data.path());
    let address = service.url.trim_start_matches("http://").to_owned();
    let health = || Command::new(KEGD).args(["health", "--listen", &address]).output().unwrap();
    assert!(health().status.success());
    service.stop();
    let dead = health();
    assert_eq!(dead.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&dead.stderr).contains("nothing answers"), "{dead:?}");
}

#[test]
fn the_command_line_does_the_same_without_a_service() {
    let out = TempDir::new().unwrap();
    let (model, config) = (out.path().join("small.onnx"), out.path().join("config.json"));
    std::fs::write(&model, small_file()).unwrap();
    std::fs::write(&config, SMALL).unwrap();
    let distilled = Command::new(KEGD)
        .args(["distill", "--threads", "1", "--device", "cpu"])
        .args([model.as_path(), Path::new("--config"), &config, Path::new("-o"), &out.path().join("made")])
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&distilled.stdout), String::from_utf8_lossy(&distilled.stderr));
    assert!(distilled.status.success(), "{stderr}");
    assert!(stdout.contains("parameters") && stdout.contains("9,106"), "{stdout}");
    assert!(stderr.contains("generator 1 of 1  extracting"), "{stderr}");
    let mut names: Vec<_> = std::fs::read_dir(out.path().join("made"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.iter().all(|name| !name.starts_with('.')), "nothing half-finished: {names:?}");
    for name in ["student.onnx", "student.safetensors", "report.json", "bank.npz"] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
}

/// `kegd distill` without a word of progress.
fn distill(model: &Path, config: &Path, made: &Path) -> std::process::Output {
    let args = ["distill", "--threads", "1", "--device", "cpu", "--quiet"].map(Path::new);
    Command::new(KEGD).args(args).args([model, Path::new("--config"), config, Path::new("-o"), made]).output().unwrap()
}

#[test]
fn what_was_finished_outlives_a_later_failure() {
    let out = TempDir::new().unwrap();
    let (model, config, made) =
        (out.path().join("small.onnx"), out.path().join("config.json"), out.path().join("made"));
    std::fs::write(&model, small_file()).unwrap();
    let mut late: Value = serde_json::from_str(SMALL).unwrap();
    late["compression"] = serde_json::json!({"latency": [1, 900]});
    std::fs::write(&config, late.to_string()).unwrap();
    let failed = distill(&model, &config, &made);
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && stderr.contains("is out of reach here"), "{stderr}");
    for name in ["generator-0.safetensors", "samples-g0-e0001.npz", "student-latency-1.onnx", "report-latency-1.json"] {
        assert!(made.join(name).is_file(), "{name}: {stderr}");
    }
    assert!(stderr.contains(&format!("--generators {}", made.display())), "{stderr}");
}

#[test]
fn a_file_of_the_users_is_never_written_into() {
    let out = TempDir::new().unwrap();
    let (model, config) = (out.path().join("student.onnx"), out.path().join("config.json"));
    std::fs::write(&model, small_file()).unwrap();
    std::fs::write(&config, SMALL).unwrap();
    let distill = |to: &str| distill(&model, &config, &out.path().join(to));
    let refused = distill("");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--out"), "{refused:?}");
    let made = distill("further");
    assert!(made.status.success(), "{made:?}");
    assert!(std::fs::read(out.path().join("further/student.onnx")).unwrap().len() < small_file().len());
    assert_eq!(std::fs::read(&model).unwrap(), small_file(), "the teacher is as it was");
}

#[test]
fn the_command_line_makes_a_sweep_too() {
    let out = TempDir::new().unwrap();
    let (model, config) = (out.path().join("small.onnx"), out.path().join("config.json"));
    std::fs::write(&model, small_file()).unwrap();
    let distill = |more: Value| {
        std::fs::write(&config, small(more).to_string()).unwrap();
        distill(&model, &config, &out.path().join("made"))
    };
    let swept = distill(json!({"compression": {"ratio": [2, 8]}}));
    let stdout = String::from_utf8_lossy(&swept.stdout);
    assert!(swept.status.success(), "{swept:?}");
    assert!(stdout.contains("ratio 2\n") && stdout.contains("ratio 8\n"), "{stdout}");
    assert_eq!(stdout.matches("parameters").count(), 2, "a table for each: {stdout}");
    for name in ["student-ratio-2.onnx", "student-ratio-8.safetensors", "report-ratio-8.json", "bank.npz"] {
        assert!(out.path().join("made").join(name).is_file(), "{name}");
    }
    let other = distill(json!({"from_job": "01939b5a-0000-7000-8000-000000000000"}));
    let stderr = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && stderr.contains("there is none here"), "{stderr}");
}

#[test]
fn inspect_prints_a_table_or_json() {
    let table = Command::new(KEGD).args(["inspect", MODEL]).output().unwrap();
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success(), "{table:?}");
    assert!(text.contains("61,706 parameters") && text.contains("conv3"), "{text}");
    let json = Command::new(KEGD).args(["inspect", MODEL, "--json"]).output().unwrap();
    let inspection: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&inspection["classes"], &inspection["parameters"]), (&json!(10), &json!(61706)));
}

#[test]
fn what_is_wrong_is_said_with_its_remedy() {
    let failed = |arguments: &[&str]| {
        let output = Command::new(KEGD).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = failed(&["inspect", manifest]);
    assert!(text.starts_with("kegd: ") && text.contains("\nhint: "), "{text}");
    let text = failed(&["inspect", "/no/such/file.onnx"]);
    assert!(text.contains("/no/such/file.onnx cannot be read"), "{text}");
    let text = failed(&["serve", "--data-dir", manifest]);
    assert!(text.contains("--data-dir") && text.contains("cannot be used"), "{text}");
    let data = TempDir::new().unwrap();
    let text =
        failed(&["serve", "--devices", "tpu", "--listen", "127.0.0.1:0", "--data-dir", data.path().to_str().unwrap()]);
    assert!(text.contains("`tpu` is no device"), "{text}");
}
