//! Tasks that the engine runs in this process, without a supervisor, and what it says meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kegd::{
    domain::{
        config::Settings,
        ids::{JobId, TaskId},
        job::{Phase, Progress},
        task::{TaskKind, TaskSpec},
    },
    engine::observer::{Observer, Stop},
    protocol::{MetricPoint, Role},
};

/// libtorch has one random state for the whole process, so what trains takes turns.
static TRAINING: Mutex<()> = Mutex::new(());

pub fn turn() -> MutexGuard<'static, ()> {
    TRAINING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A first run on one thread, of the upload `model.onnx` and nothing beside it.
pub fn task(kind: TaskKind, settings: Settings) -> TaskSpec {
    TaskSpec {
        job: JobId::new(),
        task: TaskId::new(),
        run: 1,
        kind,
        settings,
        device: "cpu".into(),
        threads: 1,
        model: "model.onnx".into(),
        external_data: Vec::new(),
        generators: Vec::new(),
        eval: None,
        student: None,
        run_modules: true,
        extracting_seconds: 1.5,
        resume: None,
        checkpoint_seconds: None,
    }
}

/// Remembers what it is told, and asks a run that trains to leave where `leave` says so.
#[derive(Default)]
pub struct Seen {
    pub metrics: Vec<MetricPoint>,
    pub files: Vec<String>,
    pub checkpoint: Option<PathBuf>,
    pub leave: bool,
    pub training: bool,
}

impl Observer for Seen {
    fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        self.training = progress.step > 0 && matches!(progress.phase, Phase::Extracting | Phase::Distilling);
        Ok(())
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        self.metrics.extend(points);
    }

    fn sample(&mut self, _file: &Path, _generator: u32, _epoch: u32, _count: u64) {}

    fn artifact(&mut self, file: &Path, _role: Role) {
        self.files.push(file.file_name().unwrap().to_string_lossy().into_owned());
    }

    fn checkpoint(&mut self, file: &Path, _step: u64) {
        self.checkpoint = Some(file.to_owned());
    }

    fn leave_asked(&self) -> bool {
        self.leave && self.training
    }
}
