//! Files over HTTP: ranges, entity tags and names (RFC 9110, sections 8.8, 13 and 14; RFC 6266).

use std::ops::Range;

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
            IF_RANGE, RANGE,
        },
    },
    response::{IntoResponse, Response},
};
use axum_extra::headers::{self, HeaderMapExt};

use super::{
    error::ApiResult,
    range::{Wanted, wanted},
};
use crate::domain::problem::{ErrorCode, Problem};

/// An immutable file to be sent.
#[derive(Clone, Debug)]
pub struct Download {
    /// What a browser saves it as.
    pub name: String,
    pub media_type: &'static str,
    pub bytes: u64,
    /// Lower-case hexadecimal; it is the entity tag.
    pub sha256: String,
}

/// What the request's conditions and ranges come to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// The client wants to go on with another file than this.
    Failed,
    NotModified,
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

impl Download {
    /// Answers a GET or HEAD. `open` is called with the bytes to be sent, which for HEAD are then never read.
    ///
    /// # Errors
    /// `range_not_satisfiable`, and whatever `open` fails with.
    pub async fn respond<F>(&self, request: &HeaderMap, open: impl FnOnce(Range<u64>) -> F) -> ApiResult<Response>
    where
        F: Future<Output = ApiResult<Body>>,
    {
        let (status, range) = match self.answer(request) {
            Answer::Failed => return Err(changed().into()),
            Answer::NotModified => return Ok((StatusCode::NOT_MODIFIED, self.validators()).into_response()),
            Answer::Unsatisfiable => return Ok(self.unsatisfiable()),
            Answer::Whole => (StatusCode::OK, 0..self.bytes),
            Answer::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        };
        let mut headers = self.validators();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        headers.insert(CONTENT_DISPOSITION, disposition(&self.name));
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(range) = headers::ContentRange::bytes(range.clone(), Some(self.bytes))
        {
            headers.typed_insert(range);
        }
        Ok((status, headers, open(range).await?).into_response())
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.sha256)
    }

    fn validators(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // A retried job makes another file under the same path: clients may keep this one, and ask.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(etag) = HeaderValue::try_from(self.etag()) {
            headers.insert(ETAG, etag);
        }
        headers
    }

    /// In the order of RFC 9110, section 13.2.2. The date of a file is not told, so conditions on it do not hold.
    fn answer(&self, request: &HeaderMap) -> Answer {
        let etag = self.etag().parse::<headers::ETag>().ok();
        if let (Some(etag), Some(condition)) = (&etag, request.typed_get::<headers::IfMatch>())
            && !condition.precondition_passes(etag)
        {
            return Answer::Failed;
        }
        if let (Some(etag), Some(condition)) = (&etag, request.typed_get::<headers::IfNoneMatch>())
            && !condition.precondition_passes(etag)
        {
            return Answer::NotModified;
        }
        // One that cannot be read names no file that we have.
        let unchanged = !request.contains_key(IF_RANGE)
            || request
                .typed_get::<headers::IfRange>()
                .is_some_and(|condition| !condition.is_modified(etag.as_ref(), None));
        // Of several headers none is meant: the field has one value.
        let mut ranges = request.get_all(RANGE).iter();
        let (Some(range), None, true) = (ranges.next(), ranges.next(), unchanged) else { return Answer::Whole };
        match range.to_str().map_or(Wanted::Whole, |range| wanted(range, self.bytes)) {
            Wanted::Part(range) => Answer::Part(range),
            Wanted::Whole => Answer::Whole,
            Wanted::Unsatisfiable => Answer::Unsatisfiable,
        }
    }

    fn unsatisfiable(&self) -> Response {
        let problem = Problem::new(ErrorCode::RangeNotSatisfiable, format!("The file has {} bytes.", self.bytes))
            .hint("Leave out the Range header, or ask for bytes that the file has.");
        let mut response = super::error::ApiError::from(problem).into_response();
        if let Ok(range) = HeaderValue::try_from(format!("bytes */{}", self.bytes)) {
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
        response
    }
}

