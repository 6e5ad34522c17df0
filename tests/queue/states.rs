//! Cancel, delete and retry, wherever a job stands.

use kegd::{
    domain::{
        ids::JobId,
        job::JobStatus,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
    },
    queue::{Claim, Ending, Product, QueueError},
    store::{Cancel, Deletion, Retry},
};
use serde_json::json;

/// Where a job can stand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Queued,
    Inspecting,
    /// Inspected, and nothing runs at the moment.
    Between,
    /// One generator is trained, the other waits.
    HalfRunning,
    Running,
    /// Its run was lost, and it waits for the next attempt.
    Waiting,
    Distilling,
    /// Asked to stop, and not stopped yet.
    Stopping,
    Succeeded,
    Failed,
    /// One generator failed, and the other one's run has not stopped yet.
    FailedWithRun,
    Canceled,
}

use Stand::*;

use crate::common::{
    facts,
    house::{House, cpu},
};

const ALL: [Stand; 12] = [
    Queued,
    Inspecting,
    Between,
    HalfRunning,
    Running,
    Waiting,
    Distilling,
    Stopping,
    Succeeded,
    Failed,
    FailedWithRun,
    Canceled,
];

/// Brings a new job to `stand`. Returns the runs that still hold a task of it.
async fn bring(house: &House, stand: Stand) -> (JobId, Vec<Claim>) {
    let id = house.submit(json!({})).await;
    let finish = async |claim: &Claim, ending| house.queue.finish(claim, ending).await.unwrap();
    let inspected = || Ending::Succeeded(Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage))));
    let diverged = || Ending::Failed(Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite"));
    let claim = async || house.queue.claim(&cpu("worker-1")).await.unwrap().expect("something waits");
    match stand {
        Queued => return (id, vec![]),
        Canceled => {
            house.store.cancel(id).await.unwrap();
            return (id, vec![]);
        }
        _ => {}
    }
    let inspect = claim().await;
    if stand == Inspecting {
        return (id, vec![inspect]);
    }
    if stand == Failed {
        finish(&inspect, diverged()).await;
        return (id, vec![]);
    }
    if stand == Waiting {
        finish(&inspect, Ending::Lost("it crashed".into())).await;
        return (id, vec![]);
    }
    finish(&inspect, inspected()).await;
    if stand == Between {
        return (id, vec![]);
    }
    let first = claim().await;
    if stand == HalfRunning {
        return (id, vec![first]);
    }
    let second = claim().await;
    match stand {
        Running => return (id, vec![first, second]),
        Stopping => {
            assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
            return (id, vec![first, second]);
        }
        FailedWithRun => {
            finish(&first, diverged()).await;
            return (id, vec![second]);
        }
        _ => {}
    }
    finish(&first, Ending::Succeeded(Product::Extracted)).await;
    finish(&second, Ending::Succeeded(Product::Extracted)).await;
    let distill = claim().await;
    if stand == Distilling {
        return (id, vec![distill]);
    }
    assert_eq!(stand, Succeeded);
    let report = facts::report(distill.settings.clone());
    finish(&distill, Ending::Succeeded(Product::Distilled(Box::new(report)))).await;
    (id, vec![])
}

/// A house with a job in the middle of everything, which nothing that is done to the other one may touch.
struct Scene {
    house: House,
    id: JobId,
    runs: Vec<Claim>,
    neighbour: JobId,
    before: String,
}

impl Scene {
    async fn set(stand: Stand) -> Self {
        let house = House::standing().await;
        let (neighbour, _) = bring(&house, HalfRunning).await;
        // Its other generator must not be what the next claims get.
        let _second = house.claim().await.unwrap();
        let before = shown(&house, neighbour).await;
        let (id, runs) = bring(&house, stand).await;
        house.ledger().await.check().await;
        Self { house, id, runs, neighbour, before }
    }

