//! Jobs that have less to show than others or start again, and pages that nobody looks at.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    jobs::choose_small_with,
    page::{Page, in_browser},
};

async fn submit(page: &Page<'_>, extraction: serde_json::Value) -> Result<()> {
    let folder = tempfile::tempdir()?;
    page.open("").await?;
    choose_small_with(page, folder.path(), extraction).await?;
    page.until("document.querySelectorAll('.plan tbody tr').length").await?;
    page.click(".new-form button[type=submit]").await?;
    page.until("location.hash.startsWith('#/jobs/')").await?;
    Ok(())
}

async fn until_status(page: &Page<'_>, status: &str) -> Result<()> {
    page.until(&format!("document.querySelector('.job-head .status')?.dataset.status === '{status}'")).await?;
    Ok(())
}

#[tokio::test]
async fn a_job_without_generators_shows_the_noise_that_it_took() -> Result<()> {
    in_browser(async |page| {
        submit(page, json!({"sampler": "gaussian"})).await?;
        until_status(page, "succeeded").await?;
        let image = "document.querySelector('.samples img')";
        page.until(&format!("{image}?.checkVisibility() && {image}.complete && {image}.naturalWidth")).await?;
        let latent = page.value("document.querySelector('.latent')?.checkVisibility() ?? false").await?;
        assert_eq!(latent, json!(false), "there is no latent space");
        page.expect_no_complaints().await
    })
    .await
}

#[tokio::test]
async fn a_page_that_nobody_sees_asks_for_nothing() -> Result<()> {
    in_browser(async |page| {
        submit(page, json!({"steps_per_epoch": 5000})).await?;
        until_status(page, "running").await?;
        let hide = |hidden: bool| {
            format!(
                "(Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}}), \
                 document.dispatchEvent(new Event('visibilitychange')))"
            )
        };
        let asked = "performance.getEntriesByType('resource').length";
        page.value(&hide(true)).await?;
        // What was asked before may be answered yet.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = page.value(asked).await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(page.value(asked).await?, before);
        page.value(&hide(false)).await?;
        page.until(&format!("{asked} > {before}")).await?;
        until_status(page, "running").await
    })
    .await
}

#[tokio::test]
async fn a_page_that_somebody_left_does_nothing_more() -> Result<()> {
    in_browser(async |page| {
        submit(page, json!({"steps_per_epoch": 5000})).await?;
        until_status(page, "running").await?;
        let hold_answer = r"(() => {
            const whole = window.fetch;
            window.asked = [];
            window.fetch = async (path, ...rest) => {
                window.asked.push(path);
                const answer = await whole(path, ...rest);
                if (/^jobs\/[^\/?]+$/.test(path)) await new Promise((resolve) => { window.release = resolve; });
                return answer;
            };
            window.dispatchEvent(new HashChangeEvent('hashchange'));
            return true;
        })()";
        page.value(hold_answer).await?;
        page.until("window.release !== undefined").await?;
        page.value("(location.hash = '#/', true)").await?;
        page.text(".new-job").await?;
        page.value("(window.asked = [], window.release(), true)").await?;
        // Long enough for what should not come.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let streams = page.value("window.asked.filter((path) => path.endsWith('/events'))").await?;
        assert_eq!(streams, json!([]), "nobody would end the stream");
        assert_eq!(page.value("document.title").await?, json!("kegd"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_job_that_is_started_again_elsewhere_gets_a_new_page() -> Result<()> {
    in_browser(async |page| {
        submit(page, json!({"steps_per_epoch": 5000})).await?;
        page.until("document.querySelector('.phases [aria-current]')?.textContent === 'extracting'").await?;
        ask(page, "cancel").await?;
        until_status(page, "canceled").await?;
        page.driver.refresh().await?;
        until_status(page, "canceled").await?;
        let done =
            page.value("[...document.querySelectorAll('.phases .done')].map((step) => step.textContent)").await?;
        assert_eq!(done, json!(["importing"]), "it says how far it came");

        page.value("(document.querySelector('.job-head').dataset.attempt = 'before', true)").await?;
        ask(page, "retry").await?;
        // As somebody does who comes back to the tab.
        page.value("document.dispatchEvent(new Event('visibilitychange'))").await?;
        page.until("document.querySelector('.job-head:not([data-attempt])')?.checkVisibility()").await?;
        until_status(page, "running").await
    })
    .await
}

/// Asks for something to be done to the job, as another tab or a script does.
async fn ask(page: &Page<'_>, what: &str) -> Result<()> {
    let job = page.value("location.hash.slice('#/'.length)").await?;
    let job = job.as_str().context("the page of a job")?;
    reqwest::Client::new().post(format!("{}/{job}/{what}", page.server.url)).send().await?.error_for_status()?;
    Ok(())
}
