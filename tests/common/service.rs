//! The real binary as a service, and the address that it prints.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response};
use serde_json::Value;

pub const KEGD: &str = env!("CARGO_BIN_EXE_kegd");

/// The address that a service started with a piped standard output prints once it is ready.
pub fn address(process: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let start = line.find("http://").unwrap_or_else(|| panic!("no address in {line:?}"));
    line[start..].trim().to_owned()
}

/// A running service, which is told to end when the test does.
pub struct Service {
    process: Child,
    pub url: String,
}

impl Service {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        let mut process = Command::new(KEGD)
            .args(["serve", "--listen", "127.0.0.1:0", "--devices", "cpu", "--log", "warn", "--data-dir"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { url: address(&mut process), process }
    }

    /// Tells it to end, and returns whether it ended well.
    pub fn stop(&mut self) -> bool {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap().success()
    }

    pub async fn get(&self, path: &str) -> Response {
        Client::new().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}
