//! What is left of a refused upload is read for a moment, beside the answer: a client that is still sending would otherwise
//! see a broken connection instead of it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Multipart,
    http::{HeaderMap, header::EXPECT},
};
use futures::StreamExt;

const PATIENCE: Duration = Duration::from_secs(2);

/// The rest of a form that was read in part.
pub fn rest(mut form: Multipart) {
    let rest = async move {
        while let Ok(Some(mut field)) = form.next_field().await {
            while let Ok(Some(_)) = field.chunk().await {}
        }
    };
    tokio::spawn(tokio::time::timeout(PATIENCE, rest));
}

/// A form of which nothing was read yet.
pub fn unread(form: Multipart, headers: &HeaderMap) {
    if !waits(headers) {
        rest(form);
    }
}

/// A body of which nothing was read yet.
pub fn unread_body(body: Body, headers: &HeaderMap) {
    if !waits(headers) {
        let rest = body.into_data_stream().take_while(|chunk| std::future::ready(chunk.is_ok())).for_each(async |_| ());
        tokio::spawn(tokio::time::timeout(PATIENCE, rest));
    }
}

/// Whether the client sends nothing before `100 Continue`: reading would ask it for all that we refuse.
fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}
