//! `/workers`: who works here, and what runs.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{error::ApiResult, state::App};
use crate::{
    domain::ids::{JobId, TaskId},
    store::WorkerRow,
};

/// A worker and its slots.
#[derive(Debug, Serialize, ToSchema)]
pub struct Worker {
    name: String,
    version: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it last said that it is there.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    slots: Vec<Slot>,
}

/// One run at a time on one device.
#[derive(Debug, Serialize, ToSchema)]
pub struct Slot {
    /// `cpu` or `cuda:N`.
    device: String,
    /// Null while the slot waits.
    running: Option<Running>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Running {
    #[schema(value_type = String, format = Uuid)]
    job: JobId,
    #[schema(value_type = String, format = Uuid)]
    task: TaskId,
    /// `inspect`, `extract` or `distill`.
    kind: String,
    /// Which attempt at the task this is.
    run: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerList {
    data: Vec<Worker>,
}

/// Devices, slots, and what each runs.
#[utoipa::path(get, path = "/workers", tag = "service", responses((status = 200, description = "All workers", body = WorkerList)))]
pub async fn list(State(app): State<App>) -> ApiResult<Json<WorkerList>> {
    let data = app.store.workers().await?.into_iter().map(Worker::from).collect();
    Ok(Json(WorkerList { data }))
}

impl From<WorkerRow> for Worker {
    fn from(row: WorkerRow) -> Self {
        let mut running = row.running;
        let slots = row.slots.into_iter().map(|device| {
            // Slots of one device are alike: each takes one of the runs there.
            let taken = running.iter().position(|run| run.device == device).map(|index| running.swap_remove(index));
            let running = taken.map(|run| Running { job: run.job, task: run.task, kind: run.kind, run: run.run });
            Slot { device, running }
        });
        let slots = slots.collect();
        Self { name: row.name, version: row.version, started_at: row.started_at, seen_at: row.seen_at, slots }
    }
}
