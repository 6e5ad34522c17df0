//! `/livez` and `/readyz`: whether it answers, whether it can take jobs, and how each part does.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    devices::Offer,
    error::{self, ApiResult},
    extract::Query,
    state::App,
};
use crate::{
    domain::{
        job::JobStatus,
        problem::{ErrorCode, Problem},
        task::TaskStatus,
    },
    sandbox::{SandboxMode, Support},
    store::StoreError,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// Whether the process answers at all. Restart it if not.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, description = "It answers", body = Health)))]
pub async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// How one part does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Jobs are taken, but somebody should look.
    Warning,
    /// No jobs can be taken.
    Failed,
}

/// One part, and how it does.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    name: &'static str,
    status: Verdict,
    detail: String,
}

/// `ok`, or `unavailable` where a part has failed; and all parts, where they were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadyQuery {
    /// `?verbose`: every check with its status and detail.
    #[param(value_type = Option<bool>)]
    verbose: Option<String>,
}

/// Whether it can take jobs: the database answers, the disk has room, and it is not about to end. Send no traffic if not.
#[utoipa::path(
    get, path = "/readyz", tag = "service", params(ReadyQuery),
    responses(
        (status = 200, description = "It can; with `verbose`, each check", body = Readiness),
        (status = 503, description = "It cannot; with `verbose`, each check in place of a problem",
            content((Problem = "application/problem+json"), (Readiness = "application/json"))),
    )
)]
pub async fn ready(State(app): State<App>, Query(query): Query<ReadyQuery>) -> ApiResult<Response> {
    if query.verbose.as_deref().is_some_and(|value| value != "false") {
        return Ok(verbose(&app).await);
    }
    if app.stop.is_cancelled() {
        return Err(Problem::new(ErrorCode::Unavailable, DRAINING)
            .hint("Ask the service that takes its place.")
            .into());
    }
    app.store.ping().await.map_err(|error| {
        tracing::error!(%error, "not ready");
        match error {
            StoreError::Gone(_) => Problem::from(error),
            _ => Problem::new(ErrorCode::Unavailable, "The database does not answer.")
                .hint("The server's log has the cause."),
        }
    })?;
    can_write(&app).map_err(|detail| {
        Problem::new(ErrorCode::Unavailable, detail).hint("The server's log names the place and the cause.")
    })?;
    app.room().map_err(|error| {
        let problem = error.problem();
        Problem::new(ErrorCode::Unavailable, problem.detail.clone()).hint("Delete jobs that are no longer needed.")
    })?;
    Ok(Json(Readiness { status: "ok", checks: Vec::new() }).into_response())
}

/// Room is not enough: the directory may have become read-only.
fn can_write(app: &App) -> Result<(), &'static str> {
    tempfile::tempfile_in(&app.scratch).map(drop).map_err(|error| {
        tracing::error!(%error, directory = %app.scratch.display(), "no file can be written");
        "The server cannot write where it keeps its files."
    })
}

const DRAINING: &str = "The service is about to end.";

