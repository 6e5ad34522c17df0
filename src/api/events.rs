//! `/jobs/{id}/events`: what happened, as a list or as a stream of Server-Sent Events.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::{
    accept::preferred,
    error::ApiResult,
    extract::{Path, Query},
    state::App,
};
use crate::{
    domain::{ids::JobId, job::Progress, problem::Problem},
    store::{Job, JobEvent, StoreError},
};

/// Most events of one answer, and of one look into the database.
const PAGE: u32 = 1000;

/// Between two comments that keep proxies from closing a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client is asked to wait after a shutdown: about as long as a restart takes.
const RETRY: Duration = Duration::from_secs(3);

/// Longest that a stream waits for a change before it looks by itself whether there is one.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this id.
    after: Option<u64>,
}

/// Something that happened to a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Rises from event to event; `Last-Event-ID` of a stream.
    id: u64,
    /// `status`, `run_started`, `run_ended`, `artifact`, `sample` or `error`.
    r#type: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl From<JobEvent> for EventView {
    fn from(event: JobEvent) -> Self {
        Self { id: event.id, r#type: event.kind, at: event.at, data: event.data }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    data: Vec<EventView>,
    /// The `after` of the next page; null where there was nothing more.
    next: Option<u64>,
}

/// What happened to a job.
///
/// With `Accept: text/event-stream`, a stream that goes on until the job is finished and resumes after `Last-Event-ID`.
/// It also sends `progress` and `metrics` (the newest values) as they change, and `shutdown` as its last word when the service
/// stops: connect again. These are not kept and carry no id.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "progress",
    params(
        ("id" = String, Path, format = Uuid), EventQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Sent by browsers that reconnect; goes before `after`"),
    ),
    responses(
        (status = 200, description = "Events in order", content((EventList = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "Stream: the job is finished and you have seen everything"),
        (status = 404, description = "No such job", body = Problem),
        (status = 503, description = "Stream: too many clients wait", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = app.job(id).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.or(query.after).unwrap_or(0);
    if preferred(&headers, &["application/json", "text/event-stream"]) == "application/json" {
        let data: Vec<EventView> = app.store.events(id, after, PAGE).await?.into_iter().map(Into::into).collect();
        let next = if data.len() == PAGE as usize { data.last().map(|event| event.id) } else { None };
        return Ok(axum::Json(EventList { data, next }).into_response());
    }
    if job.status.is_final() && app.store.events(id, after, 1).await?.is_empty() {
        // An EventSource reconnects for ever, unless it is told with 204 that there will be nothing more.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = app.gates.wait()?;
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Ok(Sse::new(follow(app, job, after, place)).keep_alive(keep_alive).into_response())
}

/// A job's events from `after` on, until it is finished or deleted.
fn follow(
    app: App,
    job: Job,
    after: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    async_stream::stream! {
        // Held for as long as the stream is open.
        let _place = place;
        let mut seen = Seen { after, progress: None, metrics: BTreeMap::new() };
        let mut job = Some(job);
        while let Some(current) = job {
            // A page at a time: a client that reads slowly holds up this loop, and not all of a job's events in memory.
            loop {
                match kept(&app, &current, &mut seen).await {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => for event in events {
                        yield Ok(event);
                    },
                    Err(error) => {
                        // The stream ends; a client reconnects and resumes where it was.
                        tracing::warn!(%error, "event stream ends");
                        return;
                    }
                }
            }
            for event in passing(&current, &mut seen) {
                yield Ok(event);
            }
            if current.status.is_final() {
                return;
            }
            let change = app.store.wait_for_change(current.id, current.revision, PATIENCE);
            // A client whose stream ends connects again, and finds the next start of the service.
            let Some(change) = app.stop.run_until_cancelled(change).await else {
                yield Ok(sse::Event::default().event("shutdown").retry(RETRY).data("{}"));
                return;
            };
            job = match change {
                Ok(job) => job,
                Err(error) => {
                    tracing::warn!(%error, "event stream ends");
                    return;
                }
            };
        }
    }
}

/// What a stream has sent.
struct Seen {
    after: u64,
    progress: Option<Progress>,
    metrics: BTreeMap<String, f64>,
}

/// Kept events of `job` that the stream has not sent yet; at most a page of them.
async fn kept(app: &App, job: &Job, seen: &mut Seen) -> Result<Vec<sse::Event>, StoreError> {
    let kept = app.store.events(job.id, seen.after, PAGE).await?;
    seen.after = kept.last().map_or(seen.after, |last| last.id);
    let events = kept.into_iter().filter_map(|event| {
        let (id, name) = (event.id.to_string(), event.kind.clone());
        written(sse::Event::default().id(id).event(name), &EventView::from(event))
    });
    Ok(events.collect())
}

/// What is not kept, where it is no longer what the stream has sent.
fn passing(job: &Job, seen: &mut Seen) -> Vec<sse::Event> {
    let mut events = Vec::new();
    if job.progress != seen.progress {
        seen.progress.clone_from(&job.progress);
        events.extend(written(sse::Event::default().event("progress"), &job.progress));
    }
    if job.latest_metrics != seen.metrics {
        seen.metrics.clone_from(&job.latest_metrics);
        events.extend(written(sse::Event::default().event("metrics"), &job.latest_metrics));
    }
    events
}

/// The event with `data` as JSON, which has no line breaks.
fn written(event: sse::Event, data: &impl Serialize) -> Option<sse::Event> {
    event.json_data(data).ok()
}
