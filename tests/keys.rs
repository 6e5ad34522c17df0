//! Keys with the real binary: made, listed and revoked on the command line while the service runs, and never written down.

mod common;

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
};

use common::{
    service::{KEGD, address},
    teacher::small_file,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response, StatusCode, multipart};
use serde_json::Value;
use tempfile::TempDir;

fn keys(data: &Path, arguments: &[&str]) -> Output {
    Command::new(KEGD).arg("keys").args(arguments).arg("--data-dir").arg(data).output().unwrap()
}

/// Makes a key; standard output has it and nothing else.
fn create(data: &Path, name: &str, scope: &str, more: &[&str]) -> String {
    let made = keys(data, &[&["create", "--name", name, "--scope", scope], more].concat());
    let (stdout, stderr) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    assert!(made.status.success(), "{stderr}");
    let key = stdout.strip_suffix('\n').unwrap().to_owned();
    assert!(key.starts_with("kegd_") && key.len() == 78 && !key.contains(char::is_whitespace), "one line: {stdout:?}");
    assert!(stderr.contains(name) && stderr.contains(scope) && !stderr.contains(&key), "{stderr}");
    key
}

fn list(data: &Path) -> Vec<String> {
    let listed = keys(data, &["list"]);
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

struct Service {
    process: Child,
    /// Reads what it logs: a full pipe would stop it.
    log: Option<JoinHandle<String>>,
    url: String,
    client: Client,
}

impl Service {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(KEGD);
        command.args(["serve", "--devices", "cpu", "--data-dir"]).arg(data).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let url = address(&mut process);
        let mut stderr = process.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        Self { log: Some(log), url: url.replace("0.0.0.0", "127.0.0.1"), process, client: Client::new() }
    }

    async fn get(&self, path: &str, key: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(key).send().await.unwrap()
    }

    async fn status(&self, path: &str, key: &str) -> StatusCode {
        self.get(path, key).await.status()
    }

    async fn submit(&self, key: &str) -> Response {
        let model = multipart::Part::bytes(small_file()).file_name("small.onnx");
        let config = r#"{"extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 2, "batch_size": 8},
            "distillation": {"samples_per_generator": 16, "epochs": 1, "batch_size": 8, "adversarial_steps": 1}}"#;
        let form = multipart::Form::new().part("model", model).text("config", config);
        self.client.post(format!("{}/jobs", self.url)).bearer_auth(key).multipart(form).send().await.unwrap()
    }

    /// Tells it to end, and returns what it has logged.
    fn stop(mut self) -> String {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        let ended = self.process.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        assert!(ended.success(), "{log}");
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only where a test has failed: otherwise it was stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn keys_count_from_the_next_request_on() {
    let data = TempDir::new().unwrap();
    let service = Service::start(data.path(), &["--listen", "127.0.0.1:0", "--no-worker", "--log", "warn"]);
    assert_eq!(service.status("/jobs", "").await, 200, "no key exists");
    let first = create(data.path(), "first", "read", &[]);
    assert_eq!(service.status("/jobs", "").await, 401);
    assert_eq!(service.status("/jobs", &first).await, 200);
    assert_eq!(service.submit(&first).await.status(), 403);
    let second = create(data.path(), "second", "submit", &["--max-open-jobs", "1", "--expires", "30d"]);
    assert_eq!(service.submit(&second).await.status(), 202);
    let refused = service.submit(&second).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));

    let revoked = keys(data.path(), &["revoke", "first"]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(service.status("/jobs", &first).await, 401);
    assert_eq!(service.status("/jobs", &second).await, 200);
    service.stop();
}

