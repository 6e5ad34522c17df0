//! Names that nothing has yet.

use std::collections::HashSet;

/// `base`, or that with a number behind it, whichever is not among `taken` yet; from now on it is.
pub fn free_name(taken: &mut HashSet<String>, base: &str) -> String {
    let numbered = (2u32..).map(|number| format!("{base}_{number}"));
    let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    // There are more numbers than names.
    let name = name.unwrap_or_else(|| base.to_owned());
    taken.insert(name.clone());
    name
}
