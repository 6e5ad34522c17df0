//! Names that Python takes: of variables for values, of attributes for weights.

use std::collections::HashSet;

use crate::formats::free_name::free_name;

/// Words that no variable may have.
const KEYWORDS: &str = "False None True and as assert async await break class continue def del elif else except finally for \
    from global if import in is lambda nonlocal not or pass raise return self try while with yield";

/// Gives out names, each once.
#[derive(Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A variable that is called as `wanted` is, as far as Python allows.
    pub fn variable(&mut self, wanted: &str) -> String {
        let mut name = plain(wanted);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || is_keyword(&name) {
            name.insert(0, '_');
        }
        free_name(&mut self.taken, &name)
    }

    /// A path of attributes: `features.0.weight`. None may be an attribute and have attributes. A word of the language gets an
    /// underscore: PyTorch writes Python that reads `self.conv.in_`, part of a decomposed layer.
    pub fn path(&mut self, wanted: &str) -> String {
        let parts = wanted.split('.').map(plain).filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(|part| if is_keyword(&part) { format!("{part}_") } else { part }).collect();
        let joined = if parts.is_empty() { "weight".to_owned() } else { parts.join(".") };
        let inside = |other: &String| is_below(other, &joined) || is_below(&joined, other);
        let free = !self.taken.iter().any(inside);
        let base = if free { joined } else { format!("{}_", joined.replace('.', "_")) };
        free_name(&mut self.taken, &base)
    }
}

fn is_keyword(name: &str) -> bool {
    KEYWORDS.split(' ').any(|keyword| keyword == name)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('.'))
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_python_and_different() {
        let mut names = Names::default();
        let given = ["conv", "conv", "a/b.c", "1st", "lambda", ""].map(|name| names.variable(name));
        assert_eq!(given, ["conv", "conv_2", "a_b_c", "_1st", "_lambda", "_"]);
        let mut paths = Names::default();
        let given = ["fc.weight", "fc", "features.0.weight", "a/b", "conv.in.weight"].map(|name| paths.path(name));
        assert_eq!(given, ["fc.weight", "fc_", "features.0.weight", "a_b", "conv.in_.weight"]);
    }
}