#[test]
fn keys_are_listed_without_their_secret() {
    let data = TempDir::new().unwrap();
    let key = create(data.path(), "ci", "submit", &["--expires", "30d", "--max-stored", "unlimited"]);
    let short = create(data.path(), "short", "admin", &["--expires", "1ms"]);
    let lines = list(data.path());
    assert_eq!(lines.len(), 3, "a head and both: {lines:#?}");
    let line = |name: &str| lines.iter().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(line("ci").starts_with(&key[5..13]) && line("ci").contains(" valid "), "{lines:#?}");
    assert!(line("short").contains(" expired "), "{lines:#?}");
    let all = lines.join("\n");
    assert!(!all.contains(&key[14..]) && !all.contains(&short[14..]), "{all}");

    let again = keys(data.path(), &["create", "--name", "ci", "--scope", "read"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stdout.is_empty());
    assert!(String::from_utf8_lossy(&again.stderr).contains("hint: "), "{again:?}");
    assert!(keys(data.path(), &["revoke", &key[5..13]]).status.success(), "by its id too");
    assert!(list(data.path()).iter().any(|line| line.contains(" revoked ") && line.ends_with("ci")));
    create(data.path(), "ci", "read", &[]);
    let nobody = keys(data.path(), &["revoke", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("kegd keys list"), "{nobody:?}");
}

#[test]
fn it_does_not_open_to_others_without_a_key() {
    let data = TempDir::new().unwrap();
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(KEGD);
        command.args(["serve", "--devices", "cpu", "--listen", "0.0.0.0:0", "--no-worker", "--data-dir"]);
        command.arg(data.path()).args(arguments).output().unwrap()
    };
    let refused = serve(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "it never listened");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("kegd keys create") && text.contains("--allow-anonymous"), "both remedies: {text}");

    let listen = ["--listen", "0.0.0.0:0", "--no-worker", "--log", "warn"];
    Service::start(data.path(), &[&listen[..], &["--allow-anonymous"]].concat()).stop();
    create(data.path(), "admin", "admin", &[]);
    Service::start(data.path(), &listen).stop();
}

/// Everything under a folder, as one heap of bytes.
fn everything(folder: &Path) -> Vec<u8> {
    let mut heap = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        heap.extend(if path.is_dir() { everything(&path) } else { std::fs::read(&path).unwrap() });
    }
    heap
}

#[tokio::test]
async fn a_key_is_written_down_nowhere() {
    let data = TempDir::new().unwrap();
    let key = create(data.path(), "ci", "submit", &[]);
    let unknown = format!("kegd_00000000_{}", "5a".repeat(32));
    let service = Service::start(data.path(), &["--listen", "127.0.0.1:0", "--log", "trace", "--log-format", "json"]);
    let id = service.submit(&key).await.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let job = loop {
        let job: Value = service.get(&format!("/jobs/{id}?wait=30"), &key).await.json().await.unwrap();
        if job["finished_at"].is_string() {
            break job;
        }
    };
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(job["owner"], key[5..13]);
    let mut answers = String::new();
    for path in ["/usage", "/jobs", &format!("/jobs/{id}/events"), &format!("/jobs/{id}/artifacts")] {
        answers.push_str(&service.get(path, &key).await.text().await.unwrap());
    }
    answers.push_str(&service.get("/jobs", &unknown).await.text().await.unwrap());
    answers.push_str(&service.get("/metrics", &key).await.text().await.unwrap());
    let log = service.stop();
    assert!(log.contains("\"key\":\"ci\""), "the log says whose key it was");
    assert!(log.contains("/usage") && log.contains("DEBUG"), "the log has everything that it can have");
    let kept = everything(data.path());
    assert!(kept.windows(8).any(|bytes| bytes == &key.as_bytes()[5..13]), "the public part is in the database");
    for secret in [&key[14..], &unknown[14..]] {
        // A part is enough to give it away.
        let part = &secret.as_bytes()[16..48];
        assert!(!log.as_bytes().windows(32).any(|bytes| bytes == part), "a key is in the log");
        assert!(!kept.windows(32).any(|bytes| bytes == part), "a key is on the disk");
        assert!(!answers.as_bytes().windows(32).any(|bytes| bytes == part), "a key is in an answer");
    }
}

#[test]
fn where_nothing_was_kept_there_are_no_keys_to_list() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("elsewhere");
    for arguments in [&["list"][..], &["revoke", "ci"]] {
        let told = keys(&data, arguments);
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(!told.status.success() && said.contains("there is no kegd.db"), "{said}");
        assert!(!data.exists(), "and nothing is made");
    }
}
