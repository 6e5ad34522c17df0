//! Jobs of several students: one distillation for each target, from generators that are trained once, or by another job.

use kegd::{
    domain::{
        artifact::{Artifact, Role},
        ids::JobId,
        job::{JobStatus, Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        task::TaskKind,
    },
    queue::{Beat, Claim, Ending, Product, Settled},
    store::{Cancel, MetricQuery, Retry},
};
use serde_json::json;

use crate::common::{
    facts,
    house::{House, name},
};

async fn keep(house: &House, claim: &Claim, file: &str, role: Role) {
    let artifact = Artifact { name: name(file), role, bytes: 3, sha256: "00".into(), key: format!("key-{file}") };
    let _ = house.queue.keep(claim, &artifact, None).await.unwrap();
}

async fn done(house: &House, claim: &Claim, product: Product) -> Settled {
    house.queue.finish(claim, Ending::Succeeded(product)).await.unwrap()
}

/// A sweep whose distillations wait.
async fn extracted(house: &House) -> JobId {
    let id = house.submit(json!({"compression": {"ratio": [8, 2, 4]}})).await;
    let inspect = house.claim().await.unwrap();
    done(house, &inspect, Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage)))).await;
    for _ in 0..2 {
        let claim = house.claim().await.unwrap();
        let generator = claim.kind().generator().unwrap();
        keep(house, &claim, &format!("generator-{generator}.safetensors"), Role::Generator).await;
        done(house, &claim, Product::Extracted).await;
    }
    id
}

async fn distilled(house: &House, claim: &Claim) {
    let number = claim.kind().student().unwrap();
    for (file, role) in [("student.onnx", Role::Student), ("report.json", Role::Report)] {
        keep(house, claim, &claim.settings.file_of_student(number, file), role).await;
    }
    let mut report = facts::report(claim.settings.of_student(number));
    report.result.student.parameters = u64::from(number);
    report.result.seconds = [("extracting".to_owned(), 3.0), ("distilling".to_owned(), 5.0)].into();
    done(house, claim, Product::Distilled(Box::new(report))).await;
}

#[tokio::test]
async fn generators_are_trained_once_and_students_side_by_side() {
    let house = House::standing().await;
    let id = extracted(&house).await;
    let mut claims = Vec::new();
    while let Some(claim) = house.claim().await {
        assert_eq!(claim.inputs.generators.len(), 2);
        claims.push(claim);
    }
    claims.sort_by_key(|claim| claim.kind().student());
    let kinds: Vec<TaskKind> = claims.iter().map(Claim::kind).collect();
    assert_eq!(kinds, [0, 1, 2].map(|target| TaskKind::Distill { target }));
    let labels: Vec<String> = claims.iter().map(|claim| claim.kind().label(&claim.settings)).collect();
    assert_eq!(labels, ["distill-ratio-8", "distill-ratio-2", "distill-ratio-4"]);

    distilled(&house, &claims[2]).await;
    distilled(&house, &claims[0]).await;
    let job = house.job(id).await;
    assert_eq!((job.status, job.result.is_none()), (JobStatus::Running, true));
    assert_eq!(job.results.iter().map(|made| made.number).collect::<Vec<_>>(), [0, 2]);
    distilled(&house, &claims[1]).await;
    let job = house.job(id).await;
    assert_eq!((job.status, job.phase, job.fraction()), (JobStatus::Succeeded, Phase::Done, 1.0));
    assert_eq!(job.result.unwrap().student.parameters, 0, "that of the first target, not of the first to be done");
    let targets: Vec<f64> = job.results.iter().filter_map(|made| made.target).collect();
    assert_eq!(targets, [8.0, 2.0, 4.0]);
    assert_eq!(job.results[2].artifacts, ["student-ratio-4.onnx", "report-ratio-4.json"]);
    house.ledger().await.check().await;
}

