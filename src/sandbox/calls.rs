//! seccomp: which system calls a child may no longer make.
//!
//! A list of what is refused, not of what is allowed: libtorch, OpenMP and CUDA drivers of other versions make calls that
//! nobody here has seen, and a run must not fail for that. What is refused gets an error, so that a library which merely
//! tries goes on. Calls newer than this list do not exist for a child.

use seccompiler::{
    SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads, sock_filter,
};

/// Arguments that are refused: any of these, each of which is all of its conditions.
type Rules = Vec<Vec<Is>>;

/// One argument of a call, by its index.
#[derive(Clone, Copy)]
enum Is {
    Not(u8, u32),
    Masked { argument: u8, mask: u32, value: u32 },
}

/// The flag of `close_range` that gives a thread a table of open files of its own.
const OWN_FILES: i32 = libc::CLOSE_RANGE_UNSHARE as i32;

/// The last call that was looked at: `mseal`, of Linux 6.10. All architectures number alike since 424.
const NEWEST: u32 = 462;

/// Gives up calls for all threads of this process.
///
/// # Errors
/// The kernel refuses; why, in words.
#[cfg(target_arch = "x86_64")]
pub(super) fn refuse(gpu: bool) -> Result<(), String> {
    let own = std::process::id();
    let mut refused: Vec<(i64, Rules)> = x86_64::ALWAYS.iter().map(|&call| (call, Vec::new())).collect();
    refused.extend(processes(own));
    refused.extend(sockets(gpu));
    if !gpu {
        // Memory that no limit counts.
        refused.push((libc::SYS_memfd_create, Vec::new()));
    }
    // Under the oldest Landlock, a file that may be read could be emptied as it is opened.
    let emptied = |argument| vec![vec![masked(argument, libc::O_TRUNC | libc::O_ACCMODE, libc::O_TRUNC)]];
    refused.extend([(libc::SYS_open, emptied(1)), (libc::SYS_openat, emptied(2))]);
    install(refused, libc::EPERM)?;
    // Who hears that these do not exist falls back to calls whose arguments a filter can read.
    install([libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new())).into(), libc::ENOSYS)?;
    apply_filter_all_threads(&newer_ones()).map_err(|error| error.to_string())
}

/// # Errors
/// Always: calls are known by number, and the numbers are another architecture's.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn refuse(_gpu: bool) -> Result<(), String> {
    Err("there is no list of calls for this architecture".to_owned())
}

/// No process comes from a child, threads apart, and it reaches no other one: nothing can be left behind, and neither a
/// neighbour nor the server can be signalled, slowed down or robbed of its limits.
fn processes(own: u32) -> Vec<(i64, Rules)> {
    let others = |argument| vec![vec![Is::Not(argument, own)]];
    let neither_0_nor_own = vec![vec![Is::Not(0, 0), Is::Not(0, own)]];
    vec![
        // All threads have the same files open, which are counted where the first one has them.
        (libc::SYS_clone, vec![vec![masked(0, libc::CLONE_THREAD, 0)], vec![masked(0, libc::CLONE_FILES, 0)]]),
        (libc::SYS_close_range, vec![vec![masked(2, OWN_FILES, OWN_FILES)]]),
        (libc::SYS_kill, others(0)),
        (libc::SYS_tgkill, others(0)),
        (libc::SYS_rt_sigqueueinfo, others(0)),
        (libc::SYS_rt_tgsigqueueinfo, others(0)),
        (libc::SYS_prlimit64, neither_0_nor_own.clone()),
        (libc::SYS_sched_setaffinity, neither_0_nor_own),
        // It dies with its parent, and stays where its parent finds it and sees what it uses.
        (libc::SYS_prctl, [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE].map(|what| vec![masked(0, -1, what)]).into()),
    ]
}

/// No network. A CUDA driver offers a socket under its process's number to debuggers, and may; nobody connects to anything,
/// and there are no datagrams, which reach a neighbour's socket without that.
fn sockets(gpu: bool) -> Vec<(i64, Rules)> {
    if !gpu {
        return vec![(libc::SYS_socket, Vec::new()), (libc::SYS_socketpair, Vec::new())];
    }
    const KIND: i32 = 0xf;
    let local = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET];
    let other_kinds = (0..=KIND).filter(|kind| !local.contains(kind)).map(|kind| vec![masked(1, KIND, kind)]);
    let not_local = vec![Is::Not(0, libc::AF_UNIX as u32)];
    let rules: Rules = std::iter::once(not_local).chain(other_kinds).collect();
    vec![(libc::SYS_socket, rules.clone()), (libc::SYS_socketpair, rules)]
}

