//! Tasks (queue rows of a job) and what a child is told to do for one run of a task.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    config::Settings,
    ids::{JobId, TaskId},
};

/// One step of a job's work, done by one child process per attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TaskKind {
    /// Read the upload, check that it is a classifier we can compress, and plan the compression.
    Inspect,
    /// Train generator number `generator` (from 0) against the teacher.
    Extract { generator: u32 },
    /// Compress, distil, evaluate and export student number `target` (from 0): one for each target of the job.
    Distill {
        #[serde(default)]
        target: u32,
    },
}

impl TaskKind {
    /// The stable name in SQL, logs and labels; the generator number is a column of its own.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Extract { .. } => "extract",
            Self::Distill { .. } => "distill",
        }
    }

    /// Which generator it trains, if any.
    pub fn generator(self) -> Option<u32> {
        match self {
            Self::Extract { generator } => Some(generator),
            Self::Inspect | Self::Distill { .. } => None,
        }
    }

    /// Which student it makes, if any.
    pub fn student(self) -> Option<u32> {
        match self {
            Self::Distill { target } => Some(target),
            Self::Inspect | Self::Extract { .. } => None,
        }
    }

    /// What tells it from other tasks of its job, for the names of files: `extract-0`, `distill`, and `distill-ratio-4` in a
    /// sweep.
    pub fn label(self, settings: &Settings) -> String {
        match self {
            Self::Inspect => self.name().to_owned(),
            Self::Extract { generator } => format!("{}-{generator}", self.name()),
            Self::Distill { target } => {
                settings.swept(target).map_or(self.name().to_owned(), |target| format!("{}-{target}", self.name()))
            }
        }
    }
}

/// Where a queue row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

impl TaskStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TaskStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled]
            .into_iter()
            .find(|status| status.name() == text)
            .ok_or_else(|| format!("no such task status: {text}"))
    }
}

/// The right to write for one run of one task: every write of a run carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub job: JobId,
    pub task: TaskId,
    /// The attempt: 1, 2, 3…
    pub run: u32,
}

/// What a child is told: written by the supervisor as `task.json` into the run's directory.
///
/// The files named here lie beside it. The child may read those and write new files there, and nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    pub job: JobId,
    pub task: TaskId,
    /// The attempt: 1, 2, 3…; it fences every write.
    pub run: u32,
    #[serde(flatten)]
    pub kind: TaskKind,
    pub settings: Settings,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads this run may use.
    pub threads: usize,
    /// The uploaded model's file name.
    pub model: String,
    /// Side files of the model (ONNX external data), by the names it knows them under.
    #[serde(default)]
    pub external_data: Vec<String>,
    /// File names of the trained generators, in order; only for `distill`.
    #[serde(default)]
    pub generators: Vec<String>,
    /// The evaluation set's file name. `inspect` reads its array headers, to refuse a wrong shape at once; `distill`
    /// reads the data, after training alone.
    #[serde(default)]
    pub eval: Option<String>,
    /// File name of the uploaded student, where one was; not for `extract`.
    #[serde(default)]
    pub student: Option<String>,
    /// Seconds that training the generators took, summed over them; for the report of `distill`.
    #[serde(default)]
    pub extracting_seconds: f64,
    /// Whether a TorchScript module with operators that have no rule may be run.
    #[serde(default)]
    pub run_modules: bool,
    /// File name of the checkpoint to go on from, if there is one.
    #[serde(default)]
    pub resume: Option<String>,
    /// Least seconds between two checkpoints; 0 writes one at every boundary of the training, and none writes none.
    #[serde(default)]
    pub checkpoint_seconds: Option<f64>,
}

impl TaskSpec {
    /// The settings of what the task makes: of one student where it distils one of several.
    pub fn own_settings(&self) -> Settings {
        self.kind.student().map_or_else(|| self.settings.clone(), |student| self.settings.of_student(student))
    }

    /// The name that the task gives to a file of its own: `student.onnx`, or `student-ratio-4.onnx` in a sweep.
    pub fn own_file(&self, name: &str) -> String {
        self.kind.student().map_or_else(|| name.to_owned(), |student| self.settings.file_of_student(student, name))
    }
}
