//! Patterns of names: `*` stands for any text.

/// Whether the whole of `name` fits `pattern`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    // The star takes every length in turn.
    rest.char_indices().map(|(start, _)| start).chain([rest.len()]).any(|start| fits(after, &rest[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_the_rest_for_itself() {
        let name = "lenet5-mnist/S1/compressed";
        for pattern in ["*", name, "lenet5*", "*/S1/*", "*/compressed", "l*t*/*1/*d", "lenet5-mnist*/S1/compressed"] {
            assert!(fits(pattern, name), "{pattern}");
        }
        for pattern in ["", "S1", "*/S2/*", "lenet5", "*x", "lenet5-mnist/S1/compressed/"] {
            assert!(!fits(pattern, name), "{pattern}");
        }
    }
}
