//! Trouble of the service's own, which no run is to blame for: while it lasts jobs wait, and afterwards they go on.

use std::{fs, path::PathBuf};

use kegd::{
    domain::{artifact::Role, ids::JobId, job::JobStatus, problem::ErrorCode},
    store::Run,
};
use rstest::rstest;
use serde_json::json;

use crate::common::{
    house::{House, name},
    script,
    wait::until,
};

/// More runs than there would be if losses were counted.
const MANY: u32 = 5;

/// Something of the house that is away until it is put back. In its place is a file of no use: that stops root too.
struct Away {
    place: PathBuf,
    aside: PathBuf,
}

impl Away {
    fn take(house: &House, what: &str) -> Self {
        let place = house.directory.path().join(what);
        let aside = place.with_extension("aside");
        fs::rename(&place, &aside).unwrap();
        fs::write(&place, "").unwrap();
        Self { place, aside }
    }

    fn put_back(self) {
        fs::remove_file(&self.place).unwrap();
        fs::rename(&self.aside, &self.place).unwrap();
    }
}

/// Lets the job go on as long as its runs wait for it.
fn go(house: &House) {
    fs::write(house.directory.path().join("shared/go"), "").unwrap();
}

/// Waits until one of the job's tasks was tried again and again, or the job has come to an end.
async fn tried_often(house: &House, id: JobId) {
    until("many runs", async || {
        let often = house.store.tasks(id).await.unwrap().iter().any(|task| task.run >= MANY);
        (often || house.job(id).await.status.is_final()).then_some(())
    })
    .await;
}

/// Checks that the job came to its end, and that nothing on the way was counted against it. Returns its runs.
async fn succeeded(house: &House, id: JobId) -> Vec<Run> {
    let job = house.ended(id).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    let runs = house.store.runs(id).await.unwrap();
    let fine = |run: &Run| matches!(run.outcome.as_deref(), Some("interrupted" | "succeeded"));
    assert!(runs.iter().all(fine), "{runs:#?}");
    assert!(house.store.tasks(id).await.unwrap().iter().all(|task| task.losses == 0));
    runs
}

fn tells(runs: &[Run], of: &str) -> bool {
    runs.iter().filter_map(|run| run.detail.as_ref()).any(|detail| detail.contains(of))
}

#[rstest]
#[case::its_directory("runs", &["its files cannot be kept", "its directory cannot be made"])]
#[case::the_artifacts("artifacts", &["its files cannot be kept", "its inputs cannot be laid out"])]
#[case::the_program("shared/child.sh", &["it could not be started"])]
#[tokio::test]
async fn what_a_run_needs_is_away_for_a_while(#[case] what: &str, #[case] told: &[&str]) {
    let house = House::living().await;
    let wait = "echo there > $SHARED/there; until [ -e $SHARED/go ]; do sleep 0.01; done";
    let work = house.work(script::worker(&house, &format!("hello; {wait}; work; finish")).await);
    let id = house.submit(json!({})).await;
    house.note("there").await;
    let away = Away::take(&house, what);
    go(&house);
    tried_often(&house, id).await;
    let warnings = house.job(id).await.warnings;
    let logs = house.store.artifacts_of_role(id, Role::Log).await.unwrap();
    away.put_back();
    let runs = succeeded(&house, id).await;
    work.stop().await;
    for told in told {
        assert!(tells(&runs, told), "{told}: {runs:#?}");
        let said = |warning: &&String| warning.contains(told);
        assert_eq!(warnings.iter().filter(said).count(), 1, "{told}, once: {warnings:#?}");
    }
    assert!(logs.len() < 2, "what never ran leaves no log: {logs:#?}");
}

/// As where the disk of the files is not mounted: its place is there, and empty.
#[tokio::test]
async fn the_files_of_all_jobs_are_away_for_a_while() {
    let house = House::living().await;
    let id = house.submit(json!({})).await;
    let worker = script::worker(&house, "hello; work; finish").await;
    let (place, aside) = (house.directory.path().join("artifacts"), house.directory.path().join("aside"));
    fs::rename(&place, &aside).unwrap();
    fs::create_dir(&place).unwrap();
    let work = house.work(worker);
    tried_often(&house, id).await;
    fs::remove_dir(&place).unwrap();
    fs::rename(&aside, &place).unwrap();
    let runs = succeeded(&house, id).await;
    work.stop().await;
    assert!(tells(&runs, "the folder of all jobs' files is empty"), "{runs:#?}");
}

#[tokio::test]
async fn a_program_of_another_version_is_there_for_a_while() {
    let house = House::living().await;
    let other = r#"say '{"type":"hello","version":999,"device":"cpu","pid":1}'; exec sleep 1000"#;
    let body = format!("[ -e $SHARED/go ] || {{ {other}; }}; hello; work; finish");
    let work = house.work(script::worker(&house, &body).await);
    let id = house.submit(json!({})).await;
    tried_often(&house, id).await;
    go(&house);
    let runs = succeeded(&house, id).await;
    work.stop().await;
    assert!(tells(&runs, "version 999"), "{runs:#?}");
}

/// No time brings it back, so somebody has to be told.
#[tokio::test]
async fn an_upload_that_is_gone_fails_its_job() {
    let house = House::living().await;
    let id = house.submit(json!({})).await;
    let model = house.store.artifact(id, &name("lenet5.onnx")).await.unwrap().unwrap();
    house.artifacts.delete(&model.artifact).await.unwrap();
    let work = house.work(script::worker(&house, "hello; work; finish").await);
    let job = house.ended(id).await;
    work.stop().await;
    let error = job.error.unwrap();
    assert_eq!((job.status, error.code), (JobStatus::Failed, ErrorCode::WorkerCrashed));
    assert!(error.detail.contains("its inputs cannot be laid out"), "{}", error.detail);
}
