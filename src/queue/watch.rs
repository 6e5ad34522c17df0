//! Which leases have run out, told without comparing clocks.
//!
//! A renewal makes a lease's end rise. Whoever looks again and again, and finds it where it was for as long as a lease lasts,
//! knows that nobody renewed it. The wall clock has no part in this, so setting it takes no run's lease and keeps none.

use std::{collections::HashMap, time::Duration};

use super::QueueConfig;
use crate::{
    clock::Millis,
    domain::{ids::TaskId, task::Fence},
    store::LeasedTask,
};

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked: Option<Duration>,
    seen: HashMap<TaskId, Seen>,
}

/// A lease, and for how long it has not been renewed.
#[derive(Clone, Copy, Debug)]
struct Seen {
    run: u32,
    lease_until: Millis,
    silent: Duration,
}

impl Watch {
    /// Looks at all running tasks at `now`, and returns the runs that have been silent for a whole lease.
    ///
    /// Between two looks no more counts than the time in which looks are to follow each other: if the looks themselves
    /// stopped (a stopped process, a locked database), the runs could not be seen renewing either.
    pub(super) fn look(&mut self, leased: &[LeasedTask], now: Duration, config: &QueueConfig) -> Vec<Fence> {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.saturating_sub(looked)).min(config.look_every());
        self.looked = Some(now);
        let before = std::mem::take(&mut self.seen);
        let mut expired = Vec::new();
        for LeasedTask { task, lease_until } in leased {
            let same = before.get(&task.id).filter(|seen| (seen.run, seen.lease_until) == (task.run, *lease_until));
            let silent = same.map_or(Duration::ZERO, |seen| seen.silent + passed);
            if silent >= config.lease {
                expired.push(task.fence());
            }
            self.seen.insert(task.id, Seen { run: task.run, lease_until: *lease_until, silent });
        }
        expired
    }
}
