//! Room on a disk.

use std::{io, path::Path};

/// Bytes that this process may still write where `folder` lies.
///
/// # Errors
/// The file system does not tell.
pub fn free(folder: &Path) -> io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(folder)?;
    Ok(disk.blocks_available() as u64 * disk.fragment_size() as u64)
}
