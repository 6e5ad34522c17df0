//! Submitting, listing, waiting for and deleting jobs; and their files.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use kegd::{
    artifacts::{AdoptError, Claimed, PutError, hexadecimal},
    domain::{
        artifact::Role,
        ids::{JobId, TaskId},
        job::JobStatus,
        metric::MetricPoint,
        problem::{ErrorCode, Problem},
        task::Fence,
    },
    queue::{Beat, QueueError},
    store::{Deletion, JobQuery, KEY_LIFETIME, MetricQuery, Order, Series, StoreError, Submission},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::common::house::{House, MODEL, name};

#[tokio::test]
async fn the_same_request_twice_makes_one_job() {
    let house = House::standing().await;
    let Submission::Created(id) = house.submit_with_key("key", "body").await.unwrap() else { panic!("it is new") };
    assert_eq!(house.submit_with_key("key", "body").await.unwrap(), Submission::Replayed(id));
    let Err(StoreError::Problem(problem)) = house.submit_with_key("key", "another body").await else {
        panic!("another body is another request")
    };
    assert_eq!(problem.code, ErrorCode::IdempotencyMismatch);
    assert_eq!(house.store.jobs(&JobQuery::default()).await.unwrap().jobs.len(), 1);
    let racing = (0..8).map(|_| house.submit_with_key("second", "body"));
    let made = futures::future::join_all(racing).await.into_iter().map(Result::unwrap);
    let created = made.filter(|submission| matches!(submission, Submission::Created(_))).count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn an_upload_may_not_take_the_name_of_a_result() {
    let house = House::standing().await;
    let mut job = house.new_job(json!({})).await;
    job.uploads.push(house.upload(job.id, "report.json", Role::ExternalData).await);
    let Err(StoreError::Problem(problem)) = house.store.submit(&job, u64::MAX).await else {
        panic!("the name is reserved")
    };
    assert!(problem.detail.contains("report.json"), "{}", problem.detail);
    assert!(house.store.job(job.id).await.unwrap().is_none());
    job.uploads.pop();
    job.uploads.push(job.uploads[0].clone());
    assert!(matches!(house.store.submit(&job, u64::MAX).await, Err(StoreError::Problem(_))), "a name twice");
}

#[tokio::test]
async fn jobs_sent_at_once_do_not_share_the_last_place() {
    let house = House::standing().await;
    house.submit(json!({})).await;
    let jobs = futures::future::join_all((0..8).map(|_| house.new_job(json!({})))).await;
    let made = futures::future::join_all(jobs.iter().map(|job| house.store.submit(job, 2))).await;
    let refusals = made.into_iter().filter_map(Result::err);
    let codes: Vec<ErrorCode> = refusals.map(|error| Problem::from(error).code).collect();
    assert_eq!(codes, [ErrorCode::TooManyRequests; 7]);
    assert_eq!(house.store.job_ids().await.unwrap().len(), 2);
}

#[tokio::test]
async fn lists_are_paged_without_gaps() {
    let house = House::standing().await;
    let mut ids = Vec::new();
    for index in 0..5 {
        ids.push(house.submit(json!({"name": format!("job {}", index % 2)})).await);
    }
    house.store.cancel(ids[4]).await.unwrap();
    let page = async |query: JobQuery| {
        let page = house.store.jobs(&query).await.unwrap();
        (page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), page.next)
    };
    let oldest = |limit, after| JobQuery { order: Order::OldestFirst, limit, after, ..JobQuery::default() };
    assert_eq!(page(oldest(2, None)).await, (ids[..2].to_vec(), Some(ids[1])));
    assert_eq!(page(oldest(2, Some(ids[1]))).await, (ids[2..4].to_vec(), Some(ids[3])));
    assert_eq!(page(oldest(2, Some(ids[3]))).await, (ids[4..].to_vec(), None));
    assert_eq!(page(JobQuery::default()).await.0, ids.iter().rev().copied().collect::<Vec<_>>());
    let named = JobQuery { name: Some("job 1".into()), order: Order::OldestFirst, ..JobQuery::default() };
    assert_eq!(page(named).await.0, [ids[1], ids[3]]);
    let canceled = JobQuery { statuses: vec![JobStatus::Canceled, JobStatus::Failed], ..JobQuery::default() };
    assert_eq!(page(canceled).await.0, [ids[4]]);
}

#[tokio::test]
async fn a_long_poll_answers_on_change_or_when_time_is_up() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let seen = house.job(id).await.revision;
    let patience = Duration::from_millis(20);
    let same = house.store.wait_for_change(id, seen, patience).await.unwrap().unwrap();
    assert_eq!(same.revision, seen);
    let waiting = tokio::spawn({
        let store = house.store.clone();
        async move { store.wait_for_change(id, seen, Duration::from_secs(60)).await }
    });
    house.store.cancel(id).await.unwrap();
    let changed = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(changed.status, JobStatus::Canceled);
}

