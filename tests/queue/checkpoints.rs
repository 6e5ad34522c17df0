//! What a checkpoint means for the queue: where the next run begins, what it keeps, and how often it may be lost.

use std::time::Duration;

use kegd::{
    domain::{
        artifact::{Artifact, Role},
        ids::JobId,
        job::{JobStatus, Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        task::{TaskKind, TaskStatus},
    },
    queue::{Beat, Claim, Ending, Hold, Product, QueueError},
    store::{Cancel, Deletion, Retry},
};
use serde_json::json;

use crate::common::{
    facts,
    house::{House, cpu, name},
};

/// Longer than any backoff.
const LONG: Duration = Duration::from_secs(600);

/// A job whose two generators are both to be trained.
async fn inspected(house: &House) -> JobId {
    inspected_with(house, 2).await
}

async fn inspected_with(house: &House, generators: u32) -> JobId {
    let id = house.submit(json!({"extraction": {"sampler": "kegnet", "generators": generators}})).await;
    let claim = house.claim().await.unwrap();
    let inspection = facts::inspection(TeacherKind::PlainImage);
    house.queue.finish(&claim, Ending::Succeeded(Product::Inspected(Box::new(inspection)))).await.unwrap();
    id
}

fn file(claim: &Claim, step: u64) -> Artifact {
    let (fence, generator) = (claim.fence(), claim.kind().generator().unwrap_or_default());
    let name = name(&format!("extract-{generator}-run{}-{step}.checkpoint", fence.run));
    let key = format!("{}/{}-{}/{name}", fence.job, fence.task, fence.run);
    Artifact { name, role: Role::Checkpoint, bytes: 3, sha256: format!("{step:02}"), key }
}

/// The run gets to `step`; returns the file whose place the checkpoint takes.
async fn checkpoint(house: &House, claim: &Claim, step: u64) -> Option<Artifact> {
    let (hold, obsolete) = house.queue.keep_checkpoint(claim, &file(claim, step), step).await.unwrap();
    assert_eq!(hold, Hold::GoOn);
    obsolete
}

async fn measure(house: &House, claim: &Claim, steps: std::ops::RangeInclusive<u64>) {
    let metrics = steps.map(|step| MetricPoint { name: "loss".into(), step, value: step as f64 }).collect();
    let _ = house.queue.record(claim, &Beat { progress: None, metrics }).await.unwrap();
}

async fn measured(house: &House, id: JobId) -> Vec<u64> {
    let series = house.store.metrics(id, &Default::default()).await.unwrap();
    series.iter().flat_map(|series| series.points.iter().map(|(step, _)| *step)).collect()
}

async fn checkpoints(house: &House, id: JobId) -> Vec<String> {
    let rows = house.store.artifacts_of_role(id, Role::Checkpoint).await.unwrap();
    rows.into_iter().map(|row| row.artifact.name.to_string()).collect()
}

#[tokio::test]
async fn the_next_run_begins_where_the_newest_checkpoint_is() {
    let house = House::standing().await;
    let id = inspected(&house).await;
    let first = house.claim().await.unwrap();
    assert!(first.inputs.checkpoint.is_none());
    measure(&house, &first, 1..=2).await;
    assert!(checkpoint(&house, &first, 2).await.is_none());
    measure(&house, &first, 3..=4).await;
    let obsolete = checkpoint(&house, &first, 4).await.unwrap();
    assert_eq!(obsolete, file(&first, 2), "its file may go");
    measure(&house, &first, 5..=7).await;
    assert_eq!(checkpoints(&house, id).await, ["extract-0-run1-4.checkpoint"]);
    house.queue.finish(&first, Ending::Interrupted).await.unwrap();

    let second = house.claim().await.unwrap();
    assert_eq!((second.fence().task, second.fence().run), (first.fence().task, 2));
    let found = second.inputs.checkpoint.as_ref().unwrap();
    assert_eq!((&found.artifact, found.step), (&file(&first, 4), 4));
    assert!(second.inputs.files.iter().all(|file| file.role != Role::Checkpoint), "a run can do without it");
    assert_eq!(measured(&house, id).await, [1, 2, 3, 4], "what lies beyond is measured again");
    let runs = house.store.runs(id).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.resumed_step).collect::<Vec<_>>(), [None, None, Some(4)]);
    let events = house.store.events(id, 0, 100).await.unwrap();
    let started = events.iter().rfind(|event| event.kind == "run_started").unwrap();
    assert_eq!(started.data["resumed_step"], 4);

    // The sibling has nothing of it.
    let sibling = house.claim().await.unwrap();
    assert_eq!(sibling.kind(), TaskKind::Extract { generator: 1 });
    assert!(sibling.inputs.checkpoint.is_none());

    let made = Artifact { name: name("generator-0.safetensors"), role: Role::Generator, ..file(&second, 9) };
    let _ = house.queue.keep(&second, &made, None).await.unwrap();
    house.queue.finish(&second, Ending::Succeeded(Product::Extracted)).await.unwrap();
    assert!(checkpoints(&house, id).await.is_empty(), "a task that is done needs none");
}

