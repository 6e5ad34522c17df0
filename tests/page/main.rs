//! The page in a real headless Chromium against the real binary: what a person does with a mouse, a file and patience.

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod form;
mod jobs;
mod key;
mod looks;
mod page;
mod process;
mod refusals;
mod server;
mod student;
mod sweep;

use std::time::Duration;

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);
