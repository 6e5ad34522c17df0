//! The page and its files, carried in the binary.

use axum::{
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{
    error::{self, ApiResult},
    etag::is_known,
};

/// In a debug build these are read from the folder at each request, so that a change shows without compiling.
#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

/// Serves `static/`: the fallback of the router, so that no file there can hide a path of the API.
pub async fn file(request: Request) -> ApiResult<Response> {
    let path = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        "docs" => "docs.html",
        path => path,
    };
    let Some(file) = Static::get(path) else { return Err(error::not_found(request).await) };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refusal = error::method_not_allowed(request).await;
        return Ok(([(ALLOW, "GET,HEAD")], refusal).into_response());
    }
    let etag = entity_tag(&file);
    // Names carry no hash: a browser asks each time, and mostly hears 304.
    let cache = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_known(request.headers(), &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [cache, (ETAG, etag)]).into_response());
    }
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(media_type(path))), cache, (ETAG, etag)];
    Ok((headers, file.data).into_response())
}

fn entity_tag(file: &EmbeddedFile) -> HeaderValue {
    let hash: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The kinds of file that `static/` has.
fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" => "application/json",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
