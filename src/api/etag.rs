//! Conditions on what is answered in one piece: whether the client has it already (RFC 9110, section 13.1.2).

use axum::http::{HeaderMap, HeaderValue};
use axum_extra::headers::{ETag, HeaderMapExt, IfNoneMatch};

/// Whether `If-None-Match` lists the entity tag, or is `*`. Weak and strong tags compare alike here.
pub fn is_known(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().ok().and_then(|tag| tag.parse::<ETag>().ok());
    matches!((request.typed_get::<IfNoneMatch>(), tag), (Some(known), Some(tag)) if !known.precondition_passes(&tag))
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_NONE_MATCH;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("\"ab\"", true)]
    #[case("W/\"ab\"", true)]
    #[case("\"x\", W/\"ab\"", true)]
    #[case("*", true)]
    #[case("\"abc\"", false)]
    #[case("ab", false)]
    #[case("", false)]
    fn tags(#[case] sent: &'static str, #[case] known: bool) {
        let request = [(IF_NONE_MATCH, HeaderValue::from_static(sent))].into_iter().collect();
        for tag in ["\"ab\"", "W/\"ab\""] {
            assert_eq!(is_known(&request, &HeaderValue::from_static(tag)), known, "{tag}");
        }
    }
}
