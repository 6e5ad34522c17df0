//! The page in a real headless Chromium against the real binary: what a person does with a mouse, a file and patience.

use std::{
    io::{BufRead, BufReader},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use thirtyfour::{
    By, CapabilitiesHelper as _, ChromiumLikeCapabilities as _, DesiredCapabilities, Key, RequestData, SessionId,
    WebDriver, common::command::FormatRequestData,
};

/// Longest wait for a condition. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);

/// A job that takes seconds, not minutes; what it learns does not matter here.
const SMALL_JOB: &str = r#"{
    "name": "page test",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 2, "epochs": 2, "steps_per_epoch": 10, "batch_size": 32},
    "distillation": {"samples_per_generator": 128, "epochs": 1, "batch_size": 32, "adversarial_steps": 10}
}"#;

/// A process that is told to end, and waited for, when the test is over, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, because both programs end their own children on it; SIGKILL would leave those behind.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first thing that `find` finds in a line of `stdout`; the rest is read and dropped, so that nothing blocks.
fn announced(stdout: ChildStdout, find: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some(found) = find(&line) {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(found);
        }
    }
    bail!("the program ended without saying where it listens")
}

/// `kegd serve` on a free port with a data folder of its own.
struct Server {
    url: String,
    /// The key that it asks for, where it asks for one.
    key: Option<String>,
    _process: Process,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        Self::start_on(tempfile::tempdir()?, None)
    }

    /// With a key that may submit jobs.
    fn start_with_key() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let made = Command::new(env!("CARGO_BIN_EXE_kegd"))
            .args(["keys", "create", "--name", "page test", "--scope", "submit", "--data-dir"])
            .arg(data.path())
            .output()?;
        ensure!(made.status.success(), "{made:?}");
        Self::start_on(data, Some(String::from_utf8(made.stdout)?.trim().to_owned()))
    }

    fn start_on(data: tempfile::TempDir, key: Option<String>) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kegd"))
            .arg("serve")
            .env("KEGD_LISTEN", "127.0.0.1:0")
            .env("KEGD_DATA_DIR", data.path())
            .env("KEGD_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("starting kegd")?;
        let stdout = child.stdout.take().context("kegd has no stdout")?;
        let process = Process(child);
        let url = announced(stdout, |line| {
            let start = line.find("http://")?;
            Some(line[start..].split_whitespace().next()?.trim_end_matches('/').to_owned())
        })?;
        Ok(Self { url, key, _process: process, _data: data })
    }
}

/// Chromium under chromedriver.
struct Browser {
    driver: WebDriver,
    _process: Process,
}

impl Browser {
    async fn start() -> Result<Self> {
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
struct ReadConsole;

impl FormatRequestData for ReadConsole {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(reqwest::Method::POST, format!("/session/{session}/se/log"))
            .add_body(json!({"type": "browser"}))
    }
}

/// Has downloads saved to a folder: also a command of chromedriver's own.
#[derive(Debug)]
struct SaveDownloads<'a>(&'a Path);

impl FormatRequestData for SaveDownloads<'_> {
    fn format_request(&self, session: &SessionId) -> RequestData {
        RequestData::new(reqwest::Method::POST, format!("/session/{session}/goog/cdp/execute")).add_body(json!({
            "cmd": "Browser.setDownloadBehavior",
            "params": {"behavior": "allow", "downloadPath": self.0},
        }))
    }
}

/// The page under test.
struct Page<'a> {
    driver: &'a WebDriver,
    server: &'a Server,
}

