//! A service that asks for a key.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use thirtyfour::{By, Key};

use crate::{
    PATIENCE, POLL,
    browser::SaveDownloads,
    jobs::{check_pictures, choose_small, watch_it_end},
    page::{Page, in_browser, in_browser_on},
    server::Server,
};

#[tokio::test]
async fn a_key_is_asked_for_sent_along_and_forgotten() -> Result<()> {
    in_browser_on(Server::start_with_key()?, async |page| {
        let key = page.server.key.as_deref().context("the server has a key")?;
        page.open("").await?;
        let wrong = format!("{}{}", &key[..key.len() - 4], "0000");
        give_key(page, &wrong).await?;
        page.until("document.querySelector('.sign-in')?.innerText.includes('not known here')").await?;
        give_key(page, key).await?;
        page.until("document.querySelector('.empty')?.innerText.includes('No jobs yet')").await?;
        page.until("document.querySelector('.session')?.innerText.includes('page test (submit)')").await?;
        let kept = page.value("[sessionStorage.length, localStorage.length, document.cookie]").await?;
        assert_eq!(kept, json!([1, 0, ""]), "in this tab alone");
        // The refusals that made the page ask.
        let refusals = page.console().await?;
        assert!(refusals.iter().all(|line| line.contains("401")), "{refusals:#?}");

        let folder = tempfile::tempdir()?;
        choose_small(page, folder.path()).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        page.click(".new-form button[type=submit]").await?;
        watch_it_end(page).await?;
        let stream = "performance.getEntriesByType('resource').find((entry) => entry.name.endsWith('/events'))";
        page.until(&format!("{stream}?.responseStatus === 200")).await?;
        check_pictures(page).await?;
        download_with_key(page, folder.path(), key).await?;

        page.click(".downloads a[href$=report]").await?;
        assert!(page.text(".report").await?.contains("agreement with the teacher"));
        page.driver.refresh().await?;
        page.text(".report table").await?;
        page.expect_no_complaints().await?;

        page.click(".session button:not([hidden])").await?;
        page.text(".sign-in").await?;
        assert_eq!(page.value("sessionStorage.length").await?, json!(0));
        assert_eq!(page.value("document.querySelector('.report').innerText").await?, json!(""));
        page.click(".sign-in button[value=no]").await?;
        assert!(page.text(".problem").await?.contains("A valid API key is needed"));
        page.click(".session button:not([hidden])").await?;
        page.text(".sign-in").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_header_knows_a_key_that_is_given_later() -> Result<()> {
    in_browser(async |page| {
        page.open("").await?;
        page.text(".empty").await?;
        let key = page.server.create_key("later")?;
        // As somebody does who comes back to the tab.
        let look = "document.dispatchEvent(new Event('visibilitychange'))";
        page.until(&format!("{look} && document.querySelector('.sign-in') !== null")).await?;
        give_key(page, &key).await?;
        page.until("document.querySelector('.session').innerText.includes('later (submit)')").await?;
        assert!(page.text(".session").await?.contains("Sign out"));
        assert_eq!(page.value("document.querySelector('.devices').innerText").await?, json!(""), "not theirs to see");
        Ok(())
    })
    .await
}

async fn give_key(page: &Page<'_>, key: &str) -> Result<()> {
    page.text(".sign-in").await?;
    page.driver.find(By::Id("api-key")).await?.send_keys(key + Key::Enter).await?;
    Ok(())
}

/// The student comes to the disk as the server has it.
async fn download_with_key(page: &Page<'_>, folder: &Path, key: &str) -> Result<()> {
    page.driver.cmd(SaveDownloads(folder)).await?;
    page.click(".downloads a.primary").await?;
    let link = page.value("document.querySelector('.downloads a.primary').href").await?;
    let link = link.as_str().context("a link")?;
    assert_eq!(reqwest::get(link).await?.status(), 401, "the link alone opens nothing");
    let expected = reqwest::Client::new().get(link).bearer_auth(key).send().await?.error_for_status()?.bytes().await?;
    let file = folder.join("small-student.onnx");
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read(&file).ok().as_deref() != Some(&*expected) {
        ensure!(Instant::now() < deadline, "{} was not downloaded", file.display());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
