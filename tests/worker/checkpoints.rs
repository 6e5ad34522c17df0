//! Checkpoints between a worker and its children: kept, handed on, asked for at the end, and never a reason to fail.

use std::time::Duration;

use kegd::{
    domain::{artifact::Role, ids::JobId, job::JobStatus},
    store::Job,
};
use serde_json::json;

use crate::common::{
    house::House,
    script,
    wait::{gone, until},
};

/// A job of one generator.
async fn submit(house: &House) -> JobId {
    house.submit(json!({"extraction": {"sampler": "kegnet", "generators": 1}})).await
}

async fn job_with(house: &House, body: &str) -> Job {
    let work = house.work(script::worker(house, body).await);
    let id = submit(house).await;
    let job = house.ended(id).await;
    work.stop().await;
    job
}

async fn outcomes(house: &House, job: JobId) -> Vec<(String, Option<u64>)> {
    let runs = house.store.runs(job).await.unwrap();
    runs.into_iter().map(|run| (run.outcome.unwrap_or_else(|| "running".into()), run.resumed_step)).collect()
}

fn ended(outcome: &str, resumed: Option<u64>) -> (String, Option<u64>) {
    (outcome.to_owned(), resumed)
}

/// All files that are kept of a job.
fn kept(house: &House, job: JobId) -> Vec<String> {
    fn walk(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&house.directory.path().join("artifacts").join(job.to_string()), &mut found);
    found.sort();
    found
}

/// Words for a child that has something to go on from.
const RESUME: &str = r#"
resume() { grep -o '"resume": "[^"]*"' task.json | cut -d'"' -f4; }
extracting() { [ $(kind) = extract ]; }
"#;

