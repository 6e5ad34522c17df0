//! Whatever is wrong with a request gets its own clear problem, and leaves nothing behind.

use axum::{body::Body, http::Method};
use futures::StreamExt;
use kegd::config::{ByteSize, LimitsConfig};
use rstest::rstest;

use crate::service::{LENET, Part, Service, form, limits};

async fn refused(parts: &[Part<'_>], status: u16, code: &str, param: &str) {
    let service = Service::new().await;
    for path in ["/jobs", "/inspect"] {
        let answer = service.upload(path, parts, &[]).await;
        assert_eq!(answer.problem(status), code, "{}", answer.json());
        assert_eq!(answer.json()["param"], param, "{}", answer.json());
        assert!(answer.json()["hint"].is_string(), "{}", answer.json());
        assert_eq!(service.kept(), [""; 0], "nothing is left on disk");
    }
    assert_eq!(service.get("/jobs").await.json()["data"], serde_json::json!([]));
    assert_eq!(service.get("/readyz").await.status, 200, "the service goes on");
}

fn model() -> Part<'static> {
    Part::file("model", "m.onnx", LENET)
}

#[rstest]
#[case::empty(b"", 400, "empty_file")]
#[case::random(&[7, 201, 33, 94, 180, 66, 3, 255, 17, 90, 222, 41], 415, "unsupported_format")]
#[case::pickle(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", 415, "unsupported_format")]
#[case::image(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", 415, "unsupported_format")]
#[case::text(b"hello, this is a letter", 415, "unsupported_format")]
#[case::form_in_a_form(
    b"--inner\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--inner--\r\n",
    415,
    "unsupported_format"
)]
#[tokio::test]
async fn what_is_no_model(#[case] bytes: &[u8], #[case] status: u16, #[case] code: &str) {
    refused(&[Part::file("model", "m.onnx", bytes)], status, code, "model").await;
}

#[rstest]
#[case::no_json("{", "invalid_config", "config")]
#[case::unknown_member(r#"{"nmae": "x"}"#, "unknown_field", "config.nmae")]
#[case::unknown_nested(r#"{"extraction": {"epoch": 3}}"#, "unknown_field", "config.extraction.epoch")]
#[case::wrong_type(r#"{"seed": "seven"}"#, "invalid_config", "config.seed")]
#[case::out_of_bounds(r#"{"extraction": {"epochs": 0}}"#, "invalid_config", "config.extraction.epochs")]
#[case::both(r#"{"compression": {"ratio": 2, "layers": {}}}"#, "invalid_config", "config.compression")]
#[case::more(r#"{} {}"#, "invalid_config", "config")]
#[tokio::test]
async fn what_is_no_configuration(#[case] config: &str, #[case] code: &str, #[case] param: &str) {
    refused(&[model(), Part::text("config", config)], 422, code, param).await;
}

/// As curl sends it where the @ before the name was forgotten.
#[rstest]
#[case::a_model("model", "nets/net.onnx")]
#[case::a_configuration("config", "config.json")]
#[case::a_set("eval", "test.npz")]
#[tokio::test]
async fn the_name_of_a_file_in_its_place(#[case] part: &str, #[case] name: &str) {
    let model = Part::file("model", "m.onnx", LENET);
    let parts = [Part::text(part, name), model];
    let parts = if part == "model" { &parts[..1] } else { &parts[..] };
    refused(parts, 400, "invalid_request", part).await;
    let service = Service::new().await;
    let hint = service.upload("/jobs", parts, &[]).await.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.ends_with(&format!("-F {part}=@{name}")), "{hint}");
}

