//! Chromium, and what chromedriver can do that thirtyfour cannot.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use thirtyfour::{
    CapabilitiesHelper as _, ChromiumLikeCapabilities as _, DesiredCapabilities, RequestData, SessionId, WebDriver,
    common::command::FormatRequestData,
};

use crate::process::{Process, announced};

/// Chromium under chromedriver.
pub struct Browser {
    pub driver: WebDriver,
    _process: Process,
}

impl Browser {
    pub async fn start() -> Result<Self> {
        let mut child = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().context(
            "chromedriver cannot be started. This test needs a real browser: install the Debian packages \
             chromium and chromium-driver (`apt-get install chromium chromium-driver`)",
        )?;
        let stdout = child.stdout.take().context("chromedriver has no stdout")?;
        let process = Process(child);
        let port = announced(stdout, |line| {
            let port = line.split_once("started successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        })?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities()?).await?;
        Ok(Self { driver, _process: process })
    }
}

fn capabilities() -> Result<thirtyfour::ChromeCapabilities> {
    let mut capabilities = DesiredCapabilities::chrome();
    for argument in [
        "--headless=new",
        // The sandbox needs privileges that containers do not give; the page is our own.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,1000",
    ] {
        capabilities.add_arg(argument)?;
    }
    capabilities.set_base_capability("goog:loggingPrefs", json!({"browser": "ALL"}))?;
    Ok(capabilities)
}

/// Reads the browser's console: chromedriver's own command, which thirtyfour does not have.
#[derive(Debug)]
pub struct ReadConsole;

impl FormatRequestData for ReadConsole {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(reqwest::Method::POST, format!("/session/{session}/se/log"))
            .add_body(json!({"type": "browser"}))
    }
}

/// Has downloads saved to a folder: also a command of chromedriver's own.
#[derive(Debug)]
pub struct SaveDownloads<'a>(pub &'a Path);

impl FormatRequestData for SaveDownloads<'_> {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(reqwest::Method::POST, format!("/session/{session}/goog/cdp/execute")).add_body(json!({
            "cmd": "Browser.setDownloadBehavior",
            "params": {"behavior": "allow", "downloadPath": self.0},
        }))
    }
}
