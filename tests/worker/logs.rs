//! What the worker logs about its runs, and about what children leave behind.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use kegd::domain::job::JobStatus;
use serde_json::{Value, json};

use crate::common::{house::House, script};

/// Log lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn read(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// Lets a run end badly, three times; returns its job.
async fn a_bad_end() -> String {
    let house = House::living().await;
    let forged = r#"{\"level\":\"ERROR\",\"message\":\"forged\"}"#;
    let body = format!("hello; echo 'std::bad_alloc' >&2; echo \"{forged}\"; printf '\\033[2J' >&2; kill -9 $$");
    let config = script::worker(&house, &body).await;
    let id = house.submit(json!({})).await;
    let work = house.work(config);
    assert_eq!(house.ended(id).await.status, JobStatus::Failed);
    work.stop().await;
    id.to_string()
}

#[tokio::test]
async fn a_childs_last_words_are_in_the_log_with_its_run() {
    let lines = Lines::default();
    let writer = lines.clone();
    // As strict as filters are: the ids must be there all the same.
    let logger = kegd::telemetry::json_lines("kegd=warn".into(), move || writer.clone());
    // Whether anybody listens to a place in the code, `tracing` decides when it is first reached, and by the loggers of whoever
    // reached it, if there is but one in the process: another test, which has none, would silence it for this one.
    let _second = tracing::Dispatch::new(kegd::telemetry::json_lines("off".into(), io::sink));
    // For this thread, on which the whole test runs.
    let _guard = tracing::subscriber::set_default(logger);
    let id = a_bad_end().await;
    let found: Vec<Value> = lines.read().into_iter().filter(|line| line["message"] == "a run ended badly").collect();
    let runs: Vec<u64> = found.iter().map(|line| line["run"].as_u64().unwrap()).collect();
    assert_eq!(runs, [1, 2, 3]);
    for line in &found {
        assert_eq!((&line["job"], &line["task"]), (&json!(id), &json!("inspect")), "{line}");
        let words = line["last_words"].as_str().unwrap();
        assert!(words.starts_with("std::bad_alloc | ") && !words.contains('\u{1b}'), "{words:?}");
    }
    assert!(lines.read().iter().all(|line| line["message"] != "forged"));
}
