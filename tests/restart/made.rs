//! What must not depend on what happened to a job.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{common::wait::until, rig::Rig, struck::JOB};

impl Rig {
    pub async fn made(&self, id: &str) -> Made {
        let artifacts = self.json(&format!("/jobs/{id}/artifacts")).await;
        let files: BTreeMap<_, _> = artifacts["data"]
            .as_array()
            .unwrap()
            .iter()
            // Both have times in them.
            .filter(|file| file["role"] != "report" && file["role"] != "log")
            .map(|file| (file["name"].as_str().unwrap().to_owned(), file["sha256"].as_str().unwrap().to_owned()))
            .collect();
        let metrics = self.json(&format!("/jobs/{id}/metrics")).await;
        let samples = self.json(&format!("/jobs/{id}/samples")).await["files"].clone();
        let job = self.json(&format!("/jobs/{id}")).await;
        let agreement = job["result"]["agreement"].clone();
        // A worker tidies up after its run, when the job is done already.
        until("every file has a row", async || {
            let kept = files_below(&self.data.path().join("artifacts"));
            (kept == artifacts["data"].as_array().unwrap().len()).then_some(())
        })
        .await;
        Made { files, metrics, samples, agreement }
    }
}

fn files_below(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// All of a job that must not depend on what happened to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Hashes by name.
    pub files: BTreeMap<String, String>,
    pub metrics: Value,
    pub samples: Value,
    pub agreement: Value,
}

/// What a job makes that nothing disturbs.
pub async fn undisturbed() -> &'static Made {
    static MADE: OnceCell<Made> = OnceCell::const_new();
    MADE.get_or_init(async || {
        let rig = Rig::start(false);
        let id = rig.submit(JOB).await;
        rig.succeeded(&id).await;
        assert_eq!(rig.runs(&id).await.0, []);
        let made = rig.made(&id).await;
        assert!(made.files.contains_key("student.safetensors") && made.files.contains_key("generator-1.safetensors"));
        made
    })
    .await
}
