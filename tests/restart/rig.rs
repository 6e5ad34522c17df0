//! A service and its worker, one of which or both are struck.

use std::path::Path;

use reqwest::{Client, multipart};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    common::{service::address, teacher::small_file, wait::until},
    process::Kegd,
};

/// A service, its worker (in the same process, or in one of its own), and what they keep.
pub struct Rig {
    pub data: TempDir,
    pub server: Kegd,
    pub worker: Option<Kegd>,
    pub url: String,
}

const WORKER: [&str; 6] = ["--devices", "cpu", "--slots", "2", "--checkpoint-every", "0"];

impl Rig {
    pub fn start(separate: bool) -> Self {
        let data = TempDir::new().unwrap();
        let (server, url) = Self::serve(data.path(), separate);
        let worker = separate.then(|| Self::work(data.path()));
        Self { data, server, worker, url }
    }

    fn serve(data: &Path, without_worker: bool) -> (Kegd, String) {
        Self::serve_with(data, if without_worker { &["--no-worker"] } else { &[] })
    }

    fn serve_with(data: &Path, more: &[&str]) -> (Kegd, String) {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(WORKER);
        arguments.extend(more);
        let mut server = Kegd::start(data, &arguments);
        let url = address(&mut server.0);
        (server, url)
    }

    pub fn work(data: &Path) -> Kegd {
        let arguments: Vec<_> = ["work"].into_iter().chain(WORKER).collect();
        Kegd::start(data, &arguments)
    }

    /// A service of its own alone, with one more argument and its value.
    pub fn start_with(argument: [&str; 2]) -> Self {
        let data = TempDir::new().unwrap();
        let (server, url) = Self::serve_with(data.path(), &argument);
        Self { data, server, worker: None, url }
    }

    pub fn serve_again(&mut self) {
        (self.server, self.url) = Self::serve(self.data.path(), self.worker.is_some());
    }

    pub async fn json(&self, path: &str) -> Value {
        Client::new().get(format!("{}{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = Client::new().post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn submit(&self, config: &'static str) -> String {
        let model = multipart::Part::bytes(small_file()).file_name("small.onnx");
        let form = multipart::Form::new().part("model", model).text("config", config);
        let answer = Client::new().post(format!("{}/jobs", self.url)).multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    pub async fn succeeded(&self, id: &str) -> Value {
        until("the job succeeds", async || {
            let job = self.json(&format!("/jobs/{id}?wait=5")).await;
            assert!(job["status"] != "failed" && job["status"] != "canceled", "{job:#}");
            (job["status"] == "succeeded").then_some(job)
        })
        .await
    }

    /// The kinds of the runs that went on from a checkpoint, with the step that it led to, and how each run ended.
    pub async fn runs(&self, id: &str) -> (Vec<(String, u64)>, Vec<(String, String)>) {
        let events = self.json(&format!("/jobs/{id}/events")).await;
        let (mut resumed, mut ended) = (Vec::new(), Vec::new());
        for event in events["data"].as_array().unwrap() {
            let kind = event["data"]["task"].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap() {
                "run_started" => resumed.extend(event["data"]["resumed_step"].as_u64().map(|step| (kind, step))),
                "run_ended" => ended.push((kind, event["data"]["outcome"].as_str().unwrap().to_owned())),
                _ => {}
            }
        }
        (resumed, ended)
    }
}
