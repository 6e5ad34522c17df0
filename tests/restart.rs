//! The real binary, killed and stopped in the middle of its work: what comes out is what would have come out anyway.
//!
//! Every job here is struck once while its generators train, once in the pool, once in the game, and once in its evaluation,
//! each time in the same way. Student and metrics are those of a job that nothing disturbed, to the bit.

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    teacher::small_file,
    wait::{gone, until},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, multipart};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

const KEGD: &str = env!("CARGO_BIN_EXE_kegd");

/// Small steps, but enough of each kind to strike between the first and the last.
const JOB: &str = r#"{
    "name": "struck",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 2, "epochs": 12, "steps_per_epoch": 10, "batch_size": 16},
    "distillation": {"samples_per_generator": 128, "epochs": 24, "batch_size": 16, "adversarial_steps": 24, "student_steps": 5}
}"#;
const POOL_STEPS: u64 = 24 * 256 / 16;
const ALL_STEPS: u64 = POOL_STEPS + 24 * (1 + 5);

/// What a stop may take, at most. Generous: the machine may be busy with other tests.
const GRACE: &str = "60";

/// A `kegd` that is running, and killed when the test ends.
struct Kegd(Child);

impl Kegd {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(KEGD);
        command.args(arguments).args(["--log", "warn", "--data-dir"]).arg(data);
        command.env("KEGD_SHUTDOWN_GRACE", GRACE);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Tells it to end, and waits until it has, which is well before the grace is over.
    fn stop(&mut self) {
        let begin = Instant::now();
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success(), "it ends well");
        assert!(begin.elapsed() < Duration::from_secs_f64(GRACE.parse().unwrap()), "{:?}", begin.elapsed());
    }

    /// The processes of its runs.
    fn children(&self) -> Vec<i32> {
        let parent = self.0.id();
        let processes =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_run = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let ours =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent);
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            ours && command.contains("run-task")
        };
        processes.filter(is_run).collect()
    }
}

impl Drop for Kegd {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// A service, its worker (in the same process, or in one of its own), and what they keep.
struct Rig {
    data: TempDir,
    server: Kegd,
    worker: Option<Kegd>,
    url: String,
}

const WORKER: [&str; 6] = ["--devices", "cpu", "--slots", "2", "--checkpoint-every", "0"];

impl Rig {
    fn start(separate: bool) -> Self {
        let data = TempDir::new().unwrap();
        let (server, url) = Self::serve(data.path(), separate);
        let worker = separate.then(|| Self::work(data.path()));
        Self { data, server, worker, url }
    }

    fn serve(data: &Path, without_worker: bool) -> (Kegd, String) {
        Self::serve_with(data, if without_worker { &["--no-worker"] } else { &[] })
    }

    fn serve_with(data: &Path, more: &[&str]) -> (Kegd, String) {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(WORKER);
        arguments.extend(more);
        let mut server = Kegd::start(data, &arguments);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let start = line.find("http://").unwrap_or_else(|| panic!("no address in {line:?}"));
        (server, line[start..].trim().to_owned())
    }

    fn work(data: &Path) -> Kegd {
        let arguments: Vec<_> = ["work"].into_iter().chain(WORKER).collect();
        Kegd::start(data, &arguments)
    }

    /// A service of its own alone, with one more argument and its value.
    fn start_with(argument: [&str; 2]) -> Self {
        let data = TempDir::new().unwrap();
        let (server, url) = Self::serve_with(data.path(), &argument);
        Self { data, server, worker: None, url }
    }

    fn serve_again(&mut self) {
        (self.server, self.url) = Self::serve(self.data.path(), self.worker.is_some());
    }

