//! A run that has lost its task writes nothing, by whatever way it was lost and whatever it tries: not a byte of the
//! database changes.

use std::time::Duration;

use kegd::{
    artifacts::Claimed,
    domain::{
        artifact::{Artifact, Role, hexadecimal},
        job::{Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        task::TaskKind,
    },
    queue::{Beat, Claim, Ending, Product, Queue, QueueError},
    store::{Deletion, Retry, SampleRow},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::common::{
    facts,
    house::{House, cpu, name},
};

/// Longer than any backoff.
const LONG: Duration = Duration::from_secs(600);

/// How a run loses its task.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Its lease ran out, and the task waits.
    Reaped,
    /// Its lease ran out, and another run has the task.
    Superseded,
    /// Its worker began a new life.
    Reborn,
    Succeeded,
    Failed,
    Lost,
    Interrupted,
    /// Its third loss was the last.
    GivenUp,
    Canceled,
    Deleted,
    /// A sibling failed, and the job was started again while this run went on.
    StartedAgain,
}

/// Makes a job with a claimed generator, and takes it away from the run that is returned.
async fn lose(house: &House, way: Way) -> Claim {
    let id = house.submit(json!({})).await;
    let inspect = house.claim().await.unwrap();
    house.queue.finish(&inspect, inspected()).await.unwrap();
    let claim = house.claim().await.unwrap();
    let sibling = house.queue.claim(&cpu("worker-2")).await.unwrap().unwrap();
    let finish = async |ending| house.queue.finish(&claim, ending).await.unwrap();
    match way {
        Way::Reaped | Way::Superseded => {
            assert_eq!(house.lapse("worker-3").await, 2);
            if matches!(way, Way::Superseded) {
                house.clock.advance(LONG);
                let next = [house.claim().await.unwrap(), house.claim().await.unwrap()];
                assert!(next.iter().any(|next| next.fence().task == claim.fence().task && next.fence().run == 2));
            }
        }
        Way::Reborn => assert_eq!(house.queue.begin_life("worker-1", &["cpu".into()]).await.unwrap(), 1),
        Way::Succeeded => drop(finish(Ending::Succeeded(Product::Extracted)).await),
        Way::Failed => drop(finish(Ending::Failed(problem())).await),
        Way::Lost => drop(finish(Ending::Lost("it crashed".into())).await),
        Way::Interrupted => drop(finish(Ending::Interrupted).await),
        Way::GivenUp => {
            house.queue.finish(&sibling, Ending::Succeeded(Product::Extracted)).await.unwrap();
            finish(Ending::Lost("it crashed".into())).await;
            for _ in 0..2 {
                house.clock.advance(LONG);
                let again = house.claim().await.unwrap();
                house.queue.finish(&again, Ending::Lost("it crashed".into())).await.unwrap();
            }
        }
        Way::Canceled => {
            house.store.cancel(id).await.unwrap();
            finish(Ending::Canceled).await;
        }
        Way::Deleted => assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::Deleted),
        Way::StartedAgain => {
            house.queue.finish(&sibling, Ending::Failed(problem())).await.unwrap();
            let retry = house.store.retry_from_start(id, u64::MAX, true).await.unwrap();
            assert!(matches!(retry, Retry::Queued), "{retry:?}");
        }
    }
    claim
}

fn inspected() -> Ending {
    Ending::Succeeded(Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage))))
}

fn problem() -> Problem {
    Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite")
}

fn endings(claim: &Claim) -> Vec<Ending> {
    let report = facts::report(claim.settings.clone());
    vec![
        inspected(),
        Ending::Succeeded(Product::Extracted),
        Ending::Succeeded(Product::Distilled(Box::new(report))),
        Ending::Failed(problem()),
        Ending::Canceled,
        Ending::Lost("late".into()),
        Ending::Interrupted,
        Ending::Hindered("late".into()),
    ]
}

/// Everything that a run can write, each of which must be refused.
async fn try_everything(queue: &Queue, claim: &Claim) {
    let refused = |what: &str, result: Option<QueueError>| {
        assert!(matches!(result, Some(QueueError::LeaseLost)), "{what}: {result:?}");
    };
    let progress = Progress { fraction: 0.9, phase: Phase::Exporting, step: 9, steps: 10, eta_seconds: Some(1.0) };
    let points = vec![MetricPoint { name: "loss".into(), step: 1, value: 1.0 }];
    for (progress, metrics) in [(None, vec![]), (Some(progress.clone()), vec![]), (Some(progress), points)] {
        refused("record", queue.record(claim, &Beat { progress, metrics }).await.err());
    }
    let artifact =
        Artifact { name: name("late.npz"), role: Role::Samples, bytes: 1, sha256: "00".into(), key: "late".into() };
    let sample = SampleRow { artifact: artifact.name.clone(), generator: 0, epoch: 1, count: 1 };
    refused("keep", queue.keep(claim, &artifact, None).await.err());
    refused("keep a sample", queue.keep(claim, &artifact, Some(&sample)).await.err());
    refused("keep a checkpoint", queue.keep_checkpoint(claim, &artifact, 9).await.err());
    for ending in endings(claim) {
        refused("finish", queue.finish(claim, ending).await.err());
    }
}

#[rstest::rstest]
#[tokio::test]
async fn a_lost_run_writes_nothing(
    #[values(
        Way::Reaped,
        Way::Superseded,
        Way::Reborn,
        Way::Succeeded,
        Way::Failed,
        Way::Lost,
        Way::Interrupted,
        Way::GivenUp,
        Way::Canceled,
        Way::Deleted,
        Way::StartedAgain
    )]
    way: Way,
) {
    let house = House::standing().await;
    let stale = lose(&house, way).await;
    house.submit(json!({})).await;
    let mut ledger = house.ledger().await;
    ledger.check().await;
    let before = ledger.lines().await;
    assert!(before.len() > 5, "the database is read: {before:#?}");
    try_everything(&house.queue, &stale).await;
    assert_eq!(ledger.lines().await, before);
}

#[tokio::test]
async fn the_files_of_a_lost_run_replace_none_of_the_next() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let inspect = house.claim().await.unwrap();
    house.queue.finish(&inspect, inspected()).await.unwrap();
    let stale = house.claim().await.unwrap();
    house.queue.finish(&stale, Ending::Interrupted).await.unwrap();
    let fresh = house.claim().await.unwrap();
    assert_eq!((fresh.fence().task, fresh.fence().run), (stale.fence().task, 2));
    assert!(matches!(fresh.kind(), TaskKind::Extract { .. }));

    let adopt = async |claim: &Claim, content: &str| {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(run.path().join("generator.safetensors"), content).unwrap();
        let (bytes, sha256) = (content.len() as u64, hexadecimal(&Sha256::digest(content)));
        let claimed = Claimed { name: name("generator.safetensors"), role: Role::Generator, bytes, sha256 };
        house.artifacts.adopt(claim.fence(), run.path(), claimed).await.unwrap()
    };
    let kept = adopt(&fresh, "the weights of the second run").await;
    let _ = house.queue.keep(&fresh, &kept, None).await.unwrap();
    let late = adopt(&stale, "those of the first").await;
    assert!(matches!(house.queue.keep(&stale, &late, None).await, Err(QueueError::LeaseLost)));
    // What the supervisor does with a file that was refused.
    house.artifacts.delete(&late).await.unwrap();
    let row = house.store.artifact(fresh.fence().job, &kept.name).await.unwrap().unwrap();
    assert_eq!(house.artifacts.read_whole(&row.artifact, 100).await.unwrap(), "the weights of the second run");
}
