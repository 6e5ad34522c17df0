//! Who may write: claims, fences, lost leases, retries, restarts.

use std::time::Duration;

use kegd::{
    domain::{
        artifact::{Artifact, Role},
        job::JobStatus,
        presets::TeacherKind,
        problem::ErrorCode,
        task::{TaskKind, TaskStatus},
    },
    queue::{Beat, Ending, Hold, Product, QueueError, Settled},
    store::{Cancel, Deletion, JobQuery, Retry, Slot},
};
use serde_json::json;

use crate::common::{
    facts,
    house::{House, cpu},
};

fn lost(why: &str) -> Ending {
    Ending::Lost(why.to_owned())
}

/// Longer than any backoff.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_task_is_claimed_once_however_many_ask() {
    let house = House::standing().await;
    for _ in 0..3 {
        house.submit(json!({})).await;
    }
    let asking = (0..12).map(|index| {
        let queue = house.queue.clone();
        tokio::spawn(async move { queue.claim(&cpu(&format!("worker-{index}"))).await.unwrap() })
    });
    let claims = futures::future::join_all(asking).await;
    let mut tasks: Vec<_> = claims.into_iter().filter_map(Result::unwrap).map(|claim| claim.fence().task).collect();
    tasks.sort();
    tasks.dedup();
    assert_eq!(tasks.len(), 3);
}

#[tokio::test]
async fn the_oldest_job_of_the_highest_priority_comes_first() {
    let house = House::standing().await;
    let old = house.submit(json!({})).await;
    house.clock.advance(Duration::from_secs(1));
    let young = house.submit(json!({})).await;
    house.clock.advance(Duration::from_secs(1));
    let urgent = house.submit(json!({"priority": 5})).await;
    for (job, position) in [(urgent, 1), (old, 2), (young, 3)] {
        assert_eq!(house.store.queue_position(job).await.unwrap(), Some(position));
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let claim = house.claim().await.unwrap();
        order.push(claim.fence().job);
        let inspection = facts::inspection(TeacherKind::PlainImage);
        let product = Product::Inspected(Box::new(inspection));
        house.queue.finish(&claim, Ending::Succeeded(product)).await.unwrap();
        // What follows an inspection comes before the jobs that were submitted later.
        order.extend([house.claim().await.unwrap().fence().job, house.claim().await.unwrap().fence().job]);
    }
    assert_eq!(order, [urgent, urgent, urgent, old, old, old]);
    assert_eq!(house.claim().await.unwrap().fence().job, young);
}

#[tokio::test]
async fn a_slot_takes_only_what_its_device_may_run() {
    let house = House::standing().await;
    let on_gpu = house.submit(json!({"device": "cuda"})).await;
    let on_second = house.submit(json!({"device": "cuda:1"})).await;
    assert!(house.claim().await.is_none());
    let gpu = |index: u8| Slot { worker: "worker-1".into(), device: format!("cuda:{index}") };
    assert_eq!(house.queue.claim(&gpu(0)).await.unwrap().unwrap().fence().job, on_gpu);
    assert!(house.queue.claim(&gpu(0)).await.unwrap().is_none());
    assert_eq!(house.queue.claim(&gpu(1)).await.unwrap().unwrap().fence().job, on_second);
}

#[tokio::test]
async fn a_run_that_lost_its_lease_writes_nothing() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let stale = house.claim().await.unwrap();
    assert_eq!(house.lapse("worker-2").await, 1);
    house.clock.advance(LONG);
    let fresh = house.claim().await.unwrap();
    assert_eq!((fresh.fence().task, fresh.fence().run), (stale.fence().task, 2));

    let file = Artifact {
        name: crate::common::house::name("x.npz"),
        role: Role::Samples,
        bytes: 1,
        sha256: "00".into(),
        key: "k".into(),
    };
    let beat = Beat::default();
    assert!(matches!(house.queue.record(&stale, &beat).await, Err(QueueError::LeaseLost)));
    assert!(matches!(house.queue.keep(&stale, &file, None).await, Err(QueueError::LeaseLost)));
    assert!(matches!(house.queue.finish(&stale, lost("late")).await, Err(QueueError::LeaseLost)));
    assert!(house.store.artifact(id, &file.name).await.unwrap().is_none());
    assert_eq!(house.queue.record(&fresh, &beat).await.unwrap(), Hold::GoOn);
    let runs = house.store.runs(id).await.unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| run.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("lost"), None], "the late ending did not touch the first run's row");
}

