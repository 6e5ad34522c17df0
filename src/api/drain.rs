//! Refusals of requests whose body is still on its way. A connection that is closed on a client which is sending breaks
//! under its hands, and it never sees the answer that says why: so we read on for a moment.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::header::EXPECT,
    middleware::Next,
    response::Response,
};
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;

/// How long the rest of a refused body is read; a client that needs longer has sent enough in vain.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the rest of a refused request's body before the answer goes out.
pub async fn drain(request: Request, next: Next) -> Response {
    // Who asks before he sends waits for our answer, and would begin to send if we read.
    if request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (left, rest) = oneshot::channel();
    let request =
        request.map(|body| Body::from_stream(Watched { body: Some(body.into_data_stream()), left: Some(left) }));
    let response = next.run(request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        let read_on = async {
            if let Ok(mut body) = rest.await {
                while let Some(Ok(_)) = body.next().await {}
            }
        };
        let _ = tokio::time::timeout(PATIENCE, read_on).await;
    }
    response
}

/// A body that hands itself back when it is dropped before its end.
struct Watched {
    body: Option<BodyDataStream>,
    left: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Watched {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let chunk = body.poll_next_unpin(cx);
        if matches!(chunk, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        chunk
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(body), Some(left)) = (self.body.take(), self.left.take()) {
            // Nobody waits for it where the request was answered well.
            drop(left.send(body));
        }
    }
}
