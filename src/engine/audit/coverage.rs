//! Whether the held-out generator speaks of all classes, and how each of them fares.

use tch::{Device, TchError, Tensor};

use super::compare::{effective_classes, finite, proportion};
use crate::domain::audit::{ClassCoverage, Coverage, Proportion};

/// Names of missed classes that are listed.
const MOST_NAMES: usize = 20;

/// Classes that are shown one by one.
const MOST_ROWS: usize = 100;

/// From the one-hot `labels` (N, classes) that were asked for, and the logits of teacher and student.
///
/// # Errors
/// What libtorch reports.
pub fn coverage(
    labels: &Tensor,
    (theirs, ours): (&Tensor, &Tensor),
    names: Option<&[String]>,
) -> Result<Coverage, TchError> {
    let first = |scores: &Tensor| scores.f_argmax(-1, false)?.f_to_device(Device::Cpu);
    let (theirs, ours) = (finite(theirs)?, finite(ours)?);
    let (asked, theirs_first, ours_first) = (first(labels)?, first(&theirs)?, first(&ours)?);
    let (hit, agreed) = (asked.f_eq_tensor(&theirs_first)?, theirs_first.f_eq_tensor(&ours_first)?);
    let rows = rows(labels.size()[1], &[&asked, &theirs_first], &[&hit, &agreed], names)?;

    let missed: Vec<&ClassCoverage> = rows.iter().filter(|row| row.answers == 0).collect();
    let answered: Vec<(f64, &ClassCoverage)> =
        rows.iter().filter(|row| row.answers > 0).map(|row| (row.agreed as f64 / row.answers as f64, row)).collect();
    let lowest = answered.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Coverage {
        hits: proportion(&hit, &hit.f_ones_like()?)?.unwrap_or_else(|| Proportion::wilson(0, 0)),
        effective_classes: effective_classes(&theirs)?,
        classes: rows.len() as u64,
        missed: missed.len() as u64,
        missed_names: missed.iter().take(MOST_NAMES).map(|row| row.class.clone()).collect(),
        balanced_agreement: answered.iter().map(|(share, _)| share).sum::<f64>() / answered.len().max(1) as f64,
        lowest_class: lowest.map(|(_, row)| row.class.clone()),
        lowest_agreement: lowest.map_or(0.0, |(share, _)| *share),
        by_class: if rows.len() <= MOST_ROWS { rows } else { Vec::new() },
    })
}

/// One row for each class: how often it was asked for and answered, and of these hit and agreed on.
fn rows(
    classes: i64,
    [asked, answered]: &[&Tensor; 2],
    [hit, agreed]: &[&Tensor; 2],
    names: Option<&[String]>,
) -> Result<Vec<ClassCoverage>, TchError> {
    let of = |chosen: &Tensor| -> Result<Vec<i64>, TchError> {
        Vec::try_from(&chosen.f_bincount(None::<&Tensor>, classes)?)
    };
    let (asked_counts, answers) = (of(asked)?, of(answered)?);
    let (hits, agreements) = (of(&asked.f_masked_select(hit)?)?, of(&answered.f_masked_select(agreed)?)?);
    let name = |index: usize| names.and_then(|names| names.get(index).cloned()).unwrap_or_else(|| index.to_string());
    let row = |index: usize| ClassCoverage {
        class: name(index),
        asked: asked_counts[index] as u64,
        hits: hits[index] as u64,
        answers: answers[index] as u64,
        agreed: agreements[index] as u64,
    };
    Ok((0..answers.len()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn classes_are_counted_and_missed_ones_named() {
        // Asked 0, 1, 2, 0; the teacher says 0, 1, 1, 0; the student 0, 1, 0, 2.
        let one_hot = |classes: &[i64]| Tensor::from_slice(classes).one_hot(3).to_kind(Kind::Float) * 9.0;
        let names = ["cat", "dog", "owl"].map(str::to_owned);
        let (theirs, ours) = (one_hot(&[0, 1, 1, 0]), one_hot(&[0, 1, 0, 2]));
        let found = coverage(&one_hot(&[0, 1, 2, 0]), (&theirs, &ours), Some(&names)).unwrap();
        let rows: Vec<_> = found.by_class.iter().map(|row| (row.asked, row.hits, row.answers, row.agreed)).collect();
        assert_eq!(rows, [(2, 2, 2, 1), (1, 1, 2, 1), (1, 0, 0, 0)]);
        assert_eq!((found.hits.share, found.missed, found.missed_names), (0.75, 1, vec!["owl".to_owned()]));
        assert_eq!((found.balanced_agreement, found.lowest_agreement), (0.5, 0.5));
        assert!((1.99..2.1).contains(&found.effective_classes), "{}", found.effective_classes);
    }

    #[test]
    fn a_teacher_that_overflows_leaves_numbers() {
        let logits = Tensor::from_slice(&[f64::INFINITY, f64::NAN, 0.0, 1.0, 0.0, 0.0]).view([2, 3]);
        let found = coverage(&logits.zeros_like(), (&logits, &logits), None).unwrap();
        assert!(found.effective_classes.is_finite() && found.balanced_agreement == 1.0, "{found:?}");
    }
}
