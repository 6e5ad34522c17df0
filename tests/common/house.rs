//! A data directory with its store, artifacts and queue.

use bytes::Bytes;
use kegd::{
    artifacts::Artifacts,
    clock::Clock,
    domain::{
        artifact::{Artifact, FileName, Role},
        config::JobConfig,
        ids::JobId,
        presets::TeacherKind,
    },
    queue::{Claim, Queue, QueueConfig},
    retention::{Collector, Policy},
    store::{IdempotencyKey, Job, NewJob, Slot, Store, StoreError, Submission},
    worker::{WorkerConfig, WorkerError},
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;

pub struct House {
    pub directory: TempDir,
    pub clock: Clock,
    pub store: Store,
    pub artifacts: Artifacts,
    pub queue: Queue,
}

/// The content of every uploaded model here.
pub const MODEL: &[u8] = b"the bytes of a model";

/// Some moment in 2025.
const NOW: i64 = 1_750_000_000_000;

impl House {
    /// A house whose clock stands still.
    pub async fn standing() -> Self {
        Self::with(Clock::manual(NOW), QueueConfig::default()).await
    }

    /// A house where time passes, with short waits.
    pub async fn living() -> Self {
        Self::with(Clock::System, super::script::quick_rules()).await
    }

    pub async fn with(clock: Clock, config: QueueConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("kegd.db"), clock.clone()).await.unwrap();
        let artifacts = Artifacts::open(directory.path().join("artifacts")).unwrap();
        let queue = Queue::new(store.clone(), config);
        Self { directory, clock, store, artifacts, queue }
    }

    /// Submits a job of two generators, unless the configuration says otherwise.
    pub async fn submit(&self, config: serde_json::Value) -> JobId {
        let job = self.new_job(config).await;
        match self.store.submit(&job, u64::MAX).await.unwrap() {
            Submission::Created(id) => id,
            Submission::Replayed(id) => panic!("{id} was there before"),
        }
    }

    pub async fn submit_with_key(&self, key: &str, body: &str) -> Result<Submission, StoreError> {
        let mut job = self.new_job(serde_json::json!({})).await;
        job.idempotency = Some(IdempotencyKey { key: key.into(), body_sha256: body.into() });
        self.store.submit(&job, u64::MAX).await
    }

    pub async fn new_job(&self, mut config: serde_json::Value) -> NewJob {
        if config.pointer("/extraction/sampler").is_none() {
            config["extraction"] = serde_json::json!({"generators": 2});
        }
        let config = JobConfig::parse(config.to_string().as_bytes()).unwrap();
        let settings = config.resolve(TeacherKind::PlainImage, "lenet5").unwrap();
        let (id, model_file) = (JobId::new(), name("lenet5.onnx"));
        let model = self.upload(id, "lenet5.onnx", Role::Teacher).await;
        let eval = self.upload(id, "eval.npz", Role::Evaluation).await;
        NewJob {
            id,
            owner: None,
            config,
            settings,
            model_file,
            uploads: vec![model, eval],
            reused: vec![],
            idempotency: None,
        }
    }

    pub async fn upload(&self, job: JobId, file: &str, role: Role) -> Artifact {
        let stream = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(MODEL))]);
        self.artifacts.put(job, name(file), role, stream).await.unwrap()
    }

    pub fn collector(&self, policy: Policy) -> Collector {
        let temporary = ["runs", "scratch"].map(|name| self.directory.path().join(name)).to_vec();
        Collector::new(self.store.clone(), self.artifacts.clone(), policy, temporary)
    }

    /// The database, past the store: for what no store of this version writes.
    pub async fn database(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("kegd.db"));
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    /// Makes a job one that this version cannot read.
    pub async fn garble(&self, id: JobId) {
        let sql = "update jobs set settings = '{\"of\": \"another version\"}' where id = ?";
        sqlx::query(sql).bind(id.to_string()).execute(&mut self.database().await).await.unwrap();
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.store.job(id).await.unwrap().expect("the job is there")
    }

    /// Waits until the job is final.
    pub async fn ended(&self, id: JobId) -> Job {
        super::wait::until("the job ends", async || Some(self.job(id).await).filter(|job| job.status.is_final())).await
    }

    /// Starts a worker in this process.
    pub fn work(&self, config: WorkerConfig) -> Work {
        let shutdown = CancellationToken::new();
        let (queue, artifacts) = (self.queue.clone(), self.artifacts.clone());
        Work { handle: tokio::spawn(kegd::worker::run(config, queue, artifacts, shutdown.clone())), shutdown }
    }

    /// What a scripted child left in the directory that outlives runs.
    pub async fn note(&self, file: &str) -> String {
        let path = self.directory.path().join("shared").join(file);
        super::wait::until(file, async || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')))
            .await
            .trim()
            .to_owned()
    }

    /// Lets `worker` look after leases for as long as one lasts, while nobody renews any. Returns how many ran out.
    pub async fn lapse(&self, worker: &str) -> usize {
        let mut expired = self.queue.reap(Some(worker)).await.unwrap();
        for _ in 0..4 {
            self.clock.advance(self.queue.config().look_every());
            expired += self.queue.reap(Some(worker)).await.unwrap();
        }
        expired
    }

    /// The database, past the store.
    pub async fn ledger(&self) -> Ledger {
        Ledger::open(&self.directory.path().join("kegd.db")).await
    }

    /// A log of the job, by its name.
    pub async fn log(&self, job: JobId, name: &str) -> String {
        let row = self.store.artifact(job, &self::name(name)).await.unwrap().expect("the log is kept");
        String::from_utf8_lossy(&self.artifacts.read_whole(&row.artifact, 2 << 20).await.unwrap()).into_owned()
    }

    /// Whatever children left: directories of runs, and processes that were started in one.
    pub fn left_behind(&self) -> Vec<String> {
        let runs = self.directory.path().join("runs");
        let entries = std::fs::read_dir(&runs).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<String> =
            entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != ".lock").collect();
        for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            // Everything that a child starts has the child's environment, unless it takes pains.
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if String::from_utf8_lossy(&environment).contains(&format!("TMPDIR={}", runs.display())) {
                left.push(format!("process {}", process.file_name().display()));
            }
        }
        left
    }

    /// Claims what comes next on a CPU slot.
    pub async fn claim(&self) -> Option<Claim> {
        self.queue.claim(&cpu("worker-1")).await.unwrap()
    }
}

/// A worker at work.
pub struct Work {
    handle: tokio::task::JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
}

impl Work {
    /// Tells it to stop, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.handle.await.unwrap().unwrap();
    }
}

pub fn cpu(worker: &str) -> Slot {
    Slot { worker: worker.into(), device: "cpu".into() }
}

pub fn name(text: &str) -> FileName {
    text.parse().unwrap()
}
