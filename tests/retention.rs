//! What expires, and what is left of it: real rows, real files.

mod common;

use std::time::Duration;

use common::{
    facts,
    house::{House, MODEL, name},
};
use kegd::{
    clock::Clock,
    domain::{
        artifact::Role, ids::JobId, job::JobStatus, metric::MetricPoint, presets::TeacherKind, retention::Reason,
        task::TaskKind,
    },
    queue::{Beat, Claim, Ending, Product, QueueConfig},
    retention::{self, Policy, What},
    store::{Deletion, MetricQuery, Retry, RunEnd, Store, Total},
};
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

/// Names of all files below the artifacts.
fn files(house: &House) -> Vec<String> {
    fn walk(directory: &std::path::Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, names),
                false => names.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let mut names = Vec::new();
    walk(&house.directory.path().join("artifacts"), &mut names);
    names.sort();
    names
}

async fn canceled(house: &House) -> JobId {
    let id = house.submit(json!({})).await;
    house.store.cancel(id).await.unwrap();
    id
}

/// Takes the only open job to its end.
async fn succeed(house: &House) {
    while let Some(claim) = house.claim().await {
        let settings = claim.settings.clone();
        let product = match claim.kind() {
            TaskKind::Inspect => Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage))),
            TaskKind::Extract { .. } => Product::Extracted,
            TaskKind::Distill { .. } => {
                keep(house, &claim, "student.onnx").await;
                Product::Distilled(Box::new(facts::report(settings)))
            }
        };
        house.queue.finish(&claim, Ending::Succeeded(product)).await.unwrap();
    }
}

async fn keep(house: &House, claim: &Claim, file: &str) {
    let kept = house.artifacts.put_for_run(claim.fence(), name(file), Role::Student, MODEL.into()).await.unwrap();
    let _ = house.queue.keep(claim, &kept, None).await.unwrap();
}

#[tokio::test]
async fn a_job_goes_when_its_time_is_over_and_others_stay() {
    let house = House::standing().await;
    let collector = house.collector(Policy { jobs: Some(30 * DAY), ..Policy::default() });
    let old = canceled(&house).await;
    let retried = canceled(&house).await;
    let running = house.submit(json!({})).await;
    house.clock.advance(29 * DAY);
    let young = canceled(&house).await;
    let claim = house.claim().await.unwrap();
    assert_eq!(claim.fence().job, running);
    assert_eq!(collector.plan().await.unwrap(), []);

    house.clock.advance(DAY);
    assert_eq!(house.store.retry_from_start(retried, u64::MAX, true).await.unwrap(), Retry::Queued);
    let plan = collector.plan().await.unwrap();
    let found: Vec<_> = plan.iter().map(|expired| (expired.job.id, expired.what, expired.reason)).collect();
    assert_eq!(found, [(old, What::Job, Reason::RetainJobs)]);
    assert!(house.store.job(old).await.unwrap().is_some(), "a plan changes nothing");
    let collected = collector.collect().await.unwrap();
    assert_eq!((collected.jobs, collected.uploads, collected.bytes), (1, 0, 2 * MODEL.len() as u64));
    assert!(house.store.job(old).await.unwrap().is_none());
    assert!(house.store.artifacts(old).await.unwrap().is_empty());
    assert!(!house.directory.path().join("artifacts").join(old.to_string()).exists());
    for stays in [retried, running, young] {
        assert!(house.store.job(stays).await.unwrap().is_some());
        assert_eq!(house.store.artifacts(stays).await.unwrap().len(), 2);
    }
    assert_eq!(files(&house).len(), 6, "two of each job that stays");
    assert_eq!(collector.collect().await.unwrap().jobs, 0, "there is nothing left to do");
    let totals = house.store.totals().await.unwrap();
    assert_eq!(totals.get(Total::CollectedJobs(Reason::RetainJobs)), 1);
    assert_eq!(totals.get(Total::JobsFinished(JobStatus::Canceled)), 3, "counted, though one of them is gone");
    assert_eq!(totals.get(Total::LastCollection), house.clock.now() as u64);
}

