//! Names that Python takes: of variables for values, of attributes for weights.

use std::collections::HashSet;

use crate::formats::free_names::FreeNames;

/// Words that no variable may have.
const KEYWORDS: &str = "False None True and as assert async await break class continue def del elif else except finally for \
    from global if import in is lambda nonlocal not or pass raise return self try while with yield";

/// Gives out names, each once.
#[derive(Default)]
pub struct Names {
    given: FreeNames,
    /// The paths given out, and every path above them.
    paths: HashSet<String>,
    above: HashSet<String>,
}

impl Names {
    /// A variable that is called as `wanted` is, as far as Python allows.
    pub fn variable(&mut self, wanted: &str) -> String {
        let mut name = plain(wanted);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || is_keyword(&name) {
            name.insert(0, '_');
        }
        self.given.give(&name)
    }

    /// A path of attributes: `features.0.weight`. None may be an attribute and have attributes. A word of the language gets an
    /// underscore: PyTorch writes Python that reads `self.conv.in_`, part of a decomposed layer.
    pub fn path(&mut self, wanted: &str) -> String {
        let parts = wanted.split('.').map(plain).filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(|part| if is_keyword(&part) { format!("{part}_") } else { part }).collect();
        let joined = if parts.is_empty() { "weight".to_owned() } else { parts.join(".") };
        let clashes = self.above.contains(&joined) || above(&joined).any(|folder| self.paths.contains(folder));
        let base = if clashes { format!("{}_", joined.replace('.', "_")) } else { joined };
        let mut path = self.given.give(&base);
        while self.above.contains(&path) {
            path = self.given.give(&base);
        }
        self.above.extend(above(&path).map(str::to_owned));
        self.paths.insert(path.clone());
        path
    }
}

/// `a.b` and `a`, of `a.b.c`.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(at, _)| &path[..at])
}

fn is_keyword(name: &str) -> bool {
    KEYWORDS.split(' ').any(|keyword| keyword == name)
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
