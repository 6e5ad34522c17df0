//! The real binary as a service, to be asked and to be harmed.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response, multipart};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{ledger::Ledger, teacher::small_file};

pub const KEGD: &str = env!("CARGO_BIN_EXE_kegd");

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// A job of seconds; what it learns does not matter here.
pub const SMALL: &str = r#"{
    "name": "small",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 5, "batch_size": 16},
    "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 16, "adversarial_steps": 2}
}"#;

/// A job that trains for longer than any of these tests lasts.
pub const LONG: &str = r#"{
    "name": "long",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 1, "epochs": 10000, "steps_per_epoch": 100, "batch_size": 16}
}"#;

/// A running service, which is killed when the test ends.
pub struct Server {
    pub process: Child,
    url: String,
    log: PathBuf,
    _logs: TempDir,
}

/// `kegd serve` on a free port.
pub fn serve(data: &Path) -> Command {
    let mut command = Command::new(KEGD);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--devices", "cpu", "--log", "kegd=info,warn", "--data-dir"])
        .arg(data);
    command
}

impl Server {
    pub fn start(data: &Path) -> Self {
        Self::run(serve(data)).expect("it starts")
    }

    /// Starts a command that becomes the service. `Err` with what it said, where it ends without.
    pub fn run(command: Command) -> Result<Self, String> {
        let logs = TempDir::new().unwrap();
        let log = logs.path().join("log");
        let file = File::create(&log).unwrap();
        Self::logging_to(file.into(), command, (log, logs))
    }

    /// The same, with its log where nobody looks for it.
    pub fn logging_elsewhere(log: Stdio, command: Command) -> Self {
        let logs = TempDir::new().unwrap();
        Self::logging_to(log, command, (logs.path().join("none"), logs)).expect("it starts")
    }

    fn logging_to(stderr: Stdio, mut command: Command, (log, logs): (PathBuf, TempDir)) -> Result<Self, String> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        // Nobody but the service holds the other end of a pipe.
        drop(command);
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(start) = line.find("http://") else {
            process.wait().unwrap();
            return Err(std::fs::read_to_string(&log).unwrap());
        };
        Ok(Self { url: line[start..].trim().to_owned(), process, log, _logs: logs })
    }

    /// SIGKILL: no line of code runs after it.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Tells it to end, and returns whether it ended well.
    pub fn stop(&mut self) -> bool {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap().success()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    pub async fn post(&self, config: &'static str) -> Response {
        let model = multipart::Part::bytes(small_file()).file_name("small.onnx");
        let form = multipart::Form::new().part("model", model).text("config", config);
        Client::new().post(format!("{}/jobs", self.url)).multipart(form).send().await.unwrap()
    }

    /// Submits a small job; its id.
    pub async fn submit(&self) -> String {
        accepted(self.post(SMALL).await).await
    }

    /// A refused upload, which must be a whole problem.
    pub async fn refused(&self, status: u16) -> Refusal {
        let answer = self.post(SMALL).await;
        let retry_after = answer.headers().contains_key("retry-after");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{problem:#}");
        assert!(problem["hint"].is_string(), "{problem:#}");
        Refusal { code: problem["code"].as_str().unwrap().to_owned(), retry_after }
    }

    /// Asks until `done`; a job that fails before ends the wait.
    pub async fn until(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.json(&format!("/jobs/{id}?wait=1")).await;
            if done(&job) {
                return job;
            }
            assert!(Instant::now() < deadline && job["status"] != "failed", "{job:#}\n{}", self.log());
        }
    }

    /// How the runs of a job ended.
    pub async fn outcomes(&self, id: &str) -> Vec<String> {
        let events = self.json(&format!("/jobs/{id}/events")).await;
        let ended = events["data"].as_array().unwrap().iter().filter(|event| event["type"] == "run_ended");
        ended.map(|event| event["data"]["outcome"].as_str().unwrap().to_owned()).collect()
    }

    /// Begins an upload, and leaves it half-way.
    pub fn half_an_upload(&self) -> TcpStream {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let head = "--edge\r\nContent-Disposition: form-data; name=\"model\"; filename=\"half.onnx\"\r\n\r\n";
        let request = format!(
            "POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=edge\r\n\
             Content-Length: 100000000\r\n\r\n{head}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(&vec![7; 5 << 20]).unwrap();
        stream
    }
}

pub struct Refusal {
    pub code: String,
    pub retry_after: bool,
}

/// The id of a job that was accepted.
pub async fn accepted(answer: Response) -> String {
    let status = answer.status();
    let job: Value = answer.json().await.unwrap();
    assert_eq!(status, 202, "{job:#}");
    job["id"].as_str().unwrap().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
        }
    }
}

/// What a start says that must fail.
pub fn fails(data: &Path) -> String {
    Server::run(serve(data)).err().expect("it does not start")
}

/// What a command of ours says of a data directory, and whether it went well.
pub fn kegd(data: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(KEGD).args(arguments).arg("--data-dir").arg(data).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Files below `directory`, by path.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// The rules of the queue hold in the database below `data`.
pub async fn check(data: &Path) {
    Ledger::open(&data.join("kegd.db")).await.check().await;
}
