//! Event streams over the wire.

use kegd::{
    domain::{
        artifact::Role,
        problem::{ErrorCode, Problem},
    },
    queue::Ending,
};

use crate::{
    service::Service,
    wire::{Listening, Wire},
};

async fn follow(server: &Listening, path: &str, more: &str) -> Wire {
    let mut wire = server.connect().await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{more}\r\n")).await;
    let (status, head) = wire.head().await;
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("\r\ncache-control: no-cache\r\n") && head.contains("\r\nvary: accept\r\n"), "{head}");
    wire
}

/// The ids of what has come in `text`.
fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_stream_says_at_once_that_it_stands_and_when_to_come_back() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let server = Listening::of(&service).await;
    let last = service.get(&format!("/jobs/{id}/events")).await.json()["data"][0]["id"].clone();
    let mut wire = follow(&server, &format!("/jobs/{id}/events"), &format!("Last-Event-ID: {last}\r\n")).await;
    wire.until("retry: 3000\n").await;
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let server = Listening::of(&service).await;
    let mut wire = follow(&server, &format!("/jobs/{id}/events"), "").await;
    wire.until(": alive\n\n").await;
}

#[tokio::test]
async fn the_end_of_the_service_is_an_event() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let server = Listening::of(&service).await;
    let mut wire = follow(&server, &format!("/jobs/{id}/events"), "").await;
    wire.until("event: status\n").await;
    server.end().await;
    wire.until("event: shutdown\n").await;
    wire.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_failed_job_ends_the_stream_and_its_event_is_not_called_error() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let server = Listening::of(&service).await;
    let mut wire = follow(&server, &format!("/jobs/{id}/events"), "").await;
    let claim = service.house.claim().await.unwrap();
    let problem = Problem::new(ErrorCode::NotAClassifier, "It has 10 inputs.");
    service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
    let all = wire.until("\r\n0\r\n\r\n").await;
    assert!(all.contains("event: failed\n") && all.contains("It has 10 inputs."), "{all}");
    assert!(!all.contains("event: error"), "{all}");
    let ids = ids(&all);
    assert!(ids.is_sorted() && ids.len() >= 4, "{ids:?}");
    // From the middle, without the header: for clients that cannot set it.
    let again = server
        .exchange(format!("GET /jobs/{id}/events?after={} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n", ids[1]))
        .await;
    assert_eq!(self::ids(&again), ids[2..], "{again}");
}

#[tokio::test]
async fn nothing_is_lost_however_events_and_readers_meet() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    let server = Listening::of(&service).await;
    let path = format!("/jobs/{id}/events");
    let keep = async {
        for number in 0..60 {
            service.keep(&claim, &format!("log-{number}.txt"), Role::Log, b"words").await;
        }
        service.post(&format!("/jobs/{id}/cancel")).await;
        service.house.queue.finish(&claim, Ending::Canceled).await.unwrap();
    };
    // Readers that come at different times, break off, and resume.
    let read = async |pause: usize| {
        let (mut seen, mut more) = (Vec::new(), String::new());
        loop {
            let mut wire = follow(&server, &path, &more).await;
            for _ in 0..pause {
                let text = wire.until("\n\n").await;
                seen.extend(ids(&text));
                if text.contains("\"canceled\"") {
                    return seen;
                }
            }
            more = seen.last().map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        }
    };
    let ((), first, second, third) = tokio::join!(keep, read(7), read(23), read(1000));
    let all: Vec<u64> = service.get(&path).await.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect();
    for seen in [first, second, third] {
        // One that was resumed after the job's last event gets no more, and that is the end.
        assert_eq!(seen, all[..seen.len()], "in order, nothing twice, nothing left out");
        assert!(seen.len() + 1 >= all.len(), "{} of {}", seen.len(), all.len());
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_keeps_nobody_waiting() {
    let service = Service::new().await;
    let id = service.submitted().await;
    let server = Listening::of(&service).await;
    let path = format!("/jobs/{id}/events");
    let mut slow = follow(&server, &path, "Connection: close\r\n").await;
    let mut quick = follow(&server, &path, "Connection: close\r\n").await;
    let claim = service.house.claim().await.unwrap();
    // More than the buffers of a connection hold.
    let detail = "x".repeat(20 << 20);
    let problem = Problem::new(ErrorCode::NotAClassifier, detail.clone());
    service.house.queue.finish(&claim, Ending::Failed(problem)).await.unwrap();
    assert!(quick.rest().await.contains(&detail));
    assert_eq!(service.get("/livez").await.status, 200);
    assert!(slow.rest().await.contains(&detail), "all of it, when it reads at last");
}
