//! `/jobs` and `/jobs/{id}`: list, look, cancel, delete.

use std::{collections::HashMap, time::Duration};

use axum::{
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::Caller,
    devices::Offer,
    error::ApiResult,
    etag::is_known,
    extract::{Path, Query},
    state::{App, no_job},
    view::JobView,
};
use crate::{
    domain::{
        ids::JobId,
        job::JobStatus,
        problem::{ErrorCode, Problem},
    },
    store::{Cancel, Deletion, Job, JobQuery, Order},
};

/// Most jobs of one page.
const MAX_PAGE: u32 = 200;

/// Longest wait of one request; proxies give up on silent requests soon after.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Any of these, separated by commas.
    #[param(pattern = "^((queued|running|succeeded|failed|canceled)(,|$))*$", example = "queued,running")]
    status: Option<String>,
    /// Exactly this name.
    name: Option<String>,
    /// Jobs on a page.
    #[serde(default = "page_size")]
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: u32,
    /// `next` of the page before. Jobs that come or go between two pages shift nothing.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<JobId>,
    /// `newest` (default) or `oldest` first.
    #[serde(default)]
    #[param(inline)]
    order: ListOrder,
}

fn page_size() -> u32 {
    20
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ListOrder {
    #[default]
    #[serde(alias = "desc")]
    Newest,
    #[serde(alias = "asc")]
    Oldest,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    data: Vec<JobView>,
    /// The `after` of the next page; null on the last one.
    #[schema(value_type = Option<String>)]
    next: Option<JobId>,
}

/// Lists jobs, the newest first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", params(ListQuery),
    responses((status = 200, description = "A page", body = JobList), (status = 400, description = "A parameter is wrong", body = Problem))
)]
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> ApiResult<axum::Json<JobList>> {
    let query = query.checked()?;
    let page = app.store.jobs(&query).await?;
    let waits = page.jobs.iter().any(|job| job.status == JobStatus::Queued);
    let positions = if waits { app.store.queue_positions().await? } else { HashMap::new() };
    let offer = Offer::now(&app.store).await?;
    let mut data = Vec::with_capacity(page.jobs.len());
    for job in page.jobs {
        let position = positions.get(&job.id).copied();
        data.push(placed(&app, job, position, &offer).await?);
    }
    Ok(axum::Json(JobList { data, next: page.next }))
}

impl ListQuery {
    fn checked(self) -> Result<JobQuery, Problem> {
        if !(1..=MAX_PAGE).contains(&self.limit) {
            return Err(Problem::new(
                ErrorCode::InvalidRequest,
                format!("limit={} is not 1 to {MAX_PAGE}.", self.limit),
            )
            .param("limit")
            .hint("Take the next page with after=, from `next` of this one."));
        }
        let statuses = self.status.as_deref().unwrap_or_default().split(',').filter(|status| !status.is_empty());
        let statuses = statuses.map(|status| status.trim().parse()).collect::<Result<Vec<JobStatus>, _>>();
        let statuses = statuses.map_err(|detail| {
            Problem::new(ErrorCode::InvalidRequest, detail)
                .param("status")
                .hint("Use queued, running, succeeded, failed and canceled, separated by commas.")
        })?;
        let order = match self.order {
            ListOrder::Newest => Order::NewestFirst,
            ListOrder::Oldest => Order::OldestFirst,
        };
        Ok(JobQuery { statuses, name: self.name, order, limit: self.limit, after: self.after })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answer when the job changes, or after this many seconds; more than 60 count as 60. A finished job is answered at
    /// once.
    ///
    /// With `If-None-Match`, a change since that state counts.
    #[param(minimum = 0, example = 30)]
    wait: Option<f64>,
}

impl WaitQuery {
    fn patience(&self) -> Result<Option<Duration>, Problem> {
        let Some(seconds) = self.wait else { return Ok(None) };
        // Not a number is no number of seconds, and a negative one is a mistake of the client's arithmetic.
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(Problem::new(ErrorCode::InvalidRequest, format!("wait={seconds} is no number of seconds."))
                .param("wait")
                .hint("Give seconds from 0 to 60, and ask again where the job has not changed."));
        }
        Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_WAIT).min(MAX_WAIT)))
    }
}

