//! From a file to a student, its report and its end.

use anyhow::Result;

use crate::{
    jobs::{check_pictures, choose_config, demo, watch_it_run},
    page::{Page, in_browser},
};

#[tokio::test]
async fn a_model_becomes_a_student_before_ones_eyes() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        page.open("").await?;
        page.until("document.querySelector('.empty')?.innerText.includes('No jobs yet')").await?;

        page.choose("model", &demo("lenet5-mnist.onnx")).await?;
        page.choose("eval", &demo("mnist-test.npz")).await?;
        choose_config(page, folder.path()).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        assert!(page.text(".plan .facts").await?.contains("61,706"), "the plan counts the teacher's parameters");

        page.click(".new-form button[type=submit]").await?;
        watch_it_run(page).await?;
        check_result(page).await?;
        check_pictures(page).await?;
        check_downloads(page).await?;
        check_second_look(page).await?;
        page.expect_fits().await?;
        page.expect_no_complaints().await?;
        check_pages_without_script(page).await?;
        delete_from_list(page).await
    })
    .await
}

async fn check_result(page: &Page<'_>) -> Result<()> {
    let sizes = page.text(".result-table").await?;
    for expected in ["Parameters", "61,706", "File size", "Multiply-accumulates", "Latency"] {
        assert!(sizes.contains(expected), "`{expected}` in {sizes}");
    }
    let words = page.text(".result-grid").await?;
    assert!(words.contains("Agreement is not accuracy"), "{words}");
    assert!(words.contains("10,000 real inputs"), "the test set was sent: {words}");
    assert!(words.contains("second game"), "one was asked for, and something became of it: {words}");
    let class = words.lines().find(|line| line.starts_with("lowest class: "));
    assert!(class.is_some_and(|line| line.contains(", of ") && line.contains(" input")), "{words}");
    page.until("document.querySelectorAll('.details .layers tbody tr').length === 5").await?;
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

/// A request that gets no answer, or that the server cannot answer just then, costs a look, not what it was for.
async fn check_second_look(page: &Page<'_>) -> Result<()> {
    let lose_each_once = "(() => { \
        const whole = window.fetch; \
        window.lost = new Set(); \
        window.fetch = (path, ...rest) => { \
            const [name] = String(path).match(/artifacts$|metrics|samples\\.png|latent\\.png/) ?? []; \
            if (name === undefined || window.lost.has(name)) return whole(path, ...rest); \
            window.lost.add(name); \
            if (name === 'artifacts') return Promise.reject(new TypeError('lost')); \
            return Promise.resolve(new Response('{\"title\": \"Busy\", \"status\": 503}', {status: 503})); \
        }; \
        window.dispatchEvent(new HashChangeEvent('hashchange')); \
        return true; \
    })()";
    page.value(lose_each_once).await?;
    // As somebody does who comes back to the tab.
    let look = "document.dispatchEvent(new Event('visibilitychange')) && window.lost.size === 4";
    page.until(&format!("{look} && document.querySelector('.downloads a[href$=\"student?format=onnx\"]') !== null"))
        .await?;
    page.until(&format!("{look} && document.querySelectorAll('.chart canvas').length >= 2")).await?;
    for place in [".samples", ".latent"] {
        page.until(&format!("{look} && document.querySelector('{place} img').checkVisibility()")).await?;
    }
    Ok(())
}

/// The reference and the server's own report page: under the same content security policy.
async fn check_pages_without_script(page: &Page<'_>) -> Result<()> {
    let job = page.value("location.hash.slice('#/'.length)").await?.as_str().unwrap_or_default().to_owned();
    page.open("docs").await?;
    page.until("document.querySelectorAll('#operations section').length > 20").await?;
    let network =
        "[...document.querySelectorAll('#schema-jobconfig tr')].find((row) => row.textContent.startsWith('arch?'))";
    let meaning = page.value(&format!("{network}.lastChild.textContent")).await?;
    assert!(
        meaning.as_str().is_some_and(|text| text.contains("bare weights")),
        "what is optional has a meaning: {meaning}"
    );
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
