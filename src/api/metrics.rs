//! `/jobs/{id}/metrics`: losses and other series over the steps, as JSON or CSV.

use std::fmt::Write;

use axum::{
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    accept::preferred,
    error::ApiResult,
    extract::{Path, Query},
    state::App,
};
use crate::{
    domain::{ids::JobId, problem::Problem},
    store::{MetricQuery, Series},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// Comma-separated; all where absent.
    names: Option<String>,
    /// Only points from this step on.
    #[serde(default)]
    from_step: u64,
    /// At most this many points of each series, evenly spread, with the first and the last.
    max_points: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Series)]
pub struct SeriesView {
    name: String,
    /// The generator that was trained, from 0; null for what belongs to none.
    generator: Option<u32>,
    /// `[step, value]`, steps rising.
    points: Vec<(u64, f64)>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MetricsView {
    series: Vec<SeriesView>,
}

/// Losses and other measurements of training.
///
/// With `Accept: text/csv`, one line for each point: `name,generator,step,value`.
#[utoipa::path(
    get, path = "/jobs/{id}/metrics", tag = "progress", params(("id" = String, Path, format = Uuid), SeriesQuery),
    responses(
        (status = 200, description = "Series", content((MetricsView = "application/json"), (String = "text/csv"))),
        (status = 404, description = "No such job", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<SeriesQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    app.job(id).await?;
    let names = query.names.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let query = MetricQuery {
        names: names.map(str::to_owned).collect(),
        // The store counts in signed numbers; no run has that many steps.
        from_step: query.from_step.min(i64::MAX as u64),
        max_points: query.max_points,
    };
    let series = app.store.metrics(id, &query).await?;
    if preferred(&headers, &["application/json", "text/csv"]) == "text/csv" {
        return Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8"), (VARY, "accept")], csv(&series)).into_response());
    }
    let series = series.into_iter().map(|Series { name, generator, points }| SeriesView { name, generator, points });
    Ok(([(VARY, "accept")], axum::Json(MetricsView { series: series.collect() })).into_response())
}

/// RFC 4180. Names are the engine's own and need no quotes.
fn csv(series: &[Series]) -> String {
    let mut text = "name,generator,step,value\r\n".to_owned();
    for Series { name, generator, points } in series {
        let generator = generator.map(|generator| generator.to_string()).unwrap_or_default();
        for (step, value) in points {
            // Writing to a String cannot fail.
            let _ = write!(text, "{name},{generator},{step},{value}\r\n");
        }
    }
    text
}
