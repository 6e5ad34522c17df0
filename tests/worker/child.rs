//! Our own child, and a worker that dies: this test binary plays both, in processes of their own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use kegd::{
    domain::{
        artifact::Role,
        job::{JobStatus, Phase, Progress},
        metric::MetricPoint,
        presets::TeacherKind,
        problem::ErrorCode,
        task::{TaskKind, TaskSpec},
    },
    engine::observer::{Observer, Stop},
    store::{Cancel, Job},
    worker::WorkerConfig,
};
use serde_json::json;

use crate::common::{
    child::start_of,
    facts,
    house::House,
    script,
    wait::{gone, until},
};

/// What the child of these tests is to do.
const BEHAVIOUR: &str = "KEGD_TEST_BEHAVIOUR";
/// The data directory of a worker that is to die.
const DATA: &str = "KEGD_TEST_DATA";

/// The child: not a test, unless a worker started it.
#[test]
fn child_entry() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else { return };
    let directory = std::env::var("KEGD_TEST_DIR").unwrap();
    kegd::child::main(Path::new(&directory), |spec, directory, observer| engine(&behaviour, spec, directory, observer))
}

/// In place of the engine: leaves what each kind of task has to leave, and goes wrong as told.
fn engine(behaviour: &str, spec: &TaskSpec, directory: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
    let at = |fraction, step, phase| Progress { fraction, phase, step, steps: 1000, eta_seconds: Some(f64::NAN) };
    let write = |name: &str, content: &[u8]| {
        let file = directory.join(name);
        fs::write(&file, content).unwrap();
        file
    };
    println!("what a library prints does not disturb");
    match spec.kind {
        TaskKind::Inspect => {
            let inspection = facts::inspection(TeacherKind::PlainImage);
            let file = write("inspection.json", &serde_json::to_vec(&inspection).unwrap());
            observer.artifact(&file, Role::Inspection);
            Ok(())
        }
        TaskKind::Extract { generator } => {
            match behaviour {
                "panic" => panic!("Expected 3D tensor\nframe #0: at::conv2d"),
                "memory" => panic!("CUDA out of memory. Tried to allocate 20 GiB"),
                "problem" => return Err(facts::problem().into()),
                "announce nothing" => observer.artifact(&directory.join("not there"), Role::Generator),
                "forever" => loop {
                    std::thread::sleep(Duration::from_millis(1));
                    observer.progress(at(0.5, 1, Phase::Extracting))?;
                },
                _ => {}
            }
            for step in 1..=1000 {
                observer.progress(at(step as f64 / 1000.0, step, Phase::Extracting))?;
                let value = if step == 500 { f64::NAN } else { 1.0 / step as f64 };
                observer.metrics(vec![MetricPoint { name: "loss".into(), step, value }]);
            }
            let samples = write(&format!("samples-{generator}.npz"), b"pixels");
            observer.sample(&samples, generator, 4, 100);
            let weights = write(&format!("generator-{generator}.safetensors"), b"weights");
            observer.artifact(&weights, Role::Generator);
            Ok(())
        }
        TaskKind::Distill { .. } => {
            observer.progress(at(0.2, 1, Phase::Compressing))?;
            assert_eq!(spec.generators.len(), 2);
            observer.artifact(&write("student.onnx", b"student"), Role::Student);
            let report = facts::report(spec.settings.clone());
            observer.artifact(&write("report.json", &serde_json::to_vec(&report).unwrap()), Role::Report);
            Ok(())
        }
    }
}

fn worker(house: &House, behaviour: &str) -> WorkerConfig {
    script::configure(house, start_of(house, "child::child_entry", BEHAVIOUR, behaviour))
}

async fn job_with(house: &House, behaviour: &str) -> Job {
    let work = house.work(worker(house, behaviour));
    let id = house.submit(json!({})).await;
    let job = house.ended(id).await;
    work.stop().await;
    job
}

