//! Who wants to know that something changed: long polls, event streams, waiting slots, running attempts.

use tokio::sync::{broadcast, watch};

use super::Store;
use crate::domain::ids::JobId;

/// Something that a committed transaction changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The job has a new revision, or new events.
    JobChanged(JobId),
    /// Runs of this job shall end: it was canceled or deleted, or a sibling failed.
    StopAsked(JobId),
    /// A task became claimable.
    WorkReady,
}

/// Announcements a slow listener may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;

#[derive(Debug)]
pub(super) struct Signals {
    jobs: broadcast::Sender<Signal>,
    /// A counter, not a notification: a slot that looks at the queue and then waits cannot miss what came between.
    work: watch::Sender<u64>,
}

impl Default for Signals {
    fn default() -> Self {
        Self { jobs: broadcast::Sender::new(BACKLOG), work: watch::Sender::new(0) }
    }
}

impl Signals {
    pub(super) fn send(&self, signal: Signal) {
        match signal {
            Signal::WorkReady => self.work.send_modify(|count| *count += 1),
            // Nobody listening is no error.
            Signal::JobChanged(_) | Signal::StopAsked(_) => drop(self.jobs.send(signal)),
        }
    }
}

impl Store {
    /// [`Signal::JobChanged`] and [`Signal::StopAsked`] of this process from now on. A listener that lagged behind must
    /// look at what it cares for again. Another process's changes are not announced: look every second or so as well.
    pub fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.signals.jobs.subscribe()
    }

    /// Changes whenever a task became claimable.
    pub fn work_ready(&self) -> watch::Receiver<u64> {
        self.signals.work.subscribe()
    }
}
