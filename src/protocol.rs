//! What supervisor and child say to each other: JSON lines, commands one way and events the other.

pub mod exit;
mod framing;

use serde::{Deserialize, Serialize};

pub use self::framing::{MAX_LINE, from_line, to_line};
pub use crate::domain::{artifact::Role, metric::MetricPoint};
use crate::domain::{job::Progress, problem::Problem};

/// Bumped when a message changes its meaning; a child of another version is not used.
pub const VERSION: u32 = 2;

/// The environment variable that names the child's descriptor for events.
pub const EVENTS_VARIABLE: &str = "KEGD_EVENTS_FD";

/// What a child is to do, as a file in the run's directory: a `TaskSpec`.
pub const TASK_FILE: &str = "task.json";

/// Supervisor to child, on the child's standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Command {
    /// Stop at the next step.
    Cancel,
    /// Write a checkpoint at the next boundary of the training and exit; where no boundary lies ahead, exit at the next step.
    CheckpointAndExit,
}

/// A file in the run's directory, by name (never a path).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRef {
    pub name: String,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// Child to supervisor, on a descriptor of its own: libtorch prints to standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Event {
    /// First line.
    Hello {
        version: u32,
        device: String,
        pid: u32,
    },
    /// Nothing new, but alive.
    Alive,
    Progress(Progress),
    Metrics {
        points: Vec<MetricPoint>,
    },
    /// A file of generated inputs (`.npz`: `x` (N, …) float32 as the teacher takes it, `y` (N) int64).
    Sample {
        file: FileRef,
        generator: u32,
        epoch: u32,
        count: u64,
    },
    /// A complete state to go on from, `step` steps into the task. Everything that was measured and made before comes before
    /// it.
    Checkpoint {
        file: FileRef,
        step: u64,
    },
    Artifact {
        file: FileRef,
        role: Role,
    },
    /// Last line of a run that found a planned failure.
    Failed {
        problem: Problem,
    },
    /// Last line of a run that succeeded.
    Done,
}
