//! `/jobs/{id}/metrics`: losses and other series over the steps, as JSON or CSV.

use std::fmt::Write;

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    accept::preferred,
    error::ApiResult,
    extract::{Path, Query},
    state::App,
};
use crate::{
    domain::{config::Settings, ids::JobId, problem::Problem},
    store::{MetricQuery, SeriesKey, StoreError},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// Comma-separated; all where absent.
    names: Option<String>,
    /// Only points from this step on.
    #[serde(default)]
    from_step: u64,
    /// At most this many points of each series (but two of a longer one), evenly spread over its steps, with the first and
    /// the last.
    #[param(example = 500)]
    max_points: Option<usize>,
}

// These two say what the answer looks like; it is written by `Form`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Series)]
#[allow(dead_code)]
pub struct SeriesView {
    name: String,
    /// The generator that was trained, from 0; null for what belongs to none.
    generator: Option<u32>,
    /// The target of the student that was trained, in a sweep; absent otherwise.
    target: Option<f64>,
    /// `[step, value]`, steps rising.
    points: Vec<(u64, f64)>,
}

#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code)]
pub struct MetricsView {
    series: Vec<SeriesView>,
}

/// Losses and other measurements of training.
///
/// With `Accept: text/csv`, one line for each point: `name,generator,step,value`, and of a sweep `target` at its end.
#[utoipa::path(
    get, path = "/jobs/{id}/metrics", tag = "progress", params(("id" = String, Path, format = Uuid), SeriesQuery),
    responses(
        (status = 200, description = "Series", content((MetricsView = "application/json"), (String = "text/csv"))),
        (status = 400, description = "A parameter is wrong", body = Problem),
        (status = 404, description = "No such job", body = Problem),
        (status = 406, description = "Accept allows neither JSON nor CSV", body = Problem),
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Query(query): Query<SeriesQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let settings = app.job(id).await?.settings;
    let names = query.names.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let query = MetricQuery {
        names: names.map(str::to_owned).collect(),
        // The store counts in signed numbers; no run has that many steps.
        from_step: query.from_step.min(i64::MAX as u64),
        max_points: query.max_points,
    };
    let form = match preferred(&headers, &["application/json", "text/csv"])? {
        "text/csv" => Form::Csv,
        _ => Form::Json,
    };
    let series = app.store.series(id, &query).await?;
    let headers = [(CONTENT_TYPE, form.media_type()), (VARY, "accept")];
    Ok((headers, Body::from_stream(written(app, series, query.max_points, (form, settings)))).into_response())
}

/// How the series are written. By hand, a page at a time: a job may have a million points.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// As [`MetricsView`].
    Json,
    /// RFC 4180. Names are the engine's own and need no quotes.
    Csv,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    /// `swept` where the job makes several students.
    fn begin(self, swept: bool) -> &'static str {
        match self {
            Self::Json => r#"{"series":["#,
            Self::Csv if swept => "name,generator,step,value,target\r\n",
            Self::Csv => "name,generator,step,value\r\n",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Json => "]}",
            Self::Csv => "",
        }
    }

    /// What stands before the points of a series.
    fn head(self, key: &SeriesKey, target: Option<f64>, first: bool) -> String {
        match self {
            Self::Json => {
                let comma = if first { "" } else { "," };
                let (name, generator) = (json!(key.name), json!(key.generator));
                let target = target.map_or(String::new(), |target| format!(r#""target":{},"#, json!(target)));
                format!(r#"{comma}{{"name":{name},"generator":{generator},{target}"points":["#)
            }
            Self::Csv => String::new(),
        }
    }

    /// A page of points; `first` of its series. `tail` ends each line of a table.
    fn points(self, key: &SeriesKey, tail: &str, points: &[(u64, f64)], first: bool) -> String {
        let mut text = String::with_capacity(32 * points.len());
        let generator = key.generator.map(|generator| generator.to_string()).unwrap_or_default();
        for (index, (step, value)) in points.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match self {
                // As serde writes numbers: `3.0`, never `3`, and nothing that is no JSON.
                Self::Json => {
                    let comma = if first && index == 0 { "" } else { "," };
                    write!(text, "{comma}[{step},{}]", json!(value))
                }
                Self::Csv => write!(text, "{},{generator},{step},{value}{tail}\r\n", key.name),
            };
        }
        text
    }

    fn tail(self) -> &'static str {
        match self {
            Self::Json => "]}",
            Self::Csv => "",
        }
    }
}

/// The answer's text. Where the database fails half-way the connection is cut, so that nobody takes a part for the whole.
fn written(
    app: App,
    series: Vec<SeriesKey>,
    max_points: Option<usize>,
    (form, settings): (Form, Settings),
) -> impl Stream<Item = Result<String, StoreError>> {
    async_stream::try_stream! {
        let swept = settings.compression.students() > 1;
        yield form.begin(swept).to_owned();
        for (index, key) in series.iter().enumerate() {
            let target = key.student.and_then(|student| settings.swept(student)).map(|target| target.value);
            let tail = if swept { format!(",{}", target.map(|target| target.to_string()).unwrap_or_default()) } else { String::new() };
            yield form.head(key, target, index == 0);
            let (mut pages, mut first) = (app.store.pages(key, max_points), true);
            while let Some(points) = pages.next().await? {
                yield form.points(key, &tail, &points, first);
                first = false;
            }
            yield form.tail().to_owned();
        }
        yield form.end().to_owned();
    }
}
