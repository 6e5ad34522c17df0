//! Which of several forms of an answer a client prefers (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header::ACCEPT};

use crate::domain::problem::{ErrorCode, Problem};

/// The offered media type that `Accept` rates highest; among equals the first offered, which is also the answer where the
/// header is absent.
///
/// # Errors
/// `not_acceptable` where the client takes none of them.
pub fn preferred<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Result<&'a str, Problem> {
    let ranges: Vec<(String, f64)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(range)
        .filter(|(name, _)| !name.is_empty())
        .collect();
    if ranges.is_empty() {
        return Ok(offered[0]);
    }
    let mut best = (offered[0], 0.0);
    for &media_type in offered {
        let quality = quality(&ranges, media_type);
        if quality > best.1 {
            best = (media_type, quality);
        }
    }
    if best.1 > 0.0 {
        return Ok(best.0);
    }
    Err(Problem::new(ErrorCode::NotAcceptable, "This path has no form that the Accept header allows.")
        .param("Accept")
        .hint(format!("It answers with {}.", offered.join(" or "))))
}

/// `text/html;q=0.8` as the range and its quality.
fn range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let quality = weight.map_or(Some(1.0), |weight| weight.parse().ok());
    // What is no weight says nothing, so it counts for nothing.
    (name, quality.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0))
}

/// The quality of the most specific range that covers `media_type`; 0 where none does.
fn quality(ranges: &[(String, f64)], media_type: &str) -> f64 {
    let family = media_type.split('/').next().map(|family| format!("{family}/*")).unwrap_or_default();
    [media_type, family.as_str(), "*/*"]
        .iter()
        .find_map(|wanted| ranges.iter().find(|(name, _)| name == wanted))
        .map_or(0.0, |(_, quality)| *quality)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "application/json")]
    #[case("*/*", "application/json")]
    #[case("text/html", "text/html")]
    #[case("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html")]
    #[case("application/json, text/html;q=0.5", "application/json")]
    #[case("application/json;q=0, text/*", "text/html")]
    #[case("Text/HTML; Q=0.4, application/json;q=0.3", "text/html")]
    #[case("text/html;level=1;q=0.9, application/*;q=0.8", "text/html")]
    #[case("*/*;q=0.1, text/html;q=0", "application/json")]
    #[case("text/html;q=high, application/json;q=0.001", "application/json")]
    fn the_clients_choice(#[case] accept: &'static str, #[case] chosen: &str) {
        assert_eq!(answer(accept).unwrap(), chosen);
    }

    #[rstest]
    #[case("image/png")]
    #[case("application/json;q=0, text/html;q=0.0")]
    #[case("*/*;q=0")]
    #[case("text/plain, image/*;q=0.5")]
    fn nothing_that_the_client_takes(#[case] accept: &'static str) {
        assert_eq!(answer(accept).unwrap_err().code, ErrorCode::NotAcceptable);
    }

    fn answer(accept: &'static str) -> Result<&'static str, Problem> {
        let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
        preferred(&headers, &["application/json", "text/html"])
    }
}
