//! `/metrics`: figures for Prometheus, in its text format.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{error::ApiResult, state::App};
use crate::domain::job::JobStatus;

/// Answered requests, by method, path as in the router, and status.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<(String, String, u16), Answers>>);

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    count: u64,
    seconds: f64,
}

impl Traffic {
    fn count(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        // A panic while counting leaves numbers that are still numbers.
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = answers.entry((method.to_string(), path.to_owned(), status.as_u16())).or_default();
        answers.count += 1;
        answers.seconds += took.as_secs_f64();
    }

    fn write(&self, text: &mut String) {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |(method, path, status): &(String, String, u16)| {
            format!("method=\"{method}\",path=\"{path}\",status=\"{status}\"")
        };
        head(text, "kegd_http_requests_total", "counter", "Answered requests.");
        for (key, answers) in answers.iter() {
            line(text, "kegd_http_requests_total", &labels(key), answers.count as f64);
        }
        head(text, "kegd_http_request_seconds_total", "counter", "Time until the answer began, summed up.");
        for (key, answers) in answers.iter() {
            line(text, "kegd_http_request_seconds_total", &labels(key), answers.seconds);
        }
    }
}

/// Counts every request.
pub async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    // The path as in the router: a label for each id would grow for ever.
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    // Any token may stand for a method; only known ones become a label.
    let method = if path == "other" { Method::GET } else { method };
    app.traffic.count(&method, &path, response.status(), begin.elapsed());
    response
}

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String))
)]
pub async fn get(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let mut text = String::new();
    head(&mut text, "kegd_info", "gauge", "What runs here.");
    line(&mut text, "kegd_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1.0);
    head(&mut text, "kegd_jobs", "gauge", "Jobs by status.");
    for status in JobStatus::ALL {
        let count = app.store.count_jobs(status).await?;
        line(&mut text, "kegd_jobs", &format!("status=\"{status}\""), count as f64);
    }
    let workers = app.store.workers().await?;
    head(&mut text, "kegd_slots", "gauge", "Slots of all workers.");
    line(&mut text, "kegd_slots", "", workers.iter().map(|worker| worker.slots.len()).sum::<usize>() as f64);
    head(&mut text, "kegd_slots_busy", "gauge", "Slots that run something.");
    line(&mut text, "kegd_slots_busy", "", workers.iter().map(|worker| worker.running.len()).sum::<usize>() as f64);
    head(&mut text, "kegd_disk_free_bytes", "gauge", "Free space where the data lie.");
    line(&mut text, "kegd_disk_free_bytes", "", app.free_disk()? as f64);
    app.traffic.write(&mut text);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

// Writing to a String cannot fail.
fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ =
        if labels.is_empty() { writeln!(text, "{name} {value}") } else { writeln!(text, "{name}{{{labels}}} {value}") };
}