#[tokio::test]
async fn a_checkpoint_is_fenced_and_named_like_any_file() {
    let house = House::standing().await;
    let id = inspected(&house).await;
    let stale = house.claim().await.unwrap();
    let _ = checkpoint(&house, &stale, 1).await;
    assert_eq!(house.lapse("worker-2").await, 1);
    house.clock.advance(LONG);
    let late = house.queue.keep_checkpoint(&stale, &file(&stale, 2), 2).await;
    assert!(matches!(late, Err(QueueError::LeaseLost)), "{late:?}");
    let fresh = house.claim().await.unwrap();
    let late = house.queue.keep_checkpoint(&stale, &file(&stale, 3), 3).await;
    assert!(matches!(late, Err(QueueError::LeaseLost)), "{late:?}");
    let upload = Artifact { name: name("lenet5.onnx"), ..file(&fresh, 4) };
    let taken = house.queue.keep_checkpoint(&fresh, &upload, 4).await;
    assert!(matches!(taken, Err(QueueError::NameTaken(_))), "{taken:?}");
    assert_eq!(checkpoints(&house, id).await, ["extract-0-run1-1.checkpoint"], "the one that was there is there");
}

#[tokio::test]
async fn losses_count_from_the_newest_checkpoint() {
    let house = House::standing().await;
    let id = inspected_with(&house, 1).await;
    let mut step = 0;
    // Twice as many as are allowed in a row.
    for _ in 0..6 {
        let claim = house.claim().await.unwrap();
        step += 1;
        let _ = checkpoint(&house, &claim, step).await;
        house.queue.finish(&claim, Ending::Lost("it was killed".into())).await.unwrap();
        assert_eq!(house.store.tasks(id).await.unwrap()[1].losses, 1);
        house.clock.advance(LONG);
    }
    for left in [true, false] {
        let claim = house.claim().await.unwrap();
        assert_eq!(claim.inputs.checkpoint.as_ref().unwrap().step, 6);
        house.queue.finish(&claim, Ending::Lost("it was killed".into())).await.unwrap();
        house.clock.advance(LONG);
        assert_eq!(house.job(id).await.status == JobStatus::Queued, left);
    }
    assert_eq!(house.job(id).await.error.unwrap().code, ErrorCode::WorkerCrashed);
}

#[tokio::test]
async fn time_that_was_lost_is_not_counted_as_training() {
    let house = House::standing().await;
    inspected_with(&house, 1).await;
    let first = house.claim().await.unwrap();
    house.clock.advance(Duration::from_secs(10));
    let _ = checkpoint(&house, &first, 1).await;
    house.clock.advance(Duration::from_secs(7));
    house.queue.finish(&first, Ending::Lost("it was killed".into())).await.unwrap();
    house.clock.advance(LONG);
    let second = house.claim().await.unwrap();
    house.clock.advance(Duration::from_secs(3));
    let _ = checkpoint(&house, &second, 2).await;
    house.queue.finish(&second, Ending::Interrupted).await.unwrap();
    house.clock.advance(LONG);
    let third = house.claim().await.unwrap();
    house.clock.advance(Duration::from_secs(1));
    let made = Artifact { name: name("generator-0.safetensors"), role: Role::Generator, ..file(&third, 3) };
    let _ = house.queue.keep(&third, &made, None).await.unwrap();
    house.queue.finish(&third, Ending::Succeeded(Product::Extracted)).await.unwrap();
    let distill = house.claim().await.unwrap();
    assert_eq!(distill.inputs.extracting_seconds, 10.0 + 3.0 + 1.0);
}

