//! What a child uses, looked at from outside: some of it has no limit that the kernel keeps, and others count too little.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Terms;

/// Files that a child may have in its directory: ours leave some dozens.
const MOST_FILES: u64 = 10_000;
/// Threads that a child may have: a few for each core, and some of a driver's.
const MOST_THREADS: u64 = 4_096;

/// More than a child may have, with how much it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Bytes.
    Memory {
        used: u64,
        limit: u64,
    },
    /// Bytes.
    Disk {
        used: u64,
        limit: u64,
    },
    Files(u64),
    Threads(u64),
    /// It lives, and what it has open cannot be looked at.
    Hidden,
}

/// What a look at a child showed.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Bytes of memory in use.
    pub memory: u64,
    pub excess: Option<Excess>,
}

impl Terms {
    /// Looks at the process `pid`, its directory, and the files that it has open. Meant to be called every second or so: it
    /// may be too late, but not by much.
    pub fn look(&self, pid: u32, directory: &Path) -> Look {
        // A process that has just ended tells nothing more, and needs no limit.
        let living = living(pid);
        let status = living.as_ref().map_or("", |(_, status)| status.as_str());
        let used = memory(status);
        let threads = field(status, "Threads:");
        let (files, named) = extent(directory);
        let nameless = living.as_ref().map_or(Some(0), |(thread, _)| nameless(thread));
        let bytes = named + nameless.unwrap_or(0);
        let limits = [
            (used > self.memory, Excess::Memory { used, limit: self.memory }),
            (bytes > self.disk, Excess::Disk { used: bytes, limit: self.disk }),
            (files > MOST_FILES, Excess::Files(files)),
            (threads > MOST_THREADS, Excess::Threads(threads)),
            (nameless.is_none(), Excess::Hidden),
        ];
        let excess = limits.into_iter().find_map(|(over, excess)| over.then_some(excess));
        Look { memory: used, excess }
    }
}

/// A thread of a process that has not ended, and its status. The first one may have ended alone, and its entry then says
/// nothing of what the others use.
fn living(pid: u32) -> Option<(PathBuf, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    threads.map(|thread| thread.path()).find_map(|thread| status(&thread).map(|status| (thread, status)))
}

/// What the kernel says of a thread that has not ended: one that has, has given up its memory first.
fn status(thread: &Path) -> Option<String> {
    fs::read_to_string(thread.join("status")).ok().filter(|status| status.contains("\nVmRSS:"))
}

/// Bytes of memory that are a process's own: without the files that it has mapped, which can be read again.
fn memory(status: &str) -> u64 {
    ["RssAnon:", "RssShmem:", "VmSwap:"].iter().map(|name| field(status, name) << 10).sum()
}

/// A number of `/proc/PID/status`, where sizes are in kB, or of another file of such lines; 0 where there is none.
pub fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Files and bytes of a directory; counted no further than to see that there are too many.
fn extent(directory: &Path) -> (u64, u64) {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let sizes = entries.take(MOST_FILES as usize + 1).map(|entry| entry.metadata().map_or(0, |facts| size(&facts)));
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}

/// Bytes of the files without a name that a thread has open: a file that was removed takes its room for as long as somebody
/// has it open. All threads of a child have the same files open (`calls.rs`). None where it lives and does not let us look.
fn nameless(thread: &Path) -> Option<u64> {
    let open = match fs::read_dir(thread.join("fd")) {
        Ok(open) => open.filter_map(Result::ok),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && status(thread).is_some() => return None,
        Err(_) => return Some(0),
    };
    let facts = open.filter_map(|file| fs::metadata(file.path()).ok());
    let nameless = facts.filter(|facts| facts.is_file() && facts.nlink() == 0);
    // Each once, however often it is open.
    let sizes: HashMap<_, _> = nameless.map(|facts| ((facts.dev(), facts.ino()), size(&facts))).collect();
    Some(sizes.into_values().sum())
}

/// What a file takes on the disk: one of holes takes nothing.
fn size(facts: &fs::Metadata) -> u64 {
    facts.blocks() * 512
}