    /// Ends all runs the way they would end that were told to, and checks what is left.
    async fn close(self, expected: Option<JobStatus>) {
        for run in &self.runs {
            match self.house.queue.finish(run, Ending::Canceled).await {
                Ok(_) | Err(QueueError::LeaseLost) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let job = self.house.store.job(self.id).await.unwrap();
        assert_eq!(job.map(|job| job.status), expected);
        assert_eq!(shown(&self.house, self.neighbour).await, self.before, "the other job");
        self.house.ledger().await.check().await;
    }
}

async fn shown(house: &House, job: JobId) -> String {
    let (tasks, events) = (house.store.tasks(job).await.unwrap(), house.store.events(job, 0, 100).await.unwrap());
    format!("{:?} {tasks:?} {events:?}", house.job(job).await)
}

#[tokio::test]
async fn cancel_means_the_same_wherever_a_job_stands() {
    for stand in ALL {
        let scene = Scene::set(stand).await;
        let (answer, end) = match stand {
            Queued | Between | Waiting => (Cancel::Canceled, JobStatus::Canceled),
            Inspecting | HalfRunning | Running | Distilling | Stopping => (Cancel::Asked, JobStatus::Canceled),
            Canceled => (Cancel::AlreadyCanceled, JobStatus::Canceled),
            Succeeded => (Cancel::Finished(JobStatus::Succeeded), JobStatus::Succeeded),
            Failed | FailedWithRun => (Cancel::Finished(JobStatus::Failed), JobStatus::Failed),
        };
        assert_eq!(scene.house.store.cancel(scene.id).await.unwrap(), answer, "{stand:?}");
        scene.house.ledger().await.check().await;
        assert!(scene.house.claim().await.is_none(), "{stand:?}: nothing more of it is begun");
        scene.close(Some(end)).await;
    }
}

#[tokio::test]
async fn delete_takes_what_does_not_run_and_with_force_everything() {
    for stand in ALL {
        for force in [false, true] {
            let scene = Scene::set(stand).await;
            let running = scene.house.job(scene.id).await.status == JobStatus::Running;
            let expected = if running && !force { Deletion::Running } else { Deletion::Deleted };
            assert_eq!(scene.house.store.delete(scene.id, force).await.unwrap(), expected, "{stand:?} {force}");
            if expected == Deletion::Running {
                continue;
            }
            assert_eq!(scene.house.store.cancel(scene.id).await.unwrap(), Cancel::NotFound);
            assert!(matches!(
                scene.house.store.retry_from_start(scene.id, u64::MAX, true).await.unwrap(),
                Retry::NotFound
            ));
            assert!(scene.house.claim().await.is_none(), "{stand:?}");
            let id = scene.id.to_string();
            let lines = scene.house.ledger().await.lines().await.into_iter();
            // But for the list of files that shall go.
            let left = lines.filter(|line| line.contains(&id) && !line.starts_with("doomed_files"));
            assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{stand:?}");
            scene.close(None).await;
        }
    }
}

#[tokio::test]
async fn retry_starts_what_has_finished_and_nothing_else() {
    for stand in ALL {
        let scene = Scene::set(stand).await;
        let status = scene.house.job(scene.id).await.status;
        match scene.house.store.retry_from_start(scene.id, u64::MAX, true).await.unwrap() {
            Retry::NotFinished(said) => {
                assert_eq!(said, status);
                assert!(!status.is_final(), "{stand:?}");
                continue;
            }
            Retry::Queued => assert!(status.is_final(), "{stand:?}"),
            other => panic!("{stand:?}: {other:?}"),
        }
        let job = scene.house.job(scene.id).await;
        assert_eq!((job.status, job.attempt, job.fraction()), (JobStatus::Queued, 2, 0.0), "{stand:?}");
        assert!(
            job.error.is_none() && job.result.is_none() && job.finished_at.is_none() && job.latest_metrics.is_empty()
        );
        scene.house.ledger().await.check().await;
        let again = scene.house.claim().await.expect("it waits for its inspection");
        assert_eq!((again.fence().job, again.fence().run), (scene.id, 1));
        scene.close(Some(JobStatus::Running)).await;
    }
}

#[tokio::test]
async fn a_run_that_ends_unasked_as_if_it_were_asked_leaves_no_job_behind() {
    let house = House::standing().await;
    let (id, runs) = bring(&house, Running).await;
    house.queue.finish(&runs[0], Ending::Canceled).await.unwrap();
    house.queue.finish(&runs[1], Ending::Succeeded(Product::Extracted)).await.unwrap();
    house.ledger().await.check().await;
    let again = house.claim().await.expect("the first generator is trained once more");
    assert_eq!((again.fence().task, again.fence().run), (runs[0].fence().task, 2));
    house.queue.finish(&again, Ending::Succeeded(Product::Extracted)).await.unwrap();
    assert_eq!(house.claim().await.expect("and the job goes on").fence().job, id);
}
