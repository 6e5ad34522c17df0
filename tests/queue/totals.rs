//! What is counted agrees with the rows that it counts, however a run comes to its end.

use kegd::{
    domain::{ids::JobId, job::JobStatus, presets::TeacherKind},
    queue::{Claim, Ending, Product},
    store::{Retry, Total},
};
use serde_json::json;

use crate::common::{facts, house::House};

/// Runs by kind and outcome, as they are counted.
async fn counted(house: &House) -> Vec<String> {
    let sql = "select label || ' ' || value from totals where name = 'runs' order by 1";
    house.ledger().await.texts(sql).await
}

/// The same, from the runs' own rows.
async fn ended(house: &House) -> Vec<String> {
    let sql = "select kind || '/' || outcome || ' ' || count(*) from runs join tasks on tasks.id = task \
               where outcome is not null group by kind, outcome order by 1";
    house.ledger().await.texts(sql).await
}

async fn failed(house: &House) -> u64 {
    house.store.totals().await.unwrap().get(Total::JobsFinished(JobStatus::Failed))
}

/// A job of which one generator failed, and the other one's run, which has not stopped yet.
async fn failing(house: &House) -> (JobId, Claim) {
    let id = house.submit(json!({})).await;
    let inspect = house.claim().await.unwrap();
    let inspected = Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage)));
    house.queue.finish(&inspect, Ending::Succeeded(inspected)).await.unwrap();
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    house.queue.finish(&first, Ending::Failed(facts::problem())).await.unwrap();
    (id, second)
}

#[tokio::test]
async fn a_job_that_cannot_be_read_counts_as_failed_with_its_runs() {
    let house = House::standing().await;
    let (running, waiting) = (house.submit(json!({})).await, house.submit(json!({})).await);
    let claim = house.claim().await.unwrap();
    assert_eq!(claim.fence().job, running);
    house.garble(running).await;
    house.garble(waiting).await;
    assert!(house.claim().await.is_none());
    house.queue.finish(&claim, Ending::Interrupted).await.unwrap();
    assert_eq!(counted(&house).await, ["inspect/failed 2"]);
    assert_eq!(ended(&house).await, counted(&house).await);
    assert_eq!(failed(&house).await, 2);
}

#[tokio::test]
async fn a_job_that_has_failed_and_then_cannot_be_read_counts_once() {
    let house = House::standing().await;
    let (id, second) = failing(&house).await;
    house.garble(id).await;
    house.queue.finish(&second, Ending::Canceled).await.unwrap();
    assert_eq!(counted(&house).await, ["extract/failed 2", "inspect/succeeded 1"]);
    assert_eq!(ended(&house).await, counted(&house).await);
    assert_eq!(failed(&house).await, 1);
}

#[tokio::test]
async fn a_retry_counts_the_run_that_it_ends() {
    const COUNTED: [&str; 3] = ["extract/canceled 1", "extract/failed 1", "inspect/succeeded 1"];
    let house = House::standing().await;
    let (id, _second) = failing(&house).await;
    assert_eq!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::Queued);
    assert_eq!(counted(&house).await, COUNTED);
    assert_eq!(ended(&house).await, COUNTED);

    let house = House::standing().await;
    let (id, _second) = failing(&house).await;
    assert_eq!(house.store.retry_from_start(id, u64::MAX, true).await.unwrap(), Retry::Queued);
    assert_eq!(counted(&house).await, COUNTED, "though their rows are gone");
}
