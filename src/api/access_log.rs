//! The access log: one line for each request, when the last byte of its answer has gone out. And the span around all that
//! is logged about it meanwhile.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use http_body::{Frame, SizeHint};
use tower_http::request_id::RequestId;
use tracing::{Instrument, Span, field::Empty};

use crate::domain::ids::JobId;

/// Logs every request.
pub async fn log(request: Request, next: Next) -> Response {
    let span = span(&request);
    let mut entry = Entry { span: span.clone(), begin: Instant::now(), status: None, bytes: 0 };
    let response = next.run(request).instrument(span).await;
    entry.status = Some(response.status());
    response.map(|inner| Body::new(Counted { inner, entry }))
}

/// Says which job was made, on every further line about the request.
pub fn made(job: JobId) {
    Span::current().record("job", tracing::field::display(job));
}

/// Of the highest level, because a span that the filter leaves out would take its ids along.
fn span(request: &Request) -> Span {
    let request_id =
        request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    // Without the query: it is the client's, and may be a secret.
    let path = request.uri().path();
    let span = tracing::error_span!("request", request_id, method = %request.method(), path, job = Empty, key = Empty);
    let job = path.strip_prefix("/jobs/").and_then(|rest| rest.split('/').next());
    if let Some(job) = job.and_then(|job| job.parse::<JobId>().ok()) {
        span.record("job", tracing::field::display(job));
    }
    span
}

/// Written as a line when it is dropped: whichever way the request ends.
#[derive(Debug)]
struct Entry {
    span: Span,
    begin: Instant,
    /// None until there is an answer.
    status: Option<StatusCode>,
    /// Of the answer's body, as sent.
    bytes: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _inside = self.span.enter();
        let (duration_ms, bytes) = (self.begin.elapsed().as_micros() as f64 / 1e3, self.bytes);
        match self.status {
            Some(status) => tracing::info!(status = status.as_u16(), duration_ms, bytes, "answered"),
            None => tracing::info!(duration_ms, "the client went away before the answer"),
        }
    }
}

/// An answer's body that counts what goes out.
struct Counted {
    inner: Body,
    entry: Entry,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let _inside = this.entry.span.enter();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