#[tokio::test]
async fn a_sweep_moves_on_as_one_job() {
    let house = House::standing().await;
    let id = extracted(&house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let beat = |phase, fraction| Beat {
        progress: Some(Progress { fraction, phase, step: 5, steps: 10, eta_seconds: None }),
        metrics: vec![MetricPoint { name: "loss".into(), step: 5, value: fraction }],
    };
    let mut phases = Vec::new();
    for (claim, phase, fraction) in [
        (&first, Phase::Distilling, 0.5),
        (&second, Phase::Compressing, 0.0),
        (&first, Phase::Evaluating, 0.9),
        (&second, Phase::Distilling, 0.3),
    ] {
        let _ = house.queue.record(claim, &beat(phase, fraction)).await.unwrap();
        phases.push(house.job(id).await.phase);
    }
    assert_eq!(phases, [Phase::Compressing, Phase::Compressing, Phase::Compressing, Phase::Distilling]);
    let latest = house.job(id).await.latest_metrics;
    let target = |claim: &Claim| claim.settings.swept(claim.kind().student().unwrap()).unwrap().value;
    assert_eq!(latest[&format!("ratio {}: loss", target(&first))], 0.9);
    assert_eq!(latest[&format!("ratio {}: loss", target(&second))], 0.3);
    let series = house.store.series(id, &MetricQuery::default()).await.unwrap();
    let mut students: Vec<_> = series.iter().map(|series| series.student).collect();
    students.sort_unstable();
    let mut expected = [first.kind().student(), second.kind().student()];
    expected.sort_unstable();
    assert_eq!(students, expected);
}

#[tokio::test]
async fn what_is_done_of_a_sweep_outlives_a_failure_and_a_retry() {
    let house = House::standing().await;
    let id = extracted(&house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    distilled(&house, &first).await;
    let diverged = Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite");
    house.queue.finish(&second, Ending::Failed(diverged)).await.unwrap();
    let job = house.job(id).await;
    assert_eq!((job.status, job.results.len(), job.result.is_none()), (JobStatus::Failed, 1, true));
    assert!(house.claim().await.is_none(), "the third is not begun");
    assert_eq!(house.store.retry_from_checkpoint(id, u64::MAX).await.unwrap(), Retry::Queued);
    for _ in 0..2 {
        let claim = house.claim().await.unwrap();
        assert_ne!(claim.kind(), first.kind());
        distilled(&house, &claim).await;
    }
    assert_eq!((house.job(id).await.status, house.job(id).await.results.len()), (JobStatus::Succeeded, 3));
    assert_eq!(house.store.retry_from_start(id, u64::MAX, true).await.unwrap(), Retry::Queued);
    assert!(house.job(id).await.results.is_empty());
    house.ledger().await.check().await;
}

#[tokio::test]
async fn canceling_a_sweep_ends_all_of_it() {
    let house = House::standing().await;
    let id = extracted(&house).await;
    let running = house.claim().await.unwrap();
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert!(house.claim().await.is_none(), "what waited is canceled");
    house.queue.finish(&running, Ending::Canceled).await.unwrap();
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
    house.ledger().await.check().await;
}

/// What the migration does for jobs of versions that knew of one student only.
#[tokio::test]
async fn jobs_of_before_have_their_result_among_the_results() {
    let house = House::standing().await;
    let id = house.submit(json!({"compression": {"ratio": 8}, "extraction": {"sampler": "uniform"}})).await;
    let inspect = house.claim().await.unwrap();
    done(&house, &inspect, Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage)))).await;
    distilled(&house, &house.claim().await.unwrap()).await;
    let job = house.job(id).await;
    assert_eq!((job.results.len(), job.results[0].target), (1, Some(8.0)));

    let migration = include_str!("../../migrations/0008_targets.sql");
    let (_, filling) = migration.split_once("update jobs").unwrap();
    let before = "update jobs set results = '[]'; update tasks set target = null; update jobs";
    sqlx::raw_sql(&format!("{before}{filling}")).execute(&mut house.database().await).await.unwrap();
    let mut filled = house.job(id).await.results;
    filled[0].artifacts.sort();
    let mut expected = job.results;
    expected[0].artifacts.sort();
    assert_eq!(filled, expected);
    let kinds: Vec<TaskKind> = house.store.tasks(id).await.unwrap().iter().map(|task| task.kind).collect();
    assert_eq!(kinds[1], TaskKind::Distill { target: 0 });
}
