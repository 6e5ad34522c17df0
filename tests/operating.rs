//! The real binary in operation: what it logs, collects and copies.

mod common;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::{
    service::{KEGD, address},
    teacher::small_file,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response, multipart};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// A job of seconds, on noise; what it learns does not matter here.
const SMALL: &str = r#"{
    "name": "a-name-nobody-logs", "keep_upload": false,
    "extraction": {"sampler": "uniform", "epochs": 1, "steps_per_epoch": 5, "batch_size": 16},
    "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 16, "adversarial_steps": 0}
}"#;

/// A running service with its log, which is told to end when the test does.
struct Service {
    process: Child,
    url: String,
    log: PathBuf,
}

impl Service {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let log = directory.join("log");
        let mut process = Command::new(KEGD)
            .args(["serve", "--listen", "127.0.0.1:0", "--devices", "cpu", "--log-format", "json"])
            .args(more)
            .arg("--data-dir")
            .arg(directory.join("data"))
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let url = address(&mut process);
        Self { url, process, log }
    }

    fn stop(&mut self) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    async fn get(&self, path: &str) -> Response {
        Client::new().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Response {
        Client::new().post(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn submit(&self, request_id: &str) -> String {
        let model = multipart::Part::bytes(small_file()).file_name("small.onnx");
        let form = multipart::Form::new().part("model", model).text("config", SMALL);
        let request = Client::new().post(format!("{}/jobs?key=not-to-be-logged", self.url)).multipart(form);
        let request = request.header("x-request-id", request_id).header("authorization", "Bearer not-to-be-logged");
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-request-id"]), (202, &request_id.parse().unwrap()));
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Long-polls until the job is final.
    async fn ended(&self, id: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job: Value = self.get(&format!("/jobs/{id}?wait=5")).await.json().await.unwrap();
            if !["queued", "running"].contains(&job["status"].as_str().unwrap()) {
                return job;
            }
            assert!(Instant::now() < deadline, "{job:#}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM);
            let _ = self.process.wait();
        }
    }
}

fn kegd(arguments: &[&str], directory: &Path) -> Output {
    let output = Command::new(KEGD).args(arguments).arg("--data-dir").arg(directory.join("data")).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// Names of all files below `directory` that belong to `job`.
fn files(directory: &Path, job: &str) -> Vec<String> {
    let found = Command::new("find").arg(directory.join("data/artifacts")).args(["-type", "f"]).output().unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    text.lines().filter(|line| line.contains(job)).map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_line_of_the_log_says_what_it_is_about() {
    let directory = TempDir::new().unwrap();
    let mut service = Service::start(directory.path(), &[]);
    let id = service.submit("the-first_request.1").await;
    let job = service.ended(&id).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    // Its configuration keeps no upload, and its files are gone by the time anybody is told or soon after.
    assert!(job["upload_deleted_at"].is_string());
    let deadline = Instant::now() + PATIENCE;
    while files(directory.path(), &id).contains(&"small.onnx".to_owned()) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(service.post(&format!("/jobs/{id}/retry")).await.status(), 409);
    assert_eq!(service.get(&format!("/jobs/{id}/samples.png")).await.status(), 200, "what was made is there");
    assert_eq!(service.get(&format!("/jobs/{id}/student")).await.status(), 200);
    let page = service.get("/").await.bytes().await.unwrap().len();
    service.stop();

    let text = std::fs::read_to_string(&service.log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member} of {line}");
        }
    }
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    for line in &answered {
        assert!(line["status"].is_u64() && line["bytes"].is_u64() && line["duration_ms"].is_f64(), "{line}");
        assert!(line["method"].is_string() && line["path"].is_string() && line["request_id"].is_string(), "{line}");
    }
    let submitted = answered.iter().find(|line| line["request_id"] == "the-first_request.1").unwrap();
    assert_eq!((&submitted["job"], &submitted["status"]), (&json!(id), &json!(202)), "{submitted}");
    assert_eq!(submitted["path"], "/jobs");
    let of_page = answered.iter().find(|line| line["path"] == "/").unwrap();
    assert_eq!(of_page["bytes"], page, "{of_page}");
    for line in answered.iter().filter(|line| line["path"].as_str().unwrap().contains(&id)) {
        assert_eq!(line["job"], id, "{line}");
    }
    // The worker: an inspection and a distillation, each from begin to end.
    for task in ["inspect", "distill"] {
        for message in ["run begins", "run ended"] {
            let about = |line: &&Value| line["message"] == message && line["task"] == task;
            let line = lines.iter().find(about).unwrap_or_else(|| panic!("no {message} of {task} in\n{text}"));
            assert_eq!((&line["job"], &line["run"]), (&json!(id), &json!(1)), "{line}");
        }
    }
    for secret in ["not-to-be-logged", "a-name-nobody-logs"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_would_go_is_told_beside_the_running_service_and_then_goes() {
    let directory = TempDir::new().unwrap();
    let mut service = Service::start(directory.path(), &["--no-worker"]);
    let (kept, finished) = (service.submit("a").await, service.submit("b").await);
    service.post(&format!("/jobs/{finished}/cancel")).await;
    let size = small_file().len();
    let size = format!("{},{:03}", size / 1000, size % 1000);
    let told = |arguments: &[&str]| String::from_utf8(kegd(arguments, directory.path()).stdout).unwrap();
    assert!(told(&["gc", "--dry-run"]).contains("nothing expires"));
    let plan = told(&["gc", "--dry-run", "--retain-uploads", "0"]);
    assert!(plan.contains(&finished) && plan.contains("retain_uploads") && !plan.contains(&kept), "{plan}");
    let plan = told(&["gc", "--dry-run", "--retain-jobs", "0"]);
    assert!(plan.contains("retain_jobs") && plan.contains(&format!("Would free {size} bytes: 1 jobs")), "{plan}");
    assert_eq!(service.get(&format!("/jobs/{finished}")).await.status(), 200, "it was only told");
    assert_eq!(files(directory.path(), &finished).len(), 1);

    assert!(told(&["gc", "--retain-jobs", "0"]).contains(&format!("Freed {size} bytes: 1 jobs")));
    assert_eq!(service.get(&format!("/jobs/{finished}")).await.status(), 404);
    assert_eq!(files(directory.path(), &finished).len(), 0);
    assert_eq!(service.get(&format!("/jobs/{kept}")).await.status(), 200);

    let health = Command::new(KEGD)
        .args(["health", "--verbose", "--listen", service.url.trim_start_matches("http://")])
        .output()
        .unwrap();
    let text = String::from_utf8(health.stdout).unwrap();
    let checks = ["draining", "database", "migrations", "disk", "storage", "workers", "devices", "queue", "isolation"];
    let listed: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(health.status.success() && text.contains("ok       database"), "{text}");
    assert_eq!(listed, checks, "{text}");
    service.stop();
    let elsewhere = Command::new(KEGD).args(["gc", "--data-dir", "/nonexistent"]).output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("there is no kegd.db"), "{elsewhere:?}");
}

#[tokio::test]
async fn the_service_collects_at_its_start_and_from_time_to_time() {
    let directory = TempDir::new().unwrap();
    let mut service = Service::start(directory.path(), &["--no-worker"]);
    let first = service.submit("a").await;
    service.post(&format!("/jobs/{first}/cancel")).await;
    service.stop();
    let rules = ["--no-worker", "--retain-jobs", "0", "--gc-interval", "50ms"];
    let service = Service::start(directory.path(), &rules);
    let gone = async |id: &str| {
        let deadline = Instant::now() + PATIENCE;
        while service.get(&format!("/jobs/{id}")).await.status() != 404 || !files(directory.path(), id).is_empty() {
            assert!(Instant::now() < deadline, "{id} stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    gone(&first).await;
    let second = service.submit("b").await;
    let canceled: Value = service.post(&format!("/jobs/{second}/cancel")).await.json().await.unwrap();
    assert_eq!(canceled["expires_at"], canceled["finished_at"]);
    gone(&second).await;
}

#[tokio::test]
async fn a_backup_is_whole_and_the_service_does_not_notice() {
    let directory = TempDir::new().unwrap();
    let mut service = Service::start(directory.path(), &["--no-worker"]);
    let id = service.submit("a").await;
    let copy = directory.path().join("copy.db");
    kegd(&["backup", copy.to_str().unwrap()], directory.path());
    let later = service.submit("b").await;
    let again = Command::new(KEGD)
        .arg("backup")
        .arg(&copy)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
    service.stop();

    // Restored as the help says, into an empty directory.
    let restored = TempDir::new().unwrap();
    let data = restored.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(&copy, data.join("kegd.db")).unwrap();
    let artifacts = directory.path().join("data/artifacts");
    assert!(Command::new("cp").arg("-r").arg(artifacts).arg(&data).status().unwrap().success());
    let service = Service::start(restored.path(), &["--no-worker"]);
    assert_eq!(service.get(&format!("/jobs/{id}")).await.status(), 200);
    let model = service.get(&format!("/jobs/{id}/artifacts/small.onnx")).await.bytes().await.unwrap();
    assert_eq!(model, small_file());
    assert_eq!(service.get(&format!("/jobs/{later}")).await.status(), 404, "it came after the copy");
}
