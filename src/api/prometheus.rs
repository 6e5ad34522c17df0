//! `/metrics`: figures for Prometheus. `docs/METRICS.md` lists them, and a test holds both together.
//!
//! Everything but the traffic of this process is read from the database at the moment of the scrape. No label is an id, and
//! every label's values come from a closed list.

use std::collections::BTreeMap;

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::{
    error::ApiResult,
    exposition::{Kind, Page},
    process,
    state::App,
};
use crate::{
    domain::{
        artifact::Role,
        job::{JobStatus, Phase},
        retention::Reason,
        task::{TaskKind, TaskStatus},
    },
    store::{Durations, Histogram, RunEnd, Timing, Total, Totals},
};

const KINDS: [TaskKind; 3] = [TaskKind::Inspect, TaskKind::Extract { generator: 0 }, TaskKind::Distill { target: 0 }];

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String))
)]
pub async fn get(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let mut page = Page::default();
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    page.family("kegd_build_info", Kind::Gauge, "What runs here; always 1.").sample(&build, 1.0);
    write_queue(&app, &mut page).await?;
    write_workers(&app, &mut page).await?;
    write_storage(&app, &mut page).await?;
    write_totals(&app.store.totals().await?, &mut page);
    write_durations(&app.store.durations().await?, &mut page);
    app.traffic.write(&mut page);
    process::write(&mut page);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.into_text()))
}

async fn write_queue(app: &App, page: &mut Page) -> ApiResult<()> {
    let mut jobs = page.family("kegd_jobs", Kind::Gauge, "Jobs that are there, by status.");
    for status in JobStatus::ALL {
        jobs.sample(&[("status", status.name())], app.store.count_jobs(status).await? as f64);
    }
    let open = app.store.open_tasks().await?;
    let mut tasks = page.family("kegd_tasks", Kind::Gauge, "Tasks that wait or run.");
    for kind in KINDS {
        for status in [TaskStatus::Queued, TaskStatus::Running] {
            let count = open.counts.get(&(kind.name().to_owned(), status.name())).copied().unwrap_or(0);
            tasks.sample(&[("kind", kind.name()), ("status", status.name())], count as f64);
        }
    }
    let now = app.store.clock().now();
    let waits = open.waiting_since.map_or(0, |since| now.saturating_sub(since.as_millisecond()).max(0));
    let help =
        "How long the task has waited that has waited longest, of those that a slot could take; 0 where none waits.";
    page.single("kegd_queue_oldest_seconds", Kind::Gauge, help, waits as f64 / 1e3);
    Ok(())
}

async fn write_workers(app: &App, page: &mut Page) -> ApiResult<()> {
    let now = app.store.clock().now();
    let (alive, gone): (Vec<_>, Vec<_>) =
        app.store.workers().await?.into_iter().partition(|worker| worker.is_alive(now));
    let mut workers = page.family("kegd_workers", Kind::Gauge, "Workers, by whether they were seen within a minute.");
    workers.sample(&[("state", "alive")], alive.len() as f64);
    workers.sample(&[("state", "gone")], gone.len() as f64);
    let count = |devices: &mut dyn Iterator<Item = &String>| {
        devices.fold(BTreeMap::<String, u64>::new(), |mut counts, device| {
            *counts.entry(device.clone()).or_default() += 1;
            counts
        })
    };
    let slots = count(&mut alive.iter().flat_map(|worker| &worker.slots));
    let busy = count(&mut alive.iter().flat_map(|worker| worker.running.iter().map(|run| &run.device)));
    let mut family = page.family("kegd_slots", Kind::Gauge, "Slots of the workers that are alive.");
    for (device, count) in &slots {
        family.sample(&[("device", device)], *count as f64);
    }
    let mut family = page.family("kegd_slots_busy", Kind::Gauge, "Slots of them that run something.");
    for device in slots.keys() {
        family.sample(&[("device", device)], busy.get(device).copied().unwrap_or(0) as f64);
    }
    Ok(())
}

