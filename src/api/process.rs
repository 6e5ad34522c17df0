//! What this process itself takes of the machine, from `/proc`.

use std::fs;

use super::exposition::{Kind, Page};

/// Writes the figures that every Prometheus client has, under their usual names. What cannot be read is left out.
pub fn write(page: &mut Page) {
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the server process; children are not in it.";
        page.single("process_resident_memory_bytes", Kind::Gauge, help, bytes as f64);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The one that reads is among them.
        let open = entries.count().saturating_sub(1);
        page.single("process_open_fds", Kind::Gauge, "Open file descriptors of the server process.", open as f64);
    }
    if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        page.single("process_max_fds", Kind::Gauge, "Most file descriptors that it may have open.", soft as f64);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
