//! A service to be asked, and the little HTTP that tests need. Also: the paths about the service itself.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use kegd::{
    api::{self, App, Disk, Gates, Helper, Hosts, Parts, Traffic},
    clock::Clock,
    config::{AccessConfig, ByteSize, LimitsConfig, TrafficConfig},
    domain::{
        artifact::{Artifact, Role},
        ids::JobId,
        presets::TeacherKind,
    },
    queue::{Claim, Ending, Product, QueueConfig},
    retention::Policy,
};
use serde_json::{Value, json};
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::common::{facts, house::House, house::name};

/// A real classifier.
pub const LENET: &[u8] = include_bytes!("../../demo/lenet5-mnist.onnx");

pub struct Service {
    pub house: House,
    pub router: Router,
    /// Told when the service is about to end.
    pub stop: CancellationToken,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", &self.body[..self.body.len().min(200)]))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code; the answer must be a whole problem with this status.
    pub fn problem(&self, status: u16) -> String {
        let body = self.json();
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        assert!(!self.header("x-request-id").is_empty());
        for member in ["type", "title", "detail", "code"] {
            assert!(!body[member].as_str().unwrap_or_default().is_empty(), "{member} of {body}");
        }
        body["code"].as_str().unwrap().to_owned()
    }
}

pub fn limits() -> LimitsConfig {
    LimitsConfig {
        max_upload: ByteSize(1 << 20),
        max_queue: 100,
        min_free_disk: ByteSize(0),
        helper_timeout: Duration::from_secs(60),
        helpers: 1,
    }
}

impl Service {
    pub async fn new() -> Self {
        Self::with(limits()).await
    }

    pub async fn with(limits: LimitsConfig) -> Self {
        Self::open(limits, Policy::default(), |_| env!("CARGO_BIN_EXE_kegd").into()).await
    }

    pub async fn with_policy(policy: Policy) -> Self {
        Self::open(limits(), policy, |_| env!("CARGO_BIN_EXE_kegd").into()).await
    }

    /// With a script in place of the binary that answers what needs the engine.
    pub async fn with_program(script: &str) -> Self {
        let write = |directory: &Path| {
            let program = directory.join("program");
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
            program
        };
        Self::open(limits(), Policy::default(), write).await
    }

    /// With other bounds on traffic.
    pub async fn with_traffic(traffic: TrafficConfig) -> Self {
        Self::build(limits(), traffic, Policy::default(), |_| env!("CARGO_BIN_EXE_kegd").into()).await
    }

    async fn open(limits: LimitsConfig, policy: Policy, program: impl FnOnce(&Path) -> PathBuf) -> Self {
        Self::build(limits, TrafficConfig::default(), policy, program).await
    }

    async fn build(
        limits: LimitsConfig,
        traffic: TrafficConfig,
        policy: Policy,
        program: impl FnOnce(&Path) -> PathBuf,
    ) -> Self {
        let house = House::with(Clock::System, QueueConfig::default()).await;
        let scratch = house.directory.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let helper = Helper::new(program(house.directory.path()), &limits);
        let (store, artifacts, stop) = (house.store.clone(), house.artifacts.clone(), CancellationToken::new());
        let collector = house.collector(policy);
        let app = App::new(Parts {
            store,
            artifacts,
            collector,
            disk: Disk::new(scratch.clone(), limits.min_free_disk),
            hosts: Hosts::new(&AccessConfig::default()),
            gates: Gates::new(&traffic),
            limits,
            helper,
            scratch,
            traffic: Traffic::default(),
            stop: stop.clone(),
        });
        Self { router: api::router(app), house, stop }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        crate::conformity::check(&self.router, &method, &path, &answer).await;
        answer
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, "").await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.ask(Method::POST, path, &[], "").await
    }

    /// Posts a multipart form.
    pub async fn upload(&self, path: &str, parts: &[Part<'_>], headers: &[(&str, &str)]) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "multipart/form-data; boundary=edge"));
        self.ask(Method::POST, path, &headers, form(parts)).await
    }

    /// A job made by an upload of the real model.
    pub async fn submitted(&self) -> JobId {
        let answer = self.upload("/jobs", &[Part::file("model", "lenet5.onnx", LENET)], &[]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{:?}", answer.body);
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// What is kept on disk, as names under the artifacts' folder.
    pub fn kept(&self) -> Vec<String> {
        fn walk(directory: &std::path::Path, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                // Where things are while they are deleted; empty otherwise.
                if entry.file_name() == ".trash" && std::fs::read_dir(entry.path()).unwrap().next().is_none() {
                    continue;
                }
                names.push(entry.path().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), names);
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.house.directory.path().join("artifacts"), &mut names);
        walk(&self.house.directory.path().join("scratch"), &mut names);
        names
    }

    /// Keeps a file for a run, as a worker would.
    pub async fn keep(&self, claim: &Claim, file: &str, role: Role, bytes: &[u8]) -> Artifact {
        // Under an id of its own, since storage keys of runs are the worker's business.
        let stream = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes))]);
        let artifact = self.house.artifacts.put(claim.fence().job, name(file), role, stream).await.unwrap();
        let _ = self.house.queue.keep(claim, &artifact, None).await.unwrap();
        artifact
    }

    /// Takes a job through its inspection.
    pub async fn inspected(&self) -> JobId {
        self.inspected_with("{}").await
    }

    pub async fn inspected_with(&self, config: &str) -> JobId {
        let parts = [Part::file("model", "lenet5.onnx", LENET), Part::text("config", config)];
        let id = self.upload("/jobs", &parts, &[]).await.json()["id"].as_str().unwrap().parse().unwrap();
        let claim = self.house.claim().await.unwrap();
        let inspection = facts::inspection(TeacherKind::PlainImage);
        let json = serde_json::to_vec(&inspection).unwrap();
        self.keep(&claim, "inspection.json", Role::Inspection, &json).await;
        self.house.queue.finish(&claim, Ending::Succeeded(Product::Inspected(Box::new(inspection)))).await.unwrap();
        id
    }

    /// Claims the job's next run, skipping generators until a distillation comes.
    pub async fn distilling(&self) -> (JobId, Claim) {
        let id = self.inspected().await;
        loop {
            let claim = self.house.claim().await.unwrap();
            if claim.kind().student().is_some() {
                return (id, claim);
            }
            self.house.queue.finish(&claim, Ending::Succeeded(Product::Extracted)).await.unwrap();
        }
    }

    /// Takes a job to its end. The student is ten bytes.
    pub async fn succeeded(&self) -> JobId {
        self.succeeded_with(&[]).await
    }

    /// The same, with more files.
    pub async fn succeeded_with(&self, files: &[(&str, Role, &[u8])]) -> JobId {
        let (id, claim) = self.distilling().await;
        for (name, role, bytes) in files {
            self.keep(&claim, name, *role, bytes).await;
        }
        self.keep(&claim, "student.onnx", Role::Student, b"0123456789").await;
        let report = facts::report(claim.settings.clone());
        self.keep(&claim, "report.json", Role::Report, &serde_json::to_vec(&report).unwrap()).await;
        self.house.queue.finish(&claim, Ending::Succeeded(Product::Distilled(Box::new(report)))).await.unwrap();
        id
    }
}

