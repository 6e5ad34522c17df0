//! Bounds: slow and greedy clients on real connections, and how much may happen at once.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request},
};
use futures::StreamExt;
use kegd::{
    api::{self, Disk},
    config::{ByteSize, LimitsConfig, TrafficConfig},
    domain::artifact::Role,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use crate::{
    common::wait::until,
    service::{LENET, Part, Service, form, limits},
};

const SOON: Duration = Duration::from_millis(100);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

fn traffic() -> TrafficConfig {
    TrafficConfig { header_timeout: NEVER, idle_timeout: NEVER, ..TrafficConfig::default() }
}

/// The service behind a real socket.
struct Listening {
    service: Service,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Listening {
    async fn with(traffic: TrafficConfig) -> Self {
        Self::on(Service::with_traffic(traffic.clone()).await, traffic).await
    }

    async fn on(service: Service, traffic: TrafficConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, router) = (CancellationToken::new(), service.router.clone());
        let stopped = stop.clone();
        tokio::spawn(async move { api::serve(listener, router, &traffic, stopped).await });
        Self { service, address, _stop: stop.drop_guard() }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        stream
    }
}

/// All that comes until the other side closes; a reset closes too.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes));
    let _ = read.await.expect("the connection is closed");
    bytes
}

async fn answer(stream: TcpStream) -> String {
    String::from_utf8(rest(stream).await).unwrap()
}

const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Reads one answer to [`LIVE`], and leaves the connection open.
async fn lives(stream: &mut TcpStream) {
    let mut head = String::new();
    while !head.contains("\r\n\r\n") || !head.ends_with('}') {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "closed after {head:?}");
        head.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let service = Listening::with(TrafficConfig { header_timeout: SOON, ..traffic() }).await;
    assert_eq!(answer(service.ask("GET /livez HTTP/1.1\r\nHost: loc").await).await, "");
    assert_eq!(answer(service.connect().await).await, "", "nor does one that never begins stay");
    let mut kept = service.ask(LIVE).await;
    lives(&mut kept).await;
    assert_eq!(answer(kept).await, "", "nor one that has nothing more to ask");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let service = Listening::with(traffic()).await;
    let request = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    assert!(answer(service.ask(request).await).await.starts_with("HTTP/1.1 431"));
}

fn upload(path: &str, body: &[u8], length: usize) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn an_upload_that_stops_half_way_is_given_up() {
    let service = Listening::with(TrafficConfig { idle_timeout: SOON, ..traffic() }).await;
    let body = form(&[Part::file("model", "m.onnx", LENET)]);
    for path in ["/jobs", "/inspect"] {
        let text = answer(service.ask(upload(path, &body[..body.len() / 2], body.len())).await).await;
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
        assert!(text.contains("\"code\":\"timeout\"") && text.contains("--idle-timeout"), "{text}");
        assert_eq!(service.service.kept(), [""; 0]);
    }
}

