//! Landlock: which files a child still reaches. Rules name what is allowed; everything else is refused.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, make_bitflags, path_beneath_rules,
};

/// The newest version whose rights were looked at one by one; an older kernel enforces those that it knows.
const KNOWN: ABI = ABI::V6;

/// In its directory a child makes, changes and removes plain files. No directories, whose removal a mode or a depth could
/// make hard for us; no links, pipes and devices.
const OWN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
});
/// Never `Execute`: libraries are mapped, which needs no right but to read.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | IoctlDev});
const SHARED_MEMORY: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
});

/// What libraries ask about the machine: processors, memory, caches.
const FACTS: [&str; 6] =
    ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/dev/urandom", "/etc/ld.so.cache"];
/// Where distributions and images keep libraries, the GPU driver's among them.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"];
/// What a CUDA driver reads: the bus and its devices, the driver's parameters, and its own configuration.
const CUDA_READ: [&str; 7] =
    ["/proc", "/sys", "/usr/local/cuda", "/usr/local/nvidia", "/usr/share/nvidia", "/etc/nvidia", "/etc/localtime"];

/// A CUDA driver gives up where it cannot name its threads, which is done by a file of each.
const THREADS: &str = "/proc/self/task";
const NAME: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate});

/// Confines this thread, and those that it will start, to what a child needs. Returns Landlock's version.
///
/// # Errors
/// The kernel has no Landlock, or refuses; why, in words.
pub(super) fn confine(directory: &Path, gpu: bool) -> Result<u32, String> {
    // Held open for as long as the process lives, so that the kernel does not forget which files the rules below mean.
    std::mem::forget(["/proc/self", THREADS].map(fs::File::open));
    let ruleset = ruleset(directory, gpu).map_err(|error| error.to_string())?;
    match ruleset.restrict_self().map_err(|error| error.to_string())?.landlock {
        LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u32),
        LandlockStatus::NotEnabled => Err("the kernel has it, but was started without it".to_owned()),
        LandlockStatus::NotImplemented => Err("the kernel has none".to_owned()),
    }
}

fn ruleset(directory: &Path, gpu: bool) -> Result<RulesetCreated, RulesetError> {
    // No port is allowed below, so TCP is refused as a whole; no scope is left open: no signals to processes outside.
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules([directory], OWN))?
        .add_rules(path_beneath_rules(libraries(directory), READ))?
        .add_rules(path_beneath_rules(FACTS, READ))?
        // Its own facts alone; for the backtrace of a panic, with the program's file.
        .add_rules(path_beneath_rules([Path::new("/proc/self")], READ))?
        .add_rules(path_beneath_rules(env::current_exe(), READ))?
        .add_rules(path_beneath_rules(["/dev/null", "/dev/zero"], DEVICE))?;
    if gpu {
        rules = rules
            .add_rules(path_beneath_rules(CUDA_READ, READ))?
            .add_rules(path_beneath_rules([THREADS], NAME))?
            .add_rules(path_beneath_rules(gpu_devices(), DEVICE))?
            .add_rules(path_beneath_rules(["/dev/shm"], SHARED_MEMORY))?;
    }
    Ok(rules)
}

/// Directories of libraries: the system's, those that were named, and those of what is loaded already. None that the
/// child's own directory lies in: there would be its neighbours too.
fn libraries(directory: &Path) -> BTreeSet<PathBuf> {
    let named = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let loaded = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded = loaded.lines().filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])));
    let loaded = loaded.filter(|path| path.to_string_lossy().contains(".so"));
    let mut found: BTreeSet<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    found.extend(env::split_paths(&named).filter(|path| path.is_absolute()));
    found.extend(loaded.filter_map(Path::parent).map(Path::to_owned));
    found.retain(|path| path.canonicalize().is_ok_and(|path| !directory.starts_with(path)));
    found
}

/// The device files of NVIDIA's driver.
fn gpu_devices() -> Vec<PathBuf> {
    let devices = fs::read_dir("/dev").into_iter().flatten().filter_map(Result::ok);
    let named = devices.filter(|device| {
        let name = device.file_name();
        // `dxg` is the GPU of Windows' Linux.
        name.to_string_lossy().starts_with("nvidia") || name == "dxg"
    });
    named.map(|device| device.path()).collect()
}
