//! Bounds on what happens at once: requests under way, those who wait for news, pictures being drawn, and jobs being made.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::timeout::TimeoutBody;

use super::{
    error::{ApiError, ApiResult},
    state::App,
};
use crate::{
    config::TrafficConfig,
    domain::problem::{ErrorCode, Problem},
};

/// When to ask again: requests take milliseconds, those who wait up to a minute.
const MOMENT: Duration = Duration::from_secs(1);
const WHILE: Duration = Duration::from_secs(10);

/// How long a job waits to be made: for a few before it that each wait for the database.
const TURN_TIMEOUT: Duration = Duration::from_secs(25);

#[derive(Clone, Debug)]
pub struct Gates {
    requests: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    drawing: Arc<Semaphore>,
    making: Arc<Semaphore>,
    idle: Duration,
}

impl Gates {
    pub fn new(config: &TrafficConfig) -> Self {
        // Drawing computes, and holds a picture in memory: more at once than there are cores gains nothing.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let places = |count: u32| Arc::new(Semaphore::new(count as usize));
        Self {
            requests: places(config.max_requests),
            waiting: places(config.max_waiting),
            drawing: Arc::new(Semaphore::new(cores)),
            making: places(1),
            idle: config.idle_timeout,
        }
    }

    /// A place among those who wait for news; it is given back when it is dropped.
    ///
    /// # Errors
    /// `unavailable` where all are taken.
    pub fn wait(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| {
            Problem::new(ErrorCode::Unavailable, "Too many clients wait for news already.")
                .hint("Ask again without waiting, or a little later. The operator can raise --max-waiting.")
                .retry_after(WHILE)
                .into()
        })
    }

    /// Waits for a place to draw or to unpack in.
    ///
    /// # Errors
    /// The service ends.
    pub async fn draw(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.drawing).acquire_owned().await.map_err(ApiError::internal)
    }

    /// Waits for the turn to make a job. One has it at a time, from a job's id to its row: so rows come in the order of
    /// their ids, and who has read a list of jobs to its end finds all later ones behind it.
    ///
    /// # Errors
    /// `unavailable` where those before take too long.
    pub async fn make(&self) -> ApiResult<OwnedSemaphorePermit> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.making).acquire_owned()).await;
        let turn = turn.map_err(|_| {
            let detail = "The database is busy with the jobs before this one; nothing was kept.";
            Problem::new(ErrorCode::Unavailable, detail).hint("Try again in a moment.")
        })?;
        turn.map_err(ApiError::internal)
    }
}

/// Lets a bounded number of requests in at once, and gives up on bodies of which nothing more comes.
pub async fn bound(State(app): State<App>, request: Request, next: Next) -> Response {
    // A service that is busy is not ill: whoever watches over it still gets an answer.
    let probe = matches!(request.uri().path(), "/livez" | "/readyz");
    let place = Arc::clone(&app.gates.requests).try_acquire_owned();
    if place.is_err() && !probe {
        let problem = Problem::new(ErrorCode::Unavailable, "The service answers as many requests as it can already.")
            .hint("Try again in a moment. The operator can raise --max-requests.")
            .retry_after(MOMENT);
        return ApiError::from(problem).into_response();
    }
    let idle = app.gates.idle;
    next.run(request.map(|body| Body::new(TimeoutBody::new(idle, body)))).await
}
