//! The form of a new job: the keyboard, side files, mistakes, and an upload that somebody would leave.

use anyhow::Result;
use serde_json::json;
use thirtyfour::{By, Key};

use crate::{
    common::teacher::small_file,
    jobs::{choose_config, choose_small},
    page::in_browser,
};

#[tokio::test]
async fn the_form_needs_no_mouse() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        page.open("").await?;
        choose_small(page, folder.path()).await?;
        page.until("document.getElementById('config-json').value.includes('page test')").await?;

        page.driver.find(By::Id("preset-fast")).await?.focus().await?;
        page.driver.action_chain().send_keys(Key::Right).perform().await?;
        page.until("document.activeElement.id === 'preset-paper'").await?;
        let outline =
            page.value("getComputedStyle(document.querySelector('#preset-paper + label')).outlineStyle").await?;
        assert_eq!(outline, json!("solid"), "the label shows what has the focus: its button cannot be seen");

        let files = "[...document.querySelectorAll('.files .file-name')] \
            .map((name) => `${name.previousSibling.textContent}: ${name.textContent}`).join(', ')";
        let mut listed = "Model: small.onnx".to_owned();
        // By the chooser for them, and by the one that takes every kind.
        for (chooser, name) in [("external", "small.onnx.data"), ("model", "more.onnx.data")] {
            let beside = folder.path().join(name);
            std::fs::write(&beside, "weights")?;
            page.choose(chooser, &beside).await?;
            listed = format!("{listed}, Side file: {name}");
            page.until(&format!("{files} === '{listed}'")).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_broken_configuration_is_kept_and_explained() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        page.open("").await?;
        let problem = "document.querySelector('.new-job .problem')";
        let explained =
            |cause: &str| format!("{problem}?.checkVisibility() && {problem}.innerText.includes('{cause}')");
        page.drop_file("broken.json", "{\"seed\": }").await?;
        page.until(&explained("broken.json")).await?;
        page.drop_file("nothing.json", "null").await?;
        page.until(&explained("an object is needed")).await?;
        let model = folder.path().join("small.onnx");
        std::fs::write(&model, small_file())?;
        page.choose("model", &model).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        assert_eq!(page.value(&explained("nothing.json")).await?, json!(true), "no other file takes it back");
        choose_config(page, folder.path()).await?;
        page.until(&format!("!{problem}")).await?;

        let area = page.driver.find(By::Id("config-json")).await?;
        page.click(".json summary").await?;
        let before = page.value("document.getElementById('config-json').value").await?;
        area.send_keys("}").await?;
        assert!(page.text(".field-error").await?.contains("JSON"));
        let locked = "[...document.querySelectorAll('.config input')].every((input) => input.matches(':disabled'))";
        assert_eq!(page.value(locked).await?, json!(true), "what cannot be kept cannot be set");
        page.click(".json summary").await?;
        page.until("!document.querySelector('.json').open").await?;
        page.text(".field-error").await?;
        page.click(".new-form button[type=submit]").await?;
        page.until("document.querySelector('.json').open && document.activeElement.id === 'config-json'").await?;
        assert_eq!(page.value("location.hash").await?, json!(""), "no job was made");

        area.send_keys(Key::Backspace).await?;
        page.until(&format!("!{locked} && !document.querySelector('.field-error').checkVisibility()")).await?;
        assert_eq!(page.value("document.getElementById('config-json').value").await?, before, "it is as it was typed");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_upload_is_not_lost_by_a_click() -> Result<()> {
    in_browser(async |page| {
        let folder = tempfile::tempdir()?;
        page.open("").await?;
        choose_small(page, folder.path()).await?;
        page.until("document.querySelectorAll('.plan tbody tr').length").await?;
        // An upload that does not end, and somebody who is asked.
        let stand_in = "(window.asked = 0, window.sure = false, XMLHttpRequest.prototype.send = () => {}, \
            window.confirm = () => { window.asked += 1; return window.sure; }, true)";
        page.value(stand_in).await?;
        let held = "!window.dispatchEvent(new Event('beforeunload', {cancelable: true}))";
        assert_eq!(page.value(held).await?, json!(false), "there is nothing to lose yet");
        page.click(".new-form button[type=submit]").await?;
        page.until(held).await?;

        page.value("(location.hash = '#/elsewhere', true)").await?;
        page.until("window.asked === 1 && location.hash === '#/'").await?;
        page.text(".new-form").await?;
        page.value("(window.sure = true, location.hash = '#/elsewhere', true)").await?;
        page.until("document.querySelector('h1').innerText === 'Nothing here'").await?;
        assert_eq!(page.value("[window.asked, location.hash]").await?, json!([2, "#/elsewhere"]));
        assert_eq!(page.value(held).await?, json!(false), "there is nothing to lose any more");
        Ok(())
    })
    .await
}