#[tokio::test]
async fn a_renewed_lease_is_not_reaped() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    for _ in 0..12 {
        // Three looks find nothing new; the fourth would be the last.
        for _ in 0..3 {
            house.clock.advance(house.queue.config().look_every());
            assert_eq!(house.queue.reap(Some("worker-1")).await.unwrap(), 0);
        }
        assert_eq!(house.queue.record(&claim, &Beat::default()).await.unwrap(), Hold::GoOn);
    }
    assert_eq!(house.lapse("worker-1").await, 1, "and then nobody renews it");
}

/// A day, forward or back.
const DAY: i64 = 86_400_000;

#[rstest::rstest]
#[case::forward(DAY)]
#[case::back(-DAY)]
// By as much as has passed: the end of the lease would be the one that it had.
#[case::back_to_where_it_was(-15_000)]
#[tokio::test]
async fn setting_the_clock_takes_no_lease_and_keeps_none(#[case] by: i64) {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    for _ in 0..6 {
        assert_eq!(house.queue.reap(Some("worker-1")).await.unwrap(), 0);
        house.clock.advance(house.queue.config().look_every());
        house.clock.set(house.clock.now() + by);
        assert_eq!(house.queue.reap(Some("worker-1")).await.unwrap(), 0, "it was renewed just now");
        assert_eq!(house.queue.record(&claim, &Beat::default()).await.unwrap(), Hold::GoOn);
    }
    house.clock.set(house.clock.now() - by);
    assert_eq!(house.lapse("worker-1").await, 1, "a run that is silent for a lease is lost, whatever the clock shows");
}

#[tokio::test]
async fn a_worker_that_slept_takes_no_lease_before_others_could_renew_it() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    assert_eq!(house.queue.reap(Some("worker-1")).await.unwrap(), 0);
    // A stopped process, or a database that was locked: nobody could renew, and nobody looked.
    house.clock.advance(LONG);
    assert_eq!(house.queue.reap(Some("worker-1")).await.unwrap(), 0);
    assert_eq!(house.queue.record(&claim, &Beat::default()).await.unwrap(), Hold::GoOn);
}

#[tokio::test]
async fn work_that_waits_does_not_wait_for_a_clock_that_was_set_back() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    house.clock.set(house.clock.now() - DAY);
    let inspect = house.claim().await.expect("what was submitted on the later clock");
    let product = Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage)));
    house.queue.finish(&inspect, Ending::Succeeded(product)).await.unwrap();
    let first = house.claim().await.expect("what follows it");
    house.queue.finish(&first, lost("it was killed by SIGSEGV")).await.unwrap();
    let _second = house.claim().await.expect("its sibling");
    assert!(house.claim().await.is_none(), "the first one waits before its next attempt");
    house.clock.set(house.clock.now() - DAY);
    let again = house.claim().await.expect("but not for a day");
    assert_eq!((again.fence().job, again.fence().run), (id, 2));
}

#[tokio::test]
async fn three_losses_in_a_row_fail_the_job() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    for run in 1..=2 {
        let claim = house.claim().await.expect("its turn has come");
        assert_eq!(claim.fence().run, run);
        let settled = house.queue.finish(&claim, lost("it was killed by SIGSEGV")).await.unwrap();
        assert_eq!(settled, Settled::Requeued);
        assert_eq!(house.job(id).await.status, JobStatus::Queued);
        assert!(house.claim().await.is_none(), "it waits before attempt {}", run + 1);
        assert!(house.store.next_run_after().await.unwrap().is_some());
        house.clock.advance(LONG);
    }
    let last = house.claim().await.unwrap();
    let settled = house.queue.finish(&last, lost("it was killed by SIGSEGV")).await.unwrap();
    assert_eq!(settled, Settled::Ended(TaskStatus::Failed));
    let job = house.job(id).await;
    let error = job.error.unwrap();
    assert_eq!((job.status, error.code), (JobStatus::Failed, ErrorCode::WorkerCrashed));
    assert!(error.detail.contains("3 times") && error.detail.contains("SIGSEGV"), "{}", error.detail);
}

#[tokio::test]
async fn interruptions_are_not_counted_and_need_no_wait() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    for run in 1..=5 {
        let claim = house.claim().await.unwrap();
        assert_eq!(claim.fence().run, run);
        house.queue.finish(&claim, Ending::Interrupted).await.unwrap();
    }
    assert_eq!(house.job(id).await.status, JobStatus::Queued);
}

