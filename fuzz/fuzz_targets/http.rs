//! What our own code reads of requests: media ranges, byte ranges and conditions, names of files.

#![no_main]

use std::ops::Range;

use arbitrary::Arbitrary;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use futures::executor::block_on;
use kegd::{
    api::{Download, preferred},
    domain::artifact::FileName,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    headers: Vec<(Name, &'a [u8])>,
    bytes: u64,
    name: &'a str,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Accept,
    Range,
    IfRange,
    IfNoneMatch,
    IfMatch,
    IfModifiedSince,
}

impl Name {
    fn header(self) -> HeaderName {
        match self {
            Self::Accept => header::ACCEPT,
            Self::Range => header::RANGE,
            Self::IfRange => header::IF_RANGE,
            Self::IfNoneMatch => header::IF_NONE_MATCH,
            Self::IfMatch => header::IF_MATCH,
            Self::IfModifiedSince => header::IF_MODIFIED_SINCE,
        }
    }
}

fuzz_target!(|input: Input| {
    let mut headers = HeaderMap::new();
    for (name, value) in &input.headers {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name.header(), value);
        }
    }
    let offered = ["application/json", "text/html", "text/event-stream"];
    let _ = preferred(&headers, &offered);

    let file = Download { name: input.name.to_owned(), media_type: "text/plain", bytes: input.bytes, sha256: "ab".into() };
    let mut opened: Option<Range<u64>> = None;
    let answer = block_on(file.respond(&headers, |range| {
        opened = Some(range);
        async { Ok(axum::body::Body::empty()) }
    }));
    let Ok(response) = answer else { return };
    let status = response.status().as_u16();
    match (status, opened) {
        (200, Some(range)) => assert_eq!(range, 0..input.bytes),
        (206, Some(range)) => assert!(range.start < range.end && range.end <= input.bytes, "{range:?}"),
        (304 | 416, None) => {}
        other => panic!("{other:?}"),
    }
    if let Ok(name) = input.name.parse::<FileName>() {
        assert!(!name.as_str().contains('/') && !name.as_str().starts_with('.'), "{name}");
        assert!(response.headers().get(header::CONTENT_DISPOSITION).is_none_or(|value| value.to_str().is_ok()));
    }
});
