//! Errors in one place: whatever goes wrong becomes a [`Problem`], and every problem becomes
//! `application/problem+json` (RFC 9457) with the id of its request.

use std::{any::Any, error::Error, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{
        Request,
        multipart::{MultipartError, MultipartRejection},
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::{request_id::RequestId, timeout::TimeoutError};

use crate::{
    artifacts::ArtifactError,
    domain::problem::{ErrorCode, Problem},
    imaging::ImagingError,
    retention::RetentionError,
    store::StoreError,
};

/// When a client whom we could not serve should ask again.
const RETRY_SECONDS: u64 = 10;

/// A failed request. [`render`] writes the body, because only there the request's id is known.
#[derive(Clone, Debug)]
pub struct ApiError(Arc<Problem>);

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// Something that is our fault: logged with its cause, which is no business of the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Problem::new(ErrorCode::Internal, "The server could not finish this request.")
            .hint("Try again; if it happens again, look for the request_id in the server's log.")
            .into()
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Arc::new(problem))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if !matches!(error, StoreError::Problem(_)) {
            tracing::error!(%error, "the store failed");
        }
        Problem::from(error).into()
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        tracing::error!(%error, "a kept file could not be written or read");
        Problem::from(error).into()
    }
}

impl From<RetentionError> for ApiError {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Store(error) => error.into(),
            RetentionError::Artifact(error) => error.into(),
            RetentionError::Io(error) => Self::internal(error),
        }
    }
}

impl From<ImagingError> for ApiError {
    fn from(error: ImagingError) -> Self {
        match error {
            ImagingError::TooLarge { .. } => Problem::new(ErrorCode::InvalidRequest, error.to_string())
                .hint("Ask for one class with class=, for fewer samples with per_class=, or for scale=1.")
                .into(),
            _ => Self::internal(error),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let detail = "The server's disk is full: what this request needs cannot be written.";
                Problem::new(ErrorCode::DiskFull, detail)
                    .hint("Free some space on it, or give the server more, and try again.")
                    .into()
            }
            _ => Self::internal(error),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        // `…query string: limit: invalid digit found in string`: which parameter it was.
        let cause = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        let mut problem = Problem::new(ErrorCode::InvalidRequest, format!("The query cannot be read: {cause}."))
            .hint("GET /openapi.json lists the parameters of every path.");
        if let Some((param, _)) = cause.split_once(": ").filter(|(param, _)| !param.contains(' ')) {
            problem = problem.param(param);
        }
        problem.into()
    }
}

/// A path whose id cannot be read names nothing that exists.
impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        let text = rejection.body_text();
        let cause = text.strip_prefix("Invalid URL: ").unwrap_or(&text);
        Problem::new(ErrorCode::NotFound, format!("The path names nothing that is here: {cause}."))
            .hint("GET /jobs lists the jobs.")
            .into()
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
            _ => ErrorCode::InvalidRequest,
        };
        Problem::new(code, format!("The body cannot be read: {}.", rejection.body_text()))
            .hint("Send a small JSON object, or nothing.")
            .into()
    }
}

impl From<MultipartRejection> for ApiError {
    fn from(rejection: MultipartRejection) -> Self {
        Problem::new(ErrorCode::InvalidRequest, rejection.body_text())
            .hint("Send multipart/form-data with a part `model`: curl -F model=@model.onnx …/jobs")
            .into()
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        if let Some(refused) = cause::<Refused>(&error) {
            return refused.0.clone();
        }
        if cause::<TimeoutError>(&error).is_some() {
            return Problem::new(
                ErrorCode::Timeout,
                "Nothing more of the upload arrived for too long; nothing was kept.",
            )
            .hint("Send it again. The operator can raise --idle-timeout.")
            .into();
        }
        Problem::new(ErrorCode::InvalidRequest, format!("The upload cannot be read: {}", error.body_text()))
            .hint("The upload may have been cut off; send it again.")
            .into()
    }
}

/// A problem on its way through layers that know no problems.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.problem().detail)]
pub struct Refused(pub ApiError);

/// The first cause of that type in a chain of causes.
fn cause<E: Error + 'static>(error: &dyn Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// On a failed response that has a body of its own, which stays.
#[derive(Clone, Copy, Debug)]
pub struct Explained;

/// Writes the body of every failed response, also of those that a handler never saw.
pub async fn render(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if problem.is_none() && (!failed || response.extensions().get::<Explained>().is_some()) {
        return response;
    }
    let mut problem = problem.map_or_else(|| unexplained(response.status()), Arc::unwrap_or_clone);
    problem.request_id = id;
    if problem.code == ErrorCode::Unavailable {
        problem.retry_after = problem.retry_after.or(Some(RETRY_SECONDS));
    }
    let retry_after = problem.retry_after;
    let (mut parts, _) = response.into_parts();
    let body = Json(problem).into_response().into_body();
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = retry_after {
        parts.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Response::from_parts(parts, body)
}

/// A failure of a layer that knows nothing of problems.
fn unexplained(status: StatusCode) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        _ if status.is_client_error() => ErrorCode::InvalidRequest,
        _ => ErrorCode::Internal,
    };
    let mut problem = Problem::new(code, format!("The request failed: {status}."));
    problem.status = status.as_u16();
    problem
}

/// The answer for a path that is not there.
pub async fn not_found(request: Request) -> ApiError {
    let path = request.uri().path();
    let hint = match path.trim_end_matches('/') {
        "" => "GET /docs describes every path.".to_owned(),
        shorter if shorter != path => format!("Paths here have no slash at the end: try {shorter}"),
        _ => "GET /docs describes every path.".to_owned(),
    };
    Problem::new(ErrorCode::NotFound, format!("There is nothing at {path}.")).hint(hint).into()
}

/// The answer for a path that is there, with another method. The `Allow` header is added by the router.
pub async fn method_not_allowed(request: Request) -> ApiError {
    Problem::new(ErrorCode::MethodNotAllowed, format!("{} does not take {}.", request.uri().path(), request.method()))
        .hint("GET /docs describes every path and its methods.")
        .into()
}

/// The answer for a handler that panicked: the others go on.
pub fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    ApiError::internal(format_args!("handler panicked: {}", text.unwrap_or("no message"))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn, routing::get};
    use tower::{ServiceBuilder, ServiceExt};
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn problem_of(path: &str) -> (StatusCode, Problem) {
        async fn panics() {
            panic!("a secret of the house")
        }
        let layers = ServiceBuilder::new().layer(from_fn(render)).layer(CatchPanicLayer::custom(panicked));
        let router = Router::new()
            .route("/panic", get(panics))
            .route("/teapot", get(async || (StatusCode::IM_A_TEAPOT, "plain text of some layer")))
            .layer(layers);
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_our_fault_and_no_news_for_the_client() {
        let (status, problem) = problem_of("/panic").await;
        assert_eq!((status.as_u16(), problem.status, problem.code), (500, 500, ErrorCode::Internal));
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
    }

    #[tokio::test]
    async fn errors_of_layers_that_know_no_problems_become_some() {
        let (status, problem) = problem_of("/teapot").await;
        assert_eq!((status.as_u16(), problem.status, problem.code), (418, 418, ErrorCode::InvalidRequest));
    }
}
