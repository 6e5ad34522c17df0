//! One measured process: how long it took, and the most memory that it held.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

/// Between two looks at the child.
const PAUSE: Duration = Duration::from_millis(20);

/// Text of a failure that is kept.
const WORDS: usize = 2000;

/// How a child ended.
pub struct Ended {
    pub success: bool,
    /// What ended it, where it did not end by itself.
    pub signal: Option<i32>,
    /// Wall time.
    pub seconds: f64,
    /// Most memory resident at once, the kernel's count for this process.
    pub peak_memory_bytes: u64,
}

/// Runs `command` with its output in the file `log`, and measures it. Once `stop` is set, the child is told to end.
///
/// # Errors
/// The child cannot be started.
pub fn run(command: &mut Command, log: &Path, stop: &AtomicBool) -> anyhow::Result<Ended> {
    let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let begin = Instant::now();
    let child = with_parent(command).spawn().context("kegd cannot be started")?;
    let pid = child.id() as libc::pid_t;
    let mut told = false;
    loop {
        if let Some((status, peak_memory_bytes)) = ended(pid)? {
            let success = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
            return Ok(Ended { success, signal, seconds: begin.elapsed().as_secs_f64(), peak_memory_bytes });
        }
        if stop.load(Ordering::Relaxed) && !told {
            // Ctrl-C has reached it already, SIGTERM has not.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The same command, whose process ends with the one that starts it: a cell must not go on without its table.
pub fn with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is a plain system call, allowed between fork and exec.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGTERM)?)) }
}

/// Status and peak memory of a child that has ended; `wait4` alone gives the usage of one child.
fn ended(pid: libc::pid_t) -> std::io::Result<Option<(i32, u64)>> {
    let mut status = 0;
    // SAFETY: all zeros is a valid `rusage`, and both pointers are to values that outlive the call.
    let (found, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    match found {
        0 => Ok(None),
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(Some((status, u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024))),
    }
}

/// Why it failed: the signal, and its own last words.
pub fn why(ended: &Ended, log: &Path) -> String {
    let Some(signal) = ended.signal else { return last_words(log) };
    let memory = if signal == libc::SIGKILL { ", most likely for memory" } else { "" };
    format!("killed by signal {signal}{memory}: {}", last_words(log))
}

fn last_words(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let told = lines.iter().rposition(|line| line.starts_with("kegd: "));
    let from = told.unwrap_or(lines.len().saturating_sub(10));
    let words = lines[from..].join("\n");
    if words.is_empty() { "it ended without a word".to_owned() } else { words.chars().take(WORDS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, stop: bool) -> (Ended, String) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ended = run(Command::new("sh").args(["-c", script]), &log, &AtomicBool::new(stop)).unwrap();
        (ended, last_words(&log))
    }

    #[test]
    fn memory_is_that_of_the_child_alone() {
        let (large, _) = sh("exec dd if=/dev/zero of=/dev/null bs=300M count=1", false);
        let (small, _) = sh("exec dd if=/dev/zero of=/dev/null bs=1M count=1", false);
        assert!(large.success && small.success);
        assert!(large.peak_memory_bytes >= 300 << 20, "{}", large.peak_memory_bytes);
        assert!(small.peak_memory_bytes > 0 && small.peak_memory_bytes < 250 << 20, "{}", small.peak_memory_bytes);
    }

    #[test]
    fn a_failure_is_told_in_its_own_words() {
        let (ended, words) = sh("echo progress; echo 'kegd: no such layer'; echo 'hint: look'; exit 1", false);
        assert!(!ended.success);
        assert_eq!(words, "kegd: no such layer\nhint: look");
        assert_eq!(sh("exit 3", false).1, "it ended without a word");
    }

    #[test]
    fn a_signal_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ended = run(Command::new("sh").args(["-c", "kill -9 $$"]), &log, &AtomicBool::new(false)).unwrap();
        assert!(why(&ended, &log).starts_with("killed by signal 9, most likely for memory"), "{}", why(&ended, &log));
    }

    #[test]
    fn a_stop_reaches_the_child() {
        let (ended, _) = sh("exec sleep 600", true);
        assert!(!ended.success);
    }
}
