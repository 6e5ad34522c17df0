//! The child's end of the event pipe, shared by all its threads.

use std::{
    fs::File,
    io::Write,
    os::fd::{FromRawFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::stat::{SFlag, fstat},
};

use crate::protocol::{EVENTS_VARIABLE, Event, exit, to_line};

#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<Mutex<File>>);

impl Wire {
    /// The pipe that the supervisor left open for us.
    ///
    /// # Errors
    /// There is none; why, in words.
    pub(super) fn inherited() -> Result<Self, String> {
        let text = std::env::var(EVENTS_VARIABLE).map_err(|_| format!("{EVENTS_VARIABLE} is not set"))?;
        let descriptor: RawFd = text.parse().map_err(|_| format!("{EVENTS_VARIABLE} is no number"))?;
        if descriptor <= libc::STDERR_FILENO {
            return Err(format!("{EVENTS_VARIABLE} names a standard stream"));
        }
        // SAFETY: the supervisor opened it for this process alone, and this is the only place that takes it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        let facts = fstat(&file).map_err(|error| format!("{EVENTS_VARIABLE} names no open descriptor: {error}"));
        let pipe = facts.map(|facts| SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO);
        match pipe {
            Ok(true) => {}
            other => {
                // Not ours: whoever owns it will close it.
                std::mem::forget(file);
                return Err(other.err().unwrap_or_else(|| format!("{EVENTS_VARIABLE} names no pipe")));
            }
        }
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| format!("the event pipe: {error}"))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Sends an event. A pipe that nobody reads means that the supervisor is gone, and the run with it.
    pub(super) fn send(&self, event: &Event) {
        let sent = to_line(event).and_then(|line| {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)
        });
        if let Err(error) = sent {
            eprintln!("the supervisor cannot be told: {error}");
            // SAFETY: ends the process; no Rust code runs after it.
            unsafe { libc::_exit(exit::STOPPED) }
        }
    }
}
