//! How much memory there is: the machine's, or less in a control group.

use std::{fs, path::Path};

/// Of all memory, what children get together: the rest is for the server, the page cache and whatever else runs.
const FOR_CHILDREN: (u64, u64) = (4, 5);

/// What one of `at_once` children may use, in bytes, where nobody said anything.
pub(super) fn share(at_once: usize) -> u64 {
    let (of, parts) = FOR_CHILDREN;
    available() / parts * of / at_once.max(1) as u64
}

/// Memory that this process may count on, in bytes.
fn available() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    // A machine that tells nothing is no reason to start nothing: then the limit is one that every machine has.
    machine.into_iter().chain(group).min().unwrap_or(2 << 30)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The tightest limit of this process's control groups (version 2 or 1) and those above them. `groups` is
/// `/proc/self/cgroup`; in a container its paths may be those of the host, so the root itself is looked at too.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        // `number:controllers:path`
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|path| limit(&base.join(path).join(file))).min()
    });
    limits.min()
}

/// A limit's file: a number of bytes, or `max`.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("memory.max", "9000\n");
        write("system.slice/memory.max", "7000\n");
        write("system.slice/kegd.service/memory.max", "max\n");
        write("memory/box/memory.limit_in_bytes", "500\n");
        let limit = |groups: &str| group_limit(root.path(), groups);
        assert_eq!(limit("0::/system.slice/kegd.service\n"), Some(7000), "a slice limits what lies in it");
        assert_eq!(limit("0::/not/mounted/here\n"), Some(9000), "the path of a host means the root of the container");
        assert_eq!(limit("4:memory:/box\n3:cpu,cpuacct:/box\n"), Some(500));
        assert_eq!(limit("3:cpu:/box\n"), None);
        assert_eq!(limit(""), None);
    }

    #[test]
    fn memory_is_shared() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16 << 10));
        assert!(available() > 1 << 28, "a machine that runs this has more");
        assert_eq!(share(4), available() / 5 * 4 / 4);
    }
}