/// One job, as it stands or as soon as it changes.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, format = Uuid), WaitQuery),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 304, description = "Unchanged since the state of If-None-Match"),
        (status = 400, description = "`wait` is no number of seconds", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 503, description = "Too many clients wait", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let patience = query.patience()?;
    let mut job = app.job(id).await?;
    let news = headers.contains_key(IF_NONE_MATCH) && !is_known(&headers, &tag(&job));
    if let Some(patience) = patience
        && !news
        && !job.status.is_final()
    {
        let _place = app.gates.wait()?;
        let change = app.store.wait_for_change(id, job.revision, patience);
        // Deleted while we waited, or about to end: the same answer as if it were asked for now.
        job = match app.stop.run_until_cancelled(change).await.transpose()?.flatten() {
            Some(job) => job,
            None => app.job(id).await?,
        };
    }
    if is_known(&headers, &tag(&job)) {
        return Ok((StatusCode::NOT_MODIFIED, tags(&job)).into_response());
    }
    Ok(shown(&app, job).await?.into_response())
}

/// Cancels this job, and no other.
///
/// A waiting job is canceled at once; a running one is told to stop, which takes a moment.
#[utoipa::path(
    post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "It is canceled", body = JobView),
        (status = 202, description = "Its runs were told to stop", body = JobView),
        (status = 403, description = "Another key's job", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It has finished", body = Problem),
    )
)]
pub async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<JobId>) -> ApiResult<Response> {
    app.may_change(id, &caller).await?;
    let status = match app.store.cancel(id).await? {
        Cancel::Canceled | Cancel::AlreadyCanceled => StatusCode::OK,
        Cancel::Asked => StatusCode::ACCEPTED,
        Cancel::Finished(status) => {
            let detail = format!("The job has {status} already; there is nothing left to cancel.");
            return Err(Problem::new(ErrorCode::Conflict, detail).hint("DELETE /jobs/{id} removes it.").into());
        }
        Cancel::NotFound => return Err(no_job(id).into()),
    };
    let job = app.job(id).await?;
    Ok((status, shown(&app, job).await?).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Delete it even while it runs; its runs are ended.
    #[serde(default)]
    force: bool,
}

/// Deletes a job and all its files. There is no way back.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, format = Uuid), DeleteQuery),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "Another key's job", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It runs, and `force` was not given", body = Problem),
    )
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(query): Query<DeleteQuery>,
) -> ApiResult<StatusCode> {
    app.may_change(id, &caller).await?;
    match app.store.delete(id, query.force).await? {
        Deletion::Deleted => {
            bury(&app).await;
            Ok(StatusCode::NO_CONTENT)
        }
        Deletion::Running => Err(Problem::new(ErrorCode::Conflict, "The job is running.")
            .hint("Cancel it first, or delete it with ?force=true.")
            .into()),
        Deletion::NotFound => Err(no_job(id).into()),
    }
}

/// Deletes the files that the rows before named. What fails is logged, and tried again by the next collection: the rows are
/// gone, and so is the job for whoever asks.
pub async fn bury(app: &App) {
    if let Err(error) = app.collector.bury().await {
        tracing::error!(%error, "files of deleted rows are still there");
    }
}

async fn view(app: &App, job: Job) -> ApiResult<JobView> {
    let position = if job.status == JobStatus::Queued { app.store.queue_position(job.id).await? } else { None };
    let offer = Offer::now(&app.store).await?;
    placed(app, job, position, &offer).await
}

/// A job whose place in the queue is known.
async fn placed(app: &App, job: Job, position: Option<u64>, offer: &Offer) -> ApiResult<JobView> {
    let warning = offer.warning(&job);
    let stopped_short = matches!(job.status, JobStatus::Failed | JobStatus::Canceled);
    let can_resume = stopped_short && job.upload_deleted_at.is_none() && app.store.has_leftovers(job.id).await?;
    let mut view = JobView { can_resume, ..JobView::new(job, position, app.collector.policy()) };
    // Of this moment, and so not kept: it goes when a worker comes.
    view.warnings.extend(warning);
    Ok(view)
}

pub async fn shown(app: &App, job: Job) -> ApiResult<impl IntoResponse + use<>> {
    let tags = tags(&job);
    Ok((tags, axum::Json(view(app, job).await?)))
}

/// Weak, since a job's position in the queue, and whether a worker is there for it, change without it.
fn tag(job: &Job) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{}\"", job.revision)).unwrap_or(HeaderValue::from_static("W/\"0\""))
}

fn tags(job: &Job) -> [(HeaderName, HeaderValue); 2] {
    [(ETAG, tag(job)), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))]
}
