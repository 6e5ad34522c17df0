//! Jobs for devices that nobody offers.

use axum::http::StatusCode;
use serde_json::json;

use crate::service::{Answer, LENET, Part, Service};

async fn submit(service: &Service, device: &str) -> Answer {
    let config = json!({"device": device}).to_string();
    service.upload("/jobs", &[Part::file("model", "m.onnx", LENET), Part::text("config", &config)], &[]).await
}

#[tokio::test]
async fn a_job_that_no_worker_would_take_is_refused_with_what_there_is() {
    let service = Service::new().await;
    service.house.queue.begin_life("worker-1", &["cpu".to_owned(), "cpu".to_owned()]).await.unwrap();
    for device in ["cuda", "cuda:1"] {
        let refused = submit(&service, device).await;
        assert_eq!(refused.problem(422), "invalid_config");
        let problem = refused.json();
        assert_eq!(problem["param"], "config.device");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("`{device}`")), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("There is cpu."), "{problem}");
    }
    assert_eq!(service.kept(), [""; 0]);
    for device in ["auto", "cpu"] {
        let taken = submit(&service, device).await;
        assert_eq!((taken.status, &taken.json()["warnings"]), (StatusCode::ACCEPTED, &json!([])));
    }
    assert_eq!(service.get("/readyz").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn a_job_that_waits_for_a_worker_says_so_until_one_comes() {
    let service = Service::new().await;
    let job = submit(&service, "cuda").await.json();
    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    let warning = async || service.get(&path).await.json()["warnings"].as_array().unwrap().clone();
    let ready = async || {
        let checks = service.get("/readyz?verbose").await.json()["checks"].clone();
        let devices = checks.as_array().unwrap().iter().find(|check| check["name"] == "devices").unwrap().clone();
        (devices["status"] == "warning").then(|| devices["detail"].clone())
    };
    assert_eq!(warning().await, [json!("No worker is there: jobs wait until one comes.")]);
    assert_eq!(ready().await, Some(json!("No worker is there: jobs wait until one comes.")));

    service.house.queue.begin_life("worker-1", &["cpu".to_owned()]).await.unwrap();
    let told = warning().await;
    assert!(told.len() == 1 && told[0].as_str().unwrap().contains("`cuda` now, only cpu"), "{told:?}");
    assert_eq!(ready().await, Some(told[0].clone()), "and so does the service");
    assert_eq!(service.get("/jobs").await.json()["data"][0]["warnings"], json!(told));

    service.house.queue.begin_life("worker-2", &["cuda:0".to_owned()]).await.unwrap();
    assert_eq!(warning().await, [json!(null); 0]);
    assert_eq!(ready().await, None);
}