fn masked(argument: u8, mask: i32, value: i32) -> Is {
    Is::Masked { argument, mask: mask as u32, value: value as u32 }
}

fn install(refused: Vec<(i64, Rules)>, error: i32) -> Result<(), String> {
    let compile = || -> Result<_, seccompiler::BackendError> {
        let mut rules = std::collections::BTreeMap::new();
        for (call, any_of) in refused {
            let any_of = any_of.into_iter().map(|all_of| SeccompRule::new(conditions(all_of)?));
            rules.insert(call, any_of.collect::<Result<Vec<_>, _>>()?);
        }
        let action = SeccompAction::Errno(error as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, std::env::consts::ARCH.try_into()?)?;
        seccompiler::BpfProgram::try_from(filter)
    };
    let program = compile().map_err(|error| error.to_string())?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn conditions(all_of: Vec<Is>) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    let condition = |is| match is {
        Is::Not(argument, value) => SeccompCondition::new(argument, Dword, SeccompCmpOp::Ne, value.into()),
        Is::Masked { argument, mask, value } => {
            SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask.into()), value.into())
        }
    };
    all_of.into_iter().map(condition).collect()
}

/// Refuses every call above [`NEWEST`]; those of the x32 convention, under other numbers, among them.
fn newer_ones() -> [sock_filter; 4] {
    let [load, greater, end] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ]
    .map(|code| code as u16);
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    [
        // The call's number is the first word of what a filter sees.
        step(load, 0, 0),
        step(greater, 1, NEWEST),
        step(end, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(end, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use libc::*;

    /// Refused whatever the arguments.
    pub(super) const ALWAYS: &[i64] = &[
        // Other programs and processes.
        SYS_execve,
        SYS_execveat,
        SYS_fork,
        SYS_vfork,
        SYS_setsid,
        SYS_setpgid,
        SYS_unshare,
        SYS_setns,
        SYS_ptrace,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_process_madvise,
        SYS_process_mrelease,
        SYS_kcmp,
        SYS_pidfd_open,
        SYS_pidfd_getfd,
        SYS_pidfd_send_signal,
        SYS_tkill,
        SYS_setpriority,
        SYS_ioprio_set,
        SYS_sched_setscheduler,
        SYS_sched_setparam,
        SYS_sched_setattr,
        SYS_migrate_pages,
        SYS_move_pages,
        SYS_personality,
        // The network, whatever opened the socket.
        SYS_connect,
        // What outlives a process, and no limit counts.
        SYS_shmget,
        SYS_shmat,
        SYS_msgget,
        SYS_semget,
        SYS_mq_open,
        SYS_memfd_secret,
        // What Landlock does not cover, or not in its first versions.
        SYS_truncate,
        SYS_chmod,
        SYS_fchmod,
        SYS_fchmodat,
        SYS_chown,
        SYS_fchown,
        SYS_lchown,
        SYS_fchownat,
        SYS_utime,
        SYS_utimes,
        SYS_futimesat,
        SYS_utimensat,
        SYS_setxattr,
        SYS_lsetxattr,
        SYS_fsetxattr,
        SYS_removexattr,
        SYS_lremovexattr,
        SYS_fremovexattr,
        SYS_mknod,
        SYS_mknodat,
        452, // fchmodat2
        // The machine, and the parts of the kernel that a computation has no business with.
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_chroot,
        SYS_move_mount,
        SYS_open_tree,
        SYS_fsopen,
        SYS_fsconfig,
        SYS_fsmount,
        SYS_fspick,
        SYS_mount_setattr,
        SYS_swapon,
        SYS_swapoff,
        SYS_reboot,
        SYS_kexec_load,
        SYS_kexec_file_load,
        SYS_init_module,
        SYS_finit_module,
        SYS_delete_module,
        SYS_bpf,
        SYS_perf_event_open,
        SYS_userfaultfd,
        SYS_io_uring_setup,
        SYS_io_uring_enter,
        SYS_io_uring_register,
        SYS_keyctl,
        SYS_add_key,
        SYS_request_key,
        SYS_fanotify_init,
        SYS_open_by_handle_at,
        SYS_name_to_handle_at,
        SYS_acct,
        SYS_quotactl,
        SYS_quotactl_fd,
        SYS_syslog,
        SYS_iopl,
        SYS_ioperm,
        SYS_modify_ldt,
        SYS_lookup_dcookie,
        SYS_vhangup,
        SYS_settimeofday,
        SYS_clock_settime,
        SYS_clock_adjtime,
        SYS_adjtimex,
        SYS_sethostname,
        SYS_setdomainname,
    ];
}
