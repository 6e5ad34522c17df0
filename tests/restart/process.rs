//! A `kegd`, its children, and its end.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::common::service::KEGD;

/// What a stop may take, at most. Generous: the machine may be busy with other tests.
const GRACE: &str = "60";

/// A `kegd` that is running, and killed when the test ends.
pub struct Kegd(pub Child);

impl Kegd {
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(KEGD);
        command.args(arguments).args(["--log", "warn", "--data-dir"]).arg(data);
        command.env("KEGD_SHUTDOWN_GRACE", GRACE);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Tells it to end, and waits until it has, which is well before the grace is over.
    pub fn stop(&mut self) {
        let begin = Instant::now();
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success(), "it ends well");
        assert!(begin.elapsed() < Duration::from_secs_f64(GRACE.parse().unwrap()), "{:?}", begin.elapsed());
    }

    /// The processes of its runs.
    pub fn children(&self) -> Vec<i32> {
        let parent = self.0.id();
        let processes =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_run = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let ours =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent);
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            ours && command.contains("run-task")
        };
        processes.filter(is_run).collect()
    }
}

impl Drop for Kegd {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = (self.0.kill(), self.0.wait());
    }
}
