//! Who asks, and whether they may: every request passes here before it reaches a handler. What a path needs is decided in
//! one place, and a path that nobody thought of needs a key.

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderValue, Method,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    error::{ApiError, ApiResult},
    state::App,
};
use crate::{
    domain::{
        access::{ApiKey, KeyId, Scope},
        artifact::Role,
        ids::JobId,
        problem::{ErrorCode, Problem},
    },
    store::{Job, KeyRow, KeyState},
};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody is asked for a key.
    Anyone,
    Key(Box<KeyRow>),
}

impl Caller {
    fn scope(&self) -> Scope {
        match self {
            Self::Anyone => Scope::Admin,
            Self::Key(key) => key.scope,
        }
    }

    /// The key that new jobs belong to.
    pub fn owner(&self) -> Option<&KeyId> {
        match self {
            Self::Anyone => None,
            Self::Key(key) => Some(&key.id),
        }
    }

    /// Whether it is the caller's own job, or the caller an administrator.
    pub fn owns(&self, job: &Job) -> bool {
        self.stands_for(job.owner.as_ref())
    }

    fn stands_for(&self, owner: Option<&KeyId>) -> bool {
        self.scope() == Scope::Admin || (owner.is_some() && owner == self.owner())
    }

    /// Whether the caller may cancel, retry or delete the job `id` of `owner`.
    ///
    /// # Errors
    /// `forbidden` where it is somebody else's.
    pub fn may_change(&self, id: JobId, owner: Option<&KeyId>) -> ApiResult<()> {
        if self.stands_for(owner) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Forbidden, format!("Job {id} was not submitted with this key."))
            .hint("Use the key that it was submitted with, or one with the scope `admin`.")
            .into())
    }

    /// Whether the caller may download a file of `job`: results are everybody's, uploads are not.
    ///
    /// # Errors
    /// `forbidden` where it is somebody else's upload.
    pub fn may_fetch(&self, job: &Job, role: Role) -> ApiResult<()> {
        if !role.is_uploaded() || self.owns(job) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Forbidden, format!("This file of job {} was uploaded with another key.", job.id))
            .hint(
                "Use the key that it was uploaded with, or one with the scope `admin`. Results need the scope `read`.",
            )
            .into())
    }
}

/// Handlers take it as an argument; [`control`] puts it there.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a handler was reached without a check"))
    }
}

/// What a request needs; `None`: nothing, for what tells nothing of anybody's jobs.
pub fn needed(method: &Method, path: Option<&str>) -> Option<Scope> {
    match path {
        // No path of the API: the page's files, or nothing at all.
        None => None,
        Some("/" | "/docs" | "/livez" | "/readyz" | "/version" | "/openapi.json") => None,
        Some("/metrics" | "/workers") => Some(Scope::Admin),
        Some(_) if matches!(*method, Method::GET | Method::HEAD) => Some(Scope::Read),
        Some(_) => Some(Scope::Submit),
    }
}

/// Lets a request through, or answers why not.
pub async fn control(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match check(&app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => refused(error),
    }
}

async fn check(app: &App, request: &mut Request) -> ApiResult<()> {
    app.hosts.check_origin(request)?;
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(needed) = needed(request.method(), path) else { return Ok(()) };
    let caller = caller(app, request.headers()).await?;
    if matches!(caller, Caller::Anyone) {
        app.hosts.check_host(request)?;
    }
    if let Caller::Key(key) = &caller {
        tracing::Span::current().record("key", &*key.name);
    }
    let scope = caller.scope();
    if !scope.includes(needed) {
        let detail = format!("This needs a key with the scope `{needed}`; yours has `{scope}`.");
        return Err(Problem::new(ErrorCode::Forbidden, detail)
            .hint(format!("kegd keys create --name NAME --scope {needed}, where the service's data lie, makes one."))
            .into());
    }
    // Nothing behind this point has any use for the key itself.
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Who the headers say is there. Looked up at every request: a key that was made or revoked just now counts.
async fn caller(app: &App, headers: &HeaderMap) -> ApiResult<Caller> {
    if let Some(key) = presented(headers)
        && let Some(row) = app.store.key(key.id()).await?
        && row.digest.matches(&key.digest())
    {
        return match row.state(app.store.clock().now()) {
            KeyState::Valid => Ok(Caller::Key(Box::new(row))),
            KeyState::Expired => Err(unauthorized("The API key has expired.")),
            KeyState::Revoked => Err(unauthorized("The API key was revoked.")),
        };
    }
    if !app.store.has_keys().await? {
        return Ok(Caller::Anyone);
    }
    Err(match headers.contains_key(AUTHORIZATION) {
        true => unauthorized("The API key is not known here."),
        false => unauthorized("The request has no API key."),
    })
}

/// The key of `Authorization: Bearer kegd_…` (RFC 6750, section 2.1).
fn presented(headers: &HeaderMap) -> Option<ApiKey> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { ApiKey::parse(key.trim()) } else { None }
}

fn unauthorized(detail: &str) -> ApiError {
    Problem::new(ErrorCode::Unauthorized, detail)
        .hint("Send the header `Authorization: Bearer kegd_…`. Keys are made with `kegd keys create` where the service's data lie.")
        .into()
}

/// RFC 9110, section 11.6.1: a 401 says how to do better.
fn refused(error: ApiError) -> Response {
    let unauthorized = error.problem().code == ErrorCode::Unauthorized;
    let mut response = error.into_response();
    if unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kegd\""));
    }
    response
}
