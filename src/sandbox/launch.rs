//! How children are started: what they get, and the limits that they cannot undo.

use std::{
    io,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::{Pid, getppid},
};
use tokio::process::Command;

use super::{SandboxMode, memory};
use crate::config::ChildConfig;

/// The environment variable that tells a child its [`SandboxMode`]; the same that people set.
pub(super) const MODE_VARIABLE: &str = "KEGD_SANDBOX";
/// The environment variable that tells a child which device it is for, before it has read its task.
pub(super) const DEVICE_VARIABLE: &str = "KEGD_CHILD_DEVICE";

/// Open files: a model with side files has some dozens, a CUDA context some hundreds.
const MOST_FILES: u64 = 4096;

/// What every child has to keep to.
#[derive(Clone, Debug)]
pub struct Terms {
    pub sandbox: SandboxMode,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes in its directory; one file alone can be no larger either.
    pub disk: u64,
    /// Whether it may run modules that are code.
    pub run_modules: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { sandbox: SandboxMode::Auto, memory: memory::share(1), disk: 16 << 30, run_modules: false }
    }
}

/// Where a child works, and with what.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its directory: the only one that it may write.
    pub directory: PathBuf,
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub threads: usize,
    /// The cores that are its own, where it has some.
    pub cores: Option<Vec<usize>>,
    /// A descriptor, beside its standard streams, that stays open across exec.
    pub keeps: Option<RawFd>,
}

impl Terms {
    /// As configured, for a service that runs `at_once` children.
    pub fn new(config: &ChildConfig, at_once: usize) -> Self {
        let memory = config.child_memory.map_or_else(|| memory::share(at_once), |size| size.0);
        let run_modules = config.run_modules.unwrap_or(false);
        Self { sandbox: config.sandbox, memory, disk: config.child_disk.0, run_modules }
    }

    /// `program what --dir DIR`, in its directory and its own process group, with nothing of ours: no environment, no open
    /// files. Start it with a [`super::Spawner`].
    ///
    /// # Errors
    /// This process cannot find out its own limits, or there is no such core.
    pub fn command(&self, program: &Path, what: &str, place: &Place) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.arg(what).arg("--dir").arg(&place.directory).current_dir(&place.directory);
        command.process_group(0).kill_on_drop(true);
        environment(&mut command, place);
        command.env(MODE_VARIABLE, self.sandbox.name());
        let limits = self.limits(&place.device)?;
        prepare(&mut command, limits, place)?;
        Ok(command)
    }

    fn limits(&self, device: &str) -> io::Result<Vec<(Resource, u64)>> {
        let mut limits = vec![
            // A core dump of a GPU process can fill the disk.
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_FSIZE, self.disk),
            (Resource::RLIMIT_NOFILE, MOST_FILES),
        ];
        // What is allocated, touched or not. The address space cannot be limited: libraries and CUDA reserve many times what
        // they use. A CUDA driver maps much on its own account too, so there only what is in use is watched, from outside.
        if !device.starts_with("cuda") {
            limits.push((Resource::RLIMIT_DATA, self.memory));
        }
        // A limit can be lowered by anybody and raised by nobody.
        let lowered = |(resource, limit): (Resource, u64)| Ok((resource, limit.min(getrlimit(resource)?.1)));
        limits.into_iter().map(lowered).collect()
    }
}

/// What libtorch needs, and nothing that the service knows.
fn environment(command: &mut Command, place: &Place) {
    const PASSED_ON: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"];
    command.env_clear();
    command.envs(PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let threads = place.threads.to_string();
    command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
    // Threads that wait for work sleep. Spinning ones take the core from whoever has some.
    command.env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0");
    command.env("TMPDIR", &place.directory).env("RUST_BACKTRACE", "1");
    command.env(DEVICE_VARIABLE, &place.device);
    // Else it would look for a home to keep compiled kernels in.
    command.env("CUDA_CACHE_PATH", &place.directory);
}

/// What the new process does before it becomes the program.
fn prepare(command: &mut Command, limits: Vec<(Resource, u64)>, place: &Place) -> io::Result<()> {
    let mut own = None;
    if let Some(cores) = &place.cores {
        let set: &mut CpuSet = own.insert(CpuSet::new());
        for &core in cores {
            set.set(core)?;
        }
    }
    let (parent, keeps) = (Pid::this(), place.keeps);
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            // First: exec of a program with privileges of its own would forget what the next line asks for.
            prctl::set_no_new_privs()?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above; nobody would tell us.
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if let Some(descriptor) = keeps
                && libc::fcntl(descriptor, libc::F_SETFD, 0) == -1
            {
                return Err(io::Error::last_os_error());
            }
            for &(resource, limit) in &limits {
                setrlimit(resource, limit, limit)?;
            }
            // A file that grows too large is an error to be told, not a death.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            volunteer();
            if let Some(set) = &own {
                sched_setaffinity(Pid::from_raw(0), set)?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// When memory runs out, the kernel takes this process first, and not the server. Best effort: `/proc` may be missing.
fn volunteer() {
    // SAFETY: the path is a constant with its NUL, and the descriptor is closed where it was opened.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, c"1000".as_ptr().cast(), 4);
            libc::close(file);
        }
    }
}