#[tokio::test]
async fn what_is_made_again_is_not_announced_again() {
    let house = House::standing().await;
    let id = inspected(&house).await;
    let announced = async || {
        let events = house.store.events(id, 0, 100).await.unwrap();
        events.iter().filter(|event| event.kind == "artifact").count()
    };
    for run in 1..=2 {
        let claim = house.claim().await.unwrap();
        let samples = Artifact { name: name("samples.npz"), sha256: "aa".into(), ..file(&claim, run) };
        let _ = house.queue.keep(&claim, &samples, None).await.unwrap();
        assert_eq!(announced().await, 1);
        assert_eq!(house.store.artifact(id, &samples.name).await.unwrap().unwrap().artifact.key, samples.key);
        if run == 2 {
            let other = Artifact { sha256: "bb".into(), ..samples };
            let _ = house.queue.keep(&claim, &other, None).await.unwrap();
            assert_eq!(announced().await, 2, "another file of that name is news");
        }
        house.queue.finish(&claim, Ending::Interrupted).await.unwrap();
    }
}

/// Trains both generators: the first is done, and the second has got to step 5.
async fn half_done(house: &House) -> (JobId, Claim) {
    let id = inspected(house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let made = Artifact { name: name("generator-0.safetensors"), role: Role::Generator, ..file(&first, 9) };
    let _ = house.queue.keep(&first, &made, None).await.unwrap();
    house.queue.finish(&first, Ending::Succeeded(Product::Extracted)).await.unwrap();
    measure(house, &second, 1..=8).await;
    let _ = checkpoint(house, &second, 5).await;
    let progress = Progress { fraction: 0.5, phase: Phase::Extracting, step: 8, steps: 10, eta_seconds: Some(3.0) };
    let _ = house.queue.record(&second, &Beat { progress: Some(progress), metrics: vec![] }).await.unwrap();
    (id, second)
}

#[tokio::test]
async fn a_failed_job_goes_on_with_what_is_not_done() {
    let house = House::standing().await;
    let (id, second) = half_done(&house).await;
    let problem = Problem::new(ErrorCode::OutOfMemory, "no memory is left");
    house.queue.finish(&second, Ending::Failed(problem)).await.unwrap();
    let failed = house.job(id).await;
    assert!(house.store.has_leftovers(id).await.unwrap());
    assert!(matches!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::Queued));
    let job = house.job(id).await;
    assert_eq!((job.status, job.phase, job.attempt, job.error), (JobStatus::Queued, Phase::Queued, 2, None));
    assert_eq!((job.started_at, job.finished_at), (None, None));
    assert_eq!((job.model, job.warnings), (failed.model.clone(), failed.warnings.clone()), "the inspection stands");
    assert_eq!(job.progress.as_ref().unwrap().fraction, failed.progress.as_ref().unwrap().fraction);
    assert_eq!(house.store.queue_position(id).await.unwrap(), Some(1));

    let claim = house.claim().await.unwrap();
    assert_eq!((claim.fence().task, claim.fence().run), (second.fence().task, 2));
    assert_eq!(claim.inputs.checkpoint.as_ref().unwrap().step, 5);
    assert!(house.claim().await.is_none(), "the first generator is done");
    assert_eq!(measured(&house, id).await, [1, 2, 3, 4, 5]);
    let made = Artifact { name: name("generator-1.safetensors"), role: Role::Generator, ..file(&claim, 10) };
    let _ = house.queue.keep(&claim, &made, None).await.unwrap();
    house.queue.finish(&claim, Ending::Succeeded(Product::Extracted)).await.unwrap();
    assert_eq!(house.claim().await.unwrap().kind(), TaskKind::Distill { target: 0 });
}

