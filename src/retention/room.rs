//! Whether an upload fits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Collector, RetentionError};

/// More than may be kept, even if every finished job went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room: at most {room} of the {most} bytes that may be kept can be freed")]
pub struct Full {
    /// The bound.
    pub most: u64,
    /// What can be had below it at best.
    pub room: u64,
}

/// Room for one upload, taken as its bytes come; uploads at the same time share what there is. Dropping gives it back: what
/// was accepted has rows by then.
#[derive(Debug)]
pub struct Room {
    bound: Option<Full>,
    arriving: Arc<AtomicU64>,
    taken: AtomicU64,
}

impl Collector {
    /// The room for an upload: what is free, and what finished jobs would make free.
    ///
    /// # Errors
    /// The database fails, or a directory cannot be read.
    pub async fn room(&self) -> Result<Room, RetentionError> {
        let arriving = Arc::clone(self.arriving());
        let bound = match self.policy().storage {
            None => None,
            Some(most) => {
                let evictable: u64 = self.store().finished_jobs().await?.iter().map(|job| job.bytes).sum();
                let staying = self.usage().await?.total().saturating_sub(evictable);
                Some(Full { most, room: most.saturating_sub(staying) })
            }
        };
        Ok(Room { bound, arriving, taken: AtomicU64::new(0) })
    }
}

impl Room {
    /// Whether `bytes` more would fit.
    ///
    /// # Errors
    /// They would not.
    pub fn check(&self, bytes: u64) -> Result<(), Full> {
        match self.bound {
            Some(full) if self.arriving.load(Ordering::Relaxed).saturating_add(bytes) > full.room => Err(full),
            _ => Ok(()),
        }
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// They do not fit.
    pub fn take(&self, bytes: u64) -> Result<(), Full> {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.arriving.fetch_add(bytes, Ordering::Relaxed);
        self.check(0)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.arriving.fetch_sub(*self.taken.get_mut(), Ordering::Relaxed);
    }
}
