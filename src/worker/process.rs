//! A child process: how it is started, and its pipes: commands, events, and what it prints.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    net::unix::pipe,
    process::{Child, ChildStdin},
};

use super::{Shop, channel::Events, directory::RunDirectory, log::RunLog, slot::SlotPlan};
use crate::{protocol::EVENTS_VARIABLE, sandbox::Place};

/// A started child.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    pub(super) commands: Option<ChildStdin>,
    pub(super) log: RunLog,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Process {
    /// Starts the child of a run. It has its inputs, its pipes, and nothing else of ours; whatever it starts is in its
    /// process group, and can be ended with it.
    pub(super) async fn start(shop: &Shop, plan: &SlotPlan, directory: &RunDirectory) -> io::Result<(Self, Events)> {
        let ((events, sender), (printed, print)) = (io::pipe()?, io::pipe()?);
        let place = Place {
            directory: directory.path().to_owned(),
            device: plan.device.clone(),
            threads: plan.threads,
            cores: plan.cores.clone(),
            keeps: Some(sender.as_raw_fd()),
        };
        let mut command = shop.config.terms.command(&shop.config.program, "run-task", &place)?;
        command.env(EVENTS_VARIABLE, sender.as_raw_fd().to_string());
        command.stdin(Stdio::piped()).stdout(print.try_clone()?).stderr(print);
        // With the command, our ends of what it prints into go too: they would keep the pipe open when the child is gone.
        let mut child = shop.spawner.spawn(command).await?;
        drop(sender);
        let id = child.id().ok_or_else(|| io::Error::other("it ended before it began"))?;
        let group = Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?);
        let commands = child.stdin.take();
        let events = Events::new(pipe::Receiver::from_owned_fd(OwnedFd::from(events))?);
        let log = RunLog::listen(pipe::Receiver::from_owned_fd(OwnedFd::from(printed))?);
        Ok((Self { child, group, commands, log }, events))
    }

    /// Its number, also when it has ended.
    pub(super) fn id(&self) -> u32 {
        self.group.as_raw().unsigned_abs()
    }

    /// Waits for its end. May be given up and called again.
    pub(super) async fn ended(&mut self) -> io::Result<Exit> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        })
    }

    /// Sends a signal to the child and everything that it started.
    pub(super) fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            // Nobody is left.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => tracing::warn!(group = %self.group, %signal, %error, "a child cannot be signalled"),
        }
    }
}
