//! `/jobs/{id}/events`: what happened, as a list or as a stream of Server-Sent Events.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header::VARY},
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
    domain::{
        ids::JobId,
        job::Progress,
        problem::{ErrorCode, Problem},
    },
    store::{Job, JobEvent, Seen},
};

/// Most events of one answer, and of one look into the database.
const PAGE: u32 = 1000;

/// Between two comments that keep proxies from closing a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client is asked to wait before it connects again: about as long as a restart takes.
const RETRY: Duration = Duration::from_secs(3);

/// Longest that a stream waits for a change before it looks by itself whether there is one.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this id. For a stream too, where the client cannot set `Last-Event-ID`.
    after: Option<u64>,
    /// Events on a page of the list; a stream has no pages.
    #[serde(default = "page_size")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: u32,
}

fn page_size() -> u32 {
    PAGE
}

impl EventQuery {
    fn checked(self) -> Result<Self, Problem> {
        if (1..=PAGE).contains(&self.limit) {
            return Ok(self);
        }
        Err(Problem::new(ErrorCode::InvalidRequest, format!("limit={} is not 1 to {PAGE}.", self.limit))
            .param("limit")
            .hint("Take the next page with after=, from `next` of this one."))
    }
}

/// Something that happened to a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Rises from event to event; `Last-Event-ID` of a stream.
    id: u64,
    /// `status`, `run_started`, `run_ended`, `artifact`, `sample` or `failed`.
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
/// stops: connect again. These are not kept and carry no id. No event is called `error`, since that is what an EventSource
/// calls a lost connection.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "progress",
    params(
        ("id" = String, Path, format = Uuid), EventQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Sent by browsers that reconnect; goes before `after`"),
    ),
    responses(
        (status = 200, description = "Events in order", content((EventList = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "Stream: the job is finished and you have seen everything"),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 406, description = "Accept allows neither JSON nor an event stream", body = Problem),
        (status = 503, description = "Stream: too many clients wait", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let (job, query) = (app.job(id).await?, query.checked()?);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last.or(query.after).unwrap_or(0);
    if preferred(&headers, &["application/json", "text/event-stream"])? == "application/json" {
        return Ok(([(VARY, "accept")], axum::Json(page(&app, id, after, query.limit).await?)).into_response());
    }
    if job.status.is_final() && app.store.events(id, after, 1).await?.is_empty() {
        // An EventSource reconnects for ever, unless it is told with 204 that there will be nothing more.
        return Ok((StatusCode::NO_CONTENT, [(VARY, "accept")]).into_response());
    }
    let place = app.gates.wait()?;
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    let stream = Sse::new(follow(app, job, after, place)).keep_alive(keep_alive);
    Ok(([(VARY, "accept"), (UNBUFFERED, "no")], stream).into_response())
}

/// Tells nginx, and who does like it, to pass events on as they come.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

async fn page(app: &App, job: JobId, after: u64, limit: u32) -> ApiResult<EventList> {
    // One more than asked for tells whether there is a next page.
    let mut events = app.store.events(job, after, limit + 1).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let next = if more { events.last().map(|event| event.id) } else { None };
    Ok(EventList { data: events.into_iter().map(Into::into).collect(), next })
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
        // Sent at once: the client knows that the stream stands, also where nothing happens for long.
        yield Ok(sse::Event::default().comment("events").retry(RETRY));
        let mut sent = Sent { event: after, progress: None, metrics: BTreeMap::new() };
        let mut job = Some(job);
        while let Some(current) = job {
            // A page at a time, as fast as the client reads: a slow one costs no memory.
            loop {
                match app.store.events(current.id, sent.event, PAGE).await {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => for event in events {
                        sent.event = event.id;
                        yield Ok(kept(event));
                    },
                    Err(error) => {
                        // The stream ends; a client reconnects and resumes where it was.
                        tracing::warn!(%error, "event stream ends");
                        return;
                    }
                }
            }
            for event in sent.changes(&current) {
                yield Ok(event);
            }
            if current.status.is_final() {
                return;
            }
            let seen = Seen { revision: current.revision, event: sent.event };
            let change = app.store.wait_for_news(current.id, seen, PATIENCE);
            let Some(change) = app.stop.run_until_cancelled(change).await else {
                // The client connects again, and finds the next start of the service.
                yield Ok(sse::Event::default().event("shutdown").data("{}"));
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
struct Sent {
    /// The last event that is kept.
    event: u64,
    progress: Option<Progress>,
    metrics: BTreeMap<String, f64>,
}

impl Sent {
    /// What `job` shows otherwise than the stream said so far.
    fn changes(&mut self, job: &Job) -> Vec<sse::Event> {
        let mut events = Vec::new();
        if job.progress != self.progress {
            self.progress.clone_from(&job.progress);
            events.push(written(sse::Event::default().event("progress"), &job.progress));
        }
        if job.latest_metrics != self.metrics {
            self.metrics.clone_from(&job.latest_metrics);
            events.push(written(sse::Event::default().event("metrics"), &job.latest_metrics));
        }
        events
    }
}

fn kept(event: JobEvent) -> sse::Event {
    written(sse::Event::default().id(event.id.to_string()).event(event.kind.clone()), &EventView::from(event))
}

/// The event with `data` as JSON, which has no line breaks.
fn written(event: sse::Event, data: &impl Serialize) -> sse::Event {
    // Plain data of ours: it always has a form in JSON.
    event.data(serde_json::to_string(data).unwrap_or_default())
}