impl Page<'_> {
    async fn open(&self, path: &str) -> Result<()> {
        Ok(self.driver.goto(format!("{}/{path}", self.server.url)).await?)
    }

    /// The value of a JavaScript expression.
    async fn value(&self, expression: &str) -> Result<Value> {
        Ok(self.driver.execute(format!("return {expression};"), vec![]).await?.json().clone())
    }

    /// Waits until a JavaScript expression has a value that counts as true, and answers that value.
    async fn until(&self, expression: &str) -> Result<Value> {
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
    async fn text(&self, selector: &str) -> Result<String> {
        let element = format!("document.querySelector({})", json!(selector));
        let text = self.until(&format!("{element}?.checkVisibility() && {element}.innerText.trim()")).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Puts a file into a file input, as the browser's own dialog does.
    async fn choose(&self, input: &str, file: &Path) -> Result<()> {
        let path = file.to_str().context("a file name that is no UTF-8")?;
        Ok(self.driver.find(By::Name(input)).await?.send_keys(path).await?)
    }

    /// Drops a file of that text onto the page.
    async fn drop_file(&self, name: &str, text: &str) -> Result<()> {
        let script = "const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([arguments[1]], arguments[0]));
            for (const type of ['dragenter', 'dragover', 'drop']) {
                document.querySelector('.drop').dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
            }";
        self.driver.execute(script, vec![json!(name), json!(text)]).await?;
        Ok(())
    }

    async fn click(&self, selector: &str) -> Result<()> {
        self.text(selector).await?;
        Ok(self.driver.find(By::Css(selector)).await?.click().await?)
    }

    /// What the browser has complained of since the last call: errors, failed requests, breaches of the content security
    /// policy.
    async fn console(&self) -> Result<Vec<String>> {
        let entries: Vec<Value> = self.driver.cmd(ReadConsole).await?.value()?;
        let policy = |entry: &Value| entry["message"].to_string().contains("Content Security Policy");
        let complaints = entries.iter().filter(|entry| entry["level"] == "SEVERE" || policy(entry));
        Ok(complaints.map(|entry| entry["message"].to_string()).collect())
    }

    async fn expect_no_complaints(&self) -> Result<()> {
        let complaints = self.console().await?;
        ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
        Ok(())
    }

    async fn expect_fits(&self) -> Result<()> {
        let overflow = self.value("document.documentElement.scrollWidth - window.innerWidth").await?;
        ensure!(overflow.as_i64().is_some_and(|pixels| pixels <= 0), "the page is {overflow} px wider than the window");
        Ok(())
    }
}

/// Runs a test on a fresh server and a fresh browser, and closes both, however the test ends.
async fn in_browser(test: impl AsyncFnOnce(&Page<'_>) -> Result<()>) -> Result<()> {
    in_browser_on(Server::start()?, test).await
}

async fn in_browser_on(server: Server, test: impl AsyncFnOnce(&Page<'_>) -> Result<()>) -> Result<()> {
    let browser = Browser::start().await?;
    let page = Page { driver: &browser.driver, server: &server };
    let outcome = AssertUnwindSafe(test(&page)).catch_unwind().await;
    browser.driver.clone().quit().await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(file)
}

#[tokio::test]
async fn a_model_becomes_a_student_before_ones_eyes() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.json");
        std::fs::write(&config, SMALL_JOB)?;

        page.open("").await?;
        page.until("document.querySelector('.empty')?.innerText.includes('No jobs yet')").await?;

        page.choose("model", &demo("lenet5-mnist.onnx")).await?;
        page.choose("eval", &demo("mnist-test.npz")).await?;
        page.choose("config", &config).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        assert!(page.text(".plan .facts").await?.contains("61,706"), "the plan counts the teacher's parameters");

        page.click(".new-form button[type=submit]").await?;
        watch_it_run(page).await?;
        check_result(page).await?;
        check_pictures(page).await?;
        check_downloads(page).await?;
        page.expect_fits().await?;
        page.expect_no_complaints().await?;
        check_pages_without_script(page).await?;
        delete_from_list(page).await
    })
    .await
}

async fn watch_it_run(page: &Page<'_>) -> Result<()> {
    page.until("location.hash.startsWith('#/jobs/')").await?;
    page.until("document.querySelector('.job-head h1')?.innerText === 'page test'").await?;
    let bar = "document.querySelector('.job-body progress')";
    let seen = page.until(&format!("{bar}?.value")).await?;
    ensure!(seen.as_f64().is_some_and(|fraction| fraction < 1.0), "the job was over before anybody could look");
    page.until(&format!("{bar}.value > {seen}")).await?;
    page.until("document.querySelector('.job-head .status')?.dataset.status === 'succeeded'").await?;
    page.until("document.querySelectorAll('.chart canvas').length >= 2").await?;
    Ok(())
}

async fn check_result(page: &Page<'_>) -> Result<()> {
    let sizes = page.text(".result-table").await?;
    for expected in ["Parameters", "61,706", "File size", "Multiply-accumulates", "Latency"] {
        assert!(sizes.contains(expected), "`{expected}` in {sizes}");
    }
    let words = page.text(".result-grid").await?;
    assert!(words.contains("Agreement is not accuracy"), "{words}");
    assert!(words.contains("10,000 real inputs"), "the test set was sent: {words}");
    page.until("document.querySelectorAll('.details .layers tbody tr').length === 5").await?;
    Ok(())
}

