//! How a child is ended: asked, then told, then killed.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::process::Process;
use crate::protocol::{Command, to_line};

/// How long each way to end a child is given before the next one.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// After the command: time for the step that is under way.
    pub command: Duration,
    /// After SIGTERM.
    pub terminate: Duration,
}

impl Grace {
    /// Both within `whole`, with something left for the kill and for recording how the run ended.
    pub fn within(whole: Duration) -> Self {
        Self { command: whole * 7 / 10, terminate: whole / 10 }
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self { command: Duration::from_secs(5), terminate: Duration::from_secs(2) }
    }
}

/// Where on the way down a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    Commanded,
    Terminated,
    Killed,
}

/// A child that is being ended.
#[derive(Debug)]
pub(super) struct Ladder {
    rung: Rung,
    next: Instant,
    grace: Grace,
}

impl Ladder {
    /// Begins with `command`.
    pub(super) async fn ask(process: &mut Process, command: Command, grace: Grace) -> Self {
        let next = Instant::now() + grace.command;
        if let (Some(commands), Ok(line)) = (&mut process.commands, to_line(&command)) {
            // A child that does not read its commands has the other rungs before it. One line always fits the pipe.
            let _ = tokio::time::timeout(grace.command, commands.write_all(&line)).await;
        }
        Self { rung: Rung::Commanded, next, grace }
    }

    /// Begins at the end: for a child that must not write one byte more.
    pub(super) fn kill(process: &Process) -> Self {
        process.signal(Signal::SIGKILL);
        Self { rung: Rung::Killed, next: Instant::now(), grace: Grace::default() }
    }

    /// Waits until the time of this rung is up; for ever on the last one.
    pub(super) async fn patience(&self) {
        match self.rung {
            Rung::Killed => std::future::pending().await,
            Rung::Commanded | Rung::Terminated => tokio::time::sleep_until(self.next).await,
        }
    }

    /// Takes the next rung.
    pub(super) fn descend(&mut self, process: &Process) {
        let (signal, rung) = match self.rung {
            Rung::Commanded => (Signal::SIGTERM, Rung::Terminated),
            Rung::Terminated | Rung::Killed => (Signal::SIGKILL, Rung::Killed),
        };
        process.signal(signal);
        (self.rung, self.next) = (rung, Instant::now() + self.grace.terminate);
    }
}
