//! Every path of the service, one line each, and what every request passes on its way.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, header::ETAG},
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    access_log, artifacts, assets, caller, drain, error, events, formats, gates, inspect, jobs, metrics, openapi,
    operations, prometheus, readiness, report, request_id, retry, samples, security, semantics, service, state::App,
    student, submit, traffic, usage, workers,
};

/// The whole service.
pub fn router(app: App) -> Router {
    // Uploads have a limit of their own, counted while they stream to disk.
    let uploads = OpenApiRouter::new()
        .routes(routes!(submit::create, jobs::list)) //        /jobs
        .routes(routes!(inspect::inspect)) //                  /inspect
        .layer(DefaultBodyLimit::disable());
    let (router, document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(uploads)
        .routes(routes!(jobs::get, jobs::delete)) //           /jobs/{id}
        .routes(routes!(jobs::cancel)) //                      /jobs/{id}/cancel
        .routes(routes!(retry::retry)) //                      /jobs/{id}/retry
        .routes(routes!(events::get)) //                       /jobs/{id}/events
        .routes(routes!(metrics::get)) //                      /jobs/{id}/metrics
        .routes(routes!(report::layers)) //                    /jobs/{id}/layers
        .routes(routes!(report::get)) //                       /jobs/{id}/report
        .routes(routes!(student::get)) //                      /jobs/{id}/student
        .routes(routes!(artifacts::list)) //                   /jobs/{id}/artifacts
        .routes(routes!(artifacts::get)) //                    /jobs/{id}/artifacts/{name}
        .routes(routes!(samples::index)) //                    /jobs/{id}/samples
        .routes(routes!(samples::png)) //                      /jobs/{id}/samples.png
        .routes(routes!(samples::npz)) //                      /jobs/{id}/samples.npz
        .routes(routes!(samples::latent)) //                   /jobs/{id}/samples/latent.png
        .routes(routes!(formats::list)) //                     /formats
        .routes(routes!(workers::list)) //                     /workers
        .routes(routes!(usage::get)) //                        /usage
        .routes(routes!(service::version)) //                  /version
        .routes(routes!(readiness::live)) //                   /livez
        .routes(routes!(readiness::ready)) //                  /readyz
        .routes(routes!(prometheus::get)) //                   /metrics
        .routes(routes!(openapi::get)) //                      /openapi.json
        .split_for_parts();
    let document = operations::completed(document);
    let router = router
        .route("/", get(assets::file))
        .route("/docs", get(assets::file))
        .fallback(assets::file)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(Extension(Arc::new(openapi::with_refusals(document))));
    layered(router, app)
}

/// What every request passes on its way to `routes`.
fn layered(routes: Router<App>, app: App) -> Router {
    routes
        .layer(
            // Outermost first: a request gets its id before anything else can go wrong.
            ServiceBuilder::new()
                .map_request(request_id::vet)
                .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                .layer(from_fn(access_log::log))
                .layer(PropagateRequestIdLayer::x_request_id())
                .layer(from_fn(security::headers))
                .layer(from_fn(semantics::keep))
                .layer(CompressionLayer::new().compress_when(SizeAbove::new(1024).and(Compressible)))
                .layer(from_fn(error::render))
                // Outside the next one: a handler that panicked is counted with what it was answered.
                .layer(from_fn_with_state(app.clone(), traffic::measure))
                .layer(CatchPanicLayer::custom(error::panicked))
                .layer(from_fn(drain::drain))
                .layer(from_fn_with_state(app.clone(), gates::bound))
                .layer(from_fn_with_state(app.clone(), caller::control)),
        )
        .with_state(app)
}

/// What is made for the moment and is text. A file with a strong entity tag must stay byte for byte what the tag names, and
/// a stream of events must not wait for more.
#[derive(Clone, Copy, Debug)]
struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B>(&self, response: &axum::http::Response<B>) -> bool {
        let strong = |headers: &HeaderMap| headers.get(ETAG).is_some_and(|tag| !tag.as_bytes().starts_with(b"W/"));
        let text = |headers: &HeaderMap| {
            let media_type = headers.get(axum::http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            media_type.is_some_and(|media_type| {
                media_type.starts_with("application/json")
                    || media_type.starts_with("text/csv")
                    || media_type.starts_with("text/html")
            })
        };
        text(response.headers()) && !strong(response.headers())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::{body::Body, http::Request};
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        api::{Disk, Gates, Helper, Hosts, Parts, Traffic, exposition::Page},
        artifacts::Artifacts,
        clock::Clock,
        config::{AccessConfig, ByteSize, LimitsConfig, TrafficConfig},
        retention::{Collector, Policy},
        store::Store,
    };

    async fn app(directory: &Path) -> App {
        let store = Store::open(&directory.join("kegd.db"), Clock::System).await.unwrap();
        let artifacts = Artifacts::open(directory.join("artifacts")).unwrap();
        let limits = LimitsConfig {
            max_upload: ByteSize(0),
            max_queue: 0,
            min_free_disk: ByteSize(0),
            helper_timeout: std::time::Duration::ZERO,
            helpers: 1,
        };
        App::new(Parts {
            collector: Collector::new(store.clone(), artifacts.clone(), Policy::default(), Vec::new()),
            store,
            artifacts,
            disk: Disk::new(directory.to_owned(), limits.min_free_disk),
            hosts: Hosts::new(&AccessConfig::default()),
            gates: Gates::new(&TrafficConfig::default()),
            helper: Helper::new(directory.to_owned(), &limits),
            limits,
            scratch: directory.to_owned(),
            traffic: Traffic::default(),
            stop: CancellationToken::new(),
        })
    }

    #[tokio::test]
    async fn a_panic_is_counted() {
        async fn panics() {
            panic!("a fault of the house")
        }
        let directory = tempfile::tempdir().unwrap();
        let app = app(directory.path()).await;
        let service = layered(Router::new().route("/panic", get(panics)), app.clone());
        let answer = service.oneshot(Request::get("/panic").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 500);
        let mut page = Page::default();
        app.traffic.write(&mut page);
        let counted = "kegd_http_requests_total{method=\"GET\",path=\"/panic\",status=\"500\"} 1";
        let text = page.into_text();
        assert!(text.lines().any(|line| line == counted), "{text}");
    }
}