#[tokio::test]
async fn a_canceled_job_goes_on_too() {
    let house = House::standing().await;
    let (id, second) = half_done(&house).await;
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    house.queue.finish(&second, Ending::Canceled).await.unwrap();
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
    assert!(matches!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::Queued));
    assert_eq!(house.claim().await.unwrap().inputs.checkpoint.unwrap().step, 5);
}

/// The job has failed, and its other run was told to stop but has not yet: a retry must not be undone by its end.
#[tokio::test]
async fn a_run_that_is_still_being_ended_cannot_end_the_next_attempt() {
    let house = House::standing().await;
    let id = inspected(&house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let problem = Problem::new(ErrorCode::OutOfMemory, "no memory is left");
    house.queue.finish(&first, Ending::Failed(problem)).await.unwrap();
    assert!(matches!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::Queued));
    assert!(matches!(house.queue.record(&second, &Beat::default()).await, Err(QueueError::LeaseLost)));
    assert!(matches!(house.queue.finish(&second, Ending::Canceled).await, Err(QueueError::LeaseLost)));
    let tasks = house.store.tasks(id).await.unwrap();
    assert_eq!(
        tasks.iter().map(|task| (task.status, task.cancel_requested)).collect::<Vec<_>>(),
        [(TaskStatus::Succeeded, false), (TaskStatus::Queued, false), (TaskStatus::Queued, false)]
    );
    let ends: Vec<_> = house.store.runs(id).await.unwrap().into_iter().map(|run| run.outcome).collect();
    assert_eq!(ends, [Some("succeeded".to_owned()), Some("failed".into()), Some("canceled".into())]);
    for _ in 0..2 {
        assert_eq!(house.claim().await.unwrap().fence().run, 2);
    }
}

#[tokio::test]
async fn there_has_to_be_something_to_go_on_from() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    assert!(matches!(
        house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(),
        Retry::NotFinished(JobStatus::Queued)
    ));
    house.store.cancel(id).await.unwrap();
    assert!(matches!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::NothingLeft));
    assert!(!house.store.has_leftovers(id).await.unwrap());
    assert_eq!(house.job(id).await.attempt, 1, "nothing has changed");
    assert_eq!(house.store.delete(id, false).await.unwrap(), Deletion::Deleted);
    assert!(matches!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::NotFound));
}

#[tokio::test]
async fn a_retry_needs_a_place_in_the_queue() {
    let house = House::standing().await;
    let (id, second) = half_done(&house).await;
    house.store.cancel(id).await.unwrap();
    house.queue.finish(&second, Ending::Canceled).await.unwrap();
    house.submit(json!({})).await;
    for refused in [house.store.retry_from_start(id, 1, true).await, house.store.retry_from_checkpoint(id, 1).await] {
        assert_eq!(Problem::from(refused.unwrap_err()).code, ErrorCode::TooManyRequests);
    }
    assert_eq!(
        (house.job(id).await.status, house.job(id).await.attempt),
        (JobStatus::Canceled, 1),
        "nothing has changed"
    );
    assert_eq!(house.store.retry_from_checkpoint(id, 2).await.unwrap(), Retry::Queued);
}

#[tokio::test]
async fn a_checkpoint_goes_with_its_job_and_with_a_new_start() {
    let house = House::standing().await;
    let (id, second) = half_done(&house).await;
    house.store.cancel(id).await.unwrap();
    house.queue.finish(&second, Ending::Canceled).await.unwrap();
    assert_eq!(house.store.retry_from_start(id, u64::MAX, true).await.unwrap(), Retry::Queued);
    let doomed = house.store.doomed(None).await.unwrap();
    assert!(doomed.iter().any(|entry| entry.key.as_deref() == Some(&file(&second, 5).key)), "{doomed:?}");
    assert!(checkpoints(&house, id).await.is_empty());
    let claim = house.queue.claim(&cpu("worker-1")).await.unwrap().unwrap();
    assert!(claim.inputs.checkpoint.is_none());
    assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::Deleted);
}
