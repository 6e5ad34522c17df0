//! What cannot be had, and how that is said.

use anyhow::Result;
use serde_json::json;

use crate::{jobs::demo, page::in_browser};

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
