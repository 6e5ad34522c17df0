//! Extractors whose rejections are problems.

use axum::extract::{FromRequest, FromRequestParts, Request};

use super::error::ApiError;

/// `?a=b` as a struct.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

/// `{id}` of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// The parts of an upload.
pub struct Multipart(pub axum::extract::Multipart);

// Not derived: the derive wants a type with a parameter.
impl<S: Send + Sync> FromRequest<S> for Multipart {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::extract::Multipart::from_request(request, state).await?))
    }
}
