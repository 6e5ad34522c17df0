//! A service that root started has children of root. They give up what makes root more than a user.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities, in two words for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    /// 0: this thread.
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up all capabilities, for good: no new privileges come by exec.
///
/// # Errors
/// The kernel refuses.
pub(super) fn drop_all() -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let none = [Word { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures are those of capset(2), and outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
