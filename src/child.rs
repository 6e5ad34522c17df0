//! The child: one run of one task, in a process of its own. It speaks the protocol, and runs the engine.
//!
//! Why a process: libtorch can abort, be killed for memory, or spoil a CUDA context, and an upload can be hostile. What
//! libraries print on standard output goes into the run's log, so events have a descriptor of their own.

mod commands;
mod devices;
mod failure;
mod reporter;
mod wire;

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

pub use self::devices::probe_devices;
use self::{commands::Commands, reporter::Reporter, wire::Wire};
use crate::{
    domain::{
        problem::{ErrorCode, Problem},
        task::TaskSpec,
    },
    engine::{
        load_cuda,
        observer::{Observer, Stop},
    },
    protocol::{Event, TASK_FILE, VERSION, exit},
    sandbox,
};

/// Runs the task in `directory` with `engine`, and ends the process.
///
/// It leaves by `_exit`: the destructors of libtorch and CUDA may crash or hang when there is nothing left to lose but the
/// exit code that says that all went well.
pub fn main(directory: &Path, engine: impl FnOnce(&TaskSpec, &Path, &mut dyn Observer) -> Result<(), Stop>) -> ! {
    let code = match Wire::inherited() {
        Ok(wire) => {
            if sandbox::on_gpu() {
                // The directories of CUDA's libraries, which load one another later, stay readable because of those in
                // them that are there already.
                load_cuda();
            }
            // Before the task is read, and before there is a second thread.
            match sandbox::enter(directory) {
                Ok(()) => run(wire, directory, engine),
                Err(problem) => fail(&wire, problem),
            }
        }
        Err(why) => {
            eprintln!("kegd run-task: {why}. It is started by a worker, not by hand; `kegd distill` runs a whole job.");
            exit::MISUSED
        }
    };
    // Nothing more can be done for a log that cannot be written.
    let _ = (std::io::stdout().flush(), std::io::stderr().flush());
    // SAFETY: ends the process; no Rust code runs after it.
    unsafe { libc::_exit(code) }
}

fn run(
    wire: Wire,
    directory: &Path,
    engine: impl FnOnce(&TaskSpec, &Path, &mut dyn Observer) -> Result<(), Stop>,
) -> i32 {
    let spec = match read_spec(directory) {
        Ok(spec) => spec,
        Err(problem) => return fail(&wire, problem),
    };
    wire.send(&Event::Hello { version: VERSION, device: spec.device.clone(), pid: std::process::id() });
    let mut reporter = Reporter::new(wire.clone(), Commands::listen(), directory);
    // The reporter is only flushed after a panic, and its state is whole between its methods.
    let ended = catch_unwind(AssertUnwindSafe(|| engine(&spec, directory, &mut reporter)));
    reporter.flush();
    match ended.unwrap_or_else(|panic| Err(Stop::Failed(failure::of_panic(panic.as_ref())))) {
        Err(Stop::Canceled) => exit::STOPPED,
        Err(Stop::Interrupted) => exit::INTERRUPTED,
        Err(Stop::Failed(problem)) => fail(&wire, problem),
        // A file that could not be announced is missing from what is said to be done.
        Ok(()) => match reporter.into_trouble() {
            Some(problem) => fail(&wire, problem),
            None => {
                wire.send(&Event::Done);
                exit::DONE
            }
        },
    }
}

fn fail(wire: &Wire, problem: Problem) -> i32 {
    wire.send(&Event::Failed { problem });
    exit::FAILED
}

fn read_spec(directory: &Path) -> Result<TaskSpec, Problem> {
    let unreadable = |cause: &dyn std::fmt::Display| {
        Problem::new(ErrorCode::Internal, format!("{TASK_FILE} of the run cannot be read: {cause}"))
    };
    let json = std::fs::read(directory.join(TASK_FILE)).map_err(|cause| unreadable(&cause))?;
    serde_json::from_slice(&json).map_err(|cause| unreadable(&cause))
}
