//! What HTTP asks of every request and answer, whatever handler it comes to (RFC 9110).

use axum::{
    extract::Request,
    http::{
        HeaderValue, Method,
        header::{CACHE_CONTROL, RANGE},
    },
    middleware::Next,
    response::Response,
};

pub async fn keep(mut request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        // Ranges are defined for GET alone (section 14.2): the answer tells the length of the whole.
        request.headers_mut().remove(RANGE);
    }
    let mut response = next.run(request).await;
    let failed = response.status().is_client_error() || response.status().is_server_error();
    // Without a word about it, caches may keep what they like (RFC 9111, section 4.2.2), a 404 of a job to come among it.
    let unsaid = if failed { "no-store" } else { "no-cache" };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static(unsaid));
    response
}
