//! The child's own half: what it gives up when it has started, for good.

use std::{env, path::Path};

use clap::ValueEnum;

use super::{SandboxMode, Support, calls, files, launch, rights};
use crate::domain::problem::{ErrorCode, Problem};

/// Whether this process was started for a GPU.
pub fn on_gpu() -> bool {
    env::var(launch::DEVICE_VARIABLE).is_ok_and(|device| device.starts_with("cuda"))
}

/// Isolates this process: it keeps `directory`, its libraries, and the device that it was started for. Call it before any
/// thread is started (Landlock holds for the calling thread and those that come after it) and before a byte of an upload
/// is read. What came of it goes into the log.
///
/// # Errors
/// `require` was asked for, and something cannot be enforced.
pub fn enter(directory: &Path) -> Result<(), Problem> {
    let mode = env::var(launch::MODE_VARIABLE).ok();
    let mode = mode.and_then(|mode| SandboxMode::from_str(&mode, true).ok()).unwrap_or_default();
    if mode == SandboxMode::Off {
        eprintln!("[kegd] not isolated: KEGD_SANDBOX is off");
        return Ok(());
    }
    let gpu = on_gpu();
    let mut troubles = Vec::new();
    if let Err(error) = rights::drop_all() {
        troubles.push(format!("capabilities: {error}"));
    }
    let landlock = files::confine(directory, gpu).map_err(|why| troubles.push(format!("Landlock: {why}"))).ok();
    // Last: it refuses what the others need.
    let seccomp = calls::refuse(gpu).map_err(|why| troubles.push(format!("seccomp: {why}"))).is_ok();
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        eprintln!("[kegd] isolated late: of {threads} threads, Landlock holds for one and those that it starts");
    }
    eprintln!("[kegd] isolated by {}", Support { landlock, seccomp });
    for trouble in &troubles {
        eprintln!("[kegd] not isolated by {trouble}");
    }
    if mode == SandboxMode::Require && !troubles.is_empty() {
        let detail = format!("the run cannot be isolated: {}", troubles.join("; "));
        return Err(Problem::new(ErrorCode::Unavailable, detail)
            .hint("Whoever runs the service has asked for that (--sandbox require), on a kernel that cannot do it."));
    }
    Ok(())
}
