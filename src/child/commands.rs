//! Commands from the supervisor, read on a thread of their own: the engine is busy for minutes.

use std::{
    io::BufRead,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::protocol::{Command, from_line};

/// The run shall end at once. There is one run in a process, and a signal handler reaches nothing but statics.
static STOP: AtomicBool = AtomicBool::new(false);
/// The run shall leave at its next checkpoint.
static LEAVE: AtomicBool = AtomicBool::new(false);

/// What the run was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commands(());

impl Commands {
    /// Reads standard input until its end, which is a command too: nobody is left to report to.
    pub(super) fn listen() -> Self {
        // A service manager that ends a service may send SIGTERM to all of its processes: dying of it would lose what lies
        // behind the last checkpoint. The supervisor has SIGKILL for a run that takes too long.
        // SAFETY: the handler stores into an atomic, which a signal handler may.
        if let Err(error) = unsafe { signal(Signal::SIGTERM, SigHandler::Handler(leave)) } {
            eprintln!("SIGTERM will end this run without a checkpoint: {error}");
        }
        thread::spawn(|| {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match from_line::<Command>(&line) {
                    Ok(Command::Cancel) => break,
                    Ok(Command::CheckpointAndExit) => LEAVE.store(true, Ordering::Relaxed),
                    Err(error) => eprintln!("a command that is not understood: {error}"),
                }
            }
            STOP.store(true, Ordering::Relaxed);
        });
        Self(())
    }

    pub(super) fn stop_asked(self) -> bool {
        STOP.load(Ordering::Relaxed)
    }

    pub(super) fn leave_asked(self) -> bool {
        LEAVE.load(Ordering::Relaxed)
    }
}

extern "C" fn leave(_signal: libc::c_int) {
    LEAVE.store(true, Ordering::Relaxed);
}