#[tokio::test]
async fn a_number_where_members_are_wanted() {
    let service = Service::new().await;
    let answer = service.upload("/jobs", &[model(), Part::text("config", r#"{"compression": 4}"#)], &[]).await;
    assert_eq!(answer.problem(422), "invalid_config");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(r#"expected an object, as {"ratio": 4}"#), "{detail}");
}

#[tokio::test]
async fn a_missing_model() {
    refused(&[Part::text("config", "{}")], 400, "missing_model", "model").await;
}

#[tokio::test]
async fn an_unknown_part() {
    let service = Service::new().await;
    let answer = service.upload("/jobs", &[model(), Part::text("modell", "x")], &[]).await;
    assert_eq!(answer.problem(400), "invalid_request");
    let hint = answer.json()["hint"].as_str().unwrap().to_owned();
    assert!(["model", "config", "eval", "external_data"].iter().all(|part| hint.contains(part)), "{hint}");
    assert_eq!(service.kept(), [""; 0]);
}

#[rstest]
#[case::twice(&["model", "model"], &["a.onnx", "b.onnx"])]
#[case::same_name(&["model", "external_data"], &["a.onnx", "a.onnx"])]
#[case::reserved(&["model"], &["report.json"])]
#[case::hidden(&["model"], &["..", ])]
#[tokio::test]
async fn names_that_collide(#[case] parts: &[&str], #[case] files: &[&str]) {
    let parts: Vec<Part<'_>> = parts.iter().zip(files).map(|(part, file)| Part::file(part, file, LENET)).collect();
    let service = Service::new().await;
    assert_eq!(service.upload("/jobs", &parts, &[]).await.problem(400), "invalid_request");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn an_upload_over_the_limit() {
    let service = Service::with(LimitsConfig { max_upload: ByteSize(100_000), ..limits() }).await;
    let answer = service.upload("/jobs", &[model()], &[]).await;
    assert_eq!(answer.problem(413), "too_large");
    assert!(answer.json()["detail"].as_str().unwrap().contains("100000B"), "{}", answer.json());
    assert_eq!(service.kept(), [""; 0]);
    let halves =
        [Part::file("external_data", "a", &LENET[..60_000]), Part::file("external_data", "b", &LENET[..60_000])];
    assert_eq!(service.upload("/jobs", &halves, &[]).await.problem(413), "too_large", "all parts count together");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn an_upload_that_announces_too_much_is_not_even_read() {
    let service = Service::new().await;
    let headers = [("content-type", "multipart/form-data; boundary=edge"), ("content-length", "3000000")];
    for path in ["/jobs", "/inspect"] {
        let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        assert_eq!(service.ask(Method::POST, path, &headers, never).await.problem(413), "too_large");
    }
}

#[tokio::test]
async fn a_full_queue() {
    let service = Service::with(LimitsConfig { max_queue: 1, ..limits() }).await;
    service.submitted().await;
    assert_eq!(service.upload("/jobs", &[model()], &[]).await.problem(429), "too_many_requests");
    assert_eq!(service.kept().len(), 2, "only the first job's file and folder");
}

#[tokio::test]
async fn a_queue_that_fills_while_an_upload_comes() {
    let service = Service::with(LimitsConfig { max_queue: 1, ..limits() }).await;
    let form = bytes::Bytes::from(form(&[model()]));
    let (half, rest) = (form.slice(..form.len() / 2), form.slice(form.len() / 2..));
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (go, gone) = tokio::sync::oneshot::channel();
    let later = async move {
        // Asked for, so the first half was let in.
        begin.send(()).unwrap();
        gone.await.unwrap();
        Ok(rest)
    };
    let first = futures::stream::iter([Ok::<_, std::io::Error>(half)]);
    let body = Body::from_stream(first.chain(futures::stream::once(later)));
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let slow = service.ask(Method::POST, "/jobs", &headers, body);
    let quick = async {
        begun.await.unwrap();
        let quick = service.upload("/jobs", &[model()], &[]).await;
        go.send(()).unwrap();
        quick
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(quick.status, 202, "{:?}", quick.body);
    assert_eq!(slow.problem(429), "too_many_requests");
    assert_eq!(slow.header("retry-after"), "30");
    assert_eq!(service.kept().len(), 2, "only the quick job's file and folder");
}

#[tokio::test]
async fn bodies_that_are_no_upload() {
    let service = Service::new().await;
    let json = service.ask(Method::POST, "/jobs", &[("content-type", "application/json")], "{}").await;
    assert_eq!(json.problem(415), "unsupported_media_type");
    let edge = service.ask(Method::POST, "/jobs", &[("content-type", "multipart/form-data")], "--edge--").await;
    assert_eq!(edge.problem(400), "invalid_request", "no boundary");
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let cut = service.ask(Method::POST, "/jobs", &headers, "--edge\r\nContent-Dis").await;
    assert_eq!(cut.problem(400), "invalid_request");
    let broken =
        futures::stream::iter([Ok(bytes::Bytes::from_static(b"--edge\r\n")), Err(std::io::Error::other("gone"))]);
    let broken = service.ask(Method::POST, "/jobs", &headers, Body::from_stream(broken)).await;
    assert_eq!(broken.problem(400), "invalid_request");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_key_that_is_none() {
    let service = Service::new().await;
    let long = "k".repeat(256);
    let answer = service.upload("/jobs", &[model()], &[("idempotency-key", &long)]).await;
    assert_eq!(answer.problem(400), "invalid_request");
    assert_eq!(service.kept(), [""; 0]);
}

#[rstest]
#[case(Method::GET, "/nowhere", 404, "not_found")]
#[case(Method::POST, "/nowhere", 404, "not_found")]
#[case(Method::GET, "/jobs/not-an-id", 404, "not_found")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000", 404, "not_found")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000/student", 404, "not_found")]
#[case(Method::DELETE, "/jobs/01900000-0000-7000-8000-000000000000", 404, "not_found")]
#[case(Method::POST, "/jobs/01900000-0000-7000-8000-000000000000/cancel", 404, "not_found")]
#[case(Method::POST, "/jobs/01900000-0000-7000-8000-000000000000/retry", 404, "not_found")]
#[case(Method::PUT, "/jobs", 405, "method_not_allowed")]
#[case(Method::POST, "/", 405, "method_not_allowed")]
#[case(Method::GET, "/jobs?limit=0", 400, "invalid_request")]
#[case(Method::GET, "/jobs?limit=many", 400, "invalid_request")]
#[case(Method::GET, "/jobs?status=lost", 400, "invalid_request")]
#[case(Method::GET, "/jobs?after=me", 400, "invalid_request")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000?wait=soon", 400, "invalid_request")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000?wait=-1", 400, "invalid_request")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000?wait=NaN", 400, "invalid_request")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000?wait=inf", 400, "invalid_request")]
#[case(Method::GET, "/jobs/01900000-0000-7000-8000-000000000000/metrics?max_points=-5", 400, "invalid_request")]
#[tokio::test]
async fn requests_that_make_no_sense(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let service = Service::new().await;
    assert_eq!(service.ask(method, path, &[], "").await.problem(status), code);
}
