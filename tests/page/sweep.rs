//! Several students of one job.

use anyhow::Result;
use serde_json::json;
use thirtyfour::By;

use crate::{
    jobs::{choose_small, watch_it_end},
    page::in_browser,
};

#[tokio::test]
async fn a_sweep_is_a_table_of_students() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        page.open("").await?;
        choose_small(page, folder.path()).await?;
        page.driver.find(By::Id("config-compression-ratio")).await?.send_keys("2, 8").await?;
        page.until("document.getElementById('config-json').value.includes('[2, 8]')").await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        page.click(".new-form button[type=submit]").await?;
        watch_it_end(page).await?;

        page.until("document.querySelectorAll('.sweep tbody tr').length === 2").await?;
        let targets = page.value("[...document.querySelectorAll('.sweep tbody th')].map((cell) => cell.textContent)");
        assert_eq!(targets.await?, json!(["2×", "8×"]));
        let links = page.value("[...document.querySelectorAll('.sweep a[download]')].map((link) => link.href)").await?;
        for link in serde_json::from_value::<Vec<String>>(links)? {
            assert!(!reqwest::get(&link).await?.error_for_status()?.bytes().await?.is_empty(), "{link}");
        }
        assert!(page.text("#result-title").await?.contains("of the first student, ratio 2×"));
        page.until("document.querySelector('.details h2').innerText.includes('of the first student, ratio 2×')")
            .await?;
        page.until("document.querySelector('.legend').textContent.startsWith('Generator or student ')").await?;
        page.expect_fits().await?;
        page.click(".sweep tbody tr:last-child a[href*=report]").await?;
        page.until("document.querySelector('.report h1')?.innerText.includes('ratio 8')").await?;
        page.value("(location.hash = '#/', true)").await?;
        page.until("document.querySelector('.job-row .standing')?.innerText.startsWith('2 students; the first: ')")
            .await?;
        page.expect_no_complaints().await
    })
    .await
}
