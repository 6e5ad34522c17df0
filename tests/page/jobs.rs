//! What the tests send, and what can be seen of every job.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{common::teacher::small_file, page::Page};

/// A job that takes seconds, not minutes; what it learns does not matter here.
const SMALL_JOB: &str = r#"{
    "name": "page test",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 2, "epochs": 2, "steps_per_epoch": 10, "batch_size": 32},
    "distillation": {"samples_per_generator": 128, "epochs": 0, "batch_size": 32, "adversarial_steps": 10,
        "student_steps": 3, "further_steps": 2}
}"#;

pub fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(file)
}

/// Chooses a small teacher and a small job's configuration, which lie in `folder` then.
pub async fn choose_small(page: &Page<'_>, folder: &Path) -> Result<()> {
    choose_small_with(page, folder, json!({})).await
}

/// The same, where the configuration's `extraction` has these members.
pub async fn choose_small_with(page: &Page<'_>, folder: &Path, extraction: Value) -> Result<()> {
    let model = folder.join("small.onnx");
    std::fs::write(&model, small_file())?;
    page.choose("model", &model).await?;
    let mut config: Value = serde_json::from_str(SMALL_JOB)?;
    let members = extraction.as_object().cloned().unwrap_or_default();
    config["extraction"].as_object_mut().context("SMALL_JOB has an extraction")?.extend(members);
    choose_config_of(page, folder, &config.to_string()).await
}

pub async fn choose_config(page: &Page<'_>, folder: &Path) -> Result<()> {
    choose_config_of(page, folder, SMALL_JOB).await
}

async fn choose_config_of(page: &Page<'_>, folder: &Path, text: &str) -> Result<()> {
    let config = folder.join("config.json");
    std::fs::write(&config, text)?;
    page.choose("config", &config).await
}

/// The page of the job that was just submitted, until there is nothing more to come.
pub async fn watch_it_end(page: &Page<'_>) -> Result<()> {
    watch_it_begin(page).await?;
    page.until("document.querySelector('.job-head .status')?.dataset.status === 'succeeded'").await?;
    page.until("document.querySelectorAll('.chart canvas').length >= 2").await?;
    Ok(())
}

/// As [`watch_it_end`], of a job that lasts long enough for its bar to be seen moving.
pub async fn watch_it_run(page: &Page<'_>) -> Result<()> {
    watch_it_begin(page).await?;
    let bar = "document.querySelector('.job-body progress')";
    let seen = page.until(&format!("{bar}?.value")).await?;
    ensure!(seen.as_f64().is_some_and(|fraction| fraction < 1.0), "the job was over before anybody could look");
    page.until(&format!("{bar}.value > {seen}")).await?;
    watch_it_end(page).await
}

async fn watch_it_begin(page: &Page<'_>) -> Result<()> {
    page.until("location.hash.startsWith('#/jobs/')").await?;
    page.until("document.querySelector('.job-head h1')?.innerText === 'page test'").await?;
    Ok(())
}

pub async fn check_pictures(page: &Page<'_>) -> Result<()> {
    for place in [".samples", ".latent"] {
        let image = format!("document.querySelector('{place} img')");
        page.until(&format!("{image}.checkVisibility() && {image}.complete && {image}.naturalWidth")).await?;
    }
    let labels =
        page.value("[...document.querySelectorAll('.class-labels li')].map((label) => label.textContent)").await?;
    assert_eq!(labels, json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    Ok(())
}
