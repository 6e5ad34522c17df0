//! `curl -F model=net.onnx`: the name of a file where its content should be, since the `@` before it was forgotten.

use crate::domain::problem::{ErrorCode, Problem};

/// Longest name that is looked for; nothing of that size is a model or a data set.
pub const MOST: usize = 255;

/// The name of a file, if these bytes look like one: a word with a suffix, as no JSON and no binary format is.
fn file_name(content: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(content).ok().filter(|name| name.len() <= MOST)?;
    let (stem, suffix) = name.rsplit_once('.')?;
    let is_plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || "{}[]\"".contains(c));
    let is_suffix = suffix.chars().all(char::is_alphanumeric) && suffix.chars().any(char::is_alphabetic);
    (is_plain(stem) && is_suffix).then_some(name)
}

/// Refuses a part that came without a file name and whose content looks like one.
pub fn problem(part: &str, content: &[u8]) -> Option<Problem> {
    let name = file_name(content)?;
    let detail = format!("The part `{part}` is the text \"{name}\", and no file.");
    Some(
        Problem::new(ErrorCode::InvalidRequest, detail)
            .param(part)
            .hint(format!("With curl, an @ goes before the name of a file: -F {part}=@{name}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_is_told_from_what_is_in_one() {
        for name in ["net.onnx", "../my models/a.b/net.pt2", "tiny.json", "größe.npz"] {
            let problem = problem("model", name.as_bytes()).expect(name);
            assert!(problem.hint.unwrap().ends_with(&format!("-F model=@{name}")));
        }
        let long = format!("{}.onnx", "a".repeat(MOST));
        for content in ["", "onnx", ".", "{\"ratio\": 2.5}", "2.5", "2.5\n", "null", "\"a.b\"", "a.b{", &long] {
            assert!(problem("config", content.as_bytes()).is_none(), "{content}");
        }
        assert!(problem("model", b"\x08\x07.onnx").is_none(), "a protocol buffer");
    }
}
