//! The report as a page for people: tables, no script.

mod audit;

use std::fmt::Write;

use crate::{
    domain::report::{JobResult, LayerRow, Report},
    store::Job,
};

/// Text that may stand between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A table; the first row is its head, and every cell is escaped.
fn table(rows: &[Vec<String>]) -> String {
    let mut html = "<div class=\"wide\"><table>".to_owned();
    for (index, row) in rows.iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        html.push_str("<tr>");
        for cell in row {
            // Writing to a String cannot fail.
            let _ = write!(html, "<{tag}>{}</{tag}>", escape(cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
    html
}

fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
    format!("<h2>{title}</h2><ul>{items}</ul>")
}

/// The page of student `number`.
pub fn render(job: &Job, number: u32, report: &Report) -> String {
    let target = job.settings.swept(number);
    let title =
        target.map_or(job.name.clone(), |target| format!("{}, {} {}", job.name, target.by.name(), target.value));
    let name = escape(&title);
    let choice = target.map_or(String::new(), |target| format!("?target={}", target.value));
    let seconds: String = report
        .result
        .seconds
        .iter()
        .map(|(phase, seconds)| format!("<li>{}: {seconds:.1} s</li>", escape(phase)))
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{name}: report</title>\
         <link rel=\"icon\" href=\"/icon.svg\"><link rel=\"stylesheet\" href=\"/docs.css\"><h1>{name}</h1>\
         <p class=\"links\"><a href=\"/jobs/{id}/student{choice}\">Student</a> · <a href=\"/jobs/{id}/samples.png\">Samples</a> · \
         <a href=\"/#/jobs/{id}\">Job</a></p>\
         <h2>Result</h2>{sizes}<h2>Quality</h2>{quality}{audit}<h2>Layers</h2>{layers}<h2>Time</h2><ul>{seconds}</ul>{notes}{warnings}</html>",
        id = job.id,
        sizes = table(&sizes(&report.result)),
        quality = table(&quality(report)),
        audit = report.result.audit.as_ref().map(audit::section).unwrap_or_default(),
        layers = table(&layers(&report.layers)),
        notes = list("Notes", &report.notes),
        warnings = list("Warnings", &report.warnings),
    )
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.map(str::to_owned).to_vec()
}

fn sizes(result: &JobResult) -> Vec<Vec<String>> {
    let JobResult { teacher, student, ratio, latency_ms: latency, .. } = result;
    let counted = |name: &str, teacher: u64, student: u64, ratio: f64| {
        vec![name.to_owned(), teacher.to_string(), student.to_string(), format!("{ratio:.2}")]
    };
    let timed = |name: String, teacher: f64, student: f64| {
        let ratio = if student > 0.0 { format!("{:.2}", teacher / student) } else { String::new() };
        vec![name, format!("{teacher:.3}"), format!("{student:.3}"), ratio]
    };
    let mut rows = vec![
        cells(["", "teacher", "student", "ratio"]),
        counted("parameters", teacher.parameters, student.parameters, ratio.parameters),
        counted("bytes", teacher.bytes, student.bytes, ratio.bytes),
        timed(format!("ms, median, {}", latency.device), latency.teacher.p50, latency.student.p50),
        timed(format!("ms, 95 %, {}", latency.device), latency.teacher.p95, latency.student.p95),
    ];
    // Those of a module that libtorch runs are not counted.
    if teacher.macs > 0 {
        rows.insert(2, counted("MACs", teacher.macs, student.macs, ratio.macs));
    }
    rows
}

fn quality(report: &Report) -> Vec<Vec<String>> {
    let result = &report.result;
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let agreement = &result.agreement;
    let mut rows = vec![
        cells(["measure", "value", "inputs"]),
        vec![
            "agreement with the teacher, unseen generator".to_owned(),
            percent(agreement.held_out_generator.top1),
            agreement.held_out_generator.n.to_string(),
        ],
        vec![
            "agreement with the teacher, noise".to_owned(),
            percent(agreement.noise.top1),
            agreement.noise.n.to_string(),
        ],
    ];
    if let Some(accuracy) = &result.accuracy {
        let before = if report.settings.student.is_some() {
            "student as it was given"
        } else {
            "compressed, before distillation"
        };
        let shares = [("teacher", accuracy.teacher), (before, accuracy.compressed), ("student", accuracy.student)];
        rows.extend(
            shares.map(|(name, share)| vec![format!("accuracy, {name}"), percent(share), accuracy.n.to_string()]),
        );
    }
    rows
}

fn layers(rows: &[LayerRow]) -> Vec<Vec<String>> {
    let ms = |ms: Option<f64>| ms.map(|ms| format!("{ms:.3}")).unwrap_or_default();
    let head = cells(["layer", "action", "ranks", "parameters", "after", "error", "ms", "after", "reason"]);
    let body = rows.iter().map(|row| {
        let ranks: Vec<String> = row.ranks.iter().map(usize::to_string).collect();
        vec![
            row.layer.clone(),
            row.action.clone(),
            ranks.join(", "),
            row.parameters_before.to_string(),
            row.parameters_after.to_string(),
            format!("{:.3}", row.error),
            ms(row.ms_before),
            ms(row.ms_after),
            row.reason.clone(),
        ]
    });
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_model_are_no_markup() {
        let html = table(&[cells(["layer"]), cells(["<script>alert('x')</script>&\""])]);
        assert_eq!(
            html,
            "<div class=\"wide\"><table><tr><th>layer</th></tr>\
             <tr><td>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;</td></tr></table></div>"
        );
    }
}
