//! How the engine tells what it does, whoever listens: a supervisor through a pipe, or a terminal.

use std::path::Path;

use crate::{
    domain::{job::Progress, problem::Problem},
    protocol::{MetricPoint, Role},
};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("canceled")]
    Canceled,
    /// It was asked to leave, and has: another run goes on from the newest checkpoint.
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Failed(#[from] Problem),
}

/// The listener of a run. Files are already written when they are named here, under the run's directory.
pub trait Observer {
    /// Reports where the run stands, and returns `Err(Stop::Canceled)` if it shall end.
    ///
    /// # Errors
    /// [`Stop::Canceled`] after a `cancel`.
    fn progress(&mut self, progress: Progress) -> Result<(), Stop>;
    fn metrics(&mut self, points: Vec<MetricPoint>);
    fn sample(&mut self, file: &Path, generator: u32, epoch: u32, count: u64);
    fn artifact(&mut self, file: &Path, role: Role);

    /// `file` holds a complete state to go on from, `step` steps into the task. It comes after everything that was measured
    /// and made before it. For a listener that has no use for checkpoints: nothing.
    fn checkpoint(&mut self, _file: &Path, _step: u64) {}

    /// Whether the run shall leave as soon as little is lost by it: after its next checkpoint, or at once where none lies
    /// ahead. For a listener that has no use for checkpoints: never.
    fn leave_asked(&self) -> bool {
        false
    }
}

/// Leaves where no checkpoint lies ahead.
///
/// # Errors
/// [`Stop::Interrupted`] if the run was asked to leave.
pub fn leave_if_asked(observer: &dyn Observer) -> Result<(), Stop> {
    if observer.leave_asked() { Err(Stop::Interrupted) } else { Ok(()) }
}
