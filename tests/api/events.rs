//! Following a job: its events and its metrics.

use std::time::Duration;

use axum::{
    body::BodyDataStream,
    http::{Request, StatusCode},
};
use futures::StreamExt;
use kegd::{
    domain::{
        job::{Phase, Progress},
        metric::MetricPoint,
        problem::{ErrorCode, Problem},
        task::TaskKind,
    },
    queue::{Beat, Claim, Ending},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::service::Service;

/// One event of a stream.
#[derive(Debug)]
struct Sent {
    id: Option<u64>,
    name: String,
    data: Value,
}

struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(service: &Service, path: &str, last: Option<u64>) -> Self {
        let mut request = Request::get(path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = service.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                        .map(|value| value.trim().to_owned())
                };
                if let Some(name) = field("event") {
                    let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                    return Some(Sent { id: field("id").map(|id| id.parse().unwrap()), name, data });
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(60), self.body.next()).await.expect("an event in time")?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn until(&mut self, name: &str) -> Sent {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("no {name}"));
            if event.name == name {
                return event;
            }
        }
    }
}

async fn measured(service: &Service) -> Claim {
    service.inspected().await;
    let claim = service.house.claim().await.unwrap();
    assert!(matches!(claim.kind(), TaskKind::Extract { .. }));
    let loss = |step, value| MetricPoint { name: "extract.total".into(), step, value };
    let other = MetricPoint { name: "extract.decoder".into(), step: 0, value: 0.25 };
    let metrics = vec![loss(0, 3.0), loss(1, 2.0), loss(2, 1.5), loss(3, 1.25), other];
    let progress = Progress { fraction: 0.5, phase: Phase::Extracting, step: 4, steps: 8, eta_seconds: None };
    let _ = service.house.queue.record(&claim, &Beat { progress: Some(progress), metrics }).await.unwrap();
    claim
}

#[tokio::test]
async fn events_are_a_list() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let _claim = service.house.claim().await.unwrap();
    let all = service.get(&format!("/jobs/{id}/events")).await.json();
    let data = all["data"].as_array().unwrap();
    let kinds: Vec<_> = data.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"status") && kinds.contains(&"run_started"), "{kinds:?}");
    assert_eq!(data[0]["data"]["status"], "queued");
    let after = service.get(&format!("/jobs/{id}/events?after={}", data[0]["id"])).await.json();
    assert_eq!(after["data"].as_array().unwrap().len(), data.len() - 1);
    assert_eq!(after["next"], json!(null));
}

#[tokio::test]
async fn a_stream_follows_a_job_to_its_end() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let mut stream = Stream::open(&service, &format!("/jobs/{id}/events"), None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["data"]["status"]), ("status", &json!("queued")));

    let claim = service.house.claim().await.unwrap();
    stream.until("run_started").await;
    let progress = Progress { fraction: 0.5, phase: Phase::Importing, step: 1, steps: 2, eta_seconds: None };
    let metrics = vec![MetricPoint { name: "loss".into(), step: 1, value: 0.5 }];
    let _ = service.house.queue.record(&claim, &Beat { progress: Some(progress), metrics }).await.unwrap();
    let sent = stream.until("progress").await;
    assert_eq!(sent.id, None, "it is not kept, so it cannot be resumed from");
    let metrics = stream.until("metrics").await;
    assert!(metrics.data.as_object().unwrap().values().any(|value| *value == 0.5), "{metrics:?}");

    let problem = Problem::new(ErrorCode::NotAClassifier, "It has 10 inputs.");
    service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
    let mut names = Vec::new();
    while let Some(event) = stream.next().await {
        names.push(event.name);
    }
    assert!(names.contains(&"status".to_owned()), "the stream tells the end, and ends: {names:?}");
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_that_was_seen() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let path = format!("/jobs/{id}/events");
    let mut stream = Stream::open(&service, &path, None).await;
    let seen = stream.next().await.unwrap().id.unwrap();
    drop(stream);
    service.post(&format!("/jobs/{id}/cancel")).await;
    let mut stream = Stream::open(&service, &path, Some(seen)).await;
    let mut last = seen;
    while let Some(event) = stream.next().await {
        if let Some(id) = event.id {
            assert!(id > last, "nothing twice");
            last = id;
        }
    }
    assert!(last > seen);
    let nothing =
        service.get_with(&path, &[("accept", "text/event-stream"), ("last-event-id", &last.to_string())]).await;
    assert_eq!(nothing.status, StatusCode::NO_CONTENT, "so that a browser does not reconnect for ever");
}

#[tokio::test]
async fn a_stream_ends_with_a_word_when_the_service_does() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let mut stream = Stream::open(&service, &format!("/jobs/{id}/events"), None).await;
    stream.next().await.unwrap();
    service.stop.cancel();
    // With data: a browser passes no event on that has none.
    assert_eq!(stream.until("shutdown").await.data, json!({}));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn metrics_are_series() {
    let service = Service::new().await;
    let id = measured(&service).await.fence().job;
    let all = service.get(&format!("/jobs/{id}/metrics")).await.json();
    let series = all["series"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    let total = series.iter().find(|series| series["name"] == "extract.total").unwrap();
    assert_eq!(total["generator"], 0);
    assert_eq!(total["points"], json!([[0, 3.0], [1, 2.0], [2, 1.5], [3, 1.25]]));
    let some = service.get(&format!("/jobs/{id}/metrics?names=extract.total&from_step=1&max_points=2")).await.json();
    assert_eq!(some, json!({"series": [{"name": "extract.total", "generator": 0, "points": [[1, 2.0], [3, 1.25]]}]}));
    let huge = service.get(&format!("/jobs/{id}/metrics?from_step={}", u64::MAX)).await.json();
    assert_eq!(huge, json!({"series": []}));
}

#[tokio::test]
async fn metrics_are_csv_on_request() {
    let service = Service::new().await;
    let id = measured(&service).await.fence().job;
    let path = format!("/jobs/{id}/metrics?names=extract.total&from_step=2");
    let csv = service.get_with(&path, &[("accept", "text/csv")]).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.body, "name,generator,step,value\r\nextract.total,0,2,1.5\r\nextract.total,0,3,1.25\r\n");
}
