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
}