    async fn json(&self, path: &str) -> Value {
        Client::new().get(format!("{}{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = Client::new().post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn submit(&self) -> String {
        self.submit_with(JOB).await
    }

    async fn submit_with(&self, config: &'static str) -> String {
        let model = multipart::Part::bytes(small_file()).file_name("small.onnx");
        let form = multipart::Form::new().part("model", model).text("config", config);
        let answer = Client::new().post(format!("{}/jobs", self.url)).multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a job of the moment is under way, with a checkpoint behind it.
    async fn reach(&self, id: &str, moment: Moment) {
        until(&format!("{moment:?}"), async || {
            let job = self.json(&format!("/jobs/{id}")).await;
            assert!(job["status"] != "failed" && job["status"] != "succeeded", "{moment:?} was missed: {job:#}");
            let points = |name: &'static str| {
                let path = format!("/jobs/{id}/metrics?names={name}");
                async move {
                    let series = self.json(&path).await;
                    let series = series["series"].as_array().unwrap().clone();
                    series.iter().map(|series| series["points"].as_array().unwrap().len()).collect::<Vec<_>>()
                }
            };
            // Of every series: whichever generator is struck has a checkpoint.
            let all = |points: Vec<usize>, series: usize, least: usize| {
                points.len() == series && points.iter().all(|&points| points >= least)
            };
            match moment {
                Moment::Extracting => all(points("classifier_loss").await, 2, 2),
                Moment::Pool => all(points("distillation_loss").await, 1, 3),
                Moment::Game => all(points("adversarial_distance").await, 1, 2),
                Moment::Evaluating => job["phase"] == "evaluating",
            }
            .then_some(())
        })
        .await;
    }

    async fn succeeded(&self, id: &str) -> Value {
        until("the job succeeds", async || {
            let job = self.json(&format!("/jobs/{id}?wait=5")).await;
            assert!(job["status"] != "failed" && job["status"] != "canceled", "{job:#}");
            (job["status"] == "succeeded").then_some(job)
        })
        .await
    }

    /// The kinds of the runs that went on from a checkpoint, with the step that it led to, and how each run ended.
    async fn runs(&self, id: &str) -> (Vec<(String, u64)>, Vec<(String, String)>) {
        let events = self.json(&format!("/jobs/{id}/events")).await;
        let (mut resumed, mut ended) = (Vec::new(), Vec::new());
        for event in events["data"].as_array().unwrap() {
            let kind = event["data"]["task"].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap() {
                "run_started" => resumed.extend(event["data"]["resumed_step"].as_u64().map(|step| (kind, step))),
                "run_ended" => ended.push((kind, event["data"]["outcome"].as_str().unwrap().to_owned())),
                _ => {}
            }
        }
        (resumed, ended)
    }

    async fn made(&self, id: &str) -> Made {
        let artifacts = self.json(&format!("/jobs/{id}/artifacts")).await;
        let files: BTreeMap<_, _> = artifacts["data"]
            .as_array()
            .unwrap()
            .iter()
            // Both have times in them.
            .filter(|file| file["role"] != "report" && file["role"] != "log")
            .map(|file| (file["name"].as_str().unwrap().to_owned(), file["sha256"].as_str().unwrap().to_owned()))
            .collect();
        let metrics = self.json(&format!("/jobs/{id}/metrics")).await;
        let samples = self.json(&format!("/jobs/{id}/samples")).await["files"].clone();
        let job = self.json(&format!("/jobs/{id}")).await;
        let agreement = job["result"]["agreement"].clone();
        // A worker tidies up after its run, when the job is done already.
        until("every file has a row", async || {
            let kept = files_below(&self.data.path().join("artifacts"));
            (kept == artifacts["data"].as_array().unwrap().len()).then_some(())
        })
        .await;
        Made { files, metrics, samples, agreement }
    }
}

fn files_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// All of a job that must not depend on what happened to it.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    /// Hashes by name.
    files: BTreeMap<String, String>,
    metrics: Value,
    samples: Value,
    agreement: Value,
}

/// What a job makes that nothing disturbs.
async fn undisturbed() -> &'static Made {
    static MADE: OnceCell<Made> = OnceCell::const_new();
    MADE.get_or_init(async || {
        let rig = Rig::start(false);
        let id = rig.submit().await;
        rig.succeeded(&id).await;
        assert_eq!(rig.runs(&id).await.0, []);
        let made = rig.made(&id).await;
        assert!(made.files.contains_key("student.safetensors") && made.files.contains_key("generator-1.safetensors"));
        made
    })
    .await
}

/// When a job is struck.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Extracting,
    Pool,
    Game,
    Evaluating,
}

const MOMENTS: [Moment; 4] = [Moment::Extracting, Moment::Pool, Moment::Game, Moment::Evaluating];

/// Strikes a job at every moment, and compares what comes out.
async fn struck(separate: bool, mut strike: impl AsyncFnMut(&mut Rig)) -> (Rig, String) {
    let mut rig = Rig::start(separate);
    let id = rig.submit().await;
    for moment in MOMENTS {
        rig.reach(&id, moment).await;
        strike(&mut rig).await;
    }
    rig.succeeded(&id).await;
    let (made, expected) = (rig.made(&id).await, undisturbed().await);
    assert_eq!(made.files, expected.files);
    assert_eq!(made.metrics, expected.metrics, "no gap, nothing twice, and the same values");
    assert_eq!((made.samples, made.agreement), (expected.samples.clone(), expected.agreement.clone()));
    (rig, id)
}

/// Each strike hit the stretch that it was meant for: that is where another run went on.
async fn went_on_everywhere(rig: &Rig, id: &str) {
    let (resumed, _) = rig.runs(id).await;
    let from = |kind: &str, steps: std::ops::RangeInclusive<u64>| {
        resumed.iter().any(|(of, step)| of == kind && steps.contains(step))
    };
    assert!(from("extract", 1..=119), "{resumed:?}");
    assert!(from("distill", 1..=POOL_STEPS - 1), "{resumed:?}");
    assert!(from("distill", POOL_STEPS + 1..=ALL_STEPS - 1), "{resumed:?}");
    assert!(from("distill", ALL_STEPS..=ALL_STEPS), "{resumed:?}");
}

async fn outcomes(rig: &Rig, id: &str, of: &str) -> usize {
    rig.runs(id).await.1.iter().filter(|(_, outcome)| outcome == of).count()
}

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
    let id = rig.submit_with(ENDLESS).await;
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
    let id = rig.submit_with(ENDLESS).await;
    let child = training(&rig, &id).await;
    let signal = |rig: &Rig| kill(Pid::from_raw(rig.server.0.id() as i32), Signal::SIGTERM).unwrap();
    signal(&rig);
    let address = rig.url.trim_start_matches("http://").to_owned();
    until("the first one is heard", async || std::net::TcpStream::connect(&address).is_err().then_some(())).await;
    signal(&rig);
    assert_eq!(rig.server.0.wait().unwrap().code(), Some(143));
    gone(&child.to_string()).await;
}