#[tokio::test]
async fn a_run_goes_on_from_the_newest_checkpoint_of_the_one_before() {
    let house = House::living().await;
    let body = format!(
        "{RESUME}
        hello
        if extracting && [ $(run) = 1 ]; then
            for step in 1 2 3; do metric loss $step 0.$step; printf state-$step > s-$step.checkpoint; checkpoint s-$step.checkpoint $step; done
            metric loss 4 0.4; progress 0.4 extracting 4
            printf half > half.npz; artifact half.npz samples
            # The next line is only read once those before it are.
            until [ ! -e s-3.checkpoint ]; do sleep 0.01; done
            kill -KILL $$
        fi
        if extracting; then
            [ \"$(resume)\" = s-3.checkpoint ] && [ \"$(cat s-3.checkpoint)\" = state-3 ] || exit 9
            metric loss 4 0.4; metric loss 5 0.5
            printf half > half.npz; artifact half.npz samples
        fi
        work; finish"
    );
    let job = job_with(&house, &body).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    let expected =
        [ended("succeeded", None), ended("lost", None), ended("succeeded", Some(3)), ended("succeeded", None)];
    assert_eq!(outcomes(&house, job.id).await, expected);
    let series = house.store.metrics(job.id, &Default::default()).await.unwrap();
    assert_eq!(series[0].points, [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]);
    // No checkpoint, and one copy of what was made twice.
    let names = [
        "eval.npz",
        "generator-0.safetensors",
        "half.npz",
        "inspection.json",
        "lenet5.onnx",
        "log-distill-run1.txt",
        "log-extract-0-run1.txt",
        "log-extract-0-run2.txt",
        "log-inspect-run1.txt",
        "report.json",
        "student.onnx",
    ];
    assert_eq!(kept(&house, job.id), names);
}

#[tokio::test]
async fn a_shutdown_asks_for_a_checkpoint_first() {
    let house = House::living().await;
    let body = format!(
        "{RESUME}
        hello
        if extracting && [ -z \"$(resume)\" ]; then
            progress 0.5 extracting 5; echo there > $SHARED/there
            read command; echo $command > $SHARED/command
            metric loss 5 0.5; printf state > s.checkpoint; checkpoint s.checkpoint 5; exit 4
        fi
        work; finish"
    );
    let mut config = script::worker(&house, &body).await;
    // Far more than it needs, while a run that is not wanted any more would have next to none.
    config.drain.command = Duration::from_secs(300);
    let work = house.work(config.clone());
    let id = submit(&house).await;
    house.note("there").await;
    work.stop().await;
    assert_eq!(house.note("command").await, r#"{"type":"checkpoint_and_exit"}"#);
    let task = &house.store.tasks(id).await.unwrap()[1];
    assert_eq!((house.job(id).await.status, task.losses), (JobStatus::Queued, 0));
    assert_eq!(house.store.checkpoint(task.id).await.unwrap().unwrap().step, 5);

    let work = house.work(config);
    assert_eq!(house.ended(id).await.status, JobStatus::Succeeded);
    work.stop().await;
    assert_eq!(outcomes(&house, id).await[1..3], [ended("interrupted", None), ended("succeeded", Some(5))]);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let house = House::living().await;
    let body = "trap '' TERM; hello; progress 0.5 importing 5; echo $$ > $SHARED/pid; while :; do sleep 1000; done";
    let mut config = script::worker(&house, body).await;
    config.drain = kegd::worker::Grace::within(Duration::from_millis(200));
    let work = house.work(config);
    let id = submit(&house).await;
    let pid = house.note("pid").await;
    until("it is under way", async || (house.job(id).await.fraction() > 0.005).then_some(())).await;
    work.stop().await;
    gone(&pid).await;
    assert_eq!(outcomes(&house, id).await, [ended("interrupted", None)]);
}

#[tokio::test]
async fn who_leaves_with_a_checkpoint_is_not_lost() {
    let house = House::living().await;
    let body = format!(
        "{RESUME}
        hello
        if extracting && [ $(run) -le 4 ]; then
            printf $(run) > s-$(run).checkpoint; checkpoint s-$(run).checkpoint $(run); exit 4
        fi
        work; finish"
    );
    let job = job_with(&house, &body).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None), "more often than it may be lost");
    let runs = outcomes(&house, job.id).await;
    assert_eq!(
        runs[1..6],
        [
            ended("interrupted", None),
            ended("interrupted", Some(1)),
            ended("interrupted", Some(2)),
            ended("interrupted", Some(3)),
            ended("succeeded", Some(4)),
        ]
    );
}

#[tokio::test]
async fn who_leaves_without_one_is_lost() {
    let house = House::living().await;
    let job = job_with(&house, "hello; exit 4").await;
    assert_eq!(outcomes(&house, job.id).await, vec![ended("lost", None); 3]);
}

#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over() {
    let house = House::living().await;
    let body = format!(
        "{RESUME}
        hello
        if extracting && [ $(run) = 1 ]; then
            printf state > s.checkpoint; checkpoint s.checkpoint 5
            until [ ! -e s.checkpoint ]; do sleep 0.01; done
            printf broken > $(find $SHARED/../artifacts -name s.checkpoint); kill -KILL $$
        fi
        if extracting; then grep -q '\"resume\": null' task.json && [ ! -e s.checkpoint ] || exit 9; fi
        work; finish"
    );
    let job = job_with(&house, &body).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
}

#[rstest::rstest]
#[case::a_lie(
    "printf x > s.checkpoint; say '{\"type\":\"checkpoint\",\"step\":1,\"file\":{\"name\":\"s.checkpoint\",\"bytes\":1,\"sha256\":\"00\"}}'",
    "size or hash"
)]
#[case::another_name(
    "printf x > generator-0.safetensors; checkpoint generator-0.safetensors 1",
    "no name of a checkpoint"
)]
#[case::no_step("printf x > s.checkpoint; checkpoint s.checkpoint 18446744073709551615", "step")]
#[tokio::test]
async fn a_child_that_lies_about_one_fails_its_job(#[case] what: &str, #[case] said: &str) {
    let house = House::living().await;
    let job = job_with(&house, &format!("hello; {what}; work; finish")).await;
    let detail = job.error.expect("the job failed").detail;
    assert!(detail.contains(said), "{detail}");
    assert!(house.store.artifacts_of_role(job.id, Role::Checkpoint).await.unwrap().is_empty());
}
