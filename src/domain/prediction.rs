//! The accuracy that a student is predicted to have lost, from the audit alone: a regression over students whose loss was
//! measured, with an interval from students of teachers that the regression did not see.
//!
//! Nothing real has a part in it inside a job: the coefficients are the same for everybody, and `kegd calibrate` makes them.

pub mod fit;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::audit::{Audit, InputSource, Proportion};

/// What the regression looks at, in the order of [`features`]. Few, because there are few teachers to learn from; those that
/// told most of teachers left out (`docs/AUDIT.md`).
pub const FEATURES: [&str; 4] = ["generator_disagreement", "noise_disagreement", "parameter_ratio", "weight_error"];

/// The features of one student.
pub type Features = [f64; FEATURES.len()];

/// Losses below this are told apart by nothing: the regression is of ln(loss + `FLOOR`).
const FLOOR: f64 = 0.002;

/// Accuracy that the student is predicted to have less than the teacher, as a share: 0.01 is one point. Not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Prediction {
    pub loss: f64,
    /// The interval that held the measured loss for the share `level` of the students of left-out teachers.
    pub low: f64,
    pub high: f64,
    pub level: f64,
    /// Students that the calibration saw.
    pub cells: u64,
    /// Teachers that the calibration saw: of others it is a guess by likeness.
    pub teachers: Vec<String>,
}

/// What `kegd calibrate` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub intercept: f64,
    pub terms: Vec<Term>,
    /// Half of the interval's width, in ln(loss + `FLOOR`).
    pub half_width: f64,
    pub level: f64,
    pub cells: u64,
    pub left_out: Vec<LeftOut>,
}

/// One feature's part in the regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    pub name: String,
    pub weight: f64,
    /// Mean and standard deviation over the cells, by which it is standardised.
    pub mean: f64,
    pub deviation: f64,
    /// The least and the greatest value that was seen.
    pub least: f64,
    pub greatest: f64,
}

/// How a calibration without this teacher did on its students.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    pub teacher: String,
    pub cells: u64,
    /// Cells whose loss lay inside the interval.
    pub covered: u64,
    /// Cells that would have got a prediction: all features inside the range of the other teachers' cells.
    pub in_range: u64,
    pub covered_in_range: u64,
    /// Mean width of the interval, and mean absolute error, as shares.
    pub width: f64,
    pub error: f64,
}

/// The features of a student with `ratio` times fewer parameters than its teacher; shares and ratio as logarithms.
pub fn features(audit: &Audit, ratio: f64) -> Features {
    // Half an input is added, so that full agreement has a logarithm, and one that depends on how many were looked at.
    let disagreement = |found: &Proportion| {
        let n = found.n as f64;
        (((1.0 - found.share) * n + 0.5) / (n + 1.0)).ln()
    };
    let of = |source| audit.of(source).map_or(0.0, |found| disagreement(&found.agreement));
    let ratio = ratio.max(f64::MIN_POSITIVE).ln();
    [of(InputSource::HeldOutGenerator), of(InputSource::Noise), ratio, audit.weight_error]
}

/// The prediction by the calibration that this program carries, or why there is none, in words.
///
/// # Errors
/// Where there is no calibration yet, or the student lies outside of what it saw.
pub fn predict(features: &Features) -> Result<Prediction, String> {
    static SHIPPED: LazyLock<Option<Calibration>> =
        LazyLock::new(|| serde_json::from_str(include_str!("prediction/calibration.json")).unwrap_or(None));
    match &*SHIPPED {
        Some(calibration) => calibration.predict(features),
        None => Err("The loss of accuracy cannot be predicted: this version has no calibration.".to_owned()),
    }
}

impl Calibration {
    /// # Errors
    /// Names the features that lie outside of what the calibration saw: there it would extrapolate.
    pub fn predict(&self, features: &Features) -> Result<Prediction, String> {
        let outside: Vec<String> =
            self.terms.iter().zip(features).filter_map(|(term, &value)| term.outside(value)).collect();
        if !outside.is_empty() {
            return Err(format!(
                "The loss of accuracy is not predicted: it would be extrapolated. The calibration saw no student like this one: {}.",
                outside.join("; ")
            ));
        }
        let (loss, low, high) = self.interval(features);
        let teachers = self.left_out.iter().map(|left_out| left_out.teacher.clone()).collect();
        Ok(Prediction { loss, low, high, level: self.level, cells: self.cells, teachers })
    }

    /// ln(loss + `FLOOR`) as the regression has it.
    fn score(&self, features: &Features) -> f64 {
        let terms = self.terms.iter().zip(features);
        self.intercept + terms.map(|(term, value)| term.weight * (value - term.mean) / term.deviation).sum::<f64>()
    }

    /// Loss and its interval, whatever the range.
    fn interval(&self, features: &Features) -> (f64, f64, f64) {
        let score = self.score(features);
        let loss = |score: f64| (score.exp() - FLOOR).clamp(0.0, 1.0);
        (loss(score), loss(score - self.half_width), loss(score + self.half_width))
    }

    fn is_in_range(&self, features: &Features) -> bool {
        self.terms.iter().zip(features).all(|(term, &value)| term.outside(value).is_none())
    }
}

impl Term {
    /// Says so where `value` is outside of what was seen.
    fn outside(&self, value: f64) -> Option<String> {
        // What was written as decimals and read again may differ in its last bit.
        let inside = (self.least - 1e-9..=self.greatest + 1e-9).contains(&value);
        (!inside).then(|| format!("{} is {value:.3}, seen were {:.3} to {:.3}", self.name, self.least, self.greatest))
    }
}

#[cfg(test)]
mod tests;
