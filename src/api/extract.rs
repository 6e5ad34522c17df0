//! Extractors whose rejections are problems.

use axum::extract::{FromRequest, FromRequestParts};

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
#[derive(FromRequest)]
#[from_request(via(axum::extract::Multipart), rejection(ApiError))]
pub struct Multipart(pub axum::extract::Multipart);
