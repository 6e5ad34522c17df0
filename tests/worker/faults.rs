//! What children do, and what becomes of their jobs: real processes over real pipes, scripted to go wrong.

use std::time::Duration;

use kegd::{
    domain::{
        artifact::Role,
        ids::JobId,
        job::{JobStatus, Phase},
        problem::{ErrorCode, Problem},
    },
    queue::QueueConfig,
    store::{Cancel, Deletion, Job},
    worker::WorkerError,
};
use serde_json::json;
use sqlx::Executor;

use crate::common::{
    facts,
    house::House,
    script,
    wait::{gone, until},
};

/// Runs one job with a child that does `body`, until the job is final.
async fn job_with(house: &House, body: &str) -> Job {
    let work = house.work(script::worker(house, body).await);
    let id = house.submit(json!({})).await;
    let job = house.ended(id).await;
    work.stop().await;
    assert_eq!(house.left_behind(), [""; 0]);
    job
}

async fn outcomes(house: &House, job: JobId) -> Vec<String> {
    let runs = house.store.runs(job).await.unwrap();
    runs.into_iter().map(|run| run.outcome.unwrap_or_else(|| "running".into())).collect()
}

async fn files(house: &House, job: JobId, role: Role) -> Vec<String> {
    let files = house.store.artifacts_of_role(job, role).await.unwrap();
    files.into_iter().map(|row| row.artifact.name.to_string()).collect()
}

#[tokio::test]
async fn a_whole_job_over_real_processes() {
    let house = House::living().await;
    let body = r#"
        [ -z "$HOME$CARGO_PKG_NAME" ] || { echo "the environment leaks"; exit 7; }
        [ "$OMP_WAIT_POLICY" = passive ] && [ -n "$OMP_NUM_THREADS" ] || exit 8
        hello
        case $(kind) in
        extract)
            [ ! -e eval.npz ] || exit 6
            progress 0.5 extracting 5; metric loss 1 0.5; metric loss 2 0.25
            printf pixels > s$(generator).npz
            say '{"type":"sample","generator":'$(generator)',"epoch":4,"count":100,"file":'"$(file s$(generator).npz)"'}' ;;
        distill) [ -s eval.npz ] || exit 6; progress 0.9 exporting 9 ;;
        esac
        work; finish"#;
    let job = job_with(&house, body).await;
    assert_eq!(job.error, None);
    assert_eq!((job.status, job.phase, job.fraction()), (JobStatus::Succeeded, Phase::Done, 1.0));
    assert_eq!(job.model, Some(facts::model()));
    assert_eq!(outcomes(&house, job.id).await, ["succeeded"; 4]);
    assert_eq!(files(&house, job.id, Role::Student).await, ["student.onnx"]);
    assert_eq!(files(&house, job.id, Role::Samples).await, ["s0.npz", "s1.npz"]);
    let logs = ["log-distill-run1.txt", "log-extract-0-run1.txt", "log-extract-1-run1.txt", "log-inspect-run1.txt"];
    assert_eq!(files(&house, job.id, Role::Log).await, logs);
    assert_eq!(house.store.samples(job.id).await.unwrap()[1].count, 100);
    let series = house.store.metrics(job.id, &Default::default()).await.unwrap();
    assert_eq!(series.iter().map(|series| series.points.len()).collect::<Vec<_>>(), [2, 2]);
    let student = house.store.artifact(job.id, &"student.onnx".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(house.artifacts.read_whole(&student.artifact, 100).await.unwrap(), "student");
}

#[tokio::test]
async fn a_planned_failure_is_told_as_the_child_told_it() {
    let house = House::living().await;
    let job = job_with(&house, "hello; echo details; failed").await;
    let told = Problem { log: Some("log-inspect-run1.txt".into()), ..facts::problem() };
    assert_eq!((job.status, job.error), (JobStatus::Failed, Some(told)));
    assert_eq!(outcomes(&house, job.id).await, ["failed"], "trying again would fail again");
    assert_eq!(house.log(job.id, "log-inspect-run1.txt").await.lines().next(), Some("details"));
}

