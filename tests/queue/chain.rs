//! A job from its submission to its end, task by task, on a real SQLite file.

use kegd::{
    domain::{
        artifact::{Artifact, Role},
        job::{JobStatus, Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        task::{TaskKind, TaskStatus},
    },
    queue::{Beat, Claim, Ending, Hold, Product, QueueError, Settled},
    store::{Cancel, SampleRow},
};
use serde_json::json;

use crate::common::{
    facts,
    house::{House, name},
};

fn inspected() -> Ending {
    Ending::Succeeded(Product::Inspected(Box::new(facts::inspection(TeacherKind::ResidualImage))))
}

async fn pass_inspection(house: &House) {
    let claim = house.claim().await.expect("an inspection waits");
    assert_eq!(claim.kind(), TaskKind::Inspect);
    house.queue.finish(&claim, inspected()).await.unwrap();
}

fn beat(fraction: f64, phase: Phase) -> Beat {
    Beat { progress: Some(Progress { fraction, phase, step: 1, steps: 10, eta_seconds: None }), metrics: vec![] }
}

fn generator(claim: &Claim) -> Artifact {
    let TaskKind::Extract { generator } = claim.kind() else { panic!("{:?}", claim.kind()) };
    Artifact {
        name: name(&format!("generator-{generator}.safetensors")),
        role: Role::Generator,
        bytes: 3,
        sha256: "00".into(),
        key: format!("key-{generator}"),
    }
}

#[tokio::test]
async fn a_job_runs_from_inspection_to_its_result() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    assert_eq!(house.job(id).await.status, JobStatus::Queued);
    assert_eq!(house.store.queue_position(id).await.unwrap(), Some(1));

    let inspect = house.claim().await.unwrap();
    let names = inspect.inputs.files.iter().map(|file| file.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["eval.npz", "lenet5.onnx"], "the inspecting child reads the set's headers");
    let job = house.job(id).await;
    assert_eq!((job.status, job.phase), (JobStatus::Running, Phase::Importing));
    assert_eq!(house.store.queue_position(id).await.unwrap(), None);
    assert_eq!(house.queue.finish(&inspect, inspected()).await.unwrap(), Settled::Ended(TaskStatus::Succeeded));
    let job = house.job(id).await;
    assert_eq!(job.model, Some(facts::model()));
    assert_eq!(job.settings.extraction.decoder_layers, 3, "resolved again for a residual teacher");
    assert_eq!(job.settings.name, "lenet5");

    let (second, first) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    assert!(house.claim().await.is_none(), "distillation waits for both generators");
    for claim in [&first, &second] {
        assert_eq!(claim.inputs.eval, None, "no child that trains a generator gets the evaluation set");
        assert_eq!(house.queue.keep(claim, &generator(claim), None).await.unwrap(), Hold::GoOn);
        house.queue.finish(claim, Ending::Succeeded(Product::Extracted)).await.unwrap();
    }

    let distill = house.claim().await.expect("both generators are there");
    assert_eq!(distill.kind(), TaskKind::Distill { target: 0 });
    let generators = distill.inputs.generators.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(generators, ["generator-0.safetensors", "generator-1.safetensors"]);
    assert_eq!(distill.inputs.eval, Some(name("eval.npz")));
    let report = facts::report(distill.settings.clone());
    house.queue.finish(&distill, Ending::Succeeded(Product::Distilled(Box::new(report.clone())))).await.unwrap();

    let job = house.job(id).await;
    assert_eq!((job.status, job.phase, job.fraction()), (JobStatus::Succeeded, Phase::Done, 1.0));
    assert_eq!(job.result, Some(report.result));
    assert_eq!(job.warnings, ["the batch is fixed", "no real data"]);
    assert!(job.finished_at.is_some());
    assert!(house.claim().await.is_none());
}

#[tokio::test]
async fn a_baseline_trains_no_generators() {
    let house = House::standing().await;
    house.submit(json!({"extraction": {"sampler": "uniform"}})).await;
    pass_inspection(&house).await;
    assert_eq!(house.claim().await.unwrap().kind(), TaskKind::Distill { target: 0 });
}

#[tokio::test]
async fn a_planned_failure_ends_the_job_with_its_problem() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    let problem = Problem::new(ErrorCode::UnsupportedOperators, "the model has a Loop").hint("Export it unrolled.");
    house.queue.finish(&claim, Ending::Failed(problem.clone())).await.unwrap();
    let job = house.job(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Failed, Some(problem)));
    assert!(house.claim().await.is_none());
}

#[tokio::test]
async fn a_failed_generator_stops_its_siblings() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    pass_inspection(&house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let problem = Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite");
    house.queue.finish(&first, Ending::Failed(problem.clone())).await.unwrap();
    assert_eq!(house.job(id).await.status, JobStatus::Failed);

    assert_eq!(house.queue.record(&second, &beat(0.5, Phase::Extracting)).await.unwrap(), Hold::Stop);
    let late = house.queue.finish(&second, Ending::Succeeded(Product::Extracted)).await.unwrap();
    assert_eq!(late, Settled::Ended(TaskStatus::Canceled));
    let job = house.job(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Failed, Some(problem)), "what came later changes nothing");
    assert!(house.claim().await.is_none(), "nothing follows");
}

#[tokio::test]
async fn cancel_ends_a_waiting_job_at_once_and_no_other() {
    let house = House::standing().await;
    let (id, other) = (house.submit(json!({})).await, house.submit(json!({})).await);
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Canceled);
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::AlreadyCanceled);
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
    assert_eq!(house.job(other).await.status, JobStatus::Queued);
    assert_eq!(house.claim().await.unwrap().fence().job, other);
}