#[tokio::test]
async fn deleting_a_running_job_needs_force_and_ends_its_run() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    assert_eq!(house.store.delete(id, false).await.unwrap(), Deletion::Running);
    assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::Deleted);
    assert_eq!(house.store.delete(id, true).await.unwrap(), Deletion::NotFound);
    assert!(house.store.job(id).await.unwrap().is_none());
    assert!(house.store.tasks(id).await.unwrap().is_empty());
    assert!(house.store.events(id, 0, 10).await.unwrap().is_empty());
    assert!(matches!(house.queue.record(&claim, &Beat::default()).await, Err(QueueError::LeaseLost)));
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let house = House::standing().await;
    let id = house.submit(json!({"priority": 3})).await;
    house.store.close().await;
    let path = house.directory.path().join("kegd.db");
    let store = kegd::store::Store::open(&path, house.clock.clone()).await.unwrap();
    let job = store.job(id).await.unwrap().unwrap();
    assert_eq!((job.priority, job.config.priority, job.revision), (3, Some(3), 1));
}

#[tokio::test]
async fn no_connection_makes_a_database_where_it_was_moved_away() {
    let house = House::standing().await;
    let path = house.directory.path().join("kegd.db");
    std::fs::rename(&path, house.directory.path().join("away.db")).unwrap();
    // More at once than there are connections, so that some are opened.
    let read = futures::future::join_all((0..8).map(|_| house.store.job_ids())).await;
    assert!(read.iter().any(Result::is_err));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_key_stands_for_its_job_for_a_day() {
    let house = House::standing().await;
    let Submission::Created(first) = house.submit_with_key("key", "body").await.unwrap() else { panic!("it is new") };
    house.clock.advance(KEY_LIFETIME - Duration::from_secs(1));
    assert_eq!(house.submit_with_key("key", "body").await.unwrap(), Submission::Replayed(first));
    assert!(house.store.knows_key(None, "key").await.unwrap());
    assert_eq!(house.store.forget_keys().await.unwrap(), 0);
    house.clock.advance(Duration::from_secs(1));
    assert!(!house.store.knows_key(None, "key").await.unwrap());
    let Submission::Created(second) = house.submit_with_key("key", "another body").await.unwrap() else {
        panic!("the key was free again")
    };
    assert_ne!(first, second);
    assert_eq!(house.submit_with_key("key", "another body").await.unwrap(), Submission::Replayed(second));
    house.submit_with_key("other", "body").await.unwrap();
    house.clock.advance(KEY_LIFETIME);
    assert_eq!(house.store.forget_keys().await.unwrap(), 2);
    assert!(house.store.job(second).await.unwrap().is_some(), "the jobs stay");
}

#[tokio::test]
async fn a_thinned_series_keeps_its_ends_and_stays_even() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    let point = |name: &str, step| MetricPoint { name: name.into(), step, value: step as f64 / 2.0 };
    let mut metrics: Vec<_> = (0..1000).map(|step| point("even", step)).collect();
    metrics.extend([0, 1, 2, 3, 900].map(|step| point("gaps", step)));
    let _ = house.queue.record(&claim, &Beat { progress: None, metrics }).await.unwrap();
    let steps = async |names: &[&str], from_step, max_points| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let query = MetricQuery { names, from_step, max_points };
        let series = house.store.metrics(id, &query).await.unwrap();
        let steps = |series: &Series| {
            assert!(series.points.iter().all(|(step, value)| *value == *step as f64 / 2.0));
            series.points.iter().map(|(step, _)| *step).collect::<Vec<_>>()
        };
        series.iter().map(steps).collect::<Vec<_>>()
    };
    assert_eq!(steps(&["even"], 0, Some(4)).await, [[0, 333, 666, 999]]);
    assert_eq!(steps(&["even"], 500, Some(3)).await, [[500, 749, 999]]);
    assert_eq!(steps(&["gaps"], 0, Some(5)).await, [[0, 1, 2, 3, 900]], "there are no more than that");
    assert_eq!(steps(&["gaps"], 0, Some(3)).await, [vec![0, 900]], "at most, where steps are missing");
    assert_eq!(steps(&[], 0, Some(0)).await, [[0, 999], [0, 900]], "the two ends remain, whatever was asked");
    assert_eq!(steps(&["even"], 0, None).await[0].len(), 1000);
    assert_eq!(steps(&["gaps", "none"], 4, None).await, [[900]]);
    assert!(steps(&[], 1000, Some(10)).await.is_empty());
}