#[tokio::test]
async fn a_child_that_crashes_is_tried_three_times() {
    let house = House::living().await;
    let job = job_with(&house, "hello; echo about to crash; kill -SEGV $$").await;
    let error = job.error.unwrap();
    assert_eq!((job.status, error.code), (JobStatus::Failed, ErrorCode::WorkerCrashed));
    assert!(error.detail.contains("SIGSEGV"), "{}", error.detail);
    assert_eq!(outcomes(&house, job.id).await, ["lost"; 3]);
    let logs = files(&house, job.id, Role::Log).await;
    assert_eq!(logs, ["log-inspect-run1.txt", "log-inspect-run2.txt", "log-inspect-run3.txt"]);
    assert_eq!(error.log.as_deref(), Some("log-inspect-run3.txt"), "the one that was the last");
    let log = house.log(job.id, &logs[0]).await;
    assert!(log.starts_with("about to crash\n[kegd] it was killed by SIGSEGV"), "{log}");
}

#[tokio::test]
async fn a_child_that_crashes_once_costs_one_run() {
    let house = House::living().await;
    let job = job_with(&house, "hello; [ $(run) = 2 ] || kill -KILL $$; work; finish").await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    let mut outcomes = outcomes(&house, job.id).await;
    outcomes.sort();
    assert_eq!(outcomes, ["lost", "lost", "lost", "lost", "succeeded", "succeeded", "succeeded", "succeeded"]);
}

#[tokio::test]
async fn what_a_child_started_does_not_outlive_it() {
    let house = House::living().await;
    let job = job_with(&house, "hello; sleep 1000 & echo $! > $SHARED/pid; work; finish").await;
    assert_eq!(job.status, JobStatus::Succeeded, "an open pipe does not hold up the end");
    gone(&house.note("pid").await).await;
}

/// Each of these is a fault that another attempt would repeat.
#[rstest::rstest]
#[case::a_huge_line("hello; head -c 3000000 /dev/zero | tr '\\0' x >&3; finish", "more than 1048576 bytes")]
#[case::no_json("hello; say 'Segmentation fault'; finish", "no event")]
#[case::no_hello("progress 0.5 importing 1; work; finish", "hello")]
#[case::a_path(
    "hello; say '{\"type\":\"artifact\",\"role\":\"report\",\"file\":{\"name\":\"../task.json\",\"bytes\":1,\"sha256\":\"00\"}}'; finish",
    "no plain file name"
)]
#[case::a_wrong_hash(
    "hello; printf ab > f; say '{\"type\":\"artifact\",\"role\":\"report\",\"file\":{\"name\":\"f\",\"bytes\":2,\"sha256\":\"00\"}}'; finish",
    "size or hash"
)]
#[case::a_missing_file(
    "hello; say '{\"type\":\"artifact\",\"role\":\"report\",\"file\":{\"name\":\"f\",\"bytes\":2,\"sha256\":\"00\"}}'; finish",
    "no file `f`"
)]
#[case::a_link("hello; ln -s /etc/passwd f; artifact f report; finish", "link")]
#[case::the_name_of_an_upload("hello; artifact lenet5.onnx report; work; finish", "taken")]
#[case::nothing_to_show("hello; finish", "no inspection")]
#[case::a_broken_result(
    "hello; printf '{}' > inspection.json; artifact inspection.json inspection; finish",
    "inspection.json"
)]
#[case::a_number_no_column_holds("hello; metric loss 18446744073709551615 1; work; finish", "cannot be kept")]
#[tokio::test]
async fn a_child_that_misbehaves_fails_its_job(#[case] body: &str, #[case] said: &str) {
    let house = House::living().await;
    let job = job_with(&house, body).await;
    let Problem { code, detail, .. } = job.error.expect("the job failed");
    assert_eq!((job.status, code), (JobStatus::Failed, ErrorCode::Internal));
    assert!(detail.contains(said), "{detail}");
    assert_eq!(outcomes(&house, job.id).await, ["failed"]);
    assert_eq!(files(&house, job.id, Role::Report).await, [""; 0]);
}

#[rstest::rstest]
#[case::done_and_a_crash(
    "hello; work; say '{\"type\":\"done\"}'; kill -ABRT $$",
    "it said that it was done, but it was killed by SIGABRT"
)]
#[case::no_last_word("hello; work; exit 0", "exited with code 0 without a result")]
#[tokio::test]
async fn an_end_without_a_result_is_a_loss(#[case] body: &str, #[case] said: &str) {
    let house = House::living().await;
    let job = job_with(&house, body).await;
    let Problem { code, detail, .. } = job.error.expect("the job failed");
    assert_eq!(code, ErrorCode::WorkerCrashed);
    assert!(detail.contains(said), "{detail}");
    assert_eq!(outcomes(&house, job.id).await, ["lost"; 3]);
}

/// Waits until the job's child has said something, so that it is in the middle of its work.
async fn under_way(house: &House, id: JobId) {
    until("progress", async || (house.job(id).await.fraction() > 0.005).then_some(())).await;
}