#[tokio::test]
async fn uploads_go_before_their_job() {
    let house = House::standing().await;
    let policy = Policy { uploads: Some(7 * DAY), ..Policy::default() };
    let collector = house.collector(policy);
    let id = house.submit(json!({})).await;
    succeed(&house).await;
    let job = house.job(id).await;
    assert_eq!(policy.upload_expires(&job), job.finished_at.map(|end| end + jiff::SignedDuration::from_hours(7 * 24)));
    house.clock.advance(7 * DAY);
    assert_eq!(collector.collect().await.unwrap().uploads, 1);
    let job = house.job(id).await;
    assert_eq!(job.status, JobStatus::Succeeded);
    assert_eq!(job.upload_deleted_at.map(|at| at.as_millisecond()), Some(house.clock.now()));
    assert_eq!(policy.upload_expires(&job), None);
    assert_eq!(files(&house), ["student.onnx"]);
    assert_eq!(house.store.artifacts(id).await.unwrap().len(), 1);
    assert_eq!(house.store.retry_from_start(id, u64::MAX, true).await.unwrap(), Retry::NoUpload);
    assert_eq!(house.job(id).await.status, JobStatus::Succeeded, "what could not be retried is as it was");
    assert_eq!(collector.plan().await.unwrap(), []);
}

#[tokio::test]
async fn a_job_that_keeps_no_upload_loses_it_with_its_success() {
    let house = House::standing().await;
    let id = house.submit(json!({"keep_upload": false})).await;
    assert_eq!(files(&house), ["eval.npz", "lenet5.onnx"]);
    succeed(&house).await;
    let job = house.job(id).await;
    assert_eq!(job.upload_deleted_at, job.finished_at, "in the transaction that records the success");
    let roles: Vec<_> = house.store.artifacts(id).await.unwrap().iter().map(|row| row.artifact.role).collect();
    assert_eq!(roles, [Role::Student]);
    // Here the process could have died: the files are listed.
    assert_eq!(house.store.doomed(None).await.unwrap().len(), 2);
    retention::sweep(&house.store, &house.artifacts).await.unwrap();
    assert_eq!(files(&house), ["student.onnx"]);
    let bytes = house.store.totals().await.unwrap().get(Total::CollectedBytes(Reason::KeepUpload));
    assert_eq!(bytes, 2 * MODEL.len() as u64);

    let failed = house.submit(json!({"keep_upload": false})).await;
    let claim = house.claim().await.unwrap();
    house.queue.finish(&claim, Ending::Failed(facts::problem())).await.unwrap();
    assert_eq!(house.store.artifacts(failed).await.unwrap().len(), 2, "a failed job can be tried again");
    assert_eq!(house.store.retry_from_start(failed, u64::MAX, true).await.unwrap(), Retry::Queued);
}

#[tokio::test]
async fn storage_is_kept_below_its_bound_by_what_finished_first() {
    let house = House::standing().await;
    let mut finished = Vec::new();
    for _ in 0..3 {
        house.clock.advance(DAY);
        finished.push(canceled(&house).await);
    }
    let waiting = house.submit(json!({})).await;
    let used = house.collector(Policy::default()).usage().await.unwrap();
    assert_eq!(used.total(), used.stored.database + 8 * MODEL.len() as u64);
    // One byte too many.
    let collector = house.collector(Policy { storage: Some(used.total() - 1), ..Policy::default() });
    let collected = collector.collect().await.unwrap();
    assert_eq!((collected.jobs, collected.bytes), (1, 2 * MODEL.len() as u64));
    assert!(house.store.job(finished[0]).await.unwrap().is_none());
    let impossible = house.collector(Policy { storage: Some(0), ..Policy::default() });
    assert_eq!(impossible.collect().await.unwrap().jobs, 2, "all that have finished");
    assert_eq!(house.store.job_ids().await.unwrap(), [waiting]);
    assert_eq!(files(&house).len(), 2);
}

#[tokio::test]
async fn a_plan_that_is_overtaken_does_no_harm() {
    let house = House::standing().await;
    let collector = house.collector(Policy { jobs: Some(DAY), ..Policy::default() });
    let (retried, finished_again) = (canceled(&house).await, canceled(&house).await);
    house.clock.advance(DAY);
    let plan = collector.plan().await.unwrap();
    assert_eq!(plan.len(), 2);
    house.store.retry_from_start(retried, u64::MAX, true).await.unwrap();
    house.store.retry_from_start(finished_again, u64::MAX, true).await.unwrap();
    house.store.cancel(finished_again).await.unwrap();
    for expired in &plan {
        assert_eq!(house.store.expire_job(&expired.job, expired.reason).await.unwrap(), None);
        assert_eq!(house.store.expire_uploads(&expired.job, expired.reason).await.unwrap(), None);
    }
    assert_eq!(house.store.job_ids().await.unwrap().len(), 2);
    assert_eq!(files(&house).len(), 4);
}