async fn verbose(app: &App) -> Response {
    let checks = vec![
        draining(app),
        database(app).await,
        migrations(app).await,
        disk(app),
        storage(app).await,
        workers(app).await,
        devices(app).await,
        queue(app).await,
        isolation(app),
    ];
    let failed = checks.iter().any(|check| check.status == Verdict::Failed);
    let (code, status) = if failed { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") } else { (StatusCode::OK, "ok") };
    let mut response = (code, Json(Readiness { status, checks })).into_response();
    response.extensions_mut().insert(error::Explained);
    response
}

fn check(name: &'static str, status: Verdict, detail: impl Into<String>) -> Check {
    Check { name, status, detail: detail.into() }
}

/// A failed question to the database; its cause belongs in the log.
fn unknown(name: &'static str, error: &StoreError) -> Check {
    tracing::error!(name, %error, "a check failed");
    check(name, Verdict::Failed, "The database does not answer; the server's log has the cause.")
}

fn draining(app: &App) -> Check {
    match app.stop.is_cancelled() {
        true => check("draining", Verdict::Failed, DRAINING),
        false => check("draining", Verdict::Ok, "It takes requests."),
    }
}

async fn database(app: &App) -> Check {
    match app.store.check_writable().await {
        Ok(()) => check("database", Verdict::Ok, "It takes writes."),
        Err(error) => {
            tracing::error!(%error, "the database takes no writes");
            check("database", Verdict::Failed, "It takes no writes; the server's log has the cause.")
        }
    }
}

async fn migrations(app: &App) -> Check {
    match app.store.schema_versions().await {
        Ok((have, known)) if have == known => check("migrations", Verdict::Ok, format!("The schema is number {have}.")),
        Ok((have, known)) => {
            let detail = format!("The schema is number {have}; this version knows {known}. Was it upgraded meanwhile?");
            check("migrations", Verdict::Warning, detail)
        }
        Err(error) => unknown("migrations", &error),
    }
}

fn disk(app: &App) -> Check {
    if let Err(detail) = can_write(app) {
        return check("disk", Verdict::Failed, detail);
    }
    let least = app.limits.min_free_disk;
    match app.free_disk() {
        Ok(free) if free >= least.0 => check("disk", Verdict::Ok, format!("{free} bytes are free.")),
        Ok(free) => check("disk", Verdict::Failed, format!("{free} bytes are free; uploads must leave {least}.")),
        Err(_) => check("disk", Verdict::Failed, "The file system does not tell; the server's log has the cause."),
    }
}

async fn storage(app: &App) -> Check {
    match (app.collector.usage().await, app.collector.policy().storage) {
        (Ok(usage), None) => check("storage", Verdict::Ok, format!("{} bytes are kept.", usage.total())),
        (Ok(usage), Some(most)) => {
            // Not failed: finished jobs may go, and every upload is told for itself.
            let status = if usage.total() > most { Verdict::Warning } else { Verdict::Ok };
            check("storage", status, format!("{} of {most} bytes are kept.", usage.total()))
        }
        (Err(error), _) => {
            tracing::error!(%error, "the storage cannot be measured");
            check("storage", Verdict::Warning, "It cannot be measured; the server's log has the cause.")
        }
    }
}

async fn workers(app: &App) -> Check {
    let workers = match app.store.workers().await {
        Ok(workers) => workers,
        Err(error) => return unknown("workers", &error),
    };
    let now = app.store.clock().now();
    let seen = |worker: &crate::store::WorkerRow| {
        let seconds = (now - worker.seen_at.as_millisecond()) as f64 / 1e3;
        let (slots, busy) = (worker.slots.len(), worker.running.len());
        format!("{} was seen {seconds:.0} s ago, {busy} of {slots} slots busy", worker.name)
    };
    let detail: Vec<String> = workers.iter().map(seen).collect();
    match workers.iter().any(|worker| worker.is_alive(now)) {
        true => check("workers", Verdict::Ok, format!("{}.", detail.join("; "))),
        // Jobs are taken all the same, and wait.
        false if detail.is_empty() => check("workers", Verdict::Warning, "There is none yet: jobs wait."),
        false => check("workers", Verdict::Warning, format!("None is alive: jobs wait. {}.", detail.join("; "))),
    }
}

async fn devices(app: &App) -> Check {
    let asked = async { Ok((Offer::now(&app.store).await?, app.store.wanted_devices().await?)) };
    let (offer, wanted) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return unknown("devices", &error),
    };
    let complaints: BTreeSet<String> = wanted.iter().filter_map(|wanted| offer.complaint(wanted)).collect();
    match complaints.is_empty() {
        true => check("devices", Verdict::Ok, "What waits has a worker that may run it."),
        false => check("devices", Verdict::Warning, complaints.into_iter().collect::<Vec<_>>().join(" ")),
    }
}

async fn queue(app: &App) -> Check {
    let counted = async {
        let jobs = app.store.count_jobs(JobStatus::Queued).await? + app.store.count_jobs(JobStatus::Running).await?;
        Ok((jobs, app.store.open_tasks().await?))
    };
    let (jobs, open) = match counted.await {
        Ok(counted) => counted,
        Err(error) => return unknown("queue", &error),
    };
    let most = app.limits.max_queue;
    let oldest = open.waiting_since.map(|since| (app.store.clock().now() - since.as_millisecond()) as f64 / 1e3);
    let oldest = oldest.map_or_else(String::new, |seconds| format!("; the oldest has waited {seconds:.0} s"));
    let (waiting, running) = (open.in_status(TaskStatus::Queued), open.in_status(TaskStatus::Running));
    let detail = format!("{jobs} of {most} jobs are open; {waiting} tasks wait and {running} run{oldest}.");
    check("queue", if jobs < most { Verdict::Ok } else { Verdict::Warning }, detail)
}

/// How the processes that read uploads are kept from the rest of the machine.
fn isolation(app: &App) -> Check {
    let support = Support::of_kernel();
    match (app.helper.sandbox(), support.missing()) {
        (SandboxMode::Off, _) => check("isolation", Verdict::Warning, "Off: an upload can do what the service can."),
        (_, missing) if missing.is_empty() => check("isolation", Verdict::Ok, format!("By {support}.")),
        (_, missing) => check("isolation", Verdict::Warning, format!("The kernel lacks {}.", missing.join("; "))),
    }
}
