//! The audit of a report as tables.

use super::{cells, table};
use crate::domain::audit::{Audit, Both, ClassCoverage, Coverage, Proportion, SourceAudit};

pub fn section(audit: &Audit) -> String {
    let classes = if audit.coverage.by_class.is_empty() { String::new() } else { table(&classes(&audit.coverage)) };
    format!(
        "<h2>Quality without data</h2><p>Teacher and student on invented inputs that the student did not train on. None of \
         these figures is accuracy.</p><h3>Predicted loss of accuracy</h3>{}<h3>Agreement</h3>{}<h3>Classes of the unseen generator</h3>{}{classes}",
        table(&prediction(audit)),
        table(&sources(&audit.sources)),
        table(&coverage(&audit.coverage)),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn with_interval(found: &Proportion) -> String {
    format!("{} ({:.1} to {:.1})", percent(found.share), 100.0 * found.low, 100.0 * found.high)
}

fn prediction(audit: &Audit) -> Vec<Vec<String>> {
    let points = |share: f64| format!("{:.1} points", 100.0 * share);
    let row = match &audit.prediction {
        Some(found) => vec![
            points(found.loss),
            format!("{} to {}", points(found.low), points(found.high)),
            format!(
                "predicted, not measured; {} confidence, from {} students of {}",
                percent(found.level),
                found.cells,
                found.teachers.join(", ")
            ),
        ],
        None => vec!["none".to_owned(), String::new(), audit.no_prediction.clone().unwrap_or_default()],
    };
    vec![cells(["loss", "interval", ""]), row]
}

fn sources(sources: &[SourceAudit]) -> Vec<Vec<String>> {
    let head = [
        "inputs",
        "agreement (95 % interval)",
        "n",
        "KL mean",
        "KL 95 %",
        "KL 99 %",
        "logit difference",
        "teacher is sure",
        "agreement on these",
        "confidence, teacher / student",
        "entropy, teacher / student",
        "effective classes",
    ];
    let both = |both: &Both| format!("{:.3} / {:.3}", both.teacher, both.student);
    let body = sources.iter().map(|found| {
        vec![
            found.source.words().to_owned(),
            with_interval(&found.agreement),
            found.agreement.n.to_string(),
            format!("{:.4}", found.kl.mean),
            format!("{:.4}", found.kl.p95),
            format!("{:.4}", found.kl.p99),
            format!("{:.3}", found.logit_difference),
            percent(found.sure.share),
            found.sure.agreement.as_ref().map(with_interval).unwrap_or_default(),
            both(&found.confidence),
            both(&found.entropy),
            format!("{:.1}", found.effective_classes),
        ]
    });
    std::iter::once(cells(head)).chain(body).collect()
}

fn coverage(coverage: &Coverage) -> Vec<Vec<String>> {
    let lowest = coverage.lowest_class.clone().unwrap_or_default();
    let missed = match (coverage.missed, &coverage.missed_names[..]) {
        (0, _) => "none".to_owned(),
        (count, names) if count as usize > names.len() => format!("{count}: {}, …", names.join(", ")),
        (count, names) => format!("{count}: {}", names.join(", ")),
    };
    vec![
        cells(["measure", "value"]),
        vec!["the teacher answers the class asked for".to_owned(), with_interval(&coverage.hits)],
        vec![
            "effective number of classes".to_owned(),
            format!("{:.1} of {}", coverage.effective_classes, coverage.classes),
        ],
        vec!["classes never answered".to_owned(), missed],
        vec!["agreement, mean over classes".to_owned(), percent(coverage.balanced_agreement)],
        vec![format!("agreement, lowest class ({lowest})"), percent(coverage.lowest_agreement)],
    ]
}

fn classes(coverage: &Coverage) -> Vec<Vec<String>> {
    let head = cells(["class", "asked for", "answered as asked", "teacher's answers", "student agrees"]);
    let row = |class: &ClassCoverage| {
        let counts = [class.asked, class.hits, class.answers, class.agreed];
        std::iter::once(class.class.clone()).chain(counts.map(|count| count.to_string())).collect()
    };
    std::iter::once(head).chain(coverage.by_class.iter().map(row)).collect()
}