#[tokio::test]
async fn our_child_does_a_whole_job() {
    let house = House::living().await;
    let job = job_with(&house, "well").await;
    assert_eq!(job.error, None);
    assert_eq!((job.status, job.fraction()), (JobStatus::Succeeded, 1.0));
    assert_eq!(house.store.samples(job.id).await.unwrap().len(), 2);
    let series = house.store.metrics(job.id, &Default::default()).await.unwrap();
    for generator in [0, 1] {
        let points = &series.iter().find(|series| series.generator == Some(generator)).unwrap().points;
        assert_eq!((points.len(), points[0], points[998]), (999, (1, 1.0), (1000, 0.001)), "all but the NaN");
    }
}

#[rstest::rstest]
#[case("panic", ErrorCode::Internal, "Expected 3D tensor")]
#[case("memory", ErrorCode::OutOfMemory, "20 GiB")]
#[case("problem", ErrorCode::UnsupportedOperators, "a Loop")]
#[case("announce nothing", ErrorCode::Internal, "not there")]
#[tokio::test]
async fn what_stops_the_engine_is_told_with_its_code(
    #[case] behaviour: &str,
    #[case] code: ErrorCode,
    #[case] said: &str,
) {
    let house = House::living().await;
    let job = job_with(&house, behaviour).await;
    let error = job.error.unwrap();
    assert_eq!((job.status, error.code), (JobStatus::Failed, code));
    assert!(error.detail.contains(said) && !error.detail.contains("frame #0"), "{}", error.detail);
    assert!(house.log(job.id, &error.log.unwrap()).await.contains("what a library prints"));
}

#[tokio::test]
async fn our_child_stops_when_told() {
    let house = House::living().await;
    let mut config = worker(&house, "forever");
    // Long enough that only the command can have ended it.
    config.grace.command = Duration::from_secs(300);
    let work = house.work(config);
    let id = house.submit(json!({})).await;
    until("both generators train", async || {
        let tasks = house.store.tasks(id).await.unwrap();
        (tasks.iter().filter(|task| task.progress.is_some()).count() == 2).then_some(())
    })
    .await;
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.ended(id).await.status, JobStatus::Canceled);
    work.stop().await;
}

/// The worker that dies: not a test, unless the one below started it.
#[tokio::test(flavor = "multi_thread")]
async fn worker_entry() {
    let Ok(data) = std::env::var(DATA) else { return };
    let data = Path::new(&data);
    let store = kegd::store::Store::open(&data.join("kegd.db"), kegd::clock::Clock::System).await.unwrap();
    let queue = kegd::queue::Queue::new(store, script::quick_rules());
    let artifacts = kegd::artifacts::Artifacts::open(data.join("artifacts")).unwrap();
    let mut config = WorkerConfig::new(data).unwrap();
    config.program = data.join("shared/child.sh");
    kegd::worker::run(config, queue, artifacts, Default::default()).await.unwrap();
}

/// Sleeps for long. Where root can give it away, a program with another owner's rights, for which the kernel by itself
/// would forget that the child is to die with its parent.
const SLEEP: &str = "cp $(command -v sleep) $SHARED/sleep; chown 65534 $SHARED/sleep && chmod u+s,a+rx $SHARED/sleep; \
                     exec $SHARED/sleep 1000";

#[tokio::test]
async fn a_worker_that_is_killed_takes_its_children_along_and_its_next_life_goes_on() {
    let house = House::living().await;
    script::worker(&house, &format!("hello; progress 0.5 importing 5; echo $$ > $SHARED/pid; {SLEEP}")).await;
    let entry = start_of(&house, "child::worker_entry", DATA, &house.directory.path().display().to_string());
    let mut first_life = Command::new(entry).stdout(Stdio::null()).spawn().unwrap();
    let id = house.submit(json!({})).await;
    let pid = house.note("pid").await;
    first_life.kill().unwrap();
    first_life.wait().unwrap();
    gone(&pid).await;
    assert_eq!(house.job(id).await.status, JobStatus::Running, "nobody was left to say otherwise");

    let mut config = script::worker(&house, "hello; work; finish").await;
    config.slots = vec!["cpu".to_owned()];
    let work = house.work(config);
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
    let runs = house.store.runs(id).await.unwrap();
    let inspections: Vec<_> = runs[..2].iter().map(|run| (run.run, run.outcome.as_deref())).collect();
    assert_eq!(inspections, [(1, Some("interrupted")), (2, Some("succeeded"))]);
}