#[tokio::test]
async fn a_worker_takes_back_what_its_earlier_life_held_and_nothing_else() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    house.submit(json!({})).await;
    let mine = house.queue.claim(&cpu("mine")).await.unwrap().unwrap();
    let other = house.queue.claim(&cpu("other")).await.unwrap().unwrap();
    let slots = ["cpu".to_owned()];
    assert_eq!(house.queue.begin_life("mine", &slots).await.unwrap(), 1);
    assert!(matches!(house.queue.record(&mine, &Beat::default()).await, Err(QueueError::LeaseLost)));
    assert_eq!(house.queue.record(&other, &Beat::default()).await.unwrap(), Hold::GoOn);
    let workers = house.store.workers().await.unwrap();
    assert_eq!((workers.len(), workers[0].slots.as_slice(), workers[0].running.len()), (1, &slots[..], 0));
}

#[tokio::test]
async fn a_canceled_run_that_is_lost_is_not_tried_again() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let _claim = house.claim().await.unwrap();
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.lapse("worker-2").await, 1);
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
    house.clock.advance(LONG);
    assert!(house.claim().await.is_none());
}

/// `update … returning <column> is not null` answers wrongly on SQLite 3.40: columns come back bare, and are compared here.
#[tokio::test]
async fn what_an_update_returns_is_what_the_row_holds() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    assert_eq!(claim.kind(), TaskKind::Inspect);
    assert_eq!(house.queue.record(&claim, &Beat::default()).await.unwrap(), Hold::GoOn);
    house.store.cancel(id).await.unwrap();
    assert_eq!(house.queue.record(&claim, &Beat::default()).await.unwrap(), Hold::Stop);
    assert!(house.store.tasks(id).await.unwrap()[0].cancel_requested);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_holds_up_no_other() {
    let house = House::standing().await;
    let (running, waiting, sound) =
        (house.submit(json!({})).await, house.submit(json!({})).await, house.submit(json!({})).await);
    let claim = house.claim().await.unwrap();
    assert_eq!(claim.fence().job, running);
    house.garble(running).await;
    house.garble(waiting).await;
    assert_eq!(house.claim().await.expect("the one that can be read").fence().job, sound);
    assert_eq!(house.queue.begin_life("worker-1", &["cpu".into()]).await.unwrap(), 2, "and a worker can begin");
    assert_eq!(house.claim().await.unwrap().fence().job, sound);
    let mut ledger = house.ledger().await;
    ledger.check().await;
    let failed =
        ledger.texts("select id from jobs where status = 'failed' and error like '%cannot be read%' order by id");
    assert_eq!(failed.await, [running.to_string(), waiting.to_string()]);

    let newest = JobQuery { limit: 1, ..JobQuery::default() };
    let page = house.store.jobs(&newest).await.unwrap();
    assert_eq!((page.jobs.len(), page.next), (1, Some(sound)));
    let page = house.store.jobs(&JobQuery { after: page.next, ..newest }).await.unwrap();
    assert_eq!((page.jobs.len(), page.next), (0, Some(waiting)), "a page without the one that cannot be read");
    assert_eq!(house.store.jobs(&JobQuery::default()).await.unwrap().jobs.len(), 1);
    assert_eq!(house.store.delete(waiting, false).await.unwrap(), Deletion::Deleted);
}

#[tokio::test]
async fn what_was_lost_or_is_retried_keeps_its_place() {
    let house = House::standing().await;
    let old = house.submit(json!({})).await;
    house.clock.advance(Duration::from_secs(1));
    let young = house.submit(json!({})).await;
    let first = house.claim().await.unwrap();
    house.queue.finish(&first, lost("it was killed by SIGSEGV")).await.unwrap();
    house.clock.advance(LONG);
    assert_eq!(house.store.queue_position(old).await.unwrap(), Some(1));
    let again = house.claim().await.unwrap();
    assert_eq!(again.fence().job, old);

    let failed = Ending::Failed(facts::problem());
    house.queue.finish(&again, failed).await.unwrap();
    assert_eq!(house.store.retry_from_start(old, u64::MAX, true).await.unwrap(), Retry::Queued);
    assert_eq!(house.store.queue_position(old).await.unwrap(), Some(1));
    assert_eq!(house.claim().await.unwrap().fence().job, old);
    assert_eq!(house.claim().await.unwrap().fence().job, young);
}

#[tokio::test]
async fn who_has_no_worker_can_see_that_the_last_one_is_gone() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let _claim = house.claim().await.unwrap();
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.queue.reap(None).await.unwrap(), 0);
    for _ in 0..5 {
        house.clock.advance(house.queue.config().look_every());
        house.queue.reap(None).await.unwrap();
    }
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
}