/// A part of a multipart form.
pub struct Part<'a> {
    name: &'a str,
    file: Option<&'a str>,
    bytes: &'a [u8],
}

impl<'a> Part<'a> {
    pub fn file(name: &'a str, file: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, file: Some(file), bytes }
    }

    pub fn text(name: &'a str, text: &'a str) -> Self {
        Self { name, file: None, bytes: text.as_bytes() }
    }
}

pub fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let file = part.file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{}\"{file}\r\n\r\n", part.name).into_bytes(),
        );
        body.extend(part.bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    body
}

#[tokio::test]
async fn it_tells_what_it_is_and_that_it_is_well() {
    let service = Service::new().await;
    assert_eq!(service.get("/livez").await.json(), json!({"status": "ok"}));
    assert_eq!(service.get("/readyz").await.json(), json!({"status": "ok"}));
    let version = service.get("/version").await.json();
    assert_eq!(version["name"], "kegd");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn it_is_not_ready_without_room_on_the_disk() {
    let service = Service::with(LimitsConfig { min_free_disk: ByteSize(1 << 60), ..limits() }).await;
    assert_eq!(service.get("/readyz").await.problem(503), "unavailable");
    assert_eq!(service.get("/livez").await.status, 200);
    let refused = service.upload("/jobs", &[Part::file("model", "lenet5.onnx", LENET)], &[]).await;
    assert_eq!(refused.problem(507), "disk_full");
}

#[tokio::test]
async fn it_lists_formats_with_the_operators_that_are_understood() {
    let formats = Service::new().await.get("/formats").await.json();
    let onnx = formats["data"].as_array().unwrap().iter().find(|format| format["name"] == "onnx").unwrap();
    let operators = onnx["operators"].as_array().unwrap();
    for operator in ["Conv", "Gemm", "BatchNormalization", "Relu"] {
        assert!(operators.contains(&json!(operator)), "{operator}");
    }
}

#[tokio::test]
async fn it_lists_workers_and_what_they_run() {
    let service = Service::new().await;
    assert_eq!(service.get("/workers").await.json(), json!({"data": []}));
    service.house.queue.begin_life("worker-1", &["cpu".to_owned(), "cpu".to_owned()]).await.unwrap();
    let id = service.submitted().await;
    let _claim = service.house.claim().await.unwrap();
    let workers = service.get("/workers").await.json();
    let slots = &workers["data"][0]["slots"];
    assert_eq!(slots[0]["running"]["job"], id.to_string());
    assert_eq!(slots[0]["running"]["kind"], "inspect");
    assert_eq!(slots[1], json!({"device": "cpu", "running": null}));
}

#[tokio::test]
async fn it_counts_for_prometheus() {
    let service = Service::new().await;
    let id = service.submitted().await;
    service.get(&format!("/jobs/{id}")).await;
    service.get("/nowhere").await;
    let text = String::from_utf8(service.get("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "kegd_jobs{status=\"queued\"} 1",
        "kegd_http_requests_total{method=\"POST\",path=\"/jobs\",status=\"202\"} 1",
        "kegd_http_requests_total{method=\"GET\",path=\"/jobs/{id}\",status=\"200\"} 1",
        "kegd_http_requests_total{method=\"GET\",path=\"other\",status=\"404\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
