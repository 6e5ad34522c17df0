//! Room on the disk: what is free, and what uploads under way have announced and not sent yet.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::error::{ApiError, ApiResult};
use crate::{
    artifacts,
    config::ByteSize,
    domain::problem::{ErrorCode, Problem},
};

/// How much of an upload may come between two looks at the disk.
const LOOK_EVERY: u64 = 4 << 20;

/// The disk of the data. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
    /// What must stay free.
    least: ByteSize,
    /// Bytes that uploads under way have announced and not sent yet.
    expected: Arc<AtomicU64>,
}

impl Disk {
    pub fn new(folder: PathBuf, least: ByteSize) -> Self {
        Self { folder, least, expected: Arc::default() }
    }

    /// Bytes that the service may still write where its data lie.
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn free(&self) -> ApiResult<u64> {
        artifacts::free(&self.folder).map_err(ApiError::internal)
    }

    /// Whether uploads may begin.
    ///
    /// # Errors
    /// `disk_full` where not.
    pub fn check(&self) -> ApiResult<()> {
        self.check_for(0)
    }

    fn check_for(&self, bytes: u64) -> ApiResult<()> {
        let free = self.free()?;
        if free >= self.least.0.saturating_add(bytes) {
            return Ok(());
        }
        let least = self.least;
        let detail = match bytes {
            0 => format!("The server's disk has {free} bytes free; uploads must leave {least}."),
            _ => format!(
                "The server's disk has {free} bytes free; uploads must leave {least}, and {bytes} bytes are on their way."
            ),
        };
        Err(Problem::new(ErrorCode::DiskFull, detail)
            .hint("Delete jobs that are no longer needed, and try again.")
            .into())
    }

    /// Sets room aside for an upload that announces `bytes`; 0 where it does not say.
    ///
    /// # Errors
    /// `disk_full` where it would not fit beside the uploads under way.
    pub fn reserve(&self, bytes: u64) -> ApiResult<Reserved> {
        let reserved = Reserved { disk: self.clone(), left: AtomicU64::new(bytes), unseen: AtomicU64::new(0) };
        // Counted before it is checked: of two at the same moment, one at least sees the other.
        let before = self.expected.fetch_add(bytes, Ordering::Relaxed);
        self.check_for(before.saturating_add(bytes))?;
        Ok(reserved)
    }
}

/// Room for an upload; what is not used is given back when it is dropped.
#[derive(Debug)]
pub struct Reserved {
    disk: Disk,
    left: AtomicU64,
    unseen: AtomicU64,
}

impl Reserved {
    /// Counts bytes that have arrived, and looks now and then whether the disk still has room: others write there too.
    ///
    /// # Errors
    /// `disk_full` where it has not.
    pub fn arrived(&self, bytes: u64) -> ApiResult<()> {
        let taken = bytes.min(self.left.load(Ordering::Relaxed));
        self.left.fetch_sub(taken, Ordering::Relaxed);
        self.disk.expected.fetch_sub(taken, Ordering::Relaxed);
        if self.unseen.fetch_add(bytes, Ordering::Relaxed) + bytes < LOOK_EVERY {
            return Ok(());
        }
        self.unseen.store(0, Ordering::Relaxed);
        self.disk.check()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.disk.expected.fetch_sub(*self.left.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk on which `room` bytes more may be written: half of what is free, so that it is room enough on a small one,
    /// and what tests beside this one write at the same time is little beside it.
    fn disk() -> (Disk, u64) {
        let folder = std::env::temp_dir();
        let free = Disk::new(folder.clone(), ByteSize(0)).free().unwrap();
        let room = free / 2;
        (Disk::new(folder, ByteSize(free - room)), room)
    }

    #[test]
    fn uploads_under_way_count() {
        let (disk, room) = disk();
        let most = room / 4 * 3;
        let first = disk.reserve(most).unwrap();
        assert_eq!(disk.reserve(most).unwrap_err().problem().code, ErrorCode::DiskFull);
        let small = disk.reserve(room / 1024).expect("what still fits is let in");
        drop(small);
        drop(first);
        assert_eq!(disk.expected.load(Ordering::Relaxed), 0, "a refused one gave its room back too");
        disk.reserve(most).unwrap();
    }

    #[test]
    fn what_has_arrived_is_counted_by_the_disk_itself() {
        let (disk, room) = disk();
        let eighth = room / 8;
        let first = disk.reserve(6 * eighth).unwrap();
        first.arrived(5 * eighth).unwrap();
        assert_eq!(disk.expected.load(Ordering::Relaxed), eighth);
        first.arrived(2 * eighth).expect("more than announced counts no further");
        assert_eq!(disk.expected.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_disk_that_fills_up_is_noticed_while_an_upload_streams() {
        // Nothing is ever that free, as if somebody had filled the disk since the upload began.
        let disk = Disk::new(std::env::temp_dir(), ByteSize(u64::MAX));
        let full = Reserved { disk, left: 0.into(), unseen: 0.into() };
        full.arrived(LOOK_EVERY - 1).expect("not looked yet");
        assert_eq!(full.arrived(1).unwrap_err().problem().code, ErrorCode::DiskFull);
    }
}