#[tokio::test]
async fn what_a_crash_leaves_between_rows_and_files_goes_at_the_next_start() {
    let house = House::standing().await;
    let (id, other) = (canceled(&house).await, house.submit(json!({})).await);
    let collector = house.collector(Policy { jobs: Some(Duration::ZERO), ..Policy::default() });
    let plan = collector.plan().await.unwrap();
    // The rows, and then nothing more.
    assert!(house.store.expire_job(&plan[0].job, Reason::RetainJobs).await.unwrap().is_some());
    assert_eq!(files(&house).len(), 4);
    // The next life opens the same database.
    let store = Store::open(&house.directory.path().join("kegd.db"), Clock::System).await.unwrap();
    assert_eq!(store.doomed(None).await.unwrap().len(), 1);
    retention::sweep(&store, &house.artifacts).await.unwrap();
    assert_eq!(files(&house).len(), 2);
    assert!(store.doomed(None).await.unwrap().is_empty());
    assert_eq!(retention::bury(&store, &house.artifacts).await.unwrap(), 0);
    assert!(store.job(id).await.unwrap().is_none() && store.job(other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_cannot_go_now_is_tried_again() {
    let house = House::standing().await;
    let id = canceled(&house).await;
    let plan = house.collector(Policy { jobs: Some(Duration::ZERO), ..Policy::default() }).plan().await.unwrap();
    house.store.expire_job(&plan[0].job, Reason::RetainJobs).await.unwrap();
    // A file where the trash should be: nothing can be put aside.
    let trash = house.directory.path().join("artifacts/.trash");
    std::fs::write(&trash, "in the way").unwrap();
    assert_eq!(retention::bury(&house.store, &house.artifacts).await.unwrap(), 0);
    assert_eq!(house.store.doomed(None).await.unwrap().len(), 1);
    std::fs::remove_file(&trash).unwrap();
    assert_eq!(retention::bury(&house.store, &house.artifacts).await.unwrap(), 1);
    assert!(!house.directory.path().join("artifacts").join(id.to_string()).exists());
}

#[tokio::test]
async fn what_is_struck_off_late_strikes_off_no_other_entry() {
    let house = House::standing().await;
    let doom = async || {
        let id = canceled(&house).await;
        assert_eq!(house.store.delete(id, false).await.unwrap(), Deletion::Deleted);
        house.store.doomed(None).await.unwrap()
    };
    // Two work the list through at a time, and one of them is done before the other strikes its entries off.
    let slow = doom().await;
    assert_eq!(retention::bury(&house.store, &house.artifacts).await.unwrap(), 1);
    let newer = doom().await;
    house.store.buried(&slow).await.unwrap();
    assert_eq!(house.store.doomed(None).await.unwrap(), newer);
    assert_eq!(retention::bury(&house.store, &house.artifacts).await.unwrap(), 1);
    assert_eq!(files(&house), [""; 0]);
}

#[tokio::test]
async fn the_sweep_takes_what_no_run_will_ever_name() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let ended = house.claim().await.unwrap();
    let put = async |claim: &Claim, file: &str| {
        house.artifacts.put_for_run(claim.fence(), name(file), Role::Student, MODEL.into()).await.unwrap()
    };
    put(&ended, "unnamed.onnx").await;
    keep(&house, &ended, "kept.onnx").await;
    house.queue.finish(&ended, Ending::Interrupted).await.unwrap();
    let running = house.claim().await.unwrap();
    let arriving = put(&running, "arriving.onnx").await;
    let beginning = house.directory.path().join("artifacts").join(format!("{}#1", arriving.key));
    std::fs::write(&beginning, b"half").unwrap();
    retention::sweep(&house.store, &house.artifacts).await.unwrap();
    assert_eq!(files(&house), ["arriving.onnx", "arriving.onnx#1", "eval.npz", "kept.onnx", "lenet5.onnx"]);
    house.queue.finish(&running, Ending::Interrupted).await.unwrap();
    retention::sweep(&house.store, &house.artifacts).await.unwrap();
    assert_eq!(files(&house), ["eval.npz", "kept.onnx", "lenet5.onnx"]);
}

#[tokio::test]
async fn a_collection_leaves_uploads_under_way_alone() {
    let house = House::standing().await;
    canceled(&house).await;
    let arriving = house.new_job(json!({})).await;
    let everything = Policy { jobs: Some(Duration::ZERO), uploads: Some(Duration::ZERO), storage: Some(0) };
    assert_eq!(house.collector(everything).collect().await.unwrap().jobs, 1);
    house.store.submit(&arriving, u64::MAX).await.unwrap();
    for upload in &arriving.uploads {
        assert_eq!(house.artifacts.read_whole(upload, 1000).await.unwrap(), MODEL);
    }
}

#[tokio::test]
async fn claims_get_in_between_while_a_long_job_is_deleted() {
    let house = House::with(Clock::System, QueueConfig::default()).await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    let points = |from: u64| (from..from + 5_000).map(|step| MetricPoint { name: "loss".into(), step, value: 0.5 });
    for from in [0, 5_000, 10_000, 15_000] {
        let _ = house.queue.record(&claim, &Beat { progress: None, metrics: points(from).collect() }).await.unwrap();
    }
    house.queue.finish(&claim, Ending::Failed(facts::problem())).await.unwrap();
    assert_eq!(house.store.metrics(id, &MetricQuery::default()).await.unwrap()[0].points.len(), 20_000);
    let collector = house.collector(Policy { jobs: Some(Duration::ZERO), ..Policy::default() });
    let collecting = tokio::spawn(async move { collector.collect().await.unwrap() });
    let mut between = 0;
    while !collecting.is_finished() {
        house.claim().await;
        between += 1;
    }
    assert_eq!(collecting.await.unwrap().jobs, 1);
    assert!(between > 3, "the writer was held from the first row to the last: {between}");
    assert!(house.store.job(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_database_of_before_is_counted_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, migrations) = (directory.path().join("kegd.db"), directory.path().join("migrations"));
    std::fs::create_dir(&migrations).unwrap();
    let first = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0001_initial.sql");
    std::fs::copy(first, migrations.join("0001_initial.sql")).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::migrate::Migrator::new(migrations).await.unwrap().run(&pool).await.unwrap();
    let (id, task) = (JobId::new(), kegd::domain::ids::TaskId::new());
    let config = kegd::domain::config::JobConfig::default();
    let settings = config.resolve(TeacherKind::PlainImage, "old").unwrap();
    let mut settings = serde_json::to_value(settings).unwrap();
    settings.as_object_mut().unwrap().remove("keep_upload").expect("a member that was not there then");
    let sql = format!(
        "insert into jobs (id, name, status, phase, priority, config, settings, model_file, created_at, finished_at) \
         values ('{id}', 'old', 'succeeded', 'done', 0, '{}', '{settings}', 'm.onnx', 1000, 2000); \
         insert into tasks (id, job, kind, status, device, priority, run, run_after, created_at) \
         values ('{task}', '{id}', 'inspect', 'succeeded', 'auto', 0, 1, 5, 7); \
         insert into runs (task, run, worker, device, started_at, ended_at, outcome) \
         values ('{task}', 1, 'w', 'cpu', 1000, 2000, 'succeeded'); \
         insert into artifacts values ('{id}', 'm.onnx', 'teacher', 99, 'ab', 'k', null, 1000);",
        serde_json::to_string(&config).unwrap(),
    );
    sqlx::raw_sql(&sql).execute(&pool).await.unwrap();
    pool.close().await;

    let store = Store::open(&path, Clock::System).await.unwrap();
    let job = store.job(id).await.unwrap().unwrap();
    assert!(job.settings.keep_upload, "jobs kept their uploads");
    assert_eq!(store.tasks(id).await.unwrap()[0].queued_at, 7, "it waited since it was made");
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.get(Total::JobsSubmitted), 1);
    assert_eq!(totals.get(Total::JobsFinished(JobStatus::Succeeded)), 1);
    assert_eq!(totals.get(Total::Runs(TaskKind::Inspect, RunEnd::Succeeded)), 1);
    assert_eq!(totals.get(Total::UploadBytes), 99);
}

/// A collector that is killed again and again, wherever it happens to be, leaves no row without its file, and the next start
/// no file without its row.
#[tokio::test]
async fn a_collector_may_be_killed_anywhere() {
    const JOBS: usize = 40;
    let house = House::with(Clock::System, QueueConfig::default()).await;
    for _ in 0..JOBS {
        canceled(&house).await;
    }
    let mut left = JOBS;
    while left > 0 {
        let mut gc = std::process::Command::new(env!("CARGO_BIN_EXE_kegd"))
            .args(["gc", "--retain-jobs", "0", "--data-dir"])
            .arg(house.directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A few jobs further on, whatever it is doing then.
        let target = left.saturating_sub(7);
        left = common::wait::until("jobs go", async || {
            let left = house.store.job_ids().await.unwrap().len();
            (left <= target || gc.try_wait().unwrap().is_some()).then_some(left)
        })
        .await;
        gc.kill().unwrap();
        gc.wait().unwrap();
        for id in house.store.job_ids().await.unwrap() {
            for row in house.store.artifacts(id).await.unwrap() {
                assert_eq!(house.artifacts.read_whole(&row.artifact, 1000).await.unwrap(), MODEL);
            }
        }
    }
    retention::sweep(&house.store, &house.artifacts).await.unwrap();
    assert_eq!(files(&house), [""; 0]);
    assert!(house.store.doomed(None).await.unwrap().is_empty());
    assert_eq!(house.store.totals().await.unwrap().get(Total::CollectedJobs(Reason::RetainJobs)), JOBS as u64);
}

/// By a real worker: its child is killed while it hands in one file after the other.
#[tokio::test]
async fn a_job_deleted_by_force_leaves_nothing_of_a_run_that_writes() {
    let house = House::living().await;
    let body = "hello; echo $$ > $SHARED/pid; i=0; while :; do i=$((i+1)); head -c 200000 /dev/zero > samples-$i.npz; \
                artifact samples-$i.npz samples; done";
    let config = common::script::worker(&house, body).await;
    let id = house.submit(json!({})).await;
    let work = house.work(config);
    let pid = house.note("pid").await;
    common::wait::until("some files are kept", async || {
        (house.store.artifacts(id).await.unwrap().len() > 5).then_some(())
    })
    .await;
    assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::Deleted);
    retention::bury(&house.store, &house.artifacts).await.unwrap();
    common::wait::gone(&pid).await;
    work.stop().await;
    assert!(!house.directory.path().join("artifacts").join(id.to_string()).exists());
    let runs = std::fs::read_dir(house.directory.path().join("runs")).unwrap();
    assert_eq!(runs.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_goes_too() {
    let house = House::standing().await;
    let damaged = canceled(&house).await;
    house.garble(damaged).await;
    let uploads = Policy { uploads: Some(Duration::ZERO), ..Policy::default() };
    assert_eq!(house.collector(uploads).collect().await.unwrap().uploads, 1);
    assert!(house.store.artifacts(damaged).await.unwrap().is_empty());
    let collector = house.collector(Policy { jobs: Some(Duration::ZERO), ..Policy::default() });
    assert_eq!(collector.collect().await.unwrap().jobs, 1);
    assert!(house.store.job_ids().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_cannot_go_keeps_no_other() {
    let house = House::standing().await;
    let (damaged, whole) = (canceled(&house).await, canceled(&house).await);
    let when = format!("before delete on jobs when old.id = '{damaged}'");
    let trigger = format!("create trigger broken {when} begin select raise(abort, 'not now'); end");
    sqlx::raw_sql(&trigger).execute(&mut house.database().await).await.unwrap();
    let collector = house.collector(Policy { jobs: Some(Duration::ZERO), ..Policy::default() });
    assert!(collector.collect().await.is_err(), "it says that something is left");
    assert_eq!(house.store.job_ids().await.unwrap(), [damaged]);
    assert!(house.store.job(whole).await.unwrap().is_none());
    assert_eq!(house.store.totals().await.unwrap().get(Total::LastCollection), 0, "for the alert");
}
