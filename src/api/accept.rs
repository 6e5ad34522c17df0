//! Which of several forms of an answer a client prefers (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header::ACCEPT};

/// The offered media type that `Accept` rates highest; among equals the first offered, which is also the answer where the
/// header is absent or fits nothing: better another form than none.
pub fn preferred<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let ranges: Vec<(String, f64)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(range)
        .collect();
    let mut best = (offered[0], 0.0);
    for &media_type in offered {
        let quality = quality(&ranges, media_type);
        if quality > best.1 {
            best = (media_type, quality);
        }
    }
    best.0
}

/// `text/html;q=0.8` as the range and its quality.
fn range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
    (name, quality.unwrap_or(0.0))
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
    #[case("image/png", "application/json")]
    #[case("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html")]
    #[case("application/json, text/html;q=0.5", "application/json")]
    #[case("application/json;q=0, text/*", "text/html")]
    fn the_clients_choice(#[case] accept: &'static str, #[case] chosen: &str) {
        let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
        assert_eq!(preferred(&headers, &["application/json", "text/html"]), chosen);
    }
}
