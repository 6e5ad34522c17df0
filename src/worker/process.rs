//! A child process: how it is started, and its three pipes.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::Stdio,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{Signal, killpg},
    },
    unistd::{Pid, getppid},
};
use tokio::{
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
};

use super::{Shop, channel::Events, directory::RunDirectory, slot::SlotPlan};
use crate::protocol::EVENTS_VARIABLE;

/// A started child.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    pub(super) commands: Option<ChildStdin>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Process {
    /// Starts the child of a run. It has its inputs, a pipe for events, and nothing else of ours: no environment, no open
    /// files, and its own process group, so that whatever it starts can be ended with it.
    pub(super) async fn start(shop: &Shop, plan: &SlotPlan, directory: &RunDirectory) -> io::Result<(Self, Events)> {
        let (events, sender) = io::pipe()?;
        let sender = OwnedFd::from(sender);
        let log = File::create(directory.log())?;
        let mut command = Command::new(&shop.config.program);
        command.arg("run-task").arg("--dir").arg(directory.path()).current_dir(directory.path());
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        command.process_group(0).kill_on_drop(true);
        environment(&mut command, plan, directory);
        command.env(EVENTS_VARIABLE, sender.as_raw_fd().to_string());
        prepare(&mut command, sender.as_raw_fd(), plan.cores.as_deref())?;
        let mut child = shop.spawner.spawn(command).await?;
        // Ours would keep the pipe open when the child is gone.
        drop(sender);
        let id = child.id().ok_or_else(|| io::Error::other("it ended before it began"))?;
        let group = Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?);
        let commands = child.stdin.take();
        let events = Events::new(pipe::Receiver::from_owned_fd(OwnedFd::from(events))?);
        Ok((Self { child, group, commands }, events))
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

/// What libtorch needs, and nothing that the service knows.
fn environment(command: &mut Command, plan: &SlotPlan, directory: &RunDirectory) {
    const PASSED_ON: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"];
    command.env_clear();
    command.envs(PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let threads = plan.threads.to_string();
    command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
    // Threads that wait for work sleep. Spinning ones take the core from whoever has some.
    command.env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0");
    command.env("TMPDIR", directory.path()).env("RUST_BACKTRACE", "1");
}

/// What the new process does before it becomes the program.
fn prepare(command: &mut Command, events: i32, cores: Option<&[usize]>) -> io::Result<()> {
    let mut own = None;
    if let Some(cores) = cores {
        let set: &mut CpuSet = own.insert(CpuSet::new());
        for &core in cores {
            set.set(core)?;
        }
    }
    let parent = Pid::this();
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above; nobody would tell us.
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // The event pipe alone stays open across exec.
            if libc::fcntl(events, libc::F_SETFD, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            // A core dump of a GPU process can fill the disk.
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            if let Some(set) = &own {
                sched_setaffinity(Pid::from_raw(0), set)?;
            }
            Ok(())
        });
    }
    Ok(())
}
