//! Extractors whose rejections are problems.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::header::CONTENT_TYPE,
};
use bytes::Bytes;

use super::error::ApiError;
use crate::domain::problem::{ErrorCode, Problem};

/// `?a=b` as a struct.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

/// `{id}` of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// A body that fits into memory many times over, up to 2 MB.
pub struct SmallBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for SmallBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}

/// The parts of an upload.
pub struct Multipart(pub axum::extract::Multipart);

// Not derived: the derive wants a type with a parameter.
impl<S: Send + Sync> FromRequest<S> for Multipart {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = sent.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("multipart/form-data") {
            return Err(no_form(media_type).into());
        }
        Ok(Self(axum::extract::Multipart::from_request(request, state).await?))
    }
}

fn no_form(media_type: &str) -> Problem {
    let sent =
        if media_type.is_empty() { "of no type at all".to_owned() } else { format!("`{}`", media_type.escape_debug()) };
    Problem::new(ErrorCode::UnsupportedMediaType, format!("The body is {sent}, not multipart/form-data."))
        .param("Content-Type")
        .hint("Send a form with a part `model`: curl -F model=@model.onnx …/jobs")
}
