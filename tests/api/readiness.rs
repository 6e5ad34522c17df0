//! Whether the service can take jobs.

use kegd::config::{ByteSize, LimitsConfig};
use serde_json::{Value, json};

use crate::service::{Service, limits};

/// The check of that name.
fn check<'a>(readiness: &'a Value, name: &str) -> &'a Value {
    let found = readiness["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {readiness}"))
}

#[tokio::test]
async fn every_part_is_told_with_how_it_does() {
    let service = Service::new().await;
    service.house.queue.begin_life("worker-1", &["cpu".to_owned()]).await.unwrap();
    service.submitted().await;
    let answer = service.get("/readyz?verbose").await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["status"]), (200, &json!("ok")), "{body}");
    for name in ["draining", "database", "migrations", "disk", "storage", "workers", "queue"] {
        let check = check(&body, name);
        assert_eq!(check["status"], "ok", "{check}");
        assert!(check["detail"].as_str().unwrap().ends_with('.'), "{check}");
    }
    let isolation = check(&body, "isolation");
    let complete = kegd::sandbox::Support::of_kernel().missing().is_empty();
    assert_eq!(isolation["status"], if complete { "ok" } else { "warning" }, "{isolation}");
    let detail = |name| check(&body, name)["detail"].as_str().unwrap();
    let workers = detail("workers");
    assert!(workers.starts_with("worker-1 was seen ") && workers.contains(" s ago, 0 of 1 slots busy"), "{workers}");
    assert!(detail("queue").starts_with("1 of 100 jobs are open; 1 tasks wait and 0 run"), "{}", detail("queue"));
    assert_eq!(service.get("/readyz").await.json(), json!({"status": "ok"}), "the plain answer stays as it was");
    assert_eq!(service.get("/readyz?verbose=false").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn a_service_without_a_worker_takes_jobs_and_says_that_they_wait() {
    let service = Service::new().await;
    let body = service.get("/readyz?verbose=true").await.json();
    assert_eq!(body["status"], "ok");
    assert_eq!(check(&body, "workers")["status"], "warning");
}

#[tokio::test]
async fn a_failed_check_is_503_and_named() {
    let service = Service::with(LimitsConfig { min_free_disk: ByteSize(1 << 60), ..limits() }).await;
    let answer = service.get("/readyz?verbose").await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["status"]), (503, &json!("unavailable")), "{body}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(check(&body, "disk")["status"], "failed");
    assert_eq!(check(&body, "database")["status"], "ok");
    service.house.store.close().await;
    let body = service.get("/readyz?verbose").await.json();
    assert_eq!(check(&body, "database")["status"], "failed", "{body}");
}

#[tokio::test]
async fn a_service_that_ends_is_not_ready() {
    let service = Service::new().await;
    service.stop.cancel();
    assert_eq!(service.get("/readyz").await.problem(503), "unavailable");
    let answer = service.get("/readyz?verbose").await;
    assert_eq!(answer.status, 503);
    assert_eq!(check(&answer.json(), "draining")["status"], "failed");
    assert_eq!(service.get("/livez").await.status, 200, "it still lives");
}