#[tokio::test]
async fn cancel_asks_a_child_first() {
    let house = House::living().await;
    let body = "hello; progress 0.5 importing 5; read command; echo $command > $SHARED/command; exit 3";
    let mut config = script::worker(&house, body).await;
    config.grace.command = Duration::from_secs(60);
    let work = house.work(config);
    let id = house.submit(json!({})).await;
    under_way(&house, id).await;
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.ended(id).await.status, JobStatus::Canceled);
    assert_eq!(house.note("command").await, r#"{"type":"cancel"}"#);
    work.stop().await;
}

#[tokio::test]
async fn cancel_kills_what_does_not_listen_with_all_that_it_started() {
    let house = House::living().await;
    let body = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > $0/pid; while :; do sleep 1000; done' $SHARED & \
                hello; progress 0.5 importing 5; while :; do sleep 1000; done";
    let work = house.work(script::worker(&house, body).await);
    let id = house.submit(json!({})).await;
    let pid = house.note("pid").await;
    under_way(&house, id).await;
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    let job = house.ended(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Canceled, None));
    gone(&pid).await;
    work.stop().await;
}

#[tokio::test]
async fn deleting_a_running_job_kills_its_child() {
    let house = House::living().await;
    let body = "hello; echo $$ > $SHARED/pid; progress 0.5 importing 5; exec sleep 1000";
    let work = house.work(script::worker(&house, body).await);
    let id = house.submit(json!({})).await;
    let pid = house.note("pid").await;
    assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::Deleted);
    gone(&pid).await;
    work.stop().await;
    assert!(house.store.job(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_failed_generator_ends_the_other_ones_child() {
    let house = House::living().await;
    let body = "hello; [ $(kind) = inspect ] && { work; finish; }
                if [ $(generator) = 1 ]; then progress 0.1 extracting 1; echo $$ > $SHARED/pid; exec sleep 1000; fi
                until [ -s $SHARED/pid ]; do sleep 0.01; done; failed";
    let job = job_with(&house, body).await;
    let told = Problem { log: Some("log-extract-0-run1.txt".into()), ..facts::problem() };
    assert_eq!((job.status, job.error), (JobStatus::Failed, Some(told)));
    gone(&house.note("pid").await).await;
    let mut outcomes = outcomes(&house, job.id).await;
    outcomes.sort();
    assert_eq!(outcomes, ["canceled", "failed", "succeeded"]);
}

#[tokio::test]
async fn a_child_without_a_sign_of_life_is_lost() {
    let rules = QueueConfig { lease: Duration::from_millis(400), max_losses: 1, ..script::quick_rules() };
    let house = House::with(kegd::clock::Clock::System, rules).await;
    let job = job_with(&house, "hello; exec sleep 1000").await;
    let error = job.error.unwrap();
    assert_eq!(error.code, ErrorCode::WorkerCrashed);
    // Whoever notices first: the supervisor, or the reaper.
    assert!(error.detail.contains("no sign of life") || error.detail.contains("lease"), "{}", error.detail);
}

#[tokio::test]
async fn a_child_that_moves_keeps_its_lease() {
    let rules = QueueConfig { lease: Duration::from_secs(2), max_losses: 1, ..script::quick_rules() };
    let house = House::with(kegd::clock::Clock::System, rules).await;
    // More than two leases long, and alive all the time.
    let body = "hello; [ $(kind) = inspect ] && for i in $(seq 100); do sleep 0.05; say '{\"type\":\"alive\"}'; done
                work; finish";
    let job = job_with(&house, body).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
}

#[tokio::test]
async fn a_shutdown_gives_running_tasks_back() {
    let house = House::living().await;
    let body = "hello; echo $$ > $SHARED/pid; progress 0.5 importing 5; exec sleep 1000";
    let work = house.work(script::worker(&house, body).await);
    let id = house.submit(json!({})).await;
    let pid = house.note("pid").await;
    work.stop().await;
    gone(&pid).await;
    let task = &house.store.tasks(id).await.unwrap()[0];
    assert_eq!((house.job(id).await.status, task.losses), (JobStatus::Queued, 0));
    assert_eq!(outcomes(&house, id).await, ["interrupted"]);

    let work = house.work(script::worker(&house, "hello; work; finish").await);
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
}

#[tokio::test]
async fn a_job_begins_when_it_is_submitted_not_at_the_next_look() {
    let house = House::living().await;
    let mut config = script::worker(&house, "hello; work; finish").await;
    config.poll = Duration::from_secs(3600);
    let work = house.work(config);
    until("the worker is there", async || house.store.workers().await.unwrap().pop()).await;
    let id = house.submit(json!({})).await;
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
}

#[tokio::test]
async fn a_lock_that_outlives_the_worker_that_took_it_is_waited_for() {
    let house = House::living().await;
    let config = script::worker(&house, "hello; work; finish").await;
    std::fs::create_dir_all(&config.runs).unwrap();
    let lock = std::fs::File::create(config.runs.join(".lock")).unwrap();
    lock.lock().unwrap();
    let work = house.work(config);
    let id = house.submit(json!({})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(house.job(id).await.status, JobStatus::Queued);
    drop(lock);
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
}

#[tokio::test]
async fn two_workers_do_not_share_a_directory() {
    let house = House::living().await;
    let config = script::worker(&house, "exit 1").await;
    let work = house.work(config.clone());
    until("the worker is there", async || house.store.workers().await.unwrap().pop()).await;
    let (queue, artifacts) = (house.queue.clone(), house.artifacts.clone());
    let second = kegd::worker::run(config, queue, artifacts, Default::default()).await;
    assert!(matches!(second, Err(WorkerError::Taken(_))), "{second:?}");
    work.stop().await;
}

/// Lets the rows of files fail for `long`, from when both generators are there.
async fn no_rows_of_files(house: &House, job: JobId, long: Duration) {
    for generator in 0..2 {
        house.note(&format!("there-{generator}")).await;
    }
    let mut other = house.database().await;
    let fail = "create trigger broken before insert on artifacts begin select raise(abort, 'not now'); end";
    other.execute(fail).await.unwrap();
    std::fs::write(house.directory.path().join("shared/go"), "").unwrap();
    tokio::time::sleep(long).await;
    assert_eq!(outcomes(house, job).await, ["succeeded", "running", "running"]);
    other.execute("drop trigger broken").await.unwrap();
}

/// Generators wait to make their files, and do `what` meanwhile.
fn waits_to_make_files(what: &str) -> String {
    let wait = format!("until [ -e $SHARED/go ]; do sleep 0.05; {what}; done");
    format!("hello; if [ $(kind) = extract ]; then echo there > $SHARED/there-$(generator); {wait}; fi; work; finish")
}

const LIVES: &str = r#"say '{"type":"alive"}'"#;

#[tokio::test]
async fn a_lease_lasts_while_a_file_is_kept() {
    let lease = Duration::from_secs(1);
    let rules = QueueConfig { lease, max_losses: 1, ..script::quick_rules() };
    let house = House::with(kegd::clock::Clock::System, rules).await;
    let work = house.work(script::worker(&house, &waits_to_make_files(LIVES)).await);
    let id = house.submit(json!({})).await;
    no_rows_of_files(&house, id, 3 * lease).await;
    let job = house.ended(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    work.stop().await;
    assert_eq!(outcomes(&house, id).await, ["succeeded"; 4]);
}

#[tokio::test]
async fn a_database_that_fails_while_a_file_is_made_costs_no_run() {
    let house = House::living().await;
    let work = house.work(script::worker(&house, &waits_to_make_files(LIVES)).await);
    let id = house.submit(json!({})).await;
    // Long enough to try; a machine that is slower than that has nothing to wait for.
    no_rows_of_files(&house, id, Duration::from_millis(500)).await;
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
    assert_eq!(outcomes(&house, id).await, ["succeeded"; 4]);
    assert_eq!(files(&house, id, Role::Generator).await.len(), 2);
}

#[tokio::test]
async fn a_locked_database_costs_no_run() {
    let rules = QueueConfig { lease: Duration::from_secs(4), max_losses: 1, ..script::quick_rules() };
    let house = House::with(kegd::clock::Clock::System, rules).await;
    // With news at every tick, so that each of them writes.
    let work = house
        .work(script::worker(&house, &waits_to_make_files("metric loss ${step:=0} 0.5; step=$((step + 1))")).await);
    let id = house.submit(json!({})).await;
    for generator in 0..2 {
        house.note(&format!("there-{generator}")).await;
    }
    let mut other = house.database().await;
    // Twice as long as a child may be silent, and shorter than what waits for the lock waits.
    other.execute("begin immediate").await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    other.execute("rollback").await.unwrap();
    std::fs::write(house.directory.path().join("shared/go"), "").unwrap();
    let job = house.ended(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    work.stop().await;
    assert_eq!(outcomes(&house, id).await, ["succeeded"; 4]);
}