async fn check_pictures(page: &Page<'_>) -> Result<()> {
    for place in [".samples", ".latent"] {
        let image = format!("document.querySelector('{place} img')");
        page.until(&format!("{image}.checkVisibility() && {image}.complete && {image}.naturalWidth")).await?;
    }
    let labels =
        page.value("[...document.querySelectorAll('.class-labels li')].map((label) => label.textContent)").await?;
    assert_eq!(labels, json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    Ok(())
}

/// Every button leads to a file.
async fn check_downloads(page: &Page<'_>) -> Result<()> {
    page.text(".downloads").await?;
    let links = page.value("[...document.querySelectorAll('.downloads a')].map((link) => link.href)").await?;
    let links: Vec<String> = serde_json::from_value(links)?;
    assert!(links.iter().any(|link| link.ends_with("student?format=onnx")), "{links:?}");
    for link in links {
        let answer = reqwest::get(&link).await?.error_for_status()?;
        assert!(!answer.bytes().await?.is_empty(), "{link}");
    }
    Ok(())
}

/// The reference and the server's own report page: under the same content security policy.
async fn check_pages_without_script(page: &Page<'_>) -> Result<()> {
    let job = page.value("location.hash.slice('#/'.length)").await?.as_str().unwrap_or_default().to_owned();
    page.open("docs").await?;
    page.until("document.querySelectorAll('#operations section').length > 20").await?;
    page.open(&format!("{job}/report")).await?;
    assert!(page.text("body").await?.contains("agreement with the teacher"));
    page.expect_no_complaints().await?;
    page.open(&format!("#/{job}")).await?;
    page.text(".downloads").await?;
    Ok(())
}

async fn delete_from_list(page: &Page<'_>) -> Result<()> {
    let delete = ".job-row .actions button:not([hidden])";
    page.click(".back a").await?;
    assert!(page.text(".job-row").await?.contains("succeeded"));
    page.click(delete).await?;
    page.click("dialog button[value=no]").await?;
    page.until("!document.querySelector('dialog')").await?;
    assert!(page.text(".job-row").await?.contains("succeeded"), "nothing is lost without a yes");
    page.click(delete).await?;
    page.click("dialog button[value=yes]").await?;
    page.until("!document.querySelector('.job-row')").await?;
    page.text(".empty").await?;
    page.expect_no_complaints().await
}

#[tokio::test]
async fn a_bad_file_is_explained() -> Result<()> {
    in_browser(async |page| {
        page.driver.set_window_rect(0, 0, 500, 900).await?;
        page.open("").await?;
        page.text(".empty").await?;
        page.expect_no_complaints().await?;
        page.expect_fits().await?;

        page.drop_file("holiday.png", "\u{89}PNG\r\n\u{1a}\n and nothing that a network could be made of").await?;
        let problem = page.text(".plan .problem").await?;
        assert!(problem.contains("The file is in no format we read"), "{problem}");

        page.click(".new-form button[type=submit]").await?;
        let problem = page.text(".settings .problem").await?;
        assert!(problem.contains("The file is in no format we read"), "{problem}");
        assert!(problem.contains("unsupported_format"), "{problem}");
        assert_eq!(page.value("location.hash").await?, json!(""), "no job was made");
        page.expect_fits().await?;

        page.choose("model-again", &demo("lenet5-mnist.onnx")).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        page.until("!document.querySelector('.problem')").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_sweep_is_a_table_of_students() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.json");
        std::fs::write(&config, SMALL_JOB)?;
        page.open("").await?;
        page.choose("model", &demo("lenet5-mnist.onnx")).await?;
        page.choose("config", &config).await?;
        page.driver.find(By::Id("config-compression-ratio")).await?.send_keys("2, 8").await?;
        page.until("document.getElementById('config-json').value.includes('[2, 8]')").await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        page.click(".new-form button[type=submit]").await?;
        watch_it_run(page).await?;

        page.until("document.querySelectorAll('.sweep tbody tr').length === 2").await?;
        let targets = page.value("[...document.querySelectorAll('.sweep tbody th')].map((cell) => cell.textContent)");
        assert_eq!(targets.await?, json!(["2×", "8×"]));
        let links = page.value("[...document.querySelectorAll('.sweep a[download]')].map((link) => link.href)").await?;
        for link in serde_json::from_value::<Vec<String>>(links)? {
            assert!(!reqwest::get(&link).await?.error_for_status()?.bytes().await?.is_empty(), "{link}");
        }
        page.expect_fits().await?;
        page.click(".sweep tbody tr:last-child a[href*=report]").await?;
        page.until("document.querySelector('.report h1')?.innerText.includes('ratio 8')").await?;
        page.expect_no_complaints().await
    })
    .await
}

#[tokio::test]
async fn a_job_that_is_not_there_is_said_so() -> Result<()> {
    in_browser(async |page| {
        page.open("#/jobs/01930000-0000-7000-8000-000000000000").await?;
        assert!(page.text(".problem").await?.contains("No such thing here"));
        page.click(".back a").await?;
        page.text(".empty").await?;
        Ok(())
    })
    .await
}

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
        let config = folder.path().join("config.json");
        std::fs::write(&config, SMALL_JOB)?;
        page.choose("model", &demo("lenet5-mnist.onnx")).await?;
        page.choose("config", &config).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        page.click(".new-form button[type=submit]").await?;
        watch_it_run(page).await?;
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
    let file = folder.join("lenet5-mnist-student.onnx");
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read(&file).ok().as_deref() != Some(&*expected) {
        ensure!(Instant::now() < deadline, "{} was not downloaded", file.display());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
