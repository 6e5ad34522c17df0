//! The importer and the executor against the cases of ONNX's own backend suite, as the wheel onnx 1.22.0 ships them.
//!
//! `scripts/onnx_cases.py` puts them at `.onnx-cases/`; `KEGD_ONNX_CASES` names another place. What passes, what is left out
//! and why, is the table in `docs/CONFORMANCE.md`, which must be what a run gives;
//! `KEGD_UPDATE=1 cargo test --test import_conformance` writes it.

mod arrays;
mod cases;
mod check;
mod light;
mod skips;
mod table;

use cases::Case;
use check::Verdict;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFORMANCE.md");

#[test]
fn cases_of_known_operators_pass_or_have_a_reason() {
    let known = kegd::formats::onnx::operators();
    let all = cases::all();
    assert!(all.len() > 1700, "the suite was found");
    let verdicts: Vec<(Case, Verdict)> = all.into_iter().filter(|case| case.is_of(&known)).map(judged).collect();
    let failed: Vec<String> = verdicts.iter().filter_map(complaint).collect();
    let written = table::page(&known, &verdicts, &light::verdicts());
    if std::env::var_os("KEGD_UPDATE").is_some() {
        std::fs::write(TABLE, &written).unwrap();
    }
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
    let stored = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(stored == written, "docs/CONFORMANCE.md is not what a run gives: set KEGD_UPDATE=1 to write it");
}

fn judged(case: Case) -> (Case, Verdict) {
    let verdict = check::verdict(&case);
    (case, verdict)
}

fn complaint((case, verdict): &(Case, Verdict)) -> Option<String> {
    match verdict {
        Verdict::Failed(reason) => Some(format!("{}: {reason}", case.name)),
        Verdict::Passed { .. } | Verdict::Skipped(_) => None,
    }
}

#[test]
fn models_without_weights_of_their_own_give_the_published_outputs() {
    let failed: Vec<String> = light::verdicts()
        .into_iter()
        .filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