#[tokio::test]
async fn cancel_tells_a_running_job_and_waits_for_it() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    pass_inspection(&house).await;
    let running = house.claim().await.unwrap();
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.job(id).await.status, JobStatus::Running);
    assert!(house.claim().await.is_none(), "its waiting sibling ended at once");
    assert_eq!(house.queue.record(&running, &Beat::default()).await.unwrap(), Hold::Stop);
    house.queue.finish(&running, Ending::Canceled).await.unwrap();
    assert_eq!(house.job(id).await.status, JobStatus::Canceled);
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::AlreadyCanceled);
}

#[tokio::test]
async fn cancel_leaves_a_finished_job_alone() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    house.queue.finish(&claim, Ending::Failed(Problem::new(ErrorCode::EmptyFile, "empty"))).await.unwrap();
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Finished(JobStatus::Failed));
}

#[tokio::test]
async fn progress_of_a_job_never_falls() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    pass_inspection(&house).await;
    let first = house.claim().await.unwrap();
    let _ = house.queue.record(&first, &beat(0.5, Phase::Extracting)).await.unwrap();
    let half = house.job(id).await.fraction();
    assert!((half - (0.02 + 0.5 * 0.2)).abs() < 1e-9, "{half}");
    let again = beat(0.0, Phase::Extracting);
    house.queue.finish(&first, Ending::Interrupted).await.unwrap();
    assert_eq!(house.job(id).await.status, JobStatus::Queued, "nothing of it runs");
    let first = house.claim().await.unwrap();
    let _ = house.queue.record(&first, &again).await.unwrap();
    assert_eq!(house.job(id).await.fraction(), half);
}

#[tokio::test]
async fn metrics_belong_to_a_run_and_are_replaced_by_the_next() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    pass_inspection(&house).await;
    let claim = house.claim().await.unwrap();
    let loss = |step, value| MetricPoint { name: "loss".into(), step, value };
    let report = |points| Beat { progress: None, metrics: points };
    let _ = house.queue.record(&claim, &report(vec![loss(1, 3.0), loss(2, 2.0)])).await.unwrap();
    let _ = house.queue.record(&claim, &report(vec![loss(2, 1.5)])).await.unwrap();
    let series = house.store.metrics(id, &Default::default()).await.unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!((series[0].name.as_str(), series[0].generator), ("loss", Some(0)));
    assert_eq!(series[0].points, [(1, 3.0), (2, 1.5)]);
    assert_eq!(house.job(id).await.latest_metrics["generator 0: loss"], 1.5);

    house.queue.finish(&claim, Ending::Interrupted).await.unwrap();
    let _again = house.claim().await.unwrap();
    assert!(house.store.metrics(id, &Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn samples_and_files_of_a_run_are_listed() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    pass_inspection(&house).await;
    let (first, second) = (house.claim().await.unwrap(), house.claim().await.unwrap());
    let file = Artifact { role: Role::Samples, ..generator(&first) };
    let sample = SampleRow { artifact: file.name.clone(), generator: 0, epoch: 2, count: 100 };
    let _ = house.queue.keep(&first, &file, Some(&sample)).await.unwrap();
    assert_eq!(house.store.samples(id).await.unwrap(), [sample]);
    assert_eq!(house.store.artifact(id, &file.name).await.unwrap().unwrap().artifact, file);

    let refused = house.queue.keep(&second, &file, None).await;
    assert!(matches!(refused, Err(QueueError::NameTaken(_))), "{refused:?}");
    let upload = Artifact { name: name("lenet5.onnx"), ..file };
    assert!(matches!(house.queue.keep(&first, &upload, None).await, Err(QueueError::NameTaken(_))));
}

#[tokio::test]
async fn every_visible_change_has_a_revision_and_an_event() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let mut seen = house.job(id).await.revision;
    let claim = house.claim().await.unwrap();
    let mut rises = async |what| {
        let revision = house.job(id).await.revision;
        assert!(revision > seen, "{what}");
        seen = revision;
    };
    rises("claimed").await;
    let _ = house.queue.record(&claim, &beat(0.5, Phase::Importing)).await.unwrap();
    rises("progress").await;
    house.queue.finish(&claim, inspected()).await.unwrap();
    rises("inspected").await;

    let events = house.store.events(id, 0, 100).await.unwrap();
    let kinds = events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>();
    assert_eq!(kinds, ["status", "run_started", "status", "run_ended"]);
    let after = house.store.events(id, events[1].id, 1).await.unwrap();
    assert_eq!(after[0].id, events[2].id);
    assert_eq!(after[0].data, json!({"status": "running", "phase": "importing"}));
}

#[tokio::test]
async fn a_configuration_that_is_too_much_for_the_model_ends_the_job_after_its_inspection() {
    let house = House::standing().await;
    let id = house.submit(json!({"distillation": {"batch_size": 4096}})).await;
    let claim = house.claim().await.unwrap();
    let mut inspection = facts::inspection(TeacherKind::PlainImage);
    inspection.model.input.shape = vec![None, Some(3), Some(512), Some(512)];
    house.queue.finish(&claim, Ending::Succeeded(Product::Inspected(Box::new(inspection)))).await.unwrap();
    let job = house.job(id).await;
    let error = job.error.expect("it failed");
    assert_eq!((job.status, error.code), (JobStatus::Failed, ErrorCode::InvalidConfig));
    assert_eq!(error.param.as_deref(), Some("config.distillation.batch_size"));
    assert!(house.claim().await.is_none(), "nothing of it runs");
}
