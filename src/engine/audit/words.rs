//! What the figures of quality mean and what they do not, in words for the report.

use crate::domain::{
    audit::{Audit, Coverage},
    report::JobResult,
};

/// The notes of a report on quality.
pub fn notes(result: &JobResult) -> Vec<String> {
    let mut notes: Vec<String> = result.audit.iter().flat_map(of_audit).collect();
    notes.push(match &result.accuracy {
        Some(accuracy) => format!(
            "Accuracy is measured on the {} labelled inputs that came with the job, which were read after training had ended and influenced nothing.",
            accuracy.n
        ),
        None => "No evaluation set was sent, so nothing here is real accuracy. Send one as `eval`, or measure the student where the data is.".to_owned(),
    });
    notes
}

fn of_audit(audit: &Audit) -> Vec<String> {
    let inputs = audit.sources.first().map_or(0, |found| found.agreement.n);
    let mut notes = vec![
        format!(
            "Agreement is how often the student's first choice is the teacher's, on {inputs} invented inputs of each source, none of which the student trained on. It is not accuracy: it says nothing about inputs that look different from these. It is lowest on: {}.",
            audit.lowest.words()
        ),
        "The worst case was searched for with both networks at hand. It shows how bad the student can be on inputs made against it, not how bad it is on others.".to_owned(),
    ];
    notes.extend(of_coverage(&audit.coverage, inputs));
    notes.push(prediction(audit));
    notes
}

/// `inputs` of the unseen generator there are.
fn of_coverage(coverage: &Coverage, inputs: u64) -> Option<String> {
    if coverage.missed == 0 {
        return None;
    }
    let more = if coverage.missed as usize > coverage.missed_names.len() { " and others" } else { "" };
    let few =
        if inputs < coverage.classes { " Large inputs are few: there are fewer of them than classes." } else { "" };
    Some(format!(
        "The teacher put no input of the unseen generator into {} of {} classes ({}{more}): of these, agreement there says nothing.{few}",
        coverage.missed,
        coverage.classes,
        coverage.missed_names.join(", ")
    ))
}

fn prediction(audit: &Audit) -> String {
    let Some(prediction) = &audit.prediction else {
        return audit.no_prediction.clone().unwrap_or_else(|| "The loss of accuracy was not predicted.".to_owned());
    };
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    format!(
        "The student is predicted to be {} points less accurate than the teacher, and with {:.0} % confidence between {} and {}. This is predicted from the audit, not measured. The calibration saw {} students of these teachers: {}. The confidence holds for teachers like them.",
        percent(prediction.loss),
        100.0 * prediction.level,
        percent(prediction.low),
        percent(prediction.high),
        prediction.cells,
        prediction.teachers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Proportion;

    #[test]
    fn fewer_inputs_than_classes_are_named_as_a_reason() {
        let mut coverage = Coverage {
            hits: Proportion::wilson(1, 2),
            effective_classes: 2.0,
            classes: 1000,
            missed: 998,
            missed_names: vec!["a".to_owned(), "b".to_owned()],
            balanced_agreement: 1.0,
            lowest_class: None,
            lowest_agreement: 1.0,
            by_class: Vec::new(),
        };
        let of = |coverage: &Coverage, inputs| of_coverage(coverage, inputs).unwrap();
        assert!(of(&coverage, 111).contains("998 of 1000 classes (a, b and others)"));
        assert!(
            of(&coverage, 111).ends_with("fewer of them than classes.") && of(&coverage, 1000).ends_with("nothing.")
        );
        coverage.missed = 0;
        assert_eq!(of_coverage(&coverage, 111), None);
    }
}
