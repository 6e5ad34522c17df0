//! Pieces of a Markdown page.

use std::collections::BTreeSet;

/// A cell without a figure.
pub const NOTHING: &str = "–";

/// A page being written, part by part with an empty line between them.
pub struct Page(String);

impl Page {
    pub fn new(head: &str) -> Self {
        Self(head.to_owned())
    }

    pub fn heading(&mut self, level: usize, text: &str) {
        self.text(&format!("{} {text}", "#".repeat(level)));
    }

    pub fn text(&mut self, text: &str) {
        self.0.push_str(&format!("\n{text}\n"));
    }

    pub fn code(&mut self, language: &str, code: &str) {
        self.text(&format!("```{language}\n{code}\n```"));
    }

    /// A part that is folded away until somebody asks for it.
    pub fn details(&mut self, title: &str, write: impl FnOnce(&mut Self)) {
        self.text(&format!("<details><summary>{title}</summary>"));
        write(self);
        self.text("</details>");
    }

    /// Rows of cells, the first of which is the head.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        let mut text = String::new();
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
            if index == 0 {
                text.push_str(&format!("|{}\n", "---|".repeat(row.len())));
            }
        }
        self.text(text.trim_end());
    }

    pub fn finish(self) -> String {
        self.0
    }
}

/// The values, of which there should be one; [`NOTHING`] where there is none.
pub fn joined(values: BTreeSet<String>) -> String {
    if values.is_empty() { NOTHING.to_owned() } else { values.into_iter().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_rule_below_its_head() {
        let mut page = Page::new("# Page\n");
        page.table(&[vec!["a".into(), "b|c".into()], vec!["1".into(), joined(BTreeSet::new())]]);
        assert_eq!(page.finish(), "# Page\n\n| a | b\\|c |\n|---|---|\n| 1 | – |\n");
    }
}
