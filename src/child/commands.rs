//! Commands from the supervisor, read on a thread of their own: the engine is busy for minutes.

use std::{
    io::BufRead,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::protocol::{Command, from_line};

/// Whether the run shall end.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands(Arc<AtomicBool>);

impl Commands {
    /// Reads standard input until its end, which is a command too: nobody is left to report to.
    pub(super) fn listen() -> Self {
        let commands = Self::default();
        let stop = commands.clone();
        thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match from_line::<Command>(&line) {
                    // Without checkpoints, to exit is to stop: the run starts again from nothing.
                    Ok(Command::Cancel | Command::CheckpointAndExit) => break,
                    Err(error) => eprintln!("a command that is not understood: {error}"),
                }
            }
            stop.0.store(true, Ordering::Relaxed);
        });
        commands
    }

    pub(super) fn stop_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
