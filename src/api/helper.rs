//! Short-lived children that answer what needs the engine: the server itself never calls it, because an upload can be
//! hostile and libtorch can abort.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{io::AsyncReadExt, process::Child, sync::Semaphore, time::Instant};

use super::error::{ApiError, ApiResult};
use crate::{
    config::LimitsConfig,
    domain::{
        problem::{ErrorCode, Problem},
        query::EngineQuery,
    },
    sandbox::{Excess, Place, SandboxMode, Spawner, Terms},
};

/// Last words of a child that are kept for the log.
const LAST_WORDS: u64 = 4096;

/// How often a child is looked at from outside.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Largest problem that a child may write.
const MAX_PROBLEM: u64 = 1 << 20;

/// Asks children, a few at a time.
#[derive(Clone, Debug)]
pub struct Helper {
    program: PathBuf,
    places: Arc<Semaphore>,
    patience: Duration,
    terms: Terms,
    spawner: Arc<Spawner>,
}

impl Helper {
    /// `program` is this binary: the child is `program run-query --dir …`. Must be called within a runtime.
    pub fn new(program: PathBuf, limits: &LimitsConfig) -> Self {
        let places = Arc::new(Semaphore::new(usize::from(limits.helpers)));
        let spawner = Arc::new(Spawner::start());
        Self { program, places, patience: limits.helper_timeout, terms: Terms::default(), spawner }
    }

    /// With other terms for its children than the default ones.
    pub fn on(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// How its children are isolated.
    pub fn sandbox(&self) -> SandboxMode {
        self.terms.sandbox
    }

    /// Whether its children may run modules that are code.
    pub fn runs_modules(&self) -> bool {
        self.terms.run_modules
    }

    /// Answers `query`, whose files lie in `directory` already. Returns the path of the answer.
    ///
    /// # Errors
    /// The child's own problem; `worker_crashed` where it ended without an answer; `unavailable` where it took too long.
    pub async fn ask(&self, query: &EngineQuery, directory: &TempDir) -> ApiResult<PathBuf> {
        let _place = self.places.acquire().await.map_err(ApiError::internal)?;
        let json = serde_json::to_vec(query).map_err(ApiError::internal)?;
        tokio::fs::write(directory.path().join(EngineQuery::FILE), json).await?;
        let mut child = self.start(directory.path()).await?;
        let stderr = child.stderr.take();
        let words = tokio::spawn(async move {
            let mut words = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(LAST_WORDS).read_to_end(&mut words).await;
                // A child whose pipe is full would wait for ever.
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            String::from_utf8_lossy(&words).trim().to_owned()
        });
        let pid = child.id().unwrap_or_default();
        let status = tokio::select! {
            status = child.wait() => status?,
            problem = self.overrun(pid, directory.path()) => {
                child.kill().await?;
                return Err(problem.into());
            }
        };
        let answer = directory.path().join(query.answer());
        if status.success() && answer.is_file() {
            return Ok(answer);
        }
        if let Some(problem) = problem(directory.path()).await {
            return Err(problem.into());
        }
        let words = words.await.unwrap_or_default();
        tracing::error!(%status, words = %words.escape_debug(), "a helper ended without an answer");
        Err(crashed(status.signal()).into())
    }

    /// Returns why a child has to be ended, once it has.
    async fn overrun(&self, pid: u32, directory: &Path) -> Problem {
        let begun = Instant::now();
        while begun.elapsed() < self.patience {
            tokio::time::sleep(LOOK_EVERY.min(self.patience.saturating_sub(begun.elapsed()))).await;
            if let Some(excess) = self.terms.look(pid, directory).excess {
                return excessive(excess);
            }
        }
        let seconds = self.patience.as_secs_f64();
        Problem::new(ErrorCode::Unavailable, format!("No answer within {seconds} s."))
            .hint("Submit the model as a job, which may take longer, or raise --helper-timeout.")
    }

    async fn start(&self, directory: &Path) -> io::Result<Child> {
        // Its threads must not take the cores from the runs.
        let place =
            Place { directory: directory.to_owned(), device: "cpu".to_owned(), threads: 1, cores: None, keeps: None };
        let mut command = self.terms.command(&self.program, "run-query", &place)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.spawner.spawn(command).await
    }
}

async fn problem(directory: &Path) -> Option<Problem> {
    let file = tokio::fs::File::open(directory.join(EngineQuery::PROBLEM)).await.ok()?;
    let mut json = Vec::new();
    file.take(MAX_PROBLEM).read_to_end(&mut json).await.ok()?;
    serde_json::from_slice(&json).ok()
}

fn excessive(excess: Excess) -> Problem {
    tracing::error!(?excess, "a helper was ended");
    let what = "The process that read the model was ended";
    match excess {
        Excess::Memory { limit, .. } => {
            let detail = format!("{what}: it used more than {} MiB of memory.", limit >> 20);
            Problem::new(ErrorCode::OutOfMemory, detail)
                .hint("Send a smaller model, or run the service with a larger --child-memory.")
        }
        Excess::Disk { limit, .. } => {
            Problem::new(ErrorCode::DiskFull, format!("{what}: it filled more than {} MiB of disk.", limit >> 20))
                .hint("Send a smaller model, or run the service with a larger --child-disk.")
        }
        Excess::Files(_) | Excess::Threads(_) | Excess::Hidden => {
            Problem::new(ErrorCode::WorkerCrashed, format!("{what}: it did what reading a model takes nothing of."))
                .hint("This is a fault of the program, or an upload that took it over; the server's log says more.")
        }
    }
}

fn crashed(signal: Option<i32>) -> Problem {
    match signal {
        Some(libc::SIGKILL) => {
            Problem::new(ErrorCode::OutOfMemory, "The process that read the model was killed, most likely for memory.")
                .hint("Give the machine more memory, or send a smaller model.")
        }
        _ => Problem::new(ErrorCode::WorkerCrashed, "The process that read the model ended without an answer.")
            .hint("The server's log has its last words."),
    }
}
