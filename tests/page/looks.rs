//! Jobs that have less to show than others, and pages that nobody looks at.

use std::time::Duration;

use anyhow::Result;
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