fn changed() -> Problem {
    Problem::new(ErrorCode::PreconditionFailed, "The file is not the one that If-Match names.")
        .param("If-Match")
        .hint("It was made anew: download it from the start, without If-Match.")
}

/// `attachment` with a name that every client can use: quotes, path separators and what is not ASCII become `_` in
/// `filename`, and the whole name follows in `filename*` where it differs.
fn disposition(name: &str) -> HeaderValue {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '+' | '(' | ')');
    let plain: String = name.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => value.push(char::from(byte)),
                _ => value.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answer(pairs: &[(&'static str, &str)]) -> Answer {
        let file = Download { name: "f".into(), media_type: "text/plain", bytes: 100, sha256: "ab".into() };
        let headers = pairs.iter().map(|&(name, value)| {
            (name.parse::<axum::http::HeaderName>().unwrap(), HeaderValue::try_from(value).unwrap())
        });
        file.answer(&headers.collect())
    }

    #[test]
    fn a_range_is_answered_where_there_is_one() {
        assert_eq!(answer(&[("range", "bytes=90-")]), Answer::Part(90..100));
        assert_eq!(answer(&[("range", "bytes=100-")]), Answer::Unsatisfiable);
        assert_eq!(answer(&[("range", "bytes=0-1"), ("range", "bytes=5-6")]), Answer::Whole);
    }

    #[test]
    fn a_condition_on_the_file_goes_first() {
        assert_eq!(answer(&[("if-match", "\"ab\""), ("range", "bytes=90-")]), Answer::Part(90..100));
        assert_eq!(answer(&[("if-match", "*")]), Answer::Whole);
        assert_eq!(answer(&[("if-match", "\"cd\""), ("range", "bytes=90-")]), Answer::Failed);
        assert_eq!(answer(&[("if-match", "W/\"ab\"")]), Answer::Failed, "a weak tag names no bytes");
    }

    #[test]
    fn a_file_the_client_has_is_not_sent_again() {
        assert_eq!(answer(&[("if-none-match", "\"ab\"")]), Answer::NotModified);
        assert_eq!(answer(&[("if-none-match", "\"cd\", \"ab\"")]), Answer::NotModified);
        assert_eq!(answer(&[("if-none-match", "W/\"ab\"")]), Answer::NotModified, "a proxy may have weakened it");
        assert_eq!(answer(&[("if-none-match", "*"), ("range", "bytes=0-9")]), Answer::NotModified);
        assert_eq!(answer(&[("if-none-match", "\"cd\"")]), Answer::Whole);
    }

    #[test]
    fn a_part_of_a_changed_file_is_not_joined_to_the_old_one() {
        assert_eq!(answer(&[("range", "bytes=0-9"), ("if-range", "\"ab\"")]), Answer::Part(0..10));
        assert_eq!(answer(&[("range", "bytes=0-9"), ("if-range", "\"cd\"")]), Answer::Whole);
        assert_eq!(answer(&[("range", "bytes=0-9"), ("if-range", "W/\"ab\"")]), Answer::Whole);
        for other in ["Tue, 15 Nov 1994 12:45:26 GMT", "ab", ""] {
            assert_eq!(answer(&[("range", "bytes=0-9"), ("if-range", other)]), Answer::Whole, "{other}");
        }
        assert_eq!(answer(&[("range", "bytes=200-"), ("if-range", "\"cd\"")]), Answer::Whole);
    }

    #[rstest]
    #[case("lenet5-student.onnx", "attachment; filename=\"lenet5-student.onnx\"")]
    #[case("a\"b/c\r\n", "attachment; filename=\"a_b_c__\"; filename*=UTF-8''a%22b%2Fc%0D%0A")]
    #[case("é.onnx", "attachment; filename=\"_.onnx\"; filename*=UTF-8''%C3%A9.onnx")]
    fn names(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(disposition(name), expected);
    }
}
