//! Which bytes of a file a request wants (RFC 9110, section 14).
//!
//! Our own, since the parsers at hand refuse a suffix longer than the file, which the RFC answers with all of it.

use std::ops::Range;

/// What a `Range` header comes to for a file of some length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Part(Range<u64>),
    /// Everything: the header is in another unit, is none, or asks for several ranges. A server may ignore those; no client
    /// that resumes a download sends them.
    Whole,
    Unsatisfiable,
}

/// Reads `bytes=0-499`, `bytes=500-` and `bytes=-500`.
pub fn wanted(header: &str, length: u64) -> Wanted {
    let spec = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.trim().split_once('-')) else { return Wanted::Whole };
    let range = match (first, last) {
        ("", suffix) => number(suffix).map(|suffix| length.saturating_sub(suffix)..length),
        (first, "") => number(first).map(|first| first..length),
        (first, last) => number(first)
            .zip(number(last))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| first..last.saturating_add(1).min(length)),
    };
    match range {
        None => Wanted::Whole,
        Some(range) if range.start < range.end => Wanted::Part(range),
        Some(_) => Wanted::Unsatisfiable,
    }
}

/// Digits alone. A number too large to count lies beyond every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("bytes=0-9", Wanted::Part(0..10))]
    #[case("bytes=0-0", Wanted::Part(0..1))]
    #[case("bytes=90-", Wanted::Part(90..100))]
    #[case("bytes=99-99", Wanted::Part(99..100))]
    #[case("bytes=-10", Wanted::Part(90..100))]
    #[case("bytes=-1000", Wanted::Part(0..100))]
    #[case("bytes=90-1000", Wanted::Part(90..100))]
    #[case("bytes=0-99999999999999999999999", Wanted::Part(0..100))]
    #[case("Bytes=5-6", Wanted::Part(5..7))]
    #[case("bytes=100-", Wanted::Unsatisfiable)]
    #[case("bytes=100-200", Wanted::Unsatisfiable)]
    #[case("bytes=99999999999999999999999-", Wanted::Unsatisfiable)]
    #[case("bytes=-0", Wanted::Unsatisfiable)]
    #[case("bytes=0-1,5-6", Wanted::Whole)]
    #[case("bytes=9-5", Wanted::Whole)]
    #[case("bytes=+1-5", Wanted::Whole)]
    #[case("bytes=-", Wanted::Whole)]
    #[case("bytes=", Wanted::Whole)]
    #[case("bytes=a-b", Wanted::Whole)]
    #[case("lines=1-2", Wanted::Whole)]
    #[case("", Wanted::Whole)]
    fn ranges_of_a_hundred_bytes(#[case] header: &str, #[case] expected: Wanted) {
        assert_eq!(wanted(header, 100), expected);
    }

    #[test]
    fn an_empty_file_has_no_bytes_to_ask_for() {
        for header in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(wanted(header, 0), Wanted::Unsatisfiable, "{header}");
        }
    }
}
