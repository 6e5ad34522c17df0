//! Programs that run beside a test, and what they say when they are ready.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::POLL;

/// A process that is told to end, and waited for, when the test is over, however it ends.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, because both programs end their own children on it; SIGKILL would leave those behind.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first thing that `find` finds in a line of `stdout`; the rest is read and dropped, so that nothing blocks.
pub fn announced(stdout: ChildStdout, find: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some(found) = find(&line) {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(found);
        }
    }
    bail!("the program ended without saying where it listens")
}