#[tokio::test]
async fn a_series_longer_than_a_page_is_whole() {
    let house = House::standing().await;
    let id = house.submit(json!({})).await;
    let claim = house.claim().await.unwrap();
    let metrics = (0..20_001).map(|step| MetricPoint { name: "loss".into(), step: 3 * step, value: 1.0 }).collect();
    let _ = house.queue.record(&claim, &Beat { progress: None, metrics }).await.unwrap();
    for max_points in [None, Some(20_001)] {
        let query = MetricQuery { max_points, ..MetricQuery::default() };
        let series = house.store.metrics(id, &query).await.unwrap();
        let steps = series[0].points.iter().map(|(step, _)| *step);
        assert!(steps.eq((0..20_001).map(|step| 3 * step)), "{max_points:?}: each point, once, in order");
    }
}

/// All files below `directory`, by name.
fn files(directory: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[tokio::test]
async fn an_upload_is_hashed_counted_and_read_back_whole_or_in_part() {
    let house = House::standing().await;
    let long: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let odd = "模型 #1 (new).onnx";
    let chunks = long.chunks(70_001).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)));
    let stream = futures::stream::iter(chunks.collect::<Vec<_>>());
    let artifact = house.artifacts.put(JobId::new(), name(odd), Role::Teacher, stream).await.unwrap();
    assert_eq!(artifact.bytes, 3_000_000);
    assert_eq!(artifact.sha256, hexadecimal(&Sha256::digest(&long)));
    let read = async |range| -> Vec<u8> {
        let stream = house.artifacts.read(&artifact, range).await.unwrap();
        stream.try_fold(Vec::new(), async |all, chunk| Ok([all, chunk.to_vec()].concat())).await.unwrap()
    };
    assert_eq!(read(None).await, long);
    assert_eq!(read(Some(2_999_990..3_000_000)).await, long[2_999_990..]);
    assert_eq!(read(Some(5..5)).await, b"");
    let copy = house.directory.path().join("copy");
    house.artifacts.copy_to(&artifact, &copy).await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), long);
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing_behind() {
    let house = House::standing().await;
    let full = Bytes::from(vec![0; 2 << 20]);
    let stream = futures::stream::iter([Ok(full), Err("the connection broke")]);
    let failed = house.artifacts.put(JobId::new(), name("m.onnx"), Role::Teacher, stream).await;
    assert!(matches!(failed, Err(PutError::Source("the connection broke"))), "{failed:?}");
    assert_eq!(files(&house.directory.path().join("artifacts")), Vec::<String>::new());
    let empty = futures::stream::iter(Vec::<Result<Bytes, std::io::Error>>::new());
    let kept = house.artifacts.put(JobId::new(), name("m.onnx"), Role::Teacher, empty).await.unwrap();
    assert_eq!(kept.bytes, 0);
}

#[tokio::test]
async fn a_file_of_a_run_is_kept_only_if_it_is_what_was_announced() {
    let house = House::standing().await;
    let run = house.directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("student.onnx"), MODEL).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", run.join("link")).unwrap();
    std::fs::create_dir(run.join("directory")).unwrap();
    let fence = Fence { job: JobId::new(), task: TaskId::new(), run: 1 };
    let true_hash = hexadecimal(&Sha256::digest(MODEL));
    let adopt = async |file: &str, bytes, sha256: &str| {
        let claimed = Claimed { name: name(file), role: Role::Student, bytes, sha256: sha256.to_owned() };
        house.artifacts.adopt(fence, &run, claimed).await
    };
    let length = MODEL.len() as u64;
    for (file, bytes, sha256, why) in [
        ("student.onnx", length, "00", "hash"),
        ("student.onnx", length + 1, true_hash.as_str(), "bytes"),
        ("missing", length, true_hash.as_str(), "no file"),
        ("link", length, true_hash.as_str(), "link"),
        ("directory", length, true_hash.as_str(), "regular"),
    ] {
        let Err(AdoptError::Untrue(said)) = adopt(file, bytes, sha256).await else { panic!("{file} was kept") };
        assert!(said.contains(why), "{said}");
    }
    assert!(files(&house.directory.path().join("artifacts")).is_empty());
    let kept = adopt("student.onnx", length, &true_hash).await.unwrap();
    assert_eq!(house.artifacts.read_whole(&kept, 100).await.unwrap(), MODEL);
    assert!(house.artifacts.read_whole(&kept, 3).await.is_err());
}

#[tokio::test]
async fn files_without_a_job_are_swept_at_start() {
    let house = House::standing().await;
    let (kept, orphan) = (JobId::new(), JobId::new());
    house.upload(kept, "a.onnx", Role::Teacher).await;
    house.upload(orphan, "b.onnx", Role::Teacher).await;
    let root = house.directory.path().join("artifacts");
    std::fs::write(root.join(kept.to_string()).join("half.npz#1"), b"half").unwrap();
    assert_eq!(house.artifacts.sweep(&[kept]).await.unwrap(), 2);
    assert_eq!(files(&root), ["a.onnx"]);
    house.artifacts.delete_job(kept).await.unwrap();
    assert!(files(&root).is_empty());
    house.artifacts.delete_job(kept).await.unwrap();
}
