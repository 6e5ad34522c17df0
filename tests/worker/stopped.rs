//! A supervisor that does not get to run for a while, as in a stopped process or a paused container. Its children go on
//! meanwhile, and are not to blame for what it did not hear.

use std::{fs, time::Duration};

use kegd::{clock::Clock, domain::job::JobStatus, queue::QueueConfig};
use rstest::rstest;
use serde_json::json;

use crate::common::{house::House, script, wait::until};

#[rstest]
#[case::than_a_lease(Duration::from_secs(2), Duration::from_secs(600))]
#[case::than_a_run_may_stand_still(Duration::from_secs(30), Duration::from_secs(2))]
#[tokio::test]
async fn who_listens_late_ends_no_run_after_longer(#[case] lease: Duration, #[case] stall: Duration) {
    let rules = QueueConfig { lease, max_losses: 1, ..script::quick_rules() };
    let house = House::with(Clock::System, rules).await;
    let body = "hello
        if [ $(kind) = extract ]; then
            echo there > $SHARED/there-$(generator)
            until [ -e $SHARED/go ]; do sleep 0.05; metric loss $((step += 1)) 0.5; done
        fi
        work; finish";
    let mut config = script::worker(&house, body).await;
    config.stall = stall;
    let work = house.work(config);
    let id = house.submit(json!({})).await;
    for generator in 0..2 {
        house.note(&format!("there-{generator}")).await;
    }
    // The worker runs on this thread.
    let stop = || std::thread::sleep(2 * lease.min(stall));
    let heard = async || {
        let series = house.store.metrics(id, &Default::default()).await.unwrap();
        series.iter().map(|series| series.points.len()).sum::<usize>()
    };
    let before = heard().await;
    stop();
    until("they are heard again, or ended", async || {
        (heard().await > before || house.job(id).await.status.is_final()).then_some(())
    })
    .await;
    // Now they finish while nobody listens.
    fs::write(house.directory.path().join("shared/go"), "").unwrap();
    stop();
    let job = house.ended(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    work.stop().await;
    let runs = house.store.runs(id).await.unwrap();
    assert_eq!(runs.len(), 4, "each task took one run: {runs:#?}");
}
