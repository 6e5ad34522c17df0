//! What the kernel offers for isolation, asked without changing anything.

use std::fmt;

use super::SandboxMode;
use crate::domain::problem::{ErrorCode, Problem};

/// Also what a child says that it is isolated by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Landlock's version; none where the kernel is older than 5.13, or was started without it.
    pub landlock: Option<u32>,
    pub seccomp: bool,
}

impl Support {
    /// What this kernel offers to this process.
    pub fn of_kernel() -> Self {
        const VERSION: libc::c_uint = 1;
        const ACTION_AVAILABLE: libc::c_uint = 2;
        let action: u32 = libc::SECCOMP_RET_ERRNO;
        // SAFETY: asks for the version alone, which takes no structure.
        let landlock =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
        // SAFETY: asks whether an action is known; the kernel reads one word, which outlives the call.
        let seccomp = unsafe { libc::syscall(libc::SYS_seccomp, ACTION_AVAILABLE, 0, &raw const action) };
        let landlock = u32::try_from(landlock).ok().filter(|&version| version > 0);
        Self { landlock, seccomp: seccomp == 0 && cfg!(target_arch = "x86_64") }
    }

    /// What is lacking, in words; empty where nothing is.
    pub fn missing(self) -> Vec<&'static str> {
        let files = "Landlock (Linux 5.13 or later, in its list of security modules, and not refused by a container): \
                     uploads that take over their process can read and write what this service's user can";
        let calls = "seccomp filters (on x86-64): uploads that take over their process can reach the network and start \
                     programs";
        let lacking = [(self.landlock.is_none(), files), (!self.seccomp, calls)];
        lacking.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect()
    }

    /// Says once, at the start, how children will be isolated.
    ///
    /// # Errors
    /// `require`, and something is missing.
    pub fn announce(self, mode: SandboxMode) -> Result<(), Problem> {
        let missing = self.missing();
        match mode {
            SandboxMode::Off => {
                tracing::warn!("children are not isolated: an upload can do what this service can (--sandbox off)");
            }
            SandboxMode::Require if !missing.is_empty() => {
                let detail = format!("--sandbox require, and the kernel lacks {}", missing.join("; "));
                return Err(Problem::new(ErrorCode::Unavailable, detail)
                    .hint("Use a newer kernel, or `--sandbox auto` for what this one has."));
            }
            _ => {
                for what in missing {
                    tracing::warn!("children are isolated in part: the kernel lacks {what}");
                }
                tracing::info!("children are isolated by {self}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.landlock, self.seccomp) {
            (Some(version), true) => write!(f, "Landlock (version {version}) and seccomp"),
            (Some(version), false) => write!(f, "Landlock (version {version})"),
            (None, true) => f.write_str("seccomp"),
            (None, false) => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_or_refused() {
        let (all, none) = (Support { landlock: Some(1), seccomp: true }, Support::default());
        assert_eq!((all.missing().len(), none.missing().len()), (0, 2));
        assert!(none.announce(SandboxMode::Auto).is_ok() && none.announce(SandboxMode::Off).is_ok());
        assert!(all.announce(SandboxMode::Require).is_ok());
        let refused = Support { landlock: None, ..all }.announce(SandboxMode::Require).unwrap_err();
        assert!(refused.detail.contains("Landlock") && !refused.detail.contains("seccomp"), "{}", refused.detail);
    }
}