async fn write_storage(app: &App, page: &mut Page) -> ApiResult<()> {
    let usage = app.collector.usage().await?;
    let mut family = page.family("kegd_storage_bytes", Kind::Gauge, "What is kept under the data directory, by kind.");
    for role in Role::ALL {
        let bytes = usage.stored.by_role.get(role.name()).copied().unwrap_or(0);
        family.sample(&[("kind", role.name())], bytes as f64);
    }
    family.sample(&[("kind", "database")], usage.stored.database as f64);
    family.sample(&[("kind", "temporary")], usage.temporary as f64);
    let most = app.collector.policy().storage.map_or(f64::INFINITY, |most| most as f64);
    page.single(
        "kegd_storage_limit_bytes",
        Kind::Gauge,
        "What --max-storage allows; +Inf where it is not given.",
        most,
    );
    page.single("kegd_disk_free_bytes", Kind::Gauge, "Free space where the data lie.", app.free_disk()? as f64);
    Ok(())
}

fn write_totals(totals: &Totals, page: &mut Page) {
    let value = |total| totals.get(total) as f64;
    let single = |page: &mut Page, name, help, total| page.single(name, Kind::Counter, help, value(total));
    single(page, "kegd_jobs_submitted_total", "Accepted jobs.", Total::JobsSubmitted);
    single(page, "kegd_upload_bytes_total", "Bytes of the uploads of accepted jobs.", Total::UploadBytes);
    let mut jobs = page.family("kegd_jobs_finished_total", Kind::Counter, "Jobs that came to an end, by status.");
    for status in JobStatus::ALL.into_iter().filter(|status| status.is_final()) {
        jobs.sample(&[("status", status.name())], value(Total::JobsFinished(status)));
    }
    let mut runs = page.family("kegd_runs_total", Kind::Counter, "Attempts at tasks that ended, by outcome.");
    for kind in KINDS {
        for end in RunEnd::ALL {
            runs.sample(&[("kind", kind.name()), ("outcome", end.name())], value(Total::Runs(kind, end)));
        }
    }
    let help = "Models that were refused for an operator, by the operator.";
    let mut operators = page.family("kegd_import_unsupported_operators_total", Kind::Counter, help);
    for (operator, count) in totals.parts(Total::UNSUPPORTED_OPERATOR) {
        operators.sample(&[("operator", operator)], count as f64);
    }
    let mut bytes = page.family("kegd_gc_deleted_bytes_total", Kind::Counter, "Bytes that rules deleted, by rule.");
    for reason in Reason::ALL {
        bytes.sample(&[("reason", reason.name())], value(Total::CollectedBytes(reason)));
    }
    let mut jobs = page.family("kegd_gc_deleted_jobs_total", Kind::Counter, "Whole jobs that rules deleted, by rule.");
    for reason in [Reason::RetainJobs, Reason::MaxStorage] {
        jobs.sample(&[("reason", reason.name())], value(Total::CollectedJobs(reason)));
    }
    let help = "When a collection last went through; 0 where none did yet.";
    let seconds = value(Total::LastCollection) / 1e3;
    page.single("kegd_gc_last_success_timestamp_seconds", Kind::Gauge, help, seconds);
}

fn write_durations(durations: &Durations, page: &mut Page) {
    let help = "From when a task could be taken to when it was.";
    let mut waits = page.family("kegd_queue_wait_seconds", Kind::Histogram, help);
    for kind in KINDS {
        let Histogram { buckets, sum } = durations.get(Timing::QueueWait(kind));
        waits.histogram(&[("kind", kind.name())], &buckets, sum);
    }
    let help = "How long the phases of jobs took that succeeded; extracting is summed over the generators.";
    let mut phases = page.family("kegd_job_phase_duration_seconds", Kind::Histogram, help);
    for phase in Phase::ALL.into_iter().filter(|phase| !matches!(phase, Phase::Queued | Phase::Done)) {
        let Histogram { buckets, sum } = durations.get(Timing::JobPhase(phase));
        phases.histogram(&[("phase", phase.name())], &buckets, sum);
    }
    let help = "From the first run of a job to its end, by how it ended.";
    let mut jobs = page.family("kegd_job_duration_seconds", Kind::Histogram, help);
    for status in JobStatus::ALL.into_iter().filter(|status| status.is_final()) {
        let Histogram { buckets, sum } = durations.get(Timing::Job(status));
        jobs.histogram(&[("status", status.name())], &buckets, sum);
    }
}
