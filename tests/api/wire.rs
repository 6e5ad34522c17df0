//! HTTP as it goes over the wire: the service on a real socket, and clients that write their requests by hand.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::service::{LENET, Part, Service, form};

/// How long an answer may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A router that listens.
pub struct Listening {
    pub address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    stop: CancellationToken,
}

impl Listening {
    pub async fn start(router: Router, stop: CancellationToken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        Self { address, server: tokio::spawn(server.into_future()), stop }
    }

    pub async fn of(service: &Service) -> Self {
        Self::start(service.router.clone(), service.stop.clone()).await
    }

    /// Ends it, and waits until it has ended.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.server).await.expect("it ends").unwrap().unwrap();
    }

    pub async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// Sends one request on a connection of its own, and returns all that comes back until the server closes it.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.rest().await
    }
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.unwrap_or_else(|_| panic!("silence after {:?}", String::from_utf8_lossy(&self.read))).unwrap()
    }

    /// Reads to the next `end`, and returns what stands before it.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                let before = self.read.drain(..at + end.len()).collect::<Vec<_>>();
                return String::from_utf8_lossy(&before[..at]).into_owned();
            }
            assert_ne!(self.more().await, 0, "no {end:?} in {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> String {
        while self.more().await != 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// The status and the headers of the next answer.
    pub async fn head(&mut self) -> (u16, String) {
        let head = self.until("\r\n\r\n").await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn upload_head(length: usize, more: &str) -> String {
    format!(
        "POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n\
         Content-Length: {length}\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn http_1_0_gets_its_answer_and_an_end() {
    let service = Service::new().await;
    let server = Listening::of(&service).await;
    let answer = server.exchange("GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    let id = service.submitted().await;
    let kept = format!("GET /jobs/{id}/metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut wire = server.connect().await;
    wire.send(&kept).await;
    let (status, head) = wire.head().await;
    // A body whose length is not known beforehand is ended by the connection: HTTP/1.0 knows no chunks.
    assert_eq!((status, header(&head, "transfer-encoding")), (200, None), "{head}");
    assert_eq!(wire.rest().await, r#"{"series":[]}"#);
}

#[tokio::test]
async fn head_tells_what_get_does_and_sends_nothing() {
    let service = Service::new().await;
    let id = service.succeeded().await;
    let server = Listening::of(&service).await;
    let mut wire = server.connect().await;
    for path in ["", "/student", "/report", "/layers", "/artifacts", "/artifacts/report.json", "/samples", "/events"] {
        let path = format!("/jobs/{id}{path}");
        wire.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-2\r\n\r\n")).await;
        let (status, head) = wire.head().await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let (got, of_get) = wire.head().await;
        assert_eq!((status, got), (200, 200), "{path}: a range means nothing for HEAD");
        for name in ["content-type", "content-length", "etag", "cache-control", "vary", "content-disposition"] {
            assert_eq!(header(&head, name), header(&of_get, name), "{path} {name}");
        }
        let length: usize = header(&of_get, "content-length").unwrap().parse().unwrap();
        while wire.read.len() < length {
            assert_ne!(wire.more().await, 0);
        }
        assert_eq!(wire.read.len(), length, "{path}: nothing of HEAD's answer is left on the connection");
        wire.read.clear();
    }
}

#[tokio::test]
async fn who_waits_for_a_go_ahead_gets_one_only_for_what_is_wanted() {
    let service = Service::new().await;
    let server = Listening::of(&service).await;
    let body = form(&[Part::file("model", "m.onnx", LENET)]);
    let mut wire = server.connect().await;
    wire.send(upload_head(body.len(), "Expect: 100-continue\r\n")).await;
    assert_eq!(wire.head().await.0, 100);
    wire.send(&body).await;
    assert_eq!(wire.head().await.0, 202);
    let mut wire = server.connect().await;
    wire.send(upload_head(5_000_000, "Expect: 100-continue\r\n")).await;
    assert_eq!(wire.head().await.0, 413, "it must not be asked for the rest");
    let mut wire = server.connect().await;
    wire.send(upload_head(900_000, "Expect: 100-continue\r\nIdempotency-Key: \t\r\n")).await;
    assert_eq!(wire.head().await.0, 400);
}

#[tokio::test]
async fn who_sends_too_much_without_asking_hears_why() {
    let service = Service::new().await;
    let server = Listening::of(&service).await;
    let big = [LENET, &vec![7; 5 << 20]].concat();
    let body = form(&[Part::file("model", "m.onnx", &big)]);
    // Announced: refused before it is read.
    let mut wire = server.connect().await;
    wire.send(upload_head(body.len(), "")).await;
    wire.send(&body).await;
    let (status, head) = wire.head().await;
    assert_eq!((status, header(&head, "content-type")), (413, Some("application/problem+json")));
    // Not announced: refused while it comes.
    let mut wire = server.connect().await;
    let head = upload_head(0, "Transfer-Encoding: chunked\r\n").replace("Content-Length: 0\r\n", "");
    wire.send(head).await;
    for chunk in body.chunks(64 << 10) {
        wire.send(format!("{:x}\r\n", chunk.len())).await;
        wire.send(chunk).await;
        wire.send("\r\n").await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.head().await.0, 413);
    // No form at all, as `curl --data-binary` sends a model.
    let mut wire = server.connect().await;
    wire.send(upload_head(big.len(), "").replace("multipart/form-data; boundary=edge", "application/octet-stream"))
        .await;
    wire.send(&big).await;
    assert_eq!(wire.head().await.0, 415);
    assert_eq!(service.kept(), [""; 0]);
}

#[tokio::test]
async fn a_download_that_broke_off_is_resumed() {
    let service = Service::new().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (id, claim) = service.distilling().await;
    service.keep(&claim, "bank.npz", kegd::domain::artifact::Role::Bank, &bytes).await;
    let server = Listening::of(&service).await;
    let url = format!("http://{}/jobs/{id}/artifacts/bank.npz", server.address);
    let client = reqwest::Client::new();
    let mut first = client.get(&url).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let mut received = Vec::new();
    while received.len() < 1_000_000 {
        received.extend(first.chunk().await.unwrap().unwrap());
    }
    drop(first);
    let from = format!("bytes={}-", received.len());
    let rest = client.get(&url).header("range", &from).header("if-range", &tag).send().await.unwrap();
    assert_eq!(rest.status(), 206);
    assert_eq!(rest.headers()["content-range"], format!("bytes {}-2999999/3000000", received.len()));
    received.extend(rest.bytes().await.unwrap());
    assert!(received == bytes, "the two halves are the file");
    // Curl asks like this for a file that it has already.
    let nothing = client.get(&url).header("range", "bytes=3000000-").send().await.unwrap();
    assert_eq!(
        (nothing.status().as_u16(), &nothing.headers()["content-range"]),
        (416, &"bytes */3000000".parse().unwrap())
    );
    let tail = client.get(&url).header("range", "bytes=-5000000").send().await.unwrap();
    assert_eq!(
        (tail.status().as_u16(), tail.content_length()),
        (206, Some(3_000_000)),
        "a suffix longer than the file"
    );
}

#[tokio::test]
async fn names_survive_the_way_there_and_back() {
    let service = Service::new().await;
    let (id, claim) = service.distilling().await;
    let server = Listening::of(&service).await;
    for name in ["模型 (1).npz", "50%.npz", "a+b&c=d?#.npz", "ünïcode \"q\".npz"] {
        service.keep(&claim, name, kegd::domain::artifact::Role::Samples, name.as_bytes()).await;
    }
    let list = service.get(&format!("/jobs/{id}/artifacts")).await.json();
    let samples = list["data"].as_array().unwrap().iter().filter(|file| file["role"] == "samples");
    let mut count = 0;
    for file in samples {
        let (name, href) = (file["name"].as_str().unwrap(), file["href"].as_str().unwrap());
        let answer = reqwest::get(format!("http://{}{href}", server.address)).await.unwrap();
        let disposition = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
        let (_, encoded) = disposition.split_once("filename*=UTF-8''").unwrap_or_else(|| panic!("{disposition}"));
        assert_eq!(unescaped(encoded), name);
        assert_eq!(answer.text().await.unwrap(), name);
        count += 1;
    }
    assert_eq!(count, 4);
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
