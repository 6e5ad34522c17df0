//! A slot: it takes one task after the other.

use std::{num::NonZero, sync::Arc, time::Duration};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

use super::{Shop, run};
use crate::store::Slot;

/// What one slot has of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotPlan {
    pub(super) device: String,
    pub(super) threads: usize,
    /// Its own cores, where several slots share the machine; two runs on one core slow each other down many times over.
    pub(super) cores: Option<Vec<usize>>,
}

impl SlotPlan {
    /// Shares this process's cores among `devices`.
    pub(super) fn share(devices: &[String]) -> Vec<Self> {
        share(devices, &allowed_cores())
    }
}

fn share(devices: &[String], cores: &[usize]) -> Vec<SlotPlan> {
    let threads = (cores.len() / devices.len().max(1)).max(1);
    let pinned = devices.len() > 1 && cores.len() >= devices.len();
    let plan = |(index, device): (usize, &String)| SlotPlan {
        device: device.clone(),
        threads,
        cores: pinned.then(|| cores[index * threads..(index + 1) * threads].to_vec()),
    };
    devices.iter().enumerate().map(plan).collect()
}

/// The cores that this process may use: not all of the machine's, in a container.
fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return (0..std::thread::available_parallelism().map_or(1, NonZero::get)).collect();
    };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Works until the shutdown.
pub(super) async fn work(shop: Arc<Shop>, plan: SlotPlan) {
    let slot = Slot { worker: shop.config.name.clone(), device: plan.device.clone() };
    let mut ready = shop.queue.store().work_ready();
    while !shop.shutdown.is_cancelled() {
        // Seen before the look at the queue: what is submitted after the look is still news.
        ready.mark_unchanged();
        match shop.queue.claim(&slot).await {
            Ok(Some(claim)) => {
                // A task of its own, so that a fault in here costs one run, and not the slot.
                let ended = tokio::spawn(run::run(Arc::clone(&shop), plan.clone(), claim)).await;
                if let Err(error) = ended {
                    tracing::error!(%error, "a supervisor ended early; its run will lose its lease");
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "cannot claim"),
        }
        let nap = nap(&shop).await;
        tokio::select! {
            () = shop.shutdown.cancelled() => {}
            _ = ready.changed() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

/// Until a task that waits for its next attempt may be taken, or until the next look.
async fn nap(shop: &Shop) -> Duration {
    let store = shop.queue.store();
    let next = store.next_run_after().await.ok().flatten();
    let left = next.map(|next| next.saturating_sub(store.clock().now()));
    let left = left.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis);
    left.map_or(shop.config.poll, |left| left.min(shop.config.poll))
}

#[cfg(test)]
mod tests {
    use super::share;

    fn shares(slots: usize, cores: usize) -> Vec<(usize, Option<Vec<usize>>)> {
        let (devices, cores) = (vec!["cpu".to_owned(); slots], (0..cores).collect::<Vec<_>>());
        share(&devices, &cores).into_iter().map(|plan| (plan.threads, plan.cores)).collect()
    }

    #[test]
    fn cores_are_shared_and_never_used_twice() {
        assert_eq!(shares(1, 4), [(4, None)], "one slot has the machine for itself");
        assert_eq!(shares(2, 5), [(2, Some(vec![0, 1])), (2, Some(vec![2, 3]))]);
        assert_eq!(shares(3, 2), [(1, None), (1, None), (1, None)], "too few to give each its own");
    }
}
