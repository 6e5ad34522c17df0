//! A calibration as tables: what it did on teachers left out, and what it consists of.

use anyhow::Context;

use crate::domain::prediction::{Calibration, LeftOut};

/// The part of the document that belongs to the calibration.
const BEGIN: &str = "<!-- calibration: begin -->\n";
const END: &str = "<!-- calibration: end -->";

/// How it did on each teacher that was left out, and on all of them.
pub fn rows(calibration: &Calibration) -> Vec<Vec<String>> {
    let head = ["teacher left out", "students", "covered", "in range", "covered of these", "mean width", "mean error"];
    let all = total(&calibration.left_out);
    let body = calibration.left_out.iter().chain([&all]).map(row);
    std::iter::once(head.map(str::to_owned).to_vec()).chain(body).collect()
}

fn row(left_out: &LeftOut) -> Vec<String> {
    let share = |part: u64, of: u64| {
        if of == 0 { "none".to_owned() } else { format!("{:.0} %", 100.0 * part as f64 / of as f64) }
    };
    let points = |share: f64| format!("{:.1}", 100.0 * share);
    let LeftOut { teacher, cells, covered, in_range, covered_in_range, width, error } = left_out;
    vec![
        teacher.clone(),
        cells.to_string(),
        share(*covered, *cells),
        share(*in_range, *cells),
        share(*covered_in_range, *in_range),
        points(*width),
        points(*error),
    ]
}

/// All students together.
fn total(left_out: &[LeftOut]) -> LeftOut {
    let count = |of: fn(&LeftOut) -> u64| left_out.iter().map(of).sum::<u64>();
    let cells = count(|one| one.cells);
    let mean = |of: fn(&LeftOut) -> f64| {
        left_out.iter().map(|one| of(one) * one.cells as f64).sum::<f64>() / cells.max(1) as f64
    };
    LeftOut {
        teacher: "all".to_owned(),
        cells,
        covered: count(|one| one.covered),
        in_range: count(|one| one.in_range),
        covered_in_range: count(|one| one.covered_in_range),
        width: mean(|one| one.width),
        error: mean(|one| one.error),
    }
}

/// The document with the part between the marks replaced.
///
/// # Errors
/// Where the marks are missing.
pub fn replace(text: &str, calibration: &Calibration) -> anyhow::Result<String> {
    let marks = || format!("it has no lines `{}` and `{END}`", BEGIN.trim_end());
    let (before, rest) = text.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", part(calibration)))
}

fn part(calibration: &Calibration) -> String {
    let terms = calibration.terms.iter().map(|term| {
        let figure = |value: f64| format!("{value:.3}");
        let mut row = vec![format!("`{}`", term.name)];
        row.extend([term.weight, term.mean, term.deviation, term.least, term.greatest].map(figure));
        row
    });
    let head = ["feature", "weight", "mean", "deviation", "least", "greatest"].map(str::to_owned).to_vec();
    let terms: Vec<Vec<String>> = std::iter::once(head).chain(terms).collect();
    format!(
        "{} students of {} teachers. Widths and errors are in points of accuracy.\n\n{}\n\
         Fitted to all of them: intercept {:.3}, half width {:.3} in ln(loss + 0.002), level {:.0} %.\n\n{}",
        calibration.cells,
        calibration.left_out.len(),
        markdown(&rows(calibration)),
        calibration.intercept,
        calibration.half_width,
        100.0 * calibration.level,
        markdown(&terms)
    )
}

fn markdown(rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| format!("| {} |\n", row.join(" | "));
    let mut lines = rows.iter().map(|row| line(row));
    let head = lines.next().unwrap_or_default();
    let columns = rows.first().map_or(0, Vec::len);
    let rule = format!(
        "|{}|\n",
        [" :-- "]
            .into_iter()
            .chain(std::iter::repeat_n(" --: ", columns.saturating_sub(1)))
            .collect::<Vec<_>>()
            .join("|")
    );
    format!("{head}{rule}{}", lines.collect::<String>())
}
