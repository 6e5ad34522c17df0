//! Extractors whose rejections are problems.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::Body,
    extract::{
        FromRequest, FromRequestParts, Request,
        multipart::{Field, MultipartError},
    },
    http::header::CONTENT_TYPE,
};
use bytes::Bytes;
use futures::TryStreamExt;

use super::error::{ApiError, Refused};
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

/// Most bytes of a form that belong to no part: its boundaries and headers, and what is read ahead. They are held in memory,
/// and a header ends only where the client ends it.
const MAX_UNDELIVERED: u64 = 8 << 20;

/// The parts of an upload.
pub struct Multipart {
    form: axum::extract::Multipart,
    delivered: Delivered,
}

/// How much of a form's parts has been handed on.
#[derive(Clone, Debug, Default)]
pub struct Delivered(Arc<AtomicU64>);

impl Delivered {
    pub fn count(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Multipart {
    /// The next part. Whoever reads it counts its bytes in [`Multipart::delivered`].
    ///
    /// # Errors
    /// The form cannot be read.
    pub async fn next_field(&mut self) -> Result<Option<Field<'_>>, MultipartError> {
        self.form.next_field().await
    }

    pub fn delivered(&self) -> Delivered {
        self.delivered.clone()
    }
}

// Not derived: the derive wants a type with a parameter.
impl<S: Send + Sync> FromRequest<S> for Multipart {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = sent.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("multipart/form-data") {
            return Err(no_form(media_type).into());
        }
        let delivered = Delivered::default();
        let request = request.map(|body| watched(body, delivered.clone()));
        Ok(Self { form: axum::extract::Multipart::from_request(request, state).await?, delivered })
    }
}

/// A form's body, which fails where too much of it belongs to no part.
fn watched(body: Body, delivered: Delivered) -> Body {
    let mut received = 0;
    let chunks = body.into_data_stream().map_err(axum::BoxError::from).and_then(move |chunk| {
        received += chunk.len() as u64;
        let undelivered = received - delivered.0.load(Ordering::Relaxed).min(received);
        futures::future::ready(if undelivered > MAX_UNDELIVERED { Err(shapeless().into()) } else { Ok(chunk) })
    });
    Body::from_stream(chunks)
}

fn no_form(media_type: &str) -> Problem {
    let sent =
        if media_type.is_empty() { "of no type at all".to_owned() } else { format!("`{}`", media_type.escape_debug()) };
    Problem::new(ErrorCode::UnsupportedMediaType, format!("The body is {sent}, not multipart/form-data."))
        .param("Content-Type")
        .hint("Send a form with a part `model`: curl -F model=@model.onnx …/jobs")
}

fn shapeless() -> Refused {
    let detail = format!("The form has more than {MAX_UNDELIVERED} bytes between its parts or in their headers.");
    Refused(Problem::new(ErrorCode::TooLarge, detail).hint("Send each file as the body of a part of its own.").into())
}
