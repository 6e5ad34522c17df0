//! Answered requests, counted in this process: how many, and how long they took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

use super::{
    exposition::{Kind, Page},
    state::App,
};

/// Upper bounds in seconds: from what is read from memory to what a long poll waits.
const BOUNDS: [f64; 11] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// By method and path as in the router: a label for each id would grow for ever.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<(&'static str, String), Answers>>);

#[derive(Clone, Debug, Default)]
struct Answers {
    by_status: BTreeMap<u16, u64>,
    /// Not cumulative; the last one is for what took longer than any bound.
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
}

impl Traffic {
    fn count(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        // A panic while counting leaves numbers that are still numbers.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = all.entry((label(method), path.to_owned())).or_default();
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        *answers.by_status.entry(status.as_u16()).or_default() += 1;
        answers.buckets[bucket] += 1;
        answers.seconds += seconds;
    }

    pub(super) fn write(&self, page: &mut Page) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut requests = page.family("kegd_http_requests_total", Kind::Counter, "Answered requests.");
        for ((method, path), answers) in &all {
            for (status, count) in &answers.by_status {
                let status = status.to_string();
                requests.sample(&[("method", method), ("path", path), ("status", &status)], *count as f64);
            }
        }
        let help = "Time until the answer began; long polls wait in it.";
        let mut durations = page.family("kegd_http_request_duration_seconds", Kind::Histogram, help);
        for ((method, path), answers) in &all {
            let mut below = 0;
            let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets = bounds.zip(answers.buckets).map(|(bound, count)| {
                below += count;
                (bound, below)
            });
            let buckets: Vec<(f64, u64)> = buckets.collect();
            durations.histogram(&[("method", method), ("path", path)], &buckets, answers.seconds);
        }
    }
}

/// Any token may stand for a method; only known ones become a label.
fn label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Counts every request.
pub async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    app.traffic.count(&method, &path, response.status(), begin.elapsed());
    response
}
