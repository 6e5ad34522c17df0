//! What a child uses, looked at from outside: some of it has no limit that the kernel keeps, and others count too little.

use std::{fs, path::Path};

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
}

/// What a look at a child showed.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Bytes of memory in use.
    pub memory: u64,
    pub excess: Option<Excess>,
}

impl Terms {
    /// Looks at the process `pid` and its directory. Meant to be called every second or so: it may be too late, but not by much.
    pub fn look(&self, pid: u32, directory: &Path) -> Look {
        // A process that has just ended tells nothing more, and needs no limit.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let used = memory(&status);
        let threads = field(&status, "Threads:");
        let (files, bytes) = extent(directory);
        let limits = [
            (used > self.memory, Excess::Memory { used, limit: self.memory }),
            (bytes > self.disk, Excess::Disk { used: bytes, limit: self.disk }),
            (files > MOST_FILES, Excess::Files(files)),
            (threads > MOST_THREADS, Excess::Threads(threads)),
        ];
        let excess = limits.into_iter().find_map(|(over, excess)| over.then_some(excess));
        Look { memory: used, excess }
    }
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
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let sizes = entries.take(MOST_FILES as usize + 1).map(|entry| {
        // What it takes on the disk: a file of holes takes nothing.
        entry.metadata().map_or(0, |facts| facts.blocks() * 512)
    });
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}
