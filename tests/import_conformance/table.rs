//! The page that a run writes.

use std::{collections::BTreeMap, fmt::Write};

use crate::{cases::Case, check::Verdict};

const HEAD: &str = "\
# ONNX operators against ONNX's own test cases

Written by `KEGD_UPDATE=1 cargo test --test import_conformance`, and checked by every run of the tests: what stands here is
what the importer and the executor gave. The cases are the `node` and `pytorch-converted` cases of the ONNX backend suite
(wheel `onnx` 1.22.0), as many as use nothing but operators that `GET /formats` lists. Each float input in turn is computed with, the
others are constants; the outputs must be the suite's within its own tolerance (relative 1e-3). *In a batch*: the case is
also a classifier's layer, whose axis 0 is a batch of any size; then two copies of the input must give the output twice, and
so must the layer after it was exported and read again. What is refused is refused with a reason, never computed wrongly.

";

#[derive(Default)]
struct Row {
    passed: usize,
    batched: usize,
    failed: usize,
    skipped: BTreeMap<String, usize>,
}

pub fn page(known: &[&str], verdicts: &[(Case, Verdict)], light: &[(String, Result<(), String>)]) -> String {
    let mut rows: BTreeMap<&str, Row> = known.iter().map(|name| (*name, Row::default())).collect();
    let mut several = Row::default();
    let mut total = Row::default();
    for (case, verdict) in verdicts {
        let row = case.operator.as_deref().and_then(|name| rows.get_mut(name)).unwrap_or(&mut several);
        for row in [row, &mut total] {
            row.add(verdict);
        }
    }
    let mut page = HEAD.to_owned();
    page.push_str("| operator | passed | in a batch | left out | failed |\n|---|---:|---:|---|---:|\n");
    for (name, row) in &rows {
        row.write(&mut page, name);
    }
    several.write(&mut page, "several together");
    total.write_sum(&mut page);
    page.push_str(
        "\nThe suite's whole models, their weights made by `ConstantOfShape`:\n\n| model | output |\n|---|---|\n",
    );
    for (name, verdict) in light {
        let word = verdict.as_ref().map_or_else(String::as_str, |()| "equal");
        let _ = writeln!(page, "| {name} | {word} |");
    }
    page
}

impl Row {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed { batched } => {
                self.passed += 1;
                self.batched += usize::from(*batched);
            }
            Verdict::Skipped(reason) => *self.skipped.entry(reason.clone()).or_default() += 1,
            Verdict::Failed(_) => self.failed += 1,
        }
    }

    fn write(&self, page: &mut String, name: &str) {
        let reasons: Vec<String> = self.skipped.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        let (passed, batched, failed) = (self.passed, self.batched, self.failed);
        let _ = writeln!(page, "| {name} | {passed} | {batched} | {} | {failed} |", reasons.join("; "));
    }

    fn write_sum(&self, page: &mut String) {
        let skipped: usize = self.skipped.values().sum();
        let (passed, batched, failed) = (self.passed, self.batched, self.failed);
        let _ = writeln!(page, "| **all** | {passed} | {batched} | {skipped} | {failed} |");
    }
}
