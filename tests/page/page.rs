//! The page under test, and a browser that has it open for as long as a test lasts.

use std::{panic::AssertUnwindSafe, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};
use thirtyfour::{By, WebDriver};

use crate::{
    PATIENCE, POLL,
    browser::{Browser, ReadConsole},
    server::Server,
};

/// The page under test.
pub struct Page<'a> {
    pub driver: &'a WebDriver,
    pub server: &'a Server,
}

impl Page<'_> {
    pub async fn open(&self, path: &str) -> Result<()> {
        Ok(self.driver.goto(format!("{}/{path}", self.server.url)).await?)
    }

    /// The value of a JavaScript expression.
    pub async fn value(&self, expression: &str) -> Result<Value> {
        Ok(self.driver.execute(format!("return {expression};"), vec![]).await?.json().clone())
    }

    /// Waits until a JavaScript expression has a value that counts as true, and answers that value.
    pub async fn until(&self, expression: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.value(expression).await?;
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0) && value != json!("") {
                return Ok(value);
            }
            if Instant::now() > deadline {
                let (console, text) = (self.console().await?, self.value("document.body.innerText").await?);
                bail!("waited in vain for {expression}; the console says {console:?}; the page says {text}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the element of a selector is visible and has a text, and answers that.
    pub async fn text(&self, selector: &str) -> Result<String> {
        let element = format!("document.querySelector({})", json!(selector));
        let text = self.until(&format!("{element}?.checkVisibility() && {element}.innerText.trim()")).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Puts a file into a file input, as the browser's own dialog does.
    pub async fn choose(&self, input: &str, file: &Path) -> Result<()> {
        let path = file.to_str().context("a file name that is no UTF-8")?;
        Ok(self.driver.find(By::Name(input)).await?.send_keys(path).await?)
    }

    /// Drops a file of that text onto the page.
    pub async fn drop_file(&self, name: &str, text: &str) -> Result<()> {
        let script = "const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([arguments[1]], arguments[0]));
            for (const type of ['dragenter', 'dragover', 'drop']) {
                document.querySelector('.drop').dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
            }";
        self.driver.execute(script, vec![json!(name), json!(text)]).await?;
        Ok(())
    }

    pub async fn click(&self, selector: &str) -> Result<()> {
        self.text(selector).await?;
        Ok(self.driver.find(By::Css(selector)).await?.click().await?)
    }

    /// What the browser has complained of since the last call: errors, failed requests, breaches of the content security
    /// policy.
    pub async fn console(&self) -> Result<Vec<String>> {
        let entries: Vec<Value> = self.driver.cmd(ReadConsole).await?.value()?;
        let policy = |entry: &Value| entry["message"].to_string().contains("Content Security Policy");
        let complaints = entries.iter().filter(|entry| entry["level"] == "SEVERE" || policy(entry));
        Ok(complaints.map(|entry| entry["message"].to_string()).collect())
    }

    pub async fn expect_no_complaints(&self) -> Result<()> {
        let complaints = self.console().await?;
        ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
        Ok(())
    }

    pub async fn expect_fits(&self) -> Result<()> {
        let overflow = self.value("document.documentElement.scrollWidth - window.innerWidth").await?;
        ensure!(overflow.as_i64().is_some_and(|pixels| pixels <= 0), "the page is {overflow} px wider than the window");
        Ok(())
    }
}

/// Runs a test on a fresh server and a fresh browser, and closes both, however the test ends.
pub async fn in_browser(test: impl AsyncFnOnce(&Page<'_>) -> Result<()>) -> Result<()> {
    in_browser_on(Server::start()?, test).await
}

pub async fn in_browser_on(server: Server, test: impl AsyncFnOnce(&Page<'_>) -> Result<()>) -> Result<()> {
    let browser = Browser::start().await?;
    let page = Page { driver: &browser.driver, server: &server };
    let outcome = AssertUnwindSafe(test(&page)).catch_unwind().await;
    browser.driver.clone().quit().await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
