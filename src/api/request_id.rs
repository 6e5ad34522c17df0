//! A request's id: the client's own where it is short and plain, and one of ours otherwise.

use axum::{body::Body, http::Request};

const NAME: &str = "x-request-id";

/// Longer than any id of a tracing system, and short enough for every log line.
const LONGEST: usize = 64;

/// Takes an id away that does not belong into a log: it goes into every line about the request, and into its answer.
pub fn vet(mut request: Request<Body>) -> Request<Body> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut ids = request.headers().get_all(NAME).iter();
    let fits = ids.next().is_some_and(|id| (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(plain));
    // Two of them: which one did the client mean?
    if !fits || ids.next().is_some() {
        request.headers_mut().remove(NAME);
    }
    request
}