#[tokio::test]
async fn an_upload_needs_room_for_the_copy_that_a_run_gets_too() {
    let service = Service::with(LimitsConfig { max_upload: ByteSize(u64::MAX), ..limits() }).await;
    let service = Listening::on(service, traffic()).await;
    let free = Disk::new(service.service.house.directory.path().to_owned(), ByteSize(0)).free().unwrap() as usize;
    let body = form(&[Part::file("model", "m.onnx", LENET)]);
    // It would fit once. Others write there too, but not quarters of it.
    let announced = free / 4 * 3;
    for path in ["/jobs", "/inspect"] {
        let text = answer(service.ask(upload(path, &body[..body.len() / 2], announced)).await).await;
        assert!(text.starts_with("HTTP/1.1 507"), "{path}, {announced} of {free} bytes: {text}");
    }
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_sees_why() {
    let service = Service::with(LimitsConfig { max_queue: 0, ..limits() }).await;
    let service = Listening::on(service, traffic()).await;
    let body = form(&[Part::file("model", "m.onnx", LENET)]);
    // More than the buffers of both sides hold: the client is still sending when the answer is ready.
    let body = body.repeat(40);
    let text = answer(service.ask(upload("/jobs", &body, body.len())).await).await;
    assert!(text.starts_with("HTTP/1.1 413"), "it announces too much: {text}");
    let mut chunked = service
        .ask(
            "POST /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\n\r\n",
        )
        .await;
    for part in body.chunks(1 << 20) {
        chunked.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
        chunked.write_all(part).await.unwrap();
        chunked.write_all(b"\r\n").await.unwrap();
    }
    chunked.write_all(b"0\r\n\r\n").await.unwrap();
    let text = answer(chunked).await;
    assert!(text.starts_with("HTTP/1.1 429"), "{text}");
    assert!(text.contains("retry-after: "), "{text}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let service = Listening::with(TrafficConfig { max_connections: 2, ..traffic() }).await;
    let (first, mut second) = (service.connect().await, service.ask(LIVE).await);
    lives(&mut second).await;
    let mut third = service.ask(LIVE).await;
    // The second is served all the while; the third would have been, too, had it been let in.
    for _ in 0..50 {
        second.write_all(LIVE.as_bytes()).await.unwrap();
        lives(&mut second).await;
    }
    assert!(futures::poll!(std::pin::pin!(third.read_u8())).is_pending(), "two places are taken");
    drop(first);
    lives(&mut third).await;
}

#[tokio::test]
async fn a_download_that_nobody_reads_is_given_up() {
    let service = Listening::with(TrafficConfig { idle_timeout: SOON, max_connections: 1, ..traffic() }).await;
    let samples = vec![7; 64 << 20];
    let id = service.service.succeeded_with(&[("bank.npz", Role::Bank, &samples)]).await;
    let request = format!("GET /jobs/{id}/samples.npz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let unread = service.ask(request).await;
    // The one place is free again, though the first client has not gone.
    let mut next = service.ask(LIVE).await;
    lives(&mut next).await;
    let got = rest(unread).await;
    assert!(got.starts_with(b"HTTP/1.1 200") && got.len() < samples.len(), "{} bytes", got.len());
}

#[tokio::test]
async fn those_who_wait_are_bounded() {
    let service = Service::with_traffic(TrafficConfig { max_waiting: 1, ..traffic() }).await;
    let id = service.submitted().await;
    let (events, job) = (format!("/jobs/{id}/events"), format!("/jobs/{id}"));
    let open = async || {
        let request = Request::get(&events).header("accept", "text/event-stream").body(Body::empty()).unwrap();
        service.router.clone().oneshot(request).await.unwrap()
    };
    let mut stream = open().await.into_body().into_data_stream();
    stream.next().await.expect("it stands").unwrap();
    for path in [&events, &format!("{job}?wait=30")] {
        let refused = service.get_with(path, &[("accept", "text/event-stream")]).await;
        assert_eq!(refused.problem(503), "unavailable", "{path}");
        assert_eq!(refused.header("retry-after"), "10", "{path}");
    }
    assert_eq!(service.get(&events).await.status, 200, "whoever does not wait needs no place");
    assert_eq!(service.get(&job).await.status, 200);
    drop(stream);
    let stream = until("the place is free again", async || Some(open().await).filter(|answer| answer.status() == 200));
    drop(stream.await);
}

#[tokio::test]
async fn requests_under_way_are_bounded_but_probes_are_answered() {
    let service = Service::with_traffic(TrafficConfig { max_requests: 1, ..traffic() }).await;
    let id = service.submitted().await;
    let request = Request::get(format!("/jobs/{id}?wait=60")).body(Body::empty()).unwrap();
    let mut waiting = Box::pin(service.router.clone().oneshot(request));
    assert!(futures::poll!(&mut waiting).is_pending(), "it has the one place");
    let refused = service.get("/jobs").await;
    assert_eq!(refused.problem(503), "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(service.get("/livez").await.status, 200);
    assert_eq!(service.get("/readyz").await.status, 200);
    drop(waiting);
    assert_eq!(service.get("/jobs").await.status, 200);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let service = Service::with(LimitsConfig { max_queue: 0, ..limits() }).await;
    let refused = service.upload("/jobs", &[Part::file("model", "m.onnx", LENET)], &[]).await;
    assert_eq!(refused.problem(429), "too_many_requests");
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(refused.json()["retry_after"], 30);
}

/// A form that never comes to a part, as long as somebody reads it. Counts what was read.
fn endless(head: &'static str) -> (Body, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = read.clone();
    let filler = bytes::Bytes::from(vec![b'x'; 64 << 10]);
    let body = futures::stream::iter([bytes::Bytes::from_static(head.as_bytes())])
        .chain(futures::stream::repeat(filler))
        .then(move |chunk| {
            counter.fetch_add(chunk.len(), std::sync::atomic::Ordering::Relaxed);
            // As a socket does, which is empty now and then.
            async move {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(chunk)
            }
        });
    (Body::from_stream(body), read)
}

#[rstest::rstest]
#[case::preamble("")]
#[case::header("--edge\r\nContent-Disposition: form-data; name=\"model\"; filename=\"")]
#[case::header_name("--edge\r\n")]
#[tokio::test]
async fn a_form_without_end_is_not_kept_in_memory(#[case] head: &'static str) {
    let service = Service::new().await;
    let (body, read) = endless(head);
    // Expecting an answer first, so that nothing is read after the refusal.
    let headers = [("content-type", "multipart/form-data; boundary=edge"), ("expect", "100-continue")];
    let refused = service.ask(Method::POST, "/jobs", &headers, body).await;
    assert_eq!(refused.problem(413), "too_large");
    assert!(refused.json()["hint"].is_string());
    let read = read.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read < 10 << 20, "{read} bytes were read");
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_name_of_a_part_is_not_repeated_at_any_length() {
    let service = Service::new().await;
    let name = "n".repeat(100_000);
    let refused = service.upload("/jobs", &[Part::text(&name, "x")], &[]).await;
    assert_eq!(refused.problem(400), "invalid_request");
    assert!(refused.body.len() < 2000, "{} bytes", refused.body.len());
}

#[tokio::test]
async fn more_side_files_than_a_model_can_have() {
    let service = Service::new().await;
    let names: Vec<String> = (0..300).map(|index| format!("w{index}")).collect();
    let parts: Vec<Part<'_>> = names.iter().map(|name| Part::file("external_data", name, b"x")).collect();
    let refused = service.upload("/jobs", &parts, &[]).await;
    assert_eq!(refused.problem(400), "invalid_request");
    assert_eq!(refused.json()["param"], json!("external_data"));
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_configuration_that_is_too_long() {
    let service = Service::new().await;
    let config = format!("{{\"classes\": [\"{}\"]}}", "c".repeat(300_000));
    let parts = [Part::text("config", &config), Part::file("model", "m.onnx", LENET)];
    let refused = service.upload("/jobs", &parts, &[]).await;
    assert_eq!(refused.problem(413), "too_large");
    assert_eq!(refused.json()["param"], "config");
}

#[rstest::rstest]
#[case::traversal("../../etc/passwd", Some("passwd"))]
#[case::absolute("/etc/cron.d/x.onnx", Some("x.onnx"))]
#[case::backslashes("..\\..\\x.onnx", Some("x.onnx"))]
#[case::percent("%2e%2e%2fx", Some("%2e%2e%2fx"))]
#[case::nul("a\0b.onnx", None)]
#[case::control("a\u{7f}b.onnx", None)]
#[case::only_dots("..", None)]
#[case::nothing_left("models/", None)]
#[case::task("task.json", None)]
#[case::query("query.json", None)]
#[case::answer("latent.npz", None)]
#[case::generator("generator-0.safetensors", None)]
#[case::samples("samples-g0-e0001.npz", None)]
#[case::bank("bank.npz", None)]
#[tokio::test]
async fn names_of_files(#[case] given: &str, #[case] kept: Option<&str>) {
    let service = Service::new().await;
    let answer = service.upload("/jobs", &[Part::file("model", given, LENET)], &[]).await;
    let Some(name) = kept else {
        assert_eq!(answer.problem(400), "invalid_request");
        assert_eq!(service.kept(), [""; 0]);
        return;
    };
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let files = service.get(&format!("/jobs/{id}/artifacts")).await.json();
    assert_eq!(files["data"][0]["name"], name);
    let outside: Vec<String> = service.kept().into_iter().filter(|path| !path.contains(&id)).collect();
    assert_eq!(outside, [""; 0], "everything lies in the job's own folder");
}

#[tokio::test]
async fn a_name_that_is_too_long() {
    let service = Service::new().await;
    let answer = service.upload("/jobs", &[Part::file("model", &"m".repeat(300), LENET)], &[]).await;
    assert_eq!(answer.problem(400), "invalid_request");
}

#[tokio::test]
async fn a_list_of_jobs_with_long_configurations_comes_in_pieces() {
    let service = Service::new().await;
    let names: Vec<String> = (0..1000).map(|index| format!("{index:0200}")).collect();
    let config = json!({"classes": names}).to_string();
    let mut made = Vec::new();
    for _ in 0..15 {
        let parts = [Part::text("config", &config), Part::file("model", "m.onnx", LENET)];
        made.push(service.upload("/jobs", &parts, &[]).await.json()["id"].clone());
    }
    let (mut seen, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = service.get(&format!("/jobs?order=oldest&limit=200{after}")).await;
        assert!(page.body.len() < 4 << 20, "{} bytes", page.body.len());
        seen.extend(page.json()["data"].as_array().unwrap().iter().map(|job| job["id"].clone()));
        pages += 1;
        match page.json()["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    assert!(pages > 1);
}

/// An evaluation set whose `x` claims a shape, and has `bytes` zeros, well packed.
fn evaluation_set(shape: &str, bytes: usize) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, shape, bytes) in [("x.npy", shape, bytes), ("y.npy", "(1,)", 1)] {
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(text.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
        zip.write_all(&vec![0; bytes]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// By the real process that reads uploads.
#[rstest::rstest]
#[case::a_claim("(1, 1, 1048576, 1048576)", 1024)]
#[case::a_bomb("(1, 1, 32, 32)", 256 << 20)]
#[tokio::test]
async fn an_evaluation_set_that_lies_about_its_size(#[case] shape: &str, #[case] bytes: usize) {
    let service = Service::new().await;
    let set = evaluation_set(shape, bytes);
    assert!(set.len() < 1 << 20, "{} bytes", set.len());
    let parts = [Part::file("model", "m.onnx", LENET), Part::file("eval", "e.npz", &set)];
    let refused = service.upload("/inspect", &parts, &[]).await;
    assert_eq!(refused.problem(422), "invalid_eval");
    assert_eq!(refused.json()["param"], "eval");
}
