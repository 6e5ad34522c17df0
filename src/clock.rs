//! The clock: the only place that asks what time it is, so that tests of leases and delays need not wait.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// Milliseconds since the Unix epoch, UTC; what the store keeps.
pub type Millis = i64;

#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until [`Clock::advance`] or [`Clock::set`].
    Manual(Arc<Hands>),
}

/// What a manual clock shows, in milliseconds.
#[derive(Debug, Default)]
pub struct Hands {
    wall: AtomicI64,
    steady: AtomicI64,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: Millis) -> Self {
        Self::Manual(Arc::new(Hands { wall: AtomicI64::new(start), steady: AtomicI64::new(0) }))
    }

    /// The wall clock: what people are shown, and what survives a restart. It may be set, forward and back.
    pub fn now(&self) -> Millis {
        match self {
            Self::System => Timestamp::now().as_millisecond(),
            Self::Manual(hands) => hands.wall.load(Ordering::SeqCst),
        }
    }

    /// Time since some moment of this process: it never jumps, and stands still while the machine sleeps. For how long
    /// something has lasted.
    pub fn steady(&self) -> Duration {
        match self {
            Self::System => START.elapsed(),
            Self::Manual(hands) => Duration::from_millis(hands.steady.load(Ordering::SeqCst).unsigned_abs()),
        }
    }

    /// Lets time pass on a manual clock; on the system's it passes by itself.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(hands) = self {
            hands.wall.fetch_add(millis(by), Ordering::SeqCst);
            hands.steady.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Sets a manual wall clock, as an administrator or a time server may: no time passes.
    pub fn set(&self, wall: Millis) {
        if let Self::Manual(hands) = self {
            hands.wall.store(wall, Ordering::SeqCst);
        }
    }
}

/// A duration in the store's unit; one too long to count is for ever.
pub fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
